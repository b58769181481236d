//! Ingress and IngressClass.

use std::collections::BTreeSet;

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
    pub unserved: Unserved,
    /// The annotation by which it asks for TLS of its own: client certificates, or TLS that is passed through.
    pub own_tls: Option<&'static str>,
    /// Whether ingress-nginx would read the paths of its hosts as regular expressions (`use-regex`, `rewrite-target`).
    pub regex_paths: bool,
    /// Why it is refused as a whole. Such an Ingress has no rules.
    pub refused: Option<Box<str>>,
}

/// The protections that an Ingress asks for and that are not served; what they protect is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    /// Annotations of ingress-nginx, without their prefix.
    pub protections: Box<[&'static str]>,
    /// The first annotation that is on no list: where those close, too.
    pub unknown: Option<Box<str>>,
    /// Whether its hosts are protected as a whole, or it is not known which of their requests are.
    pub whole_hosts: bool,
}

impl Unserved {
    /// What closes the Ingress, as messages name it; `None` where nothing does. `strict` is whether an annotation that is
    /// on no list does.
    pub fn closed_by(&self, strict: bool) -> Option<String> {
        const NAMED: usize = 5;
        let unknown = self.unknown.as_deref().filter(|_| strict);
        let names: Vec<_> = self.protections.iter().copied().chain(unknown).collect();
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| names[..names.len().min(NAMED)].join(", ") + &more)
    }
}

impl Ingress {
    /// The hosts that its rules name. Those of its TLS are no hosts of their own: what they ask for is answered by rules
    /// without a host.
    pub fn hosts(&self) -> BTreeSet<HostPattern> {
        self.rules.iter().map(|rule| rule.host.clone()).collect()
    }

    /// The same, and every host where there is a default backend.
    pub fn served_hosts(&self) -> BTreeSet<HostPattern> {
        let any = self.default_backend.as_ref().map(|_| HostPattern::Any);
        self.hosts().into_iter().chain(any).collect()
    }
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
