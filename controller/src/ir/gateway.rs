//! GatewayClass, Gateway and ListenerSet.

use std::collections::BTreeMap;

use portcullis_routing::{HostPattern, PortKey, Transport};

use super::{
    Meta, ObjectKey,
    route::{ExternalAuthFilter, InvalidRule},
};

/// A GatewayClass.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayClass {
    pub meta: Meta,
    /// `spec.controllerName`.
    pub controller: Box<str>,
    /// `spec.parametersRef`.
    pub parameters: Option<Reference>,
    /// Why it is refused as a whole. Such a class has no parameters.
    pub refused: Option<Box<str>>,
}

/// A reference to an object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Empty is the core group.
    pub group: Box<str>,
    pub kind: Box<str>,
    /// `None` is the namespace of whoever refers.
    pub namespace: Option<Box<str>>,
    pub name: Box<str>,
}

/// A Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub meta: Meta,
    /// `spec.gatewayClassName`.
    pub class: Box<str>,
    pub listeners: Vec<GatewayListener>,
    /// `spec.allowedListeners`: the namespaces whose ListenerSets may add listeners.
    pub allowed_listeners: AllowedNamespaces,
    pub addresses: Vec<GatewayAddress>,
    /// `spec.infrastructure.parametersRef`.
    pub parameters: Option<Reference>,
    /// `spec.infrastructure.labels`: labels of the objects that are made for it.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// `spec.infrastructure.annotations`: their annotations.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// `spec.tls.backend.clientCertificateRef`: the certificate that is presented to backends.
    pub backend_certificate: Option<Reference>,
    /// `spec.tls.frontend`, or why it cannot be read: then it is unknown what it asks of clients.
    pub client_validation: Result<ClientValidation, Box<str>>,
    /// Why it is refused as a whole. Such a Gateway has no listeners.
    pub refused: Option<Box<str>>,
}

/// A ListenerSet: more listeners of a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSet {
    pub meta: Meta,
    /// `spec.parentRef`; `None` where it is not a Gateway.
    pub gateway: Option<ObjectKey>,
    pub listeners: Vec<GatewayListener>,
    /// Why it is refused as a whole. Such a ListenerSet has no listeners.
    pub refused: Option<Box<str>>,
}

/// `spec.tls.frontend` of a Gateway: what the listeners that terminate TLS ask of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientValidation {
    /// On ports that `ports` does not name.
    pub default: Option<ClientCertificates>,
    pub ports: BTreeMap<u16, Option<ClientCertificates>>,
}

/// The certificates that clients are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// `caCertificateRefs`.
    pub authorities: Vec<Reference>,
    /// Whether a client without a valid certificate is refused (`mode`).
    pub is_required: bool,
}

impl ClientValidation {
    /// Returns what the clients of a port are asked for.
    pub fn on(&self, port: u16) -> Option<&ClientCertificates> {
        self.ports.get(&port).unwrap_or(&self.default).as_ref()
    }

    /// Whether clients without a valid certificate are accepted somewhere, though they are asked for one.
    pub fn is_insecure(&self) -> bool {
        let all = self.default.iter().chain(self.ports.values().flatten());
        all.into_iter().any(|certificates| !certificates.is_required)
    }
}

/// One of `spec.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayAddress {
    /// `IPAddress`, `Hostname` or a domain-prefixed one.
    pub kind: Box<str>,
    /// `None` asks for any.
    pub value: Option<Box<str>>,
    pub routability: Routability,
}

/// `routability` of an address: from where it can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Routability {
    /// From wherever the other parameters of the Gateway say.
    #[default]
    Default,
    /// From inside the cluster.
    Cluster,
    /// A value that is not served.
    Other(Box<str>),
}

impl Gateway {
    /// Whether it asks for an address that is reached from inside the cluster.
    pub fn asks_for_cluster_address(&self) -> bool {
        self.addresses.iter().any(|address| address.routability == Routability::Cluster)
    }

    /// Whether it asks for such addresses alone.
    pub fn is_for_cluster_alone(&self) -> bool {
        let is_cluster = |address: &GatewayAddress| address.routability == Routability::Cluster;
        !self.addresses.is_empty() && self.addresses.iter().all(is_cluster)
    }
}

/// A listener of a Gateway or a ListenerSet.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayListener {
    pub name: Box<str>,
    /// [`HostPattern::Any`] where it names none.
    pub hostname: HostPattern,
    pub port: u16,
    pub protocol: ListenerProtocol,
    pub tls: Option<ListenerTls>,
    pub allowed: AllowedRoutes,
    /// `filters.requests`: what requests have to pass before a route is chosen, in this order.
    pub filters: Box<[Result<ExternalAuthFilter, InvalidFilter>]>,
    /// A value that a later release of the API may have added; such a listener is not served.
    pub unsupported: Option<Box<str>>,
}

/// Why a filter of a listener cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct InvalidFilter {
    pub fault: FilterFault,
    pub why: InvalidRule,
}

/// What is wrong with a filter of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterFault {
    /// It is not served.
    Unserved,
    /// It is an ExtensionRef to a kind that is not served.
    Extension,
    /// A value in it cannot be used.
    Invalid,
}

/// `protocol` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    Http,
    Https,
    Tls,
    Tcp,
    Udp,
    /// Anything else, as written.
    Other(Box<str>),
}

impl ListenerProtocol {
    /// As a Gateway spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Other(protocol) => protocol,
        }
    }

    /// Returns whether several listeners of one port can be distinguished by their hostnames.
    pub fn has_hostnames(&self) -> bool {
        match self {
            Self::Http | Self::Https | Self::Tls | Self::Other(_) => true,
            Self::Tcp | Self::Udp => false,
        }
    }

    /// Returns the transport of the listener's port.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Udp => Transport::Udp,
            Self::Http | Self::Https | Self::Tls | Self::Tcp | Self::Other(_) => Transport::Tcp,
        }
    }
}

impl GatewayListener {
    /// The port that it names: TCP 53 and UDP 53 are two.
    pub fn port_key(&self) -> PortKey {
        PortKey { transport: self.protocol.transport(), number: self.port }
    }
}

/// `tls` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    pub passthrough: bool,
    pub certificates: Vec<Reference>,
    pub options: BTreeMap<Box<str>, Box<str>>,
}

/// `allowedRoutes` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedRoutes {
    pub namespaces: AllowedNamespaces,
    /// `(group, kind)`; empty is all that the protocol serves.
    pub kinds: Vec<(Box<str>, Box<str>)>,
}

/// From which namespaces routes, or ListenerSets, may attach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedNamespaces {
    Same,
    All,
    #[default]
    None,
    Selector(LabelSelector),
}

/// `metav1.LabelSelector`: all of it must hold; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub match_labels: BTreeMap<Box<str>, Box<str>>,
    pub expressions: Vec<LabelExpression>,
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelExpression {
    pub key: Box<str>,
    pub operator: LabelOperator,
    pub values: Vec<Box<str>>,
}

/// `operator` of a label expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// Whether labels are selected.
    pub fn matches(&self, labels: &BTreeMap<Box<str>, Box<str>>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|e| {
                let value = labels.get(&e.key);
                match e.operator {
                    LabelOperator::In => value.is_some_and(|v| e.values.contains(v)),
                    LabelOperator::NotIn => value.is_none_or(|v| !e.values.contains(v)),
                    LabelOperator::Exists => value.is_some(),
                    LabelOperator::DoesNotExist => value.is_none(),
                }
            })
    }
}
