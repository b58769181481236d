//! Ports that lead to a Service without a route: the entries of ConfigMaps of TCP and UDP services.

use super::{ObjectKey, ingress::PortRef};

/// The Service of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortService {
    /// The ConfigMap with the entry.
    pub map: ObjectKey,
    pub service: ObjectKey,
    pub port: PortRef,
    /// Whether load balancers send a PROXY protocol header at the start of each connection.
    pub decodes_proxy_protocol: bool,
    /// Whether connections to the Service begin with such a header.
    pub encodes_proxy_protocol: bool,
}
