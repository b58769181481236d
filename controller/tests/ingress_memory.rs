//! Each host of Ingresses is a listener of its own; what they have in common they share.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::sync::Arc;

use portcullis_controller::{
    Index, Settings, objects,
    snapshot::{Change, Snapshot},
    status::Statuses,
    translate::{Pools, full},
};
use portcullis_routing::{HostPattern, PortKey};
use portcullis_tls::Certificate;
use serde_json::json;

const HOSTS: usize = 5_000;

/// What a host takes in the table and in the certificates, of its listeners on both ports and of its one rule there.
const MOST_BYTES: u64 = 1_450;

/// What an Ingress with ten annotations takes in the index, with its Service, its EndpointSlice and its status.
const MOST_BYTES_ANNOTATED: u64 = 5_450;

#[test]
fn thousands_of_hosts_take_as_much_as_their_rules_and_share_the_rest() {
    let snapshot = snapshot();
    let settings = Settings { fallback_certificate: Some(certificate()), ..Settings::default() };
    let pools = Pools::default();
    let mut kept = None;
    let info = allocation_counter::measure(|| {
        let translation = full(&snapshot, &settings, None, &pools);
        kept = Some((translation.table, translation.certificates));
    });
    let bytes = u64::try_from(info.bytes_current).unwrap() / HOSTS as u64;
    assert!(bytes < MOST_BYTES, "a host takes {bytes} bytes");

    let (table, certificates) = kept.unwrap();
    let https = PortKey::tcp(443);
    let ends = |host: &HostPattern| certificates.ports[&https].listeners.get(host).unwrap();
    let first = ends(&host(0));
    for number in 0..HOSTS {
        assert!(Arc::ptr_eq(ends(&host(number)), first), "how TLS ends at {}", host(number));
        let [plain, encrypted] = [PortKey::tcp(80), https]
            .map(|port| Arc::clone(&table.ports[&port].listeners.get(&host(number)).unwrap().id));
        assert!(Arc::ptr_eq(&plain, &encrypted), "the id of {}", host(number));
    }
}

/// The test above is for the table alone; here it is all that the controller keeps.
#[test]
fn ingresses_with_the_same_annotations_share_what_follows_from_them() {
    let mut index = Index::new(Settings { fallback_certificate: Some(certificate()), ..Settings::default() });
    let mut statuses = Statuses::default();
    let mut served = None;
    let info = allocation_counter::measure(|| {
        for number in 0..HOSTS {
            let objects = annotated(number).map(|manifest| objects::decode(manifest, None).object.unwrap());
            index.apply(objects.map(Change::Apply));
        }
        index.complete();
        served = index.publish();
        index.update_statuses(&mut statuses);
    });
    let bytes = u64::try_from(info.bytes_current).unwrap() / HOSTS as u64;
    assert!(bytes < MOST_BYTES_ANNOTATED, "an Ingress takes {bytes} bytes");
    let port = &served.unwrap().table.ports[&PortKey::tcp(443)];
    assert!(port.listeners.len() >= HOSTS, "{} hosts are served", port.listeners.len());
}

/// An Ingress with a Service of its own. Of each four, two have a check or a rewrite.
fn annotated(number: usize) -> [serde_json::Value; 3] {
    let mut annotations = json!({
        "limit-rps": "100",
        "proxy-body-size": "8m",
        "proxy-read-timeout": "120",
        "proxy-send-timeout": "120",
        "whitelist-source-range": "10.0.0.0/8,192.168.0.0/16,127.0.0.0/8",
        "enable-cors": "true",
        "cors-allow-origin": "https://www.example.com,https://shop.example.com",
        "ssl-redirect": "false",
    });
    let (path, more) = match number % 4 {
        0 => ("/api(/|$)(.*)", json!({ "use-regex": "true", "rewrite-target": "/$2" })),
        1 => (
            "/",
            json!({ "auth-url": "https://auth.example.com/check", "auth-response-headers": "X-Auth-Request-User" }),
        ),
        2 => ("/", json!({ "affinity": "cookie", "session-cookie-name": "session" })),
        _ => ("/", json!({ "proxy-next-upstream": "error http_502", "upstream-vhost": "app.example.com" })),
    };
    annotations.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let named = |(name, value): (&String, &serde_json::Value)| {
        (format!("nginx.ingress.kubernetes.io/{name}"), value.clone())
    };
    let annotations: serde_json::Map<_, _> = annotations.as_object().unwrap().iter().map(named).collect();
    assert_eq!(annotations.len(), 10);
    let name = format!("h{number}");
    let backend = json!({ "service": { "name": name, "port": { "number": 80 } } });
    let paths = json!([{ "path": path, "pathType": "ImplementationSpecific", "backend": backend }]);
    let host = host(number).to_string();
    [
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "namespace": "shop", "name": name, "annotations": annotations },
            "spec": {
                "ingressClassName": "portcullis",
                "rules": [{ "host": host, "http": { "paths": paths } }],
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": "shop", "name": name },
            "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "shop",
                "name": format!("{name}-1"),
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080 }],
            "endpoints": [{ "addresses": ["10.0.0.1"] }],
        }),
    ]
}

fn host(number: usize) -> HostPattern {
    HostPattern::parse(&format!("h{number}.example.com")).unwrap()
}

fn certificate() -> Arc<Certificate> {
    let made = rcgen::generate_simple_self_signed(["default.example".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap())
}

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for number in 0..HOSTS {
        let host = host(number).to_string();
        let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
        let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
        let manifest = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "namespace": "shop", "name": format!("h{number}") },
            "spec": {
                "ingressClassName": "portcullis",
                "tls": [{ "hosts": [host] }],
                "rules": [{ "host": host, "http": { "paths": paths } }],
            },
        });
        snapshot.apply(Change::Apply(objects::decode(manifest, None).object.unwrap()));
    }
    snapshot
}
