//! What objects that were written for Gateways say, as the API server has them.

use std::collections::BTreeMap;

use portcullis_routing::PortKey;
use serde_json::Value;

/// The ports of a Service, and the target port of each; `None` where that is not a number.
pub(super) fn ports_of_service(service: &Value) -> BTreeMap<PortKey, Option<u16>> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let read = |port: &Value| {
        let key = match port["protocol"].as_str() {
            None | Some("TCP") => PortKey::tcp,
            Some("UDP") => PortKey::udp,
            Some(_) => return None,
        };
        Some((key(number(&port["port"])?), number(&port["targetPort"])))
    };
    ports.filter_map(read).collect()
}

/// The uid of the Gateway that an object was made for.
pub(super) fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let is_gateway = |owner: &&Value| {
        let version = owner["apiVersion"].as_str().unwrap_or_default();
        owner["kind"] == "Gateway" && version.starts_with("gateway.networking.k8s.io/")
    };
    owners.iter().find(is_gateway)?["uid"].as_str()
}
