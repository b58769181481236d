//! BackendTLSPolicy.

use portcullis_routing::SubjectName;

use super::{Meta, gateway::Reference};

/// A BackendTLSPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTlsPolicy {
    pub meta: Meta,
    /// `spec.targetRefs`: Services of its namespace alone.
    pub targets: Box<[PolicyTarget]>,
    /// `spec.validation`, or why it is refused. No connection is made to the targets of one that is refused.
    pub validation: Result<Validation, Box<str>>,
}

/// One of `spec.targetRefs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// The Service's name.
    pub service: Box<str>,
    /// `sectionName`: the name of a port; `None` is the whole Service.
    pub section: Option<Box<str>>,
}

/// How backends are to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    pub authorities: TrustedAuthorities,
    /// `hostname`: the server name that is sent.
    pub hostname: Box<str>,
    /// `subjectAltNames`.
    pub subject_names: Box<[SubjectName]>,
}

/// What certificates are verified against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedAuthorities {
    /// `caCertificateRefs`; the namespace is that of the policy.
    References(Box<[Reference]>),
    /// `wellKnownCACertificates: System`.
    System,
    /// A set of `wellKnownCACertificates` that is not known here.
    Unknown(Box<str>),
}
