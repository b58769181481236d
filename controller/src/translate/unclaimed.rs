//! Objects that nobody serves, as far as we can see.

use super::{Reader, default_backend, listeners::Classes};
use crate::Problem;

/// Returns the objects of a folder that nobody serves, usually by mistake: Gateways and Ingresses whose class does not
/// exist, and ListenerSets whose Gateway does not. In a cluster such objects may belong to other controllers. The first one
/// is the default backend of the operator, if it cannot be used.
pub fn unclaimed(reader: &Reader<'_>) -> Vec<Problem> {
    let default_backend = default_backend::problem(reader);
    if !reader.settings().direct {
        return default_backend.into_iter().collect();
    }
    let gateways = reader.gateways().filter_map(|gateway| {
        let missing = !gateway.class.is_empty() && reader.gateway_class(&gateway.class).is_none();
        missing.then(|| {
            let text = format!("GatewayClass {} not found, so no controller serves it", gateway.class);
            Problem::warning(&gateway.meta.key, "spec.gatewayClassName", text)
        })
    });
    let sets = reader.listener_sets().filter_map(|set| {
        let gateway = set.gateway.as_ref().filter(|gateway| !reader.has_parent(gateway))?;
        let text = format!("{gateway} not found, so its listeners are not served");
        Some(Problem::warning(&set.meta.key, "spec.parentRef", text))
    });
    let classes = Classes::of(reader);
    let ingresses = reader.ingresses().filter(|ingress| !classes.is_ours(ingress));
    let ingresses = ingresses.filter_map(|ingress| {
        let key = &ingress.meta.key;
        let Some(name) = ingress.class.as_deref().or(ingress.legacy_class.as_deref()) else {
            let message = "is not set, and no IngressClass is the default; the Ingress is not served";
            return (!reader.ingress_classes().any(|class| class.default))
                .then(|| Problem::warning(key, "spec.ingressClassName", message));
        };
        let missing = reader.ingress_class(name).is_none();
        let message = format!("IngressClass {name} not found; the Ingress is not served");
        missing.then(|| Problem::warning(key, "spec.ingressClassName", message))
    });
    default_backend.into_iter().chain(gateways).chain(sets).chain(ingresses).collect()
}
