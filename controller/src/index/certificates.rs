//! The certificates that are shown: those of the listeners, and of the hosts that routes and Ingresses share.

use std::sync::Arc;

use portcullis_tls::{Certificates, Termination};

use super::Index;
use crate::translate::{ChangedPlaces, Place, SharedChange};

impl Index {
    /// Brings the certificates that are shown up to date; returns whether any has changed. Only `places` and `shares` can
    /// have changed.
    pub(super) fn renew_certificates(&mut self, places: &ChangedPlaces, shares: &[SharedChange]) -> bool {
        if places.is_empty() && shares.is_empty() {
            return false;
        }
        let now = self.shared.certificates(&self.listeners.certificates);
        let of_listeners = places.keys().chain(shares.iter().map(|change| &change.place));
        let mut all = of_listeners.chain(self.shared.iter().map(|(place, _)| place));
        let is_other = !all.all(|place| is_same_at(place, &self.certificates, &now));
        if is_other {
            self.certificates = now;
        }
        is_other
    }
}

/// Whether TLS is terminated in the same way at a place. The pool keeps equal certificates as one value.
fn is_same_at((port, host): &Place, one: &Certificates, other: &Certificates) -> bool {
    let at = |certificates: &'_ Certificates| -> Option<Arc<Termination>> {
        certificates.ports.get(port)?.listeners.get(host).cloned()
    };
    match (at(one), at(other)) {
        (Some(one), Some(other)) => {
            let (these, those) = (&one.certificates, &other.certificates);
            (&one.client_auth, &one.ciphers) == (&other.client_auth, &other.ciphers)
                && these.len() == those.len()
                && these.iter().zip(those).all(|(a, b)| Arc::ptr_eq(a, b))
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}
