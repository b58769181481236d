//! Clears the addresses of Ingresses that no longer belong to our class.
//!
//! An address is never cleared because it is unknown: clients may use it, and DNS names may point to it. It is cleared
//! only after the Ingress was edited so that another controller serves it, and only if it still is the address that we
//! wrote.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{
    ir::{Kind, ObjectKey},
    kinds::StatusShape,
};

/// The last status written to each of our Ingresses, and the generation it was for.
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<ObjectKey, (i64, Value)>);

impl Addresses {
    /// Records the desired status of an object. For one that was edited and is no longer ours, returns its status
    /// without our address.
    pub(super) fn note(
        &mut self,
        key: &ObjectKey,
        generation: i64,
        live: &Value,
        desired: Option<&Value>,
    ) -> Option<Value> {
        if key.kind.resource().status_shape() != Some(StatusShape::LoadBalancer) {
            return None;
        }
        if let Some(desired) = desired {
            // While our address is unknown, the last one that was written is kept.
            if !addresses(&desired["loadBalancer"]).is_empty() {
                self.0.insert(key.clone(), (generation, desired["loadBalancer"].clone()));
            }
            return None;
        }
        let (before, said) = self.0.get(key)?;
        if generation <= *before {
            return None;
        }
        if addresses(said) != addresses(&live["loadBalancer"]) {
            // It is cleared, or another controller has written its own.
            self.0.remove(key);
            return None;
        }
        let mut status = live.clone();
        status["loadBalancer"] = json!({});
        Some(status)
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        if key.kind == Kind::Ingress {
            self.0.remove(key);
        }
    }
}

/// The API server adds other fields to an entry.
fn addresses(load_balancer: &Value) -> Vec<(&Value, &Value)> {
    let entries = load_balancer["ingress"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| (&entry["ip"], &entry["hostname"])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_with_the_edit_that_takes_the_ingress_away() {
        let key = ObjectKey::new(Kind::Ingress, "shop", "web");
        let at = |ip: &str| json!({"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}});
        let ours = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let noted = || {
            let mut addresses = Addresses::default();
            assert_eq!(addresses.note(&key, 1, &json!({}), Some(&ours)), None);
            addresses
        };
        let cleared = Some(json!({"loadBalancer": {}}));
        for (what, generation, live, want) in [
            ("edited", 2, at("192.0.2.1"), cleared),
            ("its class went, not its owner", 1, at("192.0.2.1"), None),
            ("another controller wrote its own address", 2, at("192.0.2.2"), None),
            ("nothing was written", 2, json!({}), None),
        ] {
            assert_eq!(noted().note(&key, generation, &live, None), want, "{what}");
        }
        assert_eq!(Addresses::default().note(&key, 2, &at("192.0.2.1"), None), None, "never ours");
        let mut unknown = Addresses::default();
        assert_eq!(unknown.note(&key, 1, &json!({}), Some(&json!({"loadBalancer": {}}))), None);
        assert_eq!(unknown.note(&key, 2, &json!({}), None), None, "no address was known");
        let mut cleared = noted();
        assert_eq!(cleared.note(&key, 2, &json!({"loadBalancer": {}}), None), None, "it is cleared");
        assert_eq!(cleared.note(&key, 2, &at("192.0.2.1"), None), None, "and what comes later is another's");
    }
}
