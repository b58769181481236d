//! The YAML that is installed is the one that the types give. `UPDATE_GOLDEN=1` rewrites it.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use kube::CustomResourceExt as _;
use portcullis_crds::GatewayParameters;
use serde_json::{Value, json};

const YAML: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/portcullis/files/portcullis.dev_gatewayparameters.yaml");

fn definition() -> Value {
    serde_json::to_value(GatewayParameters::crd()).unwrap()
}

#[test]
fn the_yaml_agrees_with_the_types() {
    let head = "# Made of the types in crds/ (UPDATE_GOLDEN=1 cargo test -p portcullis-crds); not to be edited by hand.\n";
    let made = format!("{head}{}", serde_saphyr::to_string(&definition()).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(YAML, &made).unwrap();
    }
    let written = std::fs::read_to_string(YAML).unwrap_or_default();
    assert!(
        written == made,
        "{YAML} is out of date: UPDATE_GOLDEN=1 cargo test -p portcullis-crds rewrites it"
    );
    // And it says the same to whoever reads it.
    assert_eq!(serde_saphyr::from_str::<Value>(&written).unwrap(), definition());
}

#[test]
fn the_schema_checks_what_it_can() {
    let definition = definition();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let service = &spec["properties"]["service"]["properties"];
    let values = |of: &Value| -> Vec<String> {
        let values = of["enum"].as_array().unwrap().iter().filter(|v| !v.is_null());
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&spec["properties"]["addressing"]), ["Shared", "Dedicated"]);
    assert_eq!(values(&service["type"]), ["LoadBalancer", "NodePort", "ClusterIP"]);
    assert_eq!(values(&service["externalTrafficPolicy"]), ["Cluster", "Local"]);
    for (at, want) in [
        (&service["annotations"]["maxProperties"], json!(32)),
        (&service["annotations"]["additionalProperties"]["maxLength"], json!(4096)),
        (&service["loadBalancerClass"]["minLength"], json!(1)),
        (&service["loadBalancerSourceRanges"]["maxItems"], json!(64)),
        (&service["loadBalancerSourceRanges"]["x-kubernetes-list-type"], json!("set")),
        (&service["loadBalancerSourceRanges"]["items"]["maxLength"], json!(49)),
        (&service["nodePorts"]["maxItems"], json!(64)),
        (&service["nodePorts"]["x-kubernetes-list-map-keys"], json!(["port"])),
        (&service["nodePorts"]["items"]["properties"]["nodePort"]["minimum"], json!(1.0)),
        (&service["nodePorts"]["items"]["properties"]["nodePort"]["maximum"], json!(65535.0)),
        (&service["nodePorts"]["items"]["required"], json!(["nodePort", "port"])),
    ] {
        assert_eq!(at, &want, "{service:#}");
    }
    // A default would be taken for what an object asks for.
    assert!(!definition.to_string().contains("\"default\""));
}
