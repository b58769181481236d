//! Ingresses that name the same hosts, and what they say of them.

use portcullis_controller::ir::Kind;
use serde_json::{Value, json};

use super::{Bits, NAMES, NAMESPACES, TIMES, manifest_of};

const HOSTS: [&str; 6] = ["h.test", "www.h.test", "g.test", "*.test", "g.h.test", "*.h.test"];

/// The class of the Ingresses.
pub(crate) fn own_ingress_class() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": "portcullis" },
        "spec": { "controller": "portcullis.dev/ingress-controller" },
    })
}

/// An object that hosts of Ingresses depend on.
pub(crate) fn beside_hosts(bits: &mut Bits) -> Value {
    let kinds = [
        Kind::Secret,
        Kind::Secret,
        Kind::Secret,
        Kind::Gateway,
        Kind::Namespace,
        Kind::ConfigMap,
        Kind::IngressClass,
        Kind::Service,
    ];
    manifest_of(bits.of(&kinds), bits)
}

/// An Ingress of a few names and hosts.
pub(crate) fn host_ingress(bits: &mut Bits) -> Value {
    let backend =
        |bits: &mut Bits| json!({ "service": { "name": bits.of(&NAMES), "port": { "number": 80 } } });
    let rules: Vec<_> = (0..bits.below(4))
        .map(|_| {
            let path =
                json!({ "path": bits.of(&["/", "/p"]), "pathType": "Prefix", "backend": backend(bits) });
            let mut rule = json!({ "http": { "paths": [path] } });
            if !bits.one_in(8) {
                rule["host"] = bits.of(&HOSTS).into();
            }
            rule
        })
        .collect();
    let mut spec =
        json!({ "ingressClassName": bits.of(&["portcullis", "portcullis", "portcullis", "other"]) });
    if rules.is_empty() || bits.one_in(8) {
        spec["defaultBackend"] = backend(bits);
    }
    if !rules.is_empty() {
        spec["rules"] = rules.into();
    }
    match bits.below(4) {
        0 => spec["tls"] = json!([{ "hosts": [bits.of(&HOSTS)], "secretName": bits.of(&NAMES) }]),
        1 => spec["tls"] = json!([{ "hosts": [bits.of(&HOSTS)] }, { "secretName": bits.of(&NAMES) }]),
        _ => {}
    }
    let mut annotations = json!({});
    for _ in 0..bits.below(3) {
        let (name, value) = bits.of(&ANNOTATIONS);
        annotations[format!("nginx.ingress.kubernetes.io/{name}")] = value.into();
    }
    let metadata = json!({
        "name": bits.of(&["one", "two", "three", "four"]),
        "namespace": bits.of(&NAMESPACES),
        "creationTimestamp": bits.of(&TIMES),
        "annotations": annotations,
    });
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec })
}

/// Annotations that are for whole hosts, or depend on the other Ingresses of a host.
const ANNOTATIONS: [(&str, &str); 18] = [
    ("server-alias", "alias.test"),
    ("server-alias", "g.test,other.alias.test"),
    ("server-alias", "*.alias.test,g.h.test"),
    ("server-alias", "*.h.test"),
    ("from-to-www-redirect", "true"),
    ("app-root", "/start"),
    ("use-regex", "true"),
    ("rewrite-target", "/$1"),
    ("canary", "true"),
    ("canary", "true"),
    ("canary-weight", "10"),
    ("ssl-passthrough", "true"),
    ("auth-tls-secret", "a/x"),
    ("auth-tls-secret", "b/y"),
    ("ssl-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("ssl-ciphers", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("enable-modsecurity", "true"),
    ("affinity", "cookie"),
];
