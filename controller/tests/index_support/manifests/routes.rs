//! Routes of every kind.

use portcullis_controller::ir::Kind;
use serde_json::{Value, json};

use super::super::{Bits, HOSTS, NAMES, NAMESPACES, PATHS};
use super::manifest_of;

pub(super) fn reference(kind: &str, bits: &mut Bits) -> Value {
    let mut reference = json!({ "kind": kind, "name": bits.of(&NAMES) });
    if bits.one_in(2) {
        reference["namespace"] = bits.of(&NAMESPACES).into();
    }
    if kind == "Service" {
        reference["port"] = bits.of(&[80, 80, 81]).into();
        if bits.one_in(4) {
            reference["kind"] = "XBackend".into();
            reference["group"] = "gateway.networking.x-k8s.io".into();
        }
    }
    reference
}

pub(super) fn parents(bits: &mut Bits) -> Vec<Value> {
    let parent = |bits: &mut Bits| {
        let mut parent = json!({ "name": bits.of(&NAMES), "namespace": bits.of(&NAMESPACES) });
        if bits.one_in(3) {
            parent["sectionName"] = bits.of(&["l0", "l1"]).into();
        }
        if bits.one_in(4) {
            parent["kind"] = "ListenerSet".into();
        }
        parent
    };
    let first = parent(bits);
    let second = parent(bits);
    // Parents must be told apart.
    let told_apart = first["name"] != second["name"] || first["namespace"] != second["namespace"];
    if told_apart && bits.one_in(2) { vec![first, second] } else { vec![first] }
}

pub(super) fn hostnames(bits: &mut Bits) -> Value {
    match bits.below(3) {
        0 => json!([]),
        1 => json!([bits.of(&HOSTS)]),
        _ => json!(["h.test", "*.test"]),
    }
}

pub(super) fn http_route(bits: &mut Bits) -> Value {
    let rules: Vec<_> = (0..=bits.below(2))
        .map(|_| {
            let backends: Vec<_> = (0..bits.below(3)).map(|_| reference("Service", bits)).collect();
            let mut one =
                json!({ "path": { "type": bits.of(&["PathPrefix", "Exact"]), "value": bits.of(&PATHS) } });
            if bits.one_in(4) {
                one["path"]["type"] = "RegularExpression".into();
            }
            if bits.one_in(4) {
                let value = bits.of(&["a+", "b+", "(", "\\p{nothing}"]);
                one["headers"] = json!([{ "type": "RegularExpression", "name": "x", "value": value }]);
            }
            json!({ "matches": [one], "backendRefs": backends })
        })
        .collect();
    json!({ "spec": { "parentRefs": parents(bits), "hostnames": hostnames(bits), "rules": rules } })
}

pub(super) fn grpc_route(bits: &mut Bits) -> Value {
    let rules = json!([{
        "matches": [{ "method": { "service": bits.of(&["s.A", "s.B"]), "method": "M" } }],
        "backendRefs": [reference("Service", bits)],
    }]);
    json!({ "spec": { "parentRefs": parents(bits), "hostnames": hostnames(bits), "rules": rules } })
}

/// A route that claims the streams of the Gateway of [`stream_gateway`], if it is in that Gateway's namespace.
pub(crate) fn stream_route(bits: &mut Bits) -> Value {
    let kind = bits.of(&[Kind::TlsRoute, Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute]);
    let mut route = manifest_of(kind, bits);
    route["metadata"]["namespace"] = bits.of(&["a", "a", "a", "b"]).into();
    route["spec"]["parentRefs"] = json!([{ "namespace": "a", "name": "x" }]);
    if bits.one_in(4) {
        route["spec"]["parentRefs"][0]["sectionName"] = bits.of(&["l0", "l1", "l2"]).into();
    }
    route
}

pub(super) fn tls_route(bits: &mut Bits) -> Value {
    let hostnames = if bits.one_in(2) { json!([bits.of(&HOSTS)]) } else { json!(["h.test", "*.test"]) };
    let mut route = port_route(bits);
    route["spec"]["hostnames"] = hostnames;
    route
}

pub(super) fn port_route(bits: &mut Bits) -> Value {
    let backends: Vec<_> = (0..=bits.below(2)).map(|_| reference("Service", bits)).collect();
    json!({ "spec": { "parentRefs": parents(bits), "rules": [{ "backendRefs": backends }] } })
}
