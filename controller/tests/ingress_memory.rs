//! Each host of Ingresses is a listener of its own; what they have in common they share.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::sync::Arc;

use portcullis_controller::{
    Settings, objects,
    snapshot::{Change, Snapshot},
    translate::{Pools, full},
};
use portcullis_routing::{HostPattern, PortKey};
use portcullis_tls::Certificate;
use serde_json::json;

const HOSTS: usize = 5_000;

/// What a host takes in the table and in the certificates, of its listeners on both ports and of its one rule there.
const MOST_BYTES: u64 = 2_000;

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
