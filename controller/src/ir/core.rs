//! Service, EndpointSlice, Pod, Secret, ConfigMap, ClusterTrustBundle, Namespace.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use portcullis_routing::{PortKey, ProxyProtocol, Transport};

use super::{Meta, ingress::PortRef};

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub meta: Meta,
    pub cluster_ips: ClusterIps,
    pub ports: Box<[ServicePort]>,
    /// `None` for most Services, which have none of these.
    pub special: Option<Box<SpecialService>>,
}

/// Parts that few Services have. They are boxed, because a cluster can have thousands of Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialService {
    /// The DNS name of an ExternalName Service; every other type resolves to its EndpointSlices.
    pub external_name: Option<Box<str>>,
    /// Which PROXY protocol its backends of streams are spoken to with; the annotation's value where it is not valid.
    pub proxy_protocol: Result<Option<ProxyProtocol>, Box<str>>,
    /// What is known of one that was made for a Gateway.
    pub gateway: Option<GatewayService>,
}

/// The annotation of a Service that says with which version of the PROXY protocol streams to it begin.
pub const PROXY_PROTOCOL: &str = "portcullis.dev/proxy-protocol";

/// `clusterIPs` of a Service: one of a family at most; none where it is headless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterIps {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// A Service that was made for a Gateway, as its label and its owner say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayService {
    /// The uid of that Gateway.
    pub owner: Box<str>,
    /// Where clients reach it.
    pub addresses: Vec<Address>,
}

/// Where clients reach something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Ip(IpAddr),
    Hostname(Box<str>),
}

impl ClusterIps {
    /// Reads them; what is none (`None`) is left out.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut found = Self::default();
        for ip in texts.into_iter().filter_map(|text| text.parse().ok()) {
            match ip {
                IpAddr::V4(ip) => found.v4 = Some(ip),
                IpAddr::V6(ip) => found.v6 = Some(ip),
            }
        }
        found
    }

    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl SpecialService {
    /// Returns the value for [`Service::special`]: `None` if all parts are absent.
    pub fn boxed(self) -> Option<Box<Self>> {
        let nothing = Self { external_name: None, proxy_protocol: Ok(None), gateway: None };
        (self != nothing).then(|| Box::new(self))
    }
}

impl Service {
    /// Returns the DNS name of an ExternalName Service.
    pub fn external_name(&self) -> Option<&str> {
        self.special.as_ref()?.external_name.as_deref()
    }

    /// Returns which PROXY protocol its backends of streams are spoken to with.
    ///
    /// # Errors
    /// The annotation's value where it is not valid.
    pub fn proxy_protocol(&self) -> Result<Option<ProxyProtocol>, &str> {
        self.special
            .as_ref()
            .map_or(Ok(None), |special| special.proxy_protocol.as_ref().copied().map_err(|value| &**value))
    }

    /// Returns what is known of a Service that was made for a Gateway.
    pub fn gateway(&self) -> Option<&GatewayService> {
        self.special.as_ref()?.gateway.as_ref()
    }

    /// Returns a port of the Service. A Service may have the same number once for each protocol.
    pub fn port(&self, port: PortKey) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port.number && p.protocol.transport() == Some(port.transport))
    }
}

/// `ports[]` of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty where there is one port alone.
    pub name: Box<str>,
    pub port: u16,
    pub target: PortRef,
    pub protocol: TransportProtocol,
    pub app_protocol: Option<Box<str>>,
}

/// `protocol` of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportProtocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl TransportProtocol {
    /// Returns the transport that corresponds to the protocol; `None` if the protocol is not served.
    pub fn transport(self) -> Option<Transport> {
        match self {
            Self::Tcp => Some(Transport::Tcp),
            Self::Udp => Some(Transport::Udp),
            Self::Sctp => None,
        }
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub meta: Meta,
    /// The label `kubernetes.io/service-name`.
    pub service: Option<Box<str>>,
    pub ports: Box<[SlicePort]>,
    pub endpoints: Box<[SliceEndpoint]>,
}

/// `ports[]` of an EndpointSlice; its name is that of the Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    pub name: Box<str>,
    /// `None` means every port, or a port of a protocol that is not served. Neither is served.
    pub port: Option<PortKey>,
}

/// `endpoints[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// The first of its addresses: consumers use no other (EndpointSlice `addresses`).
    pub address: IpAddr,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

/// A Pod, as an endpoint of the XBackends that select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub meta: Meta,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// `podIP`; `None` before it has one and after it has ended.
    pub address: Option<IpAddr>,
    pub is_ready: bool,
    pub is_terminating: bool,
}

/// A Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub meta: Meta,
    /// `kubernetes.io/tls`, `Opaque`, ...
    pub kind: Box<str>,
    pub data: BTreeMap<Box<str>, Vec<u8>>,
}

/// A ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap {
    pub meta: Meta,
    pub data: BTreeMap<Box<str>, Box<str>>,
}

impl ConfigMap {
    /// The maximum length of the value of a header, in bytes.
    pub const MAX_HEADER: usize = 8 << 10;
    /// Stands for a longer value, which is not stored. No header can have this value.
    pub const TOO_LONG: &str = "\0";

    /// Whether the value of a header is too long, or was.
    pub fn is_too_long(value: &str) -> bool {
        value.len() > Self::MAX_HEADER || value == Self::TOO_LONG
    }
}

/// A ClusterTrustBundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterTrustBundle {
    pub meta: Meta,
    /// Certificates of authorities, as PEM.
    pub certificates: Box<str>,
}

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub meta: Meta,
    /// `kubernetes.io/metadata.name` among them.
    pub labels: BTreeMap<Box<str>, Box<str>>,
}

// Data of a Secret has no place in a log.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("key", &self.meta.key)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
