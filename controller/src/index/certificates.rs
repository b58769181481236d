//! The certificates that are shown: those of the listeners, and of the hosts that routes and Ingresses share.

use std::sync::Arc;

use portcullis_routing::HostPattern;
use portcullis_tls::{Certificates, PortCertificates, Termination};

use super::Index;

impl Index {
    /// Returns whether the certificates that are shown have changed.
    pub(super) fn renew_certificates(&mut self, is_shared_new: bool) -> bool {
        if !is_shared_new && Arc::ptr_eq(&self.own_certificates, &self.listeners.certificates) {
            return false;
        }
        self.own_certificates = Arc::clone(&self.listeners.certificates);
        let now = self.shared.certificates(&self.own_certificates);
        let is_other = !same_certificates(&self.certificates, &now);
        if is_other {
            self.certificates = now;
        }
        is_other
    }
}

/// Whether TLS is terminated in the same way for the same hosts. The pool keeps equal certificates as one value.
fn same_certificates(one: &Certificates, other: &Certificates) -> bool {
    let same_listener = |other: &PortCertificates, host: &HostPattern, termination: &Termination| {
        other.listeners.get(host).is_some_and(|found| {
            found.client_auth == termination.client_auth
                && found.certificates.len() == termination.certificates.len()
                && found.certificates.iter().zip(&termination.certificates).all(|(a, b)| Arc::ptr_eq(a, b))
        })
    };
    let same_port = |one: &PortCertificates, other: &PortCertificates| {
        one.listeners.len() == other.listeners.len()
            && one.listeners.iter().all(|(host, t)| same_listener(other, host, t))
    };
    one.ports.len() == other.ports.len()
        && one
            .ports
            .iter()
            .all(|(port, one)| other.ports.get(port).is_some_and(|other| same_port(one, other)))
}
