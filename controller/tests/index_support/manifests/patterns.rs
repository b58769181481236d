//! Ingresses and routes with regular expressions, of which only a few fit into the budget of their namespace.

use serde_json::{Value, json};

use super::{Bits, NAMESPACES, TIMES};

const PATTERNS: [&str; 5] = ["/a[0-9]", "/b(/|$)(.*)", "/a[0-9]x", "/c.*", "/"];

/// An object with regular expressions: an Ingress mostly, or a route.
pub(crate) fn with_patterns(bits: &mut Bits) -> Value {
    let metadata = json!({
        "name": bits.of(&["one", "two", "three"]),
        "namespace": bits.of(&NAMESPACES),
        "creationTimestamp": bits.of(&TIMES),
        "annotations": {},
    });
    if bits.one_in(4) { route(metadata, bits) } else { ingress(metadata, bits) }
}

fn ingress(mut metadata: Value, bits: &mut Bits) -> Value {
    let backend = |bits: &mut Bits| json!({ "service": { "name": bits.of(&["x", "y", "z"]), "port": { "number": 80 } } });
    let mut rule = |_| {
        let mut path = |_| json!({ "path": bits.of(&PATTERNS), "pathType": "ImplementationSpecific", "backend": backend(bits) });
        let paths: Vec<_> = (0..2).map(&mut path).collect();
        json!({ "host": bits.of(&["g.test", "h.test", "i.test"]), "http": { "paths": paths } })
    };
    let rules: Vec<_> = (0..2).map(&mut rule).collect();
    let mut add = |name: &str, value: &str| {
        metadata["annotations"][format!("nginx.ingress.kubernetes.io/{name}")] = value.into();
    };
    match bits.below(5) {
        0 => {
            add("canary", "true");
            add("canary-by-header", "x");
            add("canary-by-header-pattern", bits.of(&["a+", "b+"]));
        }
        1 => add("rewrite-target", "/$2"),
        2 => add("server-alias", "alias.test"),
        _ => {}
    }
    if !bits.one_in(4) {
        add("use-regex", "true");
    }
    let spec = json!({ "ingressClassName": "portcullis", "rules": rules });
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec })
}

fn route(metadata: Value, bits: &mut Bits) -> Value {
    let one = json!({ "path": { "type": "RegularExpression", "value": bits.of(&PATTERNS) } });
    let parents = json!([{ "name": bits.of(&["x", "missing"]) }]);
    let spec = json!({ "parentRefs": parents, "rules": [{ "matches": [one] }] });
    let version = "gateway.networking.k8s.io/v1";
    json!({ "apiVersion": version, "kind": "HTTPRoute", "metadata": metadata, "spec": spec })
}
