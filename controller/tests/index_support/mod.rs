//! Manifests out of a few bits, with few names, so that they meet and are at odds often.

mod manifests;

use portcullis_controller::{
    ir::{Kind, Object},
    objects,
};
use portcullis_routing::PortKey;
use portcullis_tls::Certificates;
use serde_json::{Value, json};

pub(crate) use manifests::{
    beside_hosts, host_ingress, own_ingress_class, sharing_ingress, sharing_services, stream_gateway,
    stream_route, with_patterns,
};

use manifests::manifest_of;

const NAMESPACES: [&str; 2] = ["a", "b"];
const NAMES: [&str; 3] = ["x", "y", "z"];
const HOSTS: [&str; 4] = ["h.test", "*.test", "g.h.test", "*.h.test"];
const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
pub(crate) const UIDS: [&str; 2] = ["uid-1", "uid-2"];
const TIMES: [&str; 2] = ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"];
const CLASSES: [&str; 2] = ["c", "d"];
const INGRESS_CLASSES: [&str; 2] = ["portcullis", "other"];
const PATHS: [&str; 4] = ["/", "/p", "/p/q", "/r"];
/// Every kind that is read. The kinds with the most cases stand more than once.
const KINDS: [Kind; 36] = [
    Kind::GatewayClass,
    Kind::GatewayParameters,
    Kind::GatewayParameters,
    Kind::Gateway,
    Kind::Gateway,
    Kind::Gateway,
    Kind::ListenerSet,
    Kind::ListenerSet,
    Kind::HttpRoute,
    Kind::HttpRoute,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TlsRoute,
    Kind::TlsRoute,
    Kind::TcpRoute,
    Kind::TcpRoute,
    Kind::UdpRoute,
    Kind::UdpRoute,
    Kind::BackendTlsPolicy,
    Kind::BackendTlsPolicy,
    Kind::XBackend,
    Kind::XBackend,
    Kind::ReferenceGrant,
    Kind::Ingress,
    Kind::Ingress,
    Kind::IngressClass,
    Kind::Service,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Pod,
    Kind::Pod,
    Kind::Secret,
    Kind::ConfigMap,
    Kind::ConfigMap,
    Kind::ClusterTrustBundle,
    Kind::Namespace,
];

/// Decides from random bits, a few at a time.
pub(crate) struct Bits(u64);

impl Bits {
    pub(crate) fn new(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn below(&mut self, count: u64) -> usize {
        // SplitMix64: one word of proptest's is enough for an object.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % count).unwrap()
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64)]
    }
}

/// An object of some kind, as it is written.
pub(crate) fn manifest(bits: &mut Bits) -> Value {
    let kind = bits.of(&KINDS);
    // A few combinations are no valid object (two listeners alike); the next one is then.
    let drawn = (0..20).map(|_| manifest_of(kind, bits)).find(|manifest| read(manifest).is_some());
    drawn.unwrap_or_else(|| panic!("no valid {kind} among 20: {:#}", manifest_of(kind, bits)))
}

/// The object that a manifest is of, or what stands for one that is refused.
pub(crate) fn read(manifest: &Value) -> Option<Object> {
    let decoded = objects::decode(manifest.clone(), None);
    decoded.object.or(decoded.refused)
}

/// Another object in the place of this one, as old as it.
pub(crate) fn edited(before: &Value, bits: &mut Bits) -> Value {
    let kind = Kind::ALL.iter().find(|kind| before["kind"] == kind.as_str()).unwrap();
    let drawn = (0..20).find_map(|_| {
        let mut manifest = manifest_of(*kind, bits);
        for field in ["name", "namespace", "creationTimestamp"] {
            match before["metadata"].get(field) {
                Some(value) => manifest["metadata"][field] = value.clone(),
                None => drop(manifest["metadata"].as_object_mut().unwrap().remove(field)),
            }
        }
        read(&manifest).map(|_| manifest)
    });
    drawn.unwrap_or_else(|| before.clone())
}

/// The same object made anew: another identity, and another age as a rule.
pub(crate) fn made_anew(before: &Value, bits: &mut Bits) -> Value {
    let mut manifest = before.clone();
    manifest["metadata"]["uid"] = bits.of(&UIDS).into();
    manifest["metadata"]["creationTimestamp"] = bits.of(&TIMES).into();
    manifest
}

/// The same object under another name, where that is a valid one.
pub(crate) fn renamed(before: &Value, bits: &mut Bits) -> Value {
    let mut manifest = before.clone();
    let names: &[&str] = match before["kind"].as_str().unwrap() {
        "GatewayClass" => &CLASSES,
        "IngressClass" => &INGRESS_CLASSES,
        "Namespace" => &NAMESPACES,
        _ => &NAMES,
    };
    manifest["metadata"]["name"] = bits.of(names).into();
    manifest
}

/// The same object of another type, with other labels, or another in what it permits; or an edit of it.
pub(crate) fn turned(before: &Value, bits: &mut Bits) -> Value {
    let mut manifest = before.clone();
    match before["kind"].as_str().unwrap() {
        "Secret" => {
            let is_tls = before["type"] == "kubernetes.io/tls";
            manifest["type"] = if is_tls { "Opaque" } else { "kubernetes.io/tls" }.into();
            if is_tls && bits.one_in(2) {
                manifest["stringData"].as_object_mut().unwrap().remove("tls.key");
            }
        }
        "Service" if before["spec"]["type"] == "ExternalName" => {
            manifest["spec"] = json!({ "ports": [{ "name": "web", "port": 80 }] });
        }
        "Service" => {
            manifest["spec"]["type"] = "ExternalName".into();
            manifest["spec"]["externalName"] = "elsewhere.test".into();
        }
        "Namespace" => match bits.below(3) {
            0 => drop(manifest["metadata"].as_object_mut().unwrap().remove("labels")),
            _ => manifest["metadata"]["labels"] = json!({ "team": bits.of(&["red", "blue"]) }),
        },
        "ReferenceGrant" => manifest["spec"]["from"][0]["namespace"] = bits.of(&NAMESPACES).into(),
        _ => return edited(before, bits),
    }
    if read(&manifest).is_some() { manifest } else { before.clone() }
}

/// The same object with a field that refuses it.
pub(crate) fn spoilt(before: &Value) -> Value {
    let mut manifest = before.clone();
    manifest["metadata"]["annotations"] = 7.into();
    manifest
}

/// The certificates of all listeners, by their fingerprints.
pub(crate) fn fingerprints(certificates: &Certificates) -> Vec<(PortKey, String, Vec<String>)> {
    let ports = certificates.ports.iter();
    let mut all: Vec<_> = ports
        .flat_map(|(port, of_port)| {
            of_port.listeners.iter().map(|(host, termination)| {
                let shown = termination.certificates.iter().map(|c| c.fingerprint.to_string()).collect();
                (*port, format!("{host:?}"), shown)
            })
        })
        .collect();
    all.sort();
    all
}
