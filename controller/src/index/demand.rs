//! The objects that a source has to fetch on demand: those that the units read.

use std::{collections::BTreeSet, sync::Arc};

use super::Index;
use crate::{facts::Fact, ir::ObjectKey, snapshot::Change};

impl Index {
    /// Translates what has been applied, so that it is known what has to be fetched. Nothing is published for that.
    /// From now on an object of [`Index::demand`] is pending until it is applied, as a change or as a deletion.
    pub fn survey(&mut self) {
        self.fetched.get_or_insert_default();
        self.renew();
    }

    /// The objects that units read or found missing, of the kinds that are fetched on demand. A new `Arc` if the set may
    /// have changed.
    pub fn demand(&self) -> &Arc<BTreeSet<ObjectKey>> {
        self.units.dependencies.on_demand()
    }

    /// Notes that objects are no longer fetched. One that is read again by now is pending again.
    pub fn release(&mut self, keys: impl IntoIterator<Item = ObjectKey>) {
        for key in keys {
            self.apply([Change::Delete(key.clone())]);
            if self.fetched.as_mut().is_some_and(|fetched| fetched.remove(&key)) {
                self.units.change(&Fact::Object(key));
            }
        }
    }

    /// Notes that the source has reported an object, or that it does not exist.
    pub(super) fn note_fetched(&mut self, key: &ObjectKey) {
        let fetched = self.fetched.as_mut().filter(|_| key.kind.resource().is_on_demand());
        if fetched.is_some_and(|fetched| fetched.insert(key.clone())) {
            self.units.change(&Fact::Object(key.clone()));
            self.is_settings_map_new |= self.settings.is_settings_map(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        index::Index,
        ir::{Kind, Object, ObjectKey},
        snapshot::Change,
        status::{ConditionType, Statuses},
        translate::{
            Settings,
            testing::{CLASS, snapshot},
        },
    };

    const GATEWAY: &str = "
kind: Gateway
metadata: { name: edge, namespace: shop }
spec:
  gatewayClassName: portcullis
  listeners:
  - { name: https, port: 443, protocol: HTTPS, tls: { certificateRefs: [{ name: site }] } }
";

    /// The reason of the listener's `ResolvedRefs`; empty without the Gateway.
    fn reason(index: &mut Index) -> &'static str {
        index.publish();
        let mut statuses = Statuses::default();
        let (gateway, _) = gateway();
        index.units.stale.statuses.insert(gateway.clone());
        index.update_statuses(&mut statuses);
        let Some(report) = statuses.get(&gateway) else { return "" };
        let status = report.status.of_gateway().expect("it is one");
        let mut conditions = status.listeners[0].conditions.iter();
        conditions
            .find(|condition| condition.kind == ConditionType::ResolvedRefs)
            .expect("always there")
            .reason
    }

    fn gateway() -> (ObjectKey, Change) {
        let object = snapshot(GATEWAY).gateways.into_values().next().map(Object::Gateway).expect("one");
        (object.meta().key.clone(), Change::Apply(object))
    }

    #[test]
    fn what_was_released_is_pending_when_it_is_read_again() {
        let secret = ObjectKey::new(Kind::Secret, "shop", "site");
        let mut index = Index::new(Settings::default());
        index.apply(snapshot(CLASS).objects().map(Change::Apply));
        let (key, gateway) = gateway();
        index.apply([gateway.clone()]);
        index.survey();
        assert!(index.demand().iter().eq([&secret]));
        index.complete();
        assert_eq!(reason(&mut index), "Pending");
        index.apply([Change::Delete(secret.clone())]);
        assert_eq!(reason(&mut index), "InvalidCertificateRef", "there is none");
        // The source sees nothing of this as long as it is not told in between.
        index.apply([Change::Delete(key.clone()), gateway.clone()]);
        assert_eq!(reason(&mut index), "InvalidCertificateRef");
        index.apply([Change::Delete(key)]);
        assert_eq!((reason(&mut index), index.demand().len()), ("", 0));
        index.apply([gateway]);
        assert_eq!(reason(&mut index), "InvalidCertificateRef", "not released yet");
        index.release([secret.clone()]);
        assert_eq!(reason(&mut index), "Pending");
        index.apply([Change::Delete(secret)]);
        assert_eq!(reason(&mut index), "InvalidCertificateRef");
    }

    /// A tenant must not make us read another namespace's Secrets, not even to find out that it may not use them.
    #[test]
    fn passwords_are_fetched_from_the_own_namespace_alone() {
        let ingress = |name: &str, secret: &str| {
            let annotations = format!(
                "{{ nginx.ingress.kubernetes.io/auth-type: basic, nginx.ingress.kubernetes.io/auth-secret: {secret} }}"
            );
            let rule = format!(
                "{{ host: {name}.example, http: {{ paths: [{{ path: /, pathType: Prefix, backend: {{ service: {{ name: \
                 web, port: {{ number: 80 }} }} }} }}] }} }}"
            );
            format!(
                "kind: Ingress\nmetadata: {{ name: {name}, namespace: shop, annotations: {annotations} }}\nspec: {{ \
                 ingressClassName: portcullis, rules: [{rule}] }}\n"
            )
        };
        let mut index = Index::new(Settings::default());
        for (name, secret) in [("own", "users"), ("named", "shop/named"), ("foreign", "infra/users")] {
            index.apply(snapshot(&ingress(name, secret)).objects().map(Change::Apply));
        }
        index.survey();
        let secrets: Vec<_> =
            index.demand().iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
        assert_eq!(secrets, ["shop/named", "shop/users"]);
    }
}
