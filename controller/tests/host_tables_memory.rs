//! A route at many listeners with many hostnames takes the memory of its rules, not of their product.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{collections::BTreeSet, sync::Arc};

use portcullis_controller::{
    Index, Settings,
    ir::{Kind, Object, ObjectKey},
    objects,
    snapshot::{Change, Snapshot},
    translate::{Pools, full},
};
use portcullis_routing::{HostTable, Table};
use serde_json::{Value, json};

const LISTENERS: usize = 64;
/// The most that the API takes.
const HOSTNAMES: usize = 16;
const MATCHES: usize = 128;

/// What translating the route holds at its peak. A host table of its matches takes 80 KB, and the route is in 1,024.
const MODEST: u64 = 1 << 20;

#[test]
fn a_route_has_one_host_table_for_all_its_listeners_and_hostnames() {
    let mut snapshot = Snapshot::default();
    objects("v1").into_iter().for_each(|object| snapshot.apply(Change::Apply(object)));
    let pools = Pools::default();
    let mut table = None;
    let info = allocation_counter::measure(|| {
        table = Some(full(&snapshot, &Settings::default(), None, &pools).table);
    });
    assert_eq!(tables(&table.unwrap()), (LISTENERS * HOSTNAMES, 1), "host tables, and different ones");
    assert!(info.bytes_max < MODEST, "translating takes {} bytes", info.bytes_max);
}

#[test]
fn an_edit_of_a_route_leaves_it_with_one_host_table() {
    let mut index = Index::new(Settings::default());
    index.apply(objects("v1").into_iter().map(Change::Apply));
    index.complete();
    let before = index.publish().unwrap().table;
    assert_eq!(tables(&before), (LISTENERS * HOSTNAMES, 1));

    let edited: Vec<_> = objects("v2").into_iter().map(Change::Apply).collect();
    let mut after = None;
    let info = allocation_counter::measure(|| {
        index.apply(edited);
        after = index.publish();
    });
    assert!(info.bytes_max < MODEST, "an edit takes {} bytes", info.bytes_max);
    assert_eq!(tables(&after.unwrap().table), (LISTENERS * HOSTNAMES, 1));

    // Another route at one of the hostnames, which is in one table of each listener.
    let beside = || route("beside", &["h3.example.com".to_owned()], 1, "v1");
    index.apply([Change::Apply(beside())]);
    let with = index.publish().unwrap().table;
    assert_eq!(tables(&with), (LISTENERS * HOSTNAMES, 2));
    index.apply([Change::Delete(ObjectKey::new(Kind::HttpRoute, "shop", "beside"))]);
    assert_eq!(tables(&index.publish().unwrap().table), (LISTENERS * HOSTNAMES, 1), "it is as before");
}

/// How many host tables there are, and how many are different ones.
fn tables(table: &Table) -> (usize, usize) {
    let listeners = table.ports.values().flat_map(|port| port.listeners.iter());
    let routes = listeners.filter_map(|(_, listener)| listener.http_routes());
    let tables = routes.flat_map(|routes| routes.hosts.iter().map(|(_, table)| Arc::as_ptr(table)));
    let tables: Vec<*const HostTable> = tables.collect();
    (tables.len(), tables.iter().collect::<BTreeSet<_>>().len())
}

fn objects(version: &str) -> Vec<Object> {
    let hostnames: Vec<_> = (0..HOSTNAMES).map(|number| format!("h{number}.example.com")).collect();
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|number| json!({ "name": format!("l{number}"), "port": 8000 + number, "protocol": "HTTP" }))
        .collect();
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "c" },
        "spec": { "controllerName": "portcullis.dev/gateway-controller" },
    });
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "namespace": "shop", "name": "public" },
        "spec": { "gatewayClassName": "c", "listeners": listeners },
    });
    vec![decode(class), decode(gateway), route("wide", &hostnames, MATCHES, version)]
}

fn route(name: &str, hostnames: &[String], matches: usize, version: &str) -> Object {
    let matches: Vec<_> = (0..matches)
        .map(|number| json!({ "path": { "type": "PathPrefix", "value": format!("/{version}/{name}/{number}") } }))
        .collect();
    let rules: Vec<_> = matches.chunks(64).map(|some| json!({ "matches": some })).collect();
    decode(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "parentRefs": [{ "name": "public" }], "hostnames": hostnames, "rules": rules },
    }))
}

fn decode(manifest: Value) -> Object {
    objects::decode(manifest, None).object.unwrap()
}
