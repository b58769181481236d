//! The desired Services and EndpointSlices of Gateways, as JSON.

use std::collections::BTreeMap;

use portcullis_crds::{IpFamilyPolicy, ServiceType, TrafficPolicy};
use portcullis_routing::{PortKey, Transport};
use serde_json::{Map, Value, json};

use super::DesiredService;
use crate::{ir::ObjectKey, objects::MARK, translate::label_value};

/// The most endpoints that a slice may have.
pub(super) const MOST_ENDPOINTS: usize = 1000;

/// The Service of a Gateway; `ports` maps the listeners' ports to ours.
pub(super) fn service(
    gateway: &ObjectKey,
    desired: &DesiredService,
    ports: &BTreeMap<PortKey, u16>,
) -> Value {
    let parameters = &desired.parameters;
    let kind = parameters.kind.unwrap_or_default();
    let mut annotations = parameters.annotations.clone();
    annotations.extend(desired.annotations.clone());
    let mut spec = Map::new();
    let mut set = |name: &str, value: Value| drop(spec.insert(name.to_owned(), value));
    set("type", type_name(kind).into());
    let node_ports = (kind != ServiceType::ClusterIp).then_some(&parameters.node_ports);
    let ports = ports.iter().map(|(port, bound)| {
        let node_port = node_ports.and_then(|ports| ports.get(&port.number));
        service_port(*port, *bound, node_port.copied())
    });
    set("ports", ports.collect());
    if let Some(address) = &desired.cluster_address {
        set("clusterIP", (&**address).into());
    }
    if let Some(policy) = parameters.ip_family_policy {
        set("ipFamilyPolicy", family_policy(policy).into());
    }
    // The API server refuses fields that the type does not have.
    if let Some(policy) = parameters.traffic_policy.filter(|_| kind != ServiceType::ClusterIp) {
        set("externalTrafficPolicy", traffic_policy(policy).into());
    }
    if kind == ServiceType::LoadBalancer {
        if let Some(class) = &parameters.load_balancer_class {
            set("loadBalancerClass", (&**class).into());
        }
        if let Some(ranges) = parameters.source_ranges.as_ref().filter(|ranges| !ranges.is_empty()) {
            set("loadBalancerSourceRanges", ranges.iter().map(|range| Value::from(&**range)).collect());
        }
        if let Some(address) = &desired.address {
            set("loadBalancerIP", (&**address).into());
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(gateway, desired, desired.service.to_string(), &[], &annotations),
        "spec": spec,
    })
}

/// A slice of one port (the listener's, and ours) and one address family; `endpoints` are some of our own Service's.
pub(super) fn slice(
    gateway: &ObjectKey,
    spec: &DesiredService,
    (port, bound): (PortKey, u16),
    family: &str,
    number: usize,
    endpoints: &[&Value],
) -> Value {
    let name = slice_name(&spec.service, port, family, number);
    let labels = [
        ("kubernetes.io/service-name", &*spec.service),
        // A controller takes a slice with its own value here for its own.
        ("endpointslice.kubernetes.io/managed-by", "portcullis.dev"),
    ];
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(gateway, spec, name, &labels, &spec.annotations),
        "addressType": family,
        "ports": [{ "name": port_name(port), "port": bound, "protocol": protocol(port) }],
        "endpoints": endpoints.iter().map(|e| endpoint(e)).collect::<Vec<_>>(),
    })
}

/// The name of a slice of a Service's port and an address family; they are numbered from 0.
pub(super) fn slice_name(service: &str, port: PortKey, family: &str, number: usize) -> String {
    let first = format!("{service}-{}-{}", text(port), family.to_ascii_lowercase());
    if number == 0 { first } else { format!("{first}-{}", number + 1) }
}

/// A ConfigMap of the controller's own.
pub(super) fn config_map(namespace: &str, name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": "portcullis" },
        },
        "data": data,
    })
}

fn metadata(
    gateway: &ObjectKey,
    spec: &DesiredService,
    name: String,
    more_labels: &[(&str, &str)],
    annotations: &BTreeMap<Box<str>, Box<str>>,
) -> Value {
    let mut labels: BTreeMap<&str, String> =
        spec.labels.iter().map(|(name, value)| (&**name, value.to_string())).collect();
    // Our labels override those that the Gateway asks for: we find our objects by them.
    labels.extend(more_labels.iter().map(|(name, value)| (*name, (*value).to_owned())));
    labels.insert("gateway.networking.k8s.io/gateway-name", label_value(&gateway.name));
    labels.insert("gateway.networking.k8s.io/gateway-class-name", label_value(&spec.class));
    labels.insert("app.kubernetes.io/managed-by", "portcullis".to_owned());
    labels.insert(MARK.0, MARK.1.to_owned());
    let mut metadata = json!({
        "name": name,
        "namespace": gateway.namespace,
        "labels": labels,
        // It is deleted with the Gateway. That deletion need not wait for it: no blockOwnerDeletion.
        "ownerReferences": [{
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "name": gateway.name,
            "uid": spec.uid,
        }],
    });
    if !annotations.is_empty() {
        metadata["annotations"] =
            annotations.iter().map(|(n, v)| (n.to_string(), Value::from(&**v))).collect();
    }
    metadata
}

fn service_port(port: PortKey, bound: u16, node_port: Option<u16>) -> Value {
    let mut value = json!({ "name": port_name(port), "port": port.number, "protocol": protocol(port), "targetPort": bound });
    if let Some(node_port) = node_port {
        value["nodePort"] = node_port.into();
    }
    value
}

fn port_name(port: PortKey) -> String {
    format!("port-{}", text(port))
}

/// A port as part of a name: `443`, `53-udp`.
fn text(port: PortKey) -> String {
    match port.transport {
        Transport::Tcp => port.number.to_string(),
        Transport::Udp => format!("{}-udp", port.number),
    }
}

fn protocol(port: PortKey) -> &'static str {
    match port.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

/// The fields of an endpoint that kube-proxy and load balancers read.
fn endpoint(own: &Value) -> Value {
    let mut endpoint = Map::new();
    for field in ["addresses", "conditions", "nodeName", "zone"] {
        if let Some(value) = own.get(field).filter(|value| !value.is_null()) {
            endpoint.insert(field.to_owned(), value.clone());
        }
    }
    Value::Object(endpoint)
}

fn type_name(kind: ServiceType) -> &'static str {
    match kind {
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::NodePort => "NodePort",
        ServiceType::ClusterIp => "ClusterIP",
    }
}

fn traffic_policy(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

fn family_policy(policy: IpFamilyPolicy) -> &'static str {
    match policy {
        IpFamilyPolicy::SingleStack => "SingleStack",
        IpFamilyPolicy::PreferDualStack => "PreferDualStack",
        IpFamilyPolicy::RequireDualStack => "RequireDualStack",
    }
}
