//! Certificates: which one a server name gets, and which ones of backends are accepted. No I/O, no clock, no Kubernetes
//! client, no proxy.
//!
//! ```text
//! clients   Certificates -> PortCertificates (443, ...) -> Termination (by server name) -> CertifiedKey (by name and key type)
//! backends  Authorities, names -> BackendVerifier
//! ```

use std::{collections::BTreeMap, sync::Arc};

pub use portcullis_routing::ClientAuth;
use portcullis_routing::{HostMap, PortKey};

pub mod authorities;
pub mod backend;
pub mod certificate;
pub mod client;
mod digest;
mod name;
pub mod offer;
pub mod termination;

pub use authorities::{Authorities, AuthoritiesError};
pub use backend::BackendVerifier;
pub use certificate::{Certificate, CertificateError};
pub use client::ClientVerifier;
pub use offer::{CipherPolicy, CipherSuites, Groups, Offer};
pub use termination::Termination;

/// Every certificate that is served. Immutable once published, as [`portcullis_routing::Table`] is.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// By the port that is bound on this machine.
    pub ports: BTreeMap<PortKey, Arc<PortCertificates>>,
}

/// The certificates of one port.
#[derive(Clone, Debug, Default)]
pub struct PortCertificates {
    /// By the listener's hostname; the most specific one takes a connection, [`portcullis_routing::HostPattern::Any`]
    /// those without a server name.
    pub listeners: HostMap<Arc<Termination>>,
}
