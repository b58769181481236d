//! Ingresses that use the same Services, and what they say of them.

use serde_json::{Value, json};

use super::{Bits, TIMES, own_ingress_class};

const SERVICES: [&str; 3] = ["x", "y", "z"];

/// The Services, and the class of the Ingresses.
pub(crate) fn sharing_services() -> Vec<Value> {
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "a" },
            "spec": { "ports": [{ "name": "web", "port": 80 }] },
        })
    };
    SERVICES.into_iter().map(service).chain([own_ingress_class()]).collect()
}

/// An Ingress of a few names, hosts and paths.
pub(crate) fn sharing_ingress(bits: &mut Bits) -> Value {
    let rule = |bits: &mut Bits| {
        let backend = json!({ "service": { "name": bits.of(&SERVICES), "port": { "number": 80 } } });
        let path = json!({ "path": bits.of(&["/", "/p"]), "pathType": "Prefix", "backend": backend });
        json!({ "host": bits.of(&["g.test", "h.test", "i.test"]), "http": { "paths": [path] } })
    };
    let rules: Vec<_> = (0..=bits.below(2)).map(|_| rule(bits)).collect();
    let mut spec = json!({ "ingressClassName": "portcullis", "rules": rules });
    if bits.one_in(8) {
        spec["defaultBackend"] =
            json!({ "service": { "name": bits.of(&SERVICES), "port": { "number": 80 } } });
    }
    let mut annotations = json!({});
    of_services(bits, &mut |name, value| annotations[name] = value.into());
    let metadata = json!({
        "name": bits.of(&["one", "two", "three", "four"]),
        "namespace": "a",
        "creationTimestamp": bits.of(&TIMES),
        "annotations": annotations,
    });
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec })
}

/// What belongs to a Service's port, whichever Ingress says it.
pub(super) fn of_services(bits: &mut Bits, add: &mut impl FnMut(&str, &str)) {
    match bits.below(12) {
        0 => add("nginx.ingress.kubernetes.io/load-balance", "ewma"),
        1 => add("nginx.ingress.kubernetes.io/upstream-hash-by", "$host"),
        2 => add("nginx.ingress.kubernetes.io/affinity-mode", "persistent"),
        3 | 4 => {
            add("nginx.ingress.kubernetes.io/affinity", "cookie");
            add("nginx.ingress.kubernetes.io/session-cookie-name", bits.of(&["one", "other"]));
        }
        5..=7 => {
            add("nginx.ingress.kubernetes.io/canary", "true");
            add("nginx.ingress.kubernetes.io/canary-weight", "10");
            add("nginx.ingress.kubernetes.io/affinity-canary-behavior", bits.of(&["sticky", "legacy"]));
        }
        _ => {}
    }
}
