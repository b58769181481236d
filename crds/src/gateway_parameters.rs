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

/// Parameters of Gateways beyond the Gateway API. A GatewayClass refers to an object in spec.parametersRef, a Gateway in
/// spec.infrastructure.parametersRef. If both do, the fields of the Gateway's object take precedence individually.
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
    /// The Service of a Gateway with addressing Dedicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceParameters>,
}

/// The addresses of a Gateway. Shared (default): the addresses of the controller's Service, shared with other Gateways and
/// Ingresses. Dedicated: the addresses of its own Service, which is created in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Addressing {
    /// The addresses of the controller's Service, shared with other Gateways and Ingresses.
    Shared,
    /// The addresses of its own Service.
    Dedicated,
}

/// The Service that is created for a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceParameters {
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ServiceType>,
    /// Annotations of the Service. Annotations in the Gateway's spec.infrastructure take precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "maxProperties" = limits::ANNOTATIONS,
        "additionalProperties" = { "type": "string", "maxLength": limits::ANNOTATION }
    ))]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// The load balancer class of the Service; defaults to the platform's load balancer. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::CLASS))]
    pub load_balancer_class: Option<String>,
    /// Networks (CIDR) of clients that the load balancer allows; defaults to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = limits::SOURCE_RANGES),
        inner(length(min = 1, max = limits::SOURCE_RANGE)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub load_balancer_source_ranges: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// Node ports for listener ports. Other node ports are allocated by the cluster. Not for type ClusterIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = limits::NODE_PORTS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port"])
    )]
    pub node_ports: Option<Vec<NodePort>>,
    /// In the object of a GatewayClass: the restricted fields that the object of a Gateway can set; defaults to none. Has no
    /// effect in the object of a Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub allow_overrides: Option<Vec<Override>>,
}

/// A field of the Service that a Gateway can set only if its GatewayClass allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Override {
    /// `type`.
    Type,
    /// `annotations`.
    Annotations,
    /// `loadBalancerClass`.
    LoadBalancerClass,
}

/// The type of the Service; defaults to LoadBalancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// An address that the platform assigns.
    #[default]
    LoadBalancer,
    /// A port on every node.
    NodePort,
    /// Reachable only from within the cluster.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
}

/// Cluster (default) or Local. Local preserves the client's address, and only nodes with a controller pod receive
/// traffic. Not for type ClusterIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// All nodes.
    Cluster,
    /// Only nodes with a controller pod.
    Local,
}

/// The IP family policy of the Service; defaults to that of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// One family.
    SingleStack,
    /// Both families if the cluster supports both.
    PreferDualStack,
    /// Both families; requires a cluster that supports both.
    RequireDualStack,
}

/// A node port for a listener port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePort {
    /// The port of the listener.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The node port.
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: i32,
}
