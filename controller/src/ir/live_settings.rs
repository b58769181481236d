//! What an operator can change while the process runs.

use std::net::IpAddr;

use portcullis_routing::HostPattern;

use super::gateway::LabelSelector;
pub use super::ingress_settings::{
    Denied, GlobalAccess, GlobalAuth, Hsts, IngressSettings, LimitSettings, PacingDefaults,
};

/// Settings that take effect without a restart: those of the command line, overridden by the keys of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSettings {
    /// For the data plane.
    pub proxy: ProxySettings,
    /// For translation.
    pub entrance: SharedEntrance,
    /// For the translation of Ingresses.
    pub ingress: IngressSettings,
}

/// The settings of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Peers whose `X-Forwarded-*` are believed, as `address/prefix length`.
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    /// Load balancers that begin each connection with a PROXY protocol header.
    pub proxy_protocol: Vec<(IpAddr, u8)>,
    /// Connections of clients; `None` is as many as the process can hold.
    pub max_connections: Option<usize>,
    /// The same for each port; `None` is three quarters of all.
    pub max_connections_per_port: Option<usize>,
    /// The same for each client; `None` is no limit.
    pub max_connections_per_client: Option<usize>,
    /// Whether each request is logged.
    pub access_log: bool,
}

/// What namespaces may take of the addresses that Ingresses and Gateways share. Nothing is forbidden by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedEntrance {
    /// Which namespaces may serve which hostnames; `None` is every namespace every hostname.
    pub hostnames: Option<Vec<HostnameGrant>>,
    /// Whether an exact hostname belongs to the namespace of the oldest object that serves it.
    pub first_namespace_owns: bool,
    /// Listeners of Gateways, for each namespace.
    pub max_listeners: Option<usize>,
    /// Ports of such listeners, for each namespace.
    pub max_ports: Option<usize>,
    /// Secrets with certificates that Gateways and Ingresses show, for each namespace.
    pub max_certificates: Option<usize>,
}

/// Hostnames that some namespaces may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostnameGrant {
    /// `None` selects no namespace: the entry is wrong, and its hostnames must not fall to a less specific one.
    pub namespaces: Option<LabelSelector>,
    pub hostnames: Vec<HostPattern>,
}
