//! The state of one host of the Ingresses: who serves it, on which ports, with which TLS.

use std::{ops::Deref, sync::Arc};

use portcullis_routing::HostPattern;
use portcullis_tls::CipherPolicy;

use super::{Closure, HostClientAuth, ingress};
use crate::ir::ObjectKey;

/// A host of Ingresses. Where it stays equal, and its Ingresses do, it need not be translated again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressHost {
    /// The Ingresses that have rules for it, or a default backend for every host; the oldest first.
    pub ingresses: Vec<ObjectKey>,
    /// How the plain HTTP port finds the host; `None` if the host is not served there.
    pub http: Option<FoundAs>,
    /// How the TLS port finds the host; `None` if the host is not served there.
    pub https: Option<FoundAs>,
    /// Whether a Gateway's listener of the same name takes the host's connections to the TLS port as streams.
    pub https_is_others: bool,
    /// Whether an Ingress asks for TLS.
    pub tls: bool,
    pub special: Special,
}

/// The hostname under which a port finds a host of Ingresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundAs {
    /// The host itself.
    Host,
    /// That of a Gateway's listener, a wildcard that is written like the host.
    GatewayWildcard,
}

/// Parts that few hosts have. They are boxed, because there can be thousands of hosts.
#[derive(Clone, Debug, Default)]
pub struct Special(Option<Box<SpecialParts>>);

/// The parts of [`Special`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialParts {
    /// The wildcard host whose TLS and certificate it uses, since none of its Ingresses has a `tls` section.
    pub tls_of: Option<HostPattern>,
    /// The host that this is another name of (`server-alias`), if no Ingress has rules for this one.
    pub same_as: Option<HostPattern>,
    /// Who closes it as a whole, and for whom; `None` where nobody does.
    pub closed: Option<Arc<Closure>>,
    /// The Ingress that has TLS connections passed through to a backend (`ssl-passthrough`); `None` if TLS is terminated.
    pub passthrough: Option<ObjectKey>,
    /// What is asked of clients' certificates, and of whom; `None` where nobody asks for anything.
    pub client_auth: Option<Arc<HostClientAuth>>,
    /// Its cipher suites: those of the oldest Ingress of its namespace that names some. The namespace is that of the oldest
    /// Ingress of the host.
    pub ciphers: CipherPolicy,
}

impl FoundAs {
    /// Returns the hostname of this host.
    pub fn hostname(self, host: &HostPattern) -> HostPattern {
        match self {
            Self::Host => host.clone(),
            Self::GatewayWildcard => ingress::same_name(host),
        }
    }
}

impl Special {
    /// Returns the parts to change.
    pub(super) fn edit(&mut self) -> &mut SpecialParts {
        self.0.get_or_insert_default()
    }
}

impl Deref for Special {
    type Target = SpecialParts;

    fn deref(&self) -> &SpecialParts {
        static NOTHING: SpecialParts = SpecialParts {
            tls_of: None,
            same_as: None,
            closed: None,
            passthrough: None,
            client_auth: None,
            ciphers: CipherPolicy { suites: None, server_order: None },
        };
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl PartialEq for Special {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Special {}

impl IngressHost {
    /// Returns whether plain HTTP may be redirected to HTTPS: an Ingress asks for TLS, and the host is served over TLS,
    /// by the Ingresses or by a Gateway's listener of streams. Such a listener must not cause the host to be served
    /// over plain HTTP instead.
    pub(crate) fn may_redirect(&self) -> bool {
        self.tls && (self.https.is_some() || self.https_is_others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_parts_without_content_are_equal_to_none() {
        let mut special = Special::default();
        special.edit();
        assert_eq!(special, Special::default());
        special.edit().same_as = Some(HostPattern::Any);
        assert_ne!(special, Special::default());
    }
}
