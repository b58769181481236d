//! How many requests a client may send to an Ingress.

use std::sync::Arc;

use portcullis_routing::step::{Counts, Limits, Rate, Rates};

use crate::{ir::Ingress, translate::Settings};

/// The limits of an Ingress, which all of its rules share. `owner` is its `namespace/name`.
pub(super) fn of(ingress: &Ingress, owner: &Arc<str>, settings: &Settings) -> Option<Arc<Limits>> {
    let written = &ingress.annotations.limits;
    let rate = |requests: Option<u32>, seconds| {
        let burst = |requests| u64::from(requests) * u64::from(written.burst_multiplier);
        requests.map(|requests| Rate::new(requests, seconds, burst(requests)))
    };
    let limits = Limits {
        owner: Arc::clone(owner),
        rates: Rates { second: rate(written.second, 1), minute: rate(written.minute, 60) },
        in_flight: written.connections,
        ipv6_prefix: settings.live.ingress.limits.ipv6_prefix,
        exempt: written.exempt.clone(),
        rate_status: settings.live.ingress.limits.request_status,
        in_flight_status: settings.live.ingress.limits.connection_status,
        counts: Counts::default(),
    };
    limits.is_any().then(|| Arc::new(limits))
}
