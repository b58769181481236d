//! Regular expressions take memory where a route is attached, and no more than its object and its namespace may have.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use portcullis_controller::{
    Settings,
    ir::Object,
    objects,
    snapshot::{Change, Snapshot},
    translate::{Pools, full},
};
use serde_json::{Value, json};

/// Peak of what one decoding, or one translation, may hold: texts of the object and what is made of them.
const MODEST: u64 = 8 << 20;

/// A route with a modest rule, and then as many matches as it may have, and in each as many regular expressions, none like
/// another and each as large as it may be.
fn hostile(matches: usize, parent: &str) -> Value {
    let mut number = 0;
    let mut pattern = || {
        number += 1;
        format!(r"\w{{11}}x{number}")
    };
    let mut one = |_| {
        let texts = |kind: &str, pattern: &mut dyn FnMut() -> String| -> Vec<_> {
            (0..16)
                .map(|n| json!({ "type": "RegularExpression", "name": format!("{kind}{n}"), "value": pattern() }))
                .collect()
        };
        json!({
            "path": { "type": "RegularExpression", "value": format!("/{}", pattern()) },
            "headers": texts("h", &mut pattern),
            "queryParams": texts("q", &mut pattern),
        })
    };
    let modest = json!({ "matches": [{ "path": { "type": "RegularExpression", "value": "/v[0-9]+/.*" } }] });
    let hostile = (1..matches / 8).map(|_| json!({ "matches": (0..8).map(&mut one).collect::<Vec<_>>() }));
    let rules: Vec<_> = std::iter::once(modest).chain(hostile).collect();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "namespace": "shop", "name": "hostile" },
        "spec": { "parentRefs": [{ "name": parent }], "rules": rules },
    })
}

fn decode(manifest: Value) -> Object {
    objects::decode(manifest, None).object.unwrap()
}

fn with_gateway() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for manifest in [
        json!({ "kind": "GatewayClass", "metadata": { "name": "c" }, "spec": { "controllerName": "portcullis.dev/gateway-controller" } }),
        json!({ "kind": "Gateway", "metadata": { "namespace": "shop", "name": "public" }, "spec": { "gatewayClassName": "c",
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }] } }),
    ] {
        let mut manifest = manifest;
        manifest["apiVersion"] = "gateway.networking.k8s.io/v1".into();
        snapshot.apply(Change::Apply(decode(manifest)));
    }
    snapshot
}

#[test]
fn a_route_that_is_attached_nowhere_takes_little_memory() {
    let manifest = hostile(16, "elsewhere");
    let mut object = None;
    let read = allocation_counter::measure(|| object = Some(decode(manifest)));
    assert!(read.bytes_max < MODEST, "reading takes {} bytes", read.bytes_max);
    let mut snapshot = with_gateway();
    snapshot.apply(Change::Apply(object.unwrap()));
    let pools = Pools::default();
    let translated =
        allocation_counter::measure(|| drop(full(&snapshot, &Settings::default(), None, &pools)));
    assert!(translated.bytes_max < MODEST, "translating takes {} bytes", translated.bytes_max);
}

#[test]
fn an_object_takes_no_more_than_its_budget() {
    let mut snapshot = with_gateway();
    snapshot.apply(Change::Apply(decode(hostile(128, "public"))));
    let pools = Pools::default();
    let mut translation = None;
    let info = allocation_counter::measure(|| {
        translation = Some(full(&snapshot, &Settings::default(), None, &pools));
    });
    assert!(info.bytes_max < (16 << 20) + MODEST, "{} bytes", info.bytes_max);
    assert_eq!(pools.patterns.len(), 1, "the rule within the budget is served");
    let status = translation.unwrap().statuses.to_string();
    let want = "the regular expressions of this object would need more than 16 MiB of memory (the limit for one object)";
    assert!(status.contains("UnsupportedValue") && status.contains(want), "{status}");
    assert!(status.contains("spec.rules[1].matches[0].headers["), "{status}");
}
