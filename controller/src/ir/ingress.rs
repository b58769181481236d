//! Ingress and IngressClass.

use portcullis_routing::{HostPattern, PathMatch};

use super::{Meta, gateway::Reference};

/// An IngressClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    pub meta: Meta,
    pub controller: Box<str>,
    /// `ingressclass.kubernetes.io/is-default-class: "true"`.
    pub default: bool,
}

/// An Ingress.
#[derive(Clone, Debug)]
pub struct Ingress {
    pub meta: Meta,
    /// `spec.ingressClassName`.
    pub class: Option<Box<str>>,
    /// The annotation `kubernetes.io/ingress.class`.
    pub legacy_class: Option<Box<str>>,
    pub default_backend: Option<IngressBackend>,
    pub tls: Vec<IngressTls>,
    pub rules: Vec<IngressRule>,
    /// The annotation `nginx.ingress.kubernetes.io/ssl-redirect`.
    pub ssl_redirect: Option<bool>,
}

/// `tls[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressTls {
    /// Empty is every host of the Ingress.
    pub hosts: Vec<HostPattern>,
    /// `None` is the default certificate.
    pub secret: Option<Box<str>>,
}

/// `rules[]`.
#[derive(Clone, Debug)]
pub struct IngressRule {
    /// [`HostPattern::Any`] where it names none.
    pub host: HostPattern,
    pub paths: Vec<IngressPath>,
}

/// `rules[].http.paths[]`.
#[derive(Clone, Debug)]
pub struct IngressPath {
    pub path: PathMatch,
    pub backend: IngressBackend,
}

/// A backend of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressBackend {
    Service {
        name: Box<str>,
        port: PortRef,
    },
    /// A `resource`; not served, and said so.
    Resource(Reference),
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    Number(u16),
    Name(Box<str>),
}
