//! What a change of an Ingress costs does not depend on how many other Ingresses there are.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use portcullis_controller::{
    Index, Settings, ir::ObjectKey, kinds::Kind, objects, snapshot::Change, status::Statuses,
};
use serde_json::{Value, json};

#[test]
fn the_work_for_one_ingress_is_the_same_among_few_and_many() {
    for (what, change) in [
        ("a new host", Change::Apply(decode(&ingress(1_000_000, "new.example.com")))),
        ("another host", Change::Apply(decode(&ingress(7, "moved.example.com")))),
        ("a host that another one has", Change::Apply(decode(&ingress(7, "h8.example.com")))),
        ("gone", Change::Delete(ObjectKey::new(Kind::Ingress, "shop", "h7"))),
    ] {
        let (few, many) = (allocations(100, &change), allocations(2_000, &change));
        assert!(many <= few + few / 10, "{what}: {few} allocations among 100 Ingresses, {many} among 2,000");
    }
}

/// The regular expressions of a namespace have a common budget, which is counted by what changes.
#[test]
fn the_work_for_one_ingress_with_a_regular_expression_is_the_same_among_few_and_many() {
    let regex = |number: usize, path: &str| {
        let mut ingress = ingress(number, &format!("h{number}.example.com"));
        ingress["metadata"]["annotations"] = json!({ "nginx.ingress.kubernetes.io/use-regex": "true" });
        ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] = path.into();
        ingress
    };
    // A few texts that all share, so that they are within the budget.
    let path = |number: usize| format!("/p{}[0-9]+", number % 50);
    let change = Change::Apply(decode(&regex(7, "/other[0-9]+")));
    let among =
        |count: usize| edit((0..count).map(|number| regex(number, &path(number))), &change).count_total;
    let (few, many) = (among(100), among(2_000));
    assert!(many <= few + few / 10, "{few} allocations among 100 Ingresses, {many} among 2,000");
}

/// An Ingress with many hosts and other names is at all of these hosts. It is read once, not once for each of them.
#[test]
fn the_work_for_an_ingress_with_many_hosts_and_aliases_is_proportional_to_their_number() {
    let bytes = |hosts: usize| {
        // One host and one alias more.
        let change = Change::Apply(decode(&of_many_hosts(hosts + 1)));
        edit([of_many_hosts(hosts)], &change).bytes_total
    };
    let (few, many) = (bytes(100), bytes(2_000));
    assert!(many <= few * 40, "{few} bytes with 100 hosts, {many} with 2,000");
}

fn allocations(ingresses: usize, change: &Change) -> u64 {
    edit((0..ingresses).map(|number| ingress(number, &format!("h{number}.example.com"))), change).count_total
}

/// What a change costs when these Ingresses are served.
fn edit(ingresses: impl IntoIterator<Item = Value>, change: &Change) -> allocation_counter::AllocationInfo {
    let mut index = Index::new(Settings::default());
    index.apply(ingresses.into_iter().map(|ingress| Change::Apply(decode(&ingress))));
    index.complete();
    let mut statuses = Statuses::default();
    let first = index.publish();
    index.update_statuses(&mut statuses);
    let mut second = None;
    let info = allocation_counter::measure(|| {
        index.apply([change.clone()]);
        second = index.publish();
        index.update_statuses(&mut statuses);
    });
    assert!(first.is_some() && second.is_some());
    info
}

fn of_many_hosts(hosts: usize) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    let rules: Vec<_> = (0..hosts)
        .map(|number| json!({ "host": format!("h{number}.example.com"), "http": { "paths": paths } }))
        .collect();
    let aliases: Vec<_> = (0..hosts).map(|number| format!("a{number}.example.com")).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "namespace": "shop", "name": "many",
            "annotations": { "nginx.ingress.kubernetes.io/server-alias": aliases.join(",") },
        },
        "spec": { "ingressClassName": "portcullis", "rules": rules },
    })
}

fn decode(manifest: &Value) -> portcullis_controller::ir::Object {
    objects::decode(manifest.clone(), None).object.unwrap()
}

fn ingress(number: usize, host: &str) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "namespace": "shop", "name": format!("h{number}") },
        "spec": {
            "ingressClassName": "portcullis",
            "tls": [{ "hosts": [host], "secretName": format!("h{number}") }],
            "rules": [{ "host": host, "http": { "paths": paths } }],
        },
    })
}
