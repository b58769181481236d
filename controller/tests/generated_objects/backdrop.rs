//! What is there whatever is drawn: a class, a Gateway, and what routes and listeners refer to.

use std::sync::LazyLock;

use portcullis_controller::yaml::documents;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

const WRITTEN: &str = include_str!("backdrop.yaml");

/// The objects, as they are written.
pub(crate) static BACKDROP: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut all: Vec<_> = documents(WRITTEN, "backdrop.yaml").map(|d| d.content.unwrap()).collect();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["h.test", "*.test"].map(String::from)).unwrap();
    let head = |api_version: &str, kind: &str, namespace: &str| json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "x", "namespace": namespace } });
    for namespace in ["a", "b"] {
        let mut secret = head("v1", "Secret", namespace);
        secret["type"] = "kubernetes.io/tls".into();
        secret["stringData"] = json!({ "tls.crt": cert.pem(), "tls.key": signing_key.serialize_pem() });
        all.push(secret);
        let mut map = head("v1", "ConfigMap", namespace);
        map["data"] = json!({ "ca.crt": cert.pem() });
        all.push(map);
    }
    let mut bundle = head("certificates.k8s.io/v1beta1", "ClusterTrustBundle", "");
    bundle["metadata"].as_object_mut().unwrap().remove("namespace");
    bundle["spec"] = json!({ "trustBundle": cert.pem() });
    all.push(bundle);
    // Those of an API server have one, and those of a folder are of the first.
    all.iter_mut().for_each(|document| document["metadata"]["generation"] = 1.into());
    all
});
