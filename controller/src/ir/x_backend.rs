//! XBackend, and session persistence, which rules of routes may have, too.

use std::collections::BTreeMap;

use http::HeaderName;

use super::{Meta, gateway::Reference, policy::Validation};

/// An XBackend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XBackend {
    pub meta: Meta,
    /// `spec`, or why it is refused. Nothing is sent to one that is refused.
    pub spec: Result<XBackendSpec, Box<str>>,
}

/// `spec` of an XBackend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XBackendSpec {
    pub destination: Destination,
    pub port: u16,
    /// `None` is the protocol of the route.
    pub protocol: Option<XProtocol>,
    /// `None` where `tls.mode` is `None`.
    pub tls: Option<XBackendTls>,
    pub persistence: Option<SessionPersistence>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `externalHostname`.
    Hostname(Box<str>),
    /// `endpointSelector`: the Pods of its namespace with these labels.
    Pods(BTreeMap<Box<str>, Box<str>>),
}

/// `protocol` of an XBackend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XProtocol {
    Tcp,
    Http,
    Http2,
    Http11,
    H2c,
    Mcp,
    Grpc,
    Wss,
}

/// `tls` of an XBackend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XBackendTls {
    pub validation: Validation,
    /// `clientCertificateRef` of mode `ClientAndServer`.
    pub client_certificate: Option<Reference>,
}

/// `sessionPersistence`: clients stay at the endpoint that answered them first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPersistence {
    pub token: PersistenceToken,
    /// `absoluteTimeout` in seconds, rounded up; `None` is without end.
    pub lifetime: Option<u64>,
}

/// Where clients send their session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersistenceToken {
    Cookie {
        /// `None` is a name of our own.
        name: Option<Box<str>>,
        path: Box<str>,
        /// Whether browsers keep it for the lifetime of the session.
        is_permanent: bool,
    },
    Header(HeaderName),
}

impl XBackend {
    /// The labels by which it selects Pods.
    pub fn selector(&self) -> Option<&BTreeMap<Box<str>, Box<str>>> {
        match &self.spec.as_ref().ok()?.destination {
            Destination::Pods(labels) => Some(labels),
            Destination::Hostname(_) => None,
        }
    }

    /// The external hostname that it stands for.
    pub fn hostname(&self) -> Option<&str> {
        match &self.spec.as_ref().ok()?.destination {
            Destination::Hostname(hostname) => Some(hostname),
            Destination::Pods(_) => None,
        }
    }
}

impl XProtocol {
    pub(crate) const ALL: [Self; 8] =
        [Self::Tcp, Self::Http, Self::Http2, Self::Http11, Self::H2c, Self::Mcp, Self::Grpc, Self::Wss];

    /// The protocol as manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Http11 => "HTTP11",
            Self::H2c => "H2C",
            Self::Mcp => "MCP",
            Self::Grpc => "GRPC",
            Self::Wss => "WSS",
        }
    }
}
