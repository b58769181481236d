//! Which Gateways and ListenerSets come to something else than before, so that their statuses have to be made again.

use std::sync::Arc;

use portcullis_tls::Certificate;

use super::{GatewayState, ListenerSetState, ListenerState, Listeners};
use crate::{ir::ObjectKey, translate::CertificateRefError};

impl Listeners {
    /// Returns the Gateways and ListenerSets whose states differ from those before, or that are new or gone.
    pub(crate) fn changed_states<'l>(&'l self, before: &'l Self) -> impl Iterator<Item = &'l ObjectKey> {
        let gateways = self.gateways.iter();
        let gateways = gateways
            .filter(|(key, now)| before.gateways.get(*key).is_none_or(|before| !now.is_same(before)))
            .map(|(key, _)| key);
        let sets = self.sets.iter();
        let sets = sets
            .filter(|(key, now)| before.sets.get(*key).is_none_or(|before| !now.is_same(before)))
            .map(|(key, _)| key);
        let gone = before.owners().filter(|key| self.of_owner(key).is_none());
        gateways.chain(sets).chain(gone)
    }
}

impl GatewayState {
    fn is_same(&self, other: &Self) -> bool {
        let Self { gateway, refused, addressing, listeners, backend_certificate, attached_sets } = self;
        (Arc::ptr_eq(gateway, &other.gateway) || *gateway == other.gateway)
            && *refused == other.refused
            && *addressing == other.addressing
            && *attached_sets == other.attached_sets
            && same_certificates(
                backend_certificate.as_ref().map(std::slice::from_ref),
                other.backend_certificate.as_ref().map(std::slice::from_ref),
            )
            && are_same(listeners, &other.listeners)
    }
}

impl ListenerSetState {
    fn is_same(&self, other: &Self) -> bool {
        let Self { set, gateway, refused, addressing, since, listeners } = self;
        (Arc::ptr_eq(set, &other.set) || *set == other.set)
            && *gateway == other.gateway
            && *refused == other.refused
            && *addressing == other.addressing
            && *since == other.since
            && are_same(listeners, &other.listeners)
    }
}

fn are_same(listeners: &[ListenerState], others: &[ListenerState]) -> bool {
    listeners.len() == others.len() && listeners.iter().zip(others).all(|(one, other)| one.is_same(other))
}

impl ListenerState {
    fn is_same(&self, other: &Self) -> bool {
        let Self { point, refused, certificates, authority_errors, is_closed, unknown_kinds, .. } = self;
        let Self { overlaps, ingress_behind, ingress_before, .. } = self;
        *point == other.point
            && *refused == other.refused
            && same_certificates(certificates.as_deref(), other.certificates.as_deref())
            && *authority_errors == other.authority_errors
            && *is_closed == other.is_closed
            && *unknown_kinds == other.unknown_kinds
            && *overlaps == other.overlaps
            && *ingress_behind == other.ingress_behind
            && *ingress_before == other.ingress_before
    }
}

type Shown = Result<Arc<Certificate>, CertificateRefError>;

fn same_certificates(certificates: Option<&[Shown]>, others: Option<&[Shown]>) -> bool {
    match (certificates, others) {
        (None, None) => true,
        (Some(certificates), Some(others)) => {
            let same = |(one, other): (&Shown, &Shown)| match (one, other) {
                (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
                (Err(one), Err(other)) => one == other,
                _ => false,
            };
            certificates.len() == others.len() && certificates.iter().zip(others).all(same)
        }
        _ => false,
    }
}
