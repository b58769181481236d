//! Objects that nobody serves, as far as we can see.

use super::{Settings, listeners::Classes};
use crate::{
    Problem,
    ir::{Kind, ObjectKey},
    snapshot::Snapshot,
};

/// Gateways and Ingresses whose class nobody has: another controller's objects are not ours to speak of, but in a
/// folder a class that is missing is a mistake as a rule.
pub fn unclaimed(snapshot: &Snapshot, settings: &Settings) -> Vec<Problem> {
    let gateways = snapshot.gateways.iter().filter_map(|(key, gateway)| {
        let class = ObjectKey::new(Kind::GatewayClass, "", &gateway.class);
        let missing = !snapshot.gateway_classes.contains_key(&class);
        missing.then(|| {
            Problem::warning(
                key,
                "spec.gatewayClassName",
                format!("{class} not found, so no controller serves it"),
            )
        })
    });
    let classes = Classes::of(snapshot, settings);
    let ingresses = snapshot.ingresses.iter().filter(|(_, ingress)| !classes.is_ours(ingress));
    let ingresses = ingresses.filter_map(|(key, ingress)| {
        let Some(name) = ingress.class.as_deref().or(ingress.legacy_class.as_deref()) else {
            let message = "is not set, and no IngressClass is the default one; it is not served here";
            return (!snapshot.ingress_classes.values().any(|class| class.default))
                .then(|| Problem::warning(key, "spec.ingressClassName", message));
        };
        let class = ObjectKey::new(Kind::IngressClass, "", name);
        let missing = !snapshot.ingress_classes.contains_key(&class);
        let message = format!("{class} not found; it is not served here");
        missing.then(|| Problem::warning(key, "spec.ingressClassName", message))
    });
    gateways.chain(ingresses).collect()
}
