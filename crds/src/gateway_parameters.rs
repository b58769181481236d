//! GatewayParameters: what a GatewayClass or a Gateway asks for beyond the Gateway API.
//!
//! Every field is optional and none has a default in the schema: an object of a Gateway goes before that of its class
//! field by field, and one that leaves a field out must not be taken for one that asks for the default.

// The comments of types and fields are descriptions in the schema, for users; where the type of a field has one, it is
// that which is shown.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits, the same in the schema and where objects are read.
pub mod limits {
    /// The most annotations.
    pub const ANNOTATIONS: usize = 32;
    /// The most characters of an annotation's value.
    pub const ANNOTATION: usize = 4096;
    /// The most characters of a load balancer's class: a qualified name.
    pub const CLASS: usize = 317;
    /// The most ranges of source addresses.
    pub const SOURCE_RANGES: usize = 64;
    /// The most characters of one: an IPv6 address and its length.
    pub const SOURCE_RANGE: usize = 49;
    /// The most node ports: as many as a Gateway has listeners.
    pub const NODE_PORTS: usize = 64;
}

/// What Gateways ask for beyond the Gateway API. A GatewayClass refers to one by spec.parametersRef, a Gateway by
/// spec.infrastructure.parametersRef; where both do, the Gateway's object goes before that of its class, field by field.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "portcullis.dev",
    version = "v1alpha1",
    kind = "GatewayParameters",
    plural = "gatewayparameters",
    singular = "gatewayparameters",
    shortname = "gwparams",
    category = "gateway-api",
    namespaced,
    doc = "What Gateways ask for beyond the Gateway API. A GatewayClass refers to one by spec.parametersRef, a Gateway by spec.infrastructure.parametersRef; where both do, the Gateway's object goes before that of its class, field by field.",
    printcolumn = r#"{"name":"Addressing","type":"string","jsonPath":".spec.addressing"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayParametersSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing: Option<Addressing>,
    /// The Service that is made for a Gateway with addressing Dedicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceParameters>,
}

/// At which addresses a Gateway is served. Shared, which holds where nothing is said: at those of the controller's own
/// Service, with all other Gateways and Ingresses. Dedicated: at addresses of its own, those of a Service that is made
/// for it in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Addressing {
    /// At those of the controller's own Service, with all other Gateways and Ingresses.
    Shared,
    /// At addresses of its own.
    Dedicated,
}

/// The Service that is made for a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceParameters {
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ServiceType>,
    /// Annotations of the Service. Those of the Gateway's spec.infrastructure go before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "maxProperties" = limits::ANNOTATIONS,
        "additionalProperties" = { "type": "string", "maxLength": limits::ANNOTATION }
    ))]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// Which load balancer serves the Service; the platform's own where nothing is said. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::CLASS))]
    pub load_balancer_class: Option<String>,
    /// Networks (CIDR) of clients that the load balancer lets in; all of them where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = limits::SOURCE_RANGES),
        inner(length(min = 1, max = limits::SOURCE_RANGE)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub load_balancer_source_ranges: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// The node's port for a listener's port; the cluster chooses for those that are not named. Not for type ClusterIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = limits::NODE_PORTS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port"])
    )]
    pub node_ports: Option<Vec<NodePort>>,
    /// In the object of a GatewayClass: which of these fields the object of a Gateway may set. None of them where nothing
    /// is said. In the object of a Gateway it has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub allow_overrides: Option<Vec<Override>>,
}

/// A field of the Service that a Gateway sets itself only where its GatewayClass allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Override {
    /// `type`.
    Type,
    /// `annotations`.
    Annotations,
    /// `loadBalancerClass`.
    LoadBalancerClass,
}

/// The Service's type; LoadBalancer where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// With an address that the platform gives.
    #[default]
    LoadBalancer,
    /// At a port of every node.
    NodePort,
    /// Inside the cluster alone.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
}

/// Cluster, which holds where nothing is said, or Local: the client's address is kept, and only nodes with a pod of the
/// controller answer. Not for type ClusterIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// All of them.
    Cluster,
    /// Those that have a pod.
    Local,
}

/// How many IP families the Service has; the cluster's default where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// One.
    SingleStack,
    /// Both where the cluster has both.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

/// The node's port for a listener's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePort {
    /// The listener's port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The node's.
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: i32,
}
