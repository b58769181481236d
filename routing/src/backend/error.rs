//! Why a backend cannot be used.

use crate::{Rejection, Transport};

/// Why a backend cannot be used; its share of the requests is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The Service does not exist.
    #[error("Service {0} not found")]
    NotFound(Box<str>),
    /// The Service has no such port.
    #[error("Service {service} has no port {port}")]
    PortNotFound {
        /// `namespace/name`.
        service: Box<str>,
        /// Number or name.
        port: Box<str>,
    },
    /// The reference names no port.
    #[error("the reference to Service {0} names no port")]
    PortMissing(Box<str>),
    /// No ReferenceGrant allows the reference.
    #[error("no ReferenceGrant in namespace {namespace} allows a reference to Service {name}")]
    NotPermitted {
        /// The Service's namespace.
        namespace: Box<str>,
        /// The Service's name.
        name: Box<str>,
    },
    /// The Service is a DNS name, and such Services are forbidden.
    #[error("Service {0} is of type ExternalName, which --external-names none forbids")]
    ExternalName(Box<str>),
    /// The XBackend does not exist.
    #[error("XBackend {0} not found")]
    XBackendNotFound(Box<str>),
    /// The XBackend is in another namespace than what refers to it.
    #[error("XBackend {0} must be in the namespace of the object that refers to it")]
    OtherNamespace(Box<str>),
    /// The XBackend is refused as a whole.
    #[error("XBackend {backend} cannot be used: {why}")]
    InvalidXBackend {
        /// `namespace/name`.
        backend: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// The protocol of the XBackend is not one that this route can use.
    #[error("XBackend {backend} has protocol {protocol}, which is not supported here")]
    XBackendProtocol {
        /// `namespace/name`.
        backend: Box<str>,
        /// `spec.protocol`.
        protocol: &'static str,
    },
    /// The XBackend is a DNS name, and such backends are forbidden.
    #[error("XBackend {0} is of type ExternalHostname, which --external-names none forbids")]
    ExternalHostname(Box<str>),
    /// The XBackend selects Pods, which are not read.
    #[error("XBackend {0} selects Pods, which are not read (--no-pods, or readPods: false of the chart)")]
    PodsNotRead(Box<str>),
    /// The TLS of the XBackend cannot be carried out. Requests are rejected rather than sent without it.
    #[error("the TLS of XBackend {backend} cannot be applied: {why}")]
    InvalidTls {
        /// `namespace/name`.
        backend: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// The reference's kind is not one that we serve.
    #[error("{0} is not a supported kind of backend; use a Service")]
    InvalidKind(Box<str>),
    /// The Service's `appProtocol` is not one that this route can use.
    #[error("Service {service} port {port} has appProtocol {protocol}, which is not supported here")]
    UnsupportedProtocol {
        /// `namespace/name`.
        service: Box<str>,
        /// The port's number.
        port: u16,
        /// The `appProtocol`.
        protocol: Box<str>,
    },
    /// The Service's port has another transport than the route needs.
    #[error("port {port} of Service {service} is not a {} port", transport_name(*wanted))]
    OtherTransport {
        /// `namespace/name`.
        service: Box<str>,
        /// The port's number.
        port: u16,
        /// The transport that the route needs.
        wanted: Transport,
    },
    /// An annotation of the Service is invalid.
    #[error("Service {service} has the annotation {annotation}: {value}, which is not {expected}")]
    InvalidAnnotation {
        /// `namespace/name`.
        service: Box<str>,
        /// The annotation's name.
        annotation: &'static str,
        /// The annotation's value.
        value: Box<str>,
        /// The valid values.
        expected: &'static str,
    },
    /// What an Ingress names is missing, which counts as a Service without endpoints.
    #[error("{0}")]
    Missing(Box<BackendError>),
    /// No path of an Ingress host matches.
    #[error("no path of the host matches")]
    NoPath,
    /// A filter of the backend is invalid.
    #[error("{0}")]
    InvalidFilter(Box<str>),
    /// A protection of the rule cannot be served, so the rule is closed. Names the protection and the reason.
    #[error("closed: {0}")]
    Closed(Box<str>),
    /// What protects the rule cannot be used, so the rule is closed. Says why.
    #[error("closed: {0}")]
    Unprotected(Box<str>),
    /// The policy for connections to the Service cannot be carried out. Requests are rejected rather than sent without
    /// the verification that it asks for.
    #[error("{policy} applies to Service {service}, but cannot be applied: {why}")]
    InvalidPolicy {
        /// The policy's kind, namespace and name.
        policy: Box<str>,
        /// `namespace/name`.
        service: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
        /// Whether this is that an object that it refers to does not exist.
        is_missing: bool,
    },
}

impl BackendError {
    /// Returns whether an object that is referred to does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::NotFound(_) => true,
            Self::Missing(error) => error.is_missing(),
            Self::InvalidPolicy { is_missing, .. } => *is_missing,
            _ => false,
        }
    }

    /// Returns the rejection that requests for the backend get.
    pub fn rejection(&self) -> Rejection {
        match self {
            Self::Closed(_) | Self::Unprotected(_) | Self::InvalidPolicy { .. } | Self::InvalidTls { .. } => {
                Rejection::Closed
            }
            Self::Missing(_) => Rejection::NoEndpoints,
            Self::NoPath => Rejection::NoRoute,
            Self::NotFound(_)
            | Self::PortNotFound { .. }
            | Self::PortMissing(_)
            | Self::NotPermitted { .. }
            | Self::InvalidKind(_)
            | Self::UnsupportedProtocol { .. }
            | Self::OtherTransport { .. }
            | Self::ExternalName(_)
            | Self::XBackendNotFound(_)
            | Self::OtherNamespace(_)
            | Self::InvalidXBackend { .. }
            | Self::XBackendProtocol { .. }
            | Self::ExternalHostname(_)
            | Self::PodsNotRead(_)
            | Self::InvalidAnnotation { .. }
            | Self::InvalidFilter(_) => Rejection::BrokenBackend,
        }
    }
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}
