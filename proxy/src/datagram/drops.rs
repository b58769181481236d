//! Counts dropped datagrams by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_routing::Rejection;

/// Why a datagram is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The listener has no route.
    NoRoute = 0,
    /// The rule has no backend, or the chosen backend is broken.
    NoBackend = 1,
    /// The backend has no endpoint.
    NoEndpoint = 2,
    /// The backend's address is one that datagrams must not be forwarded to.
    RefusedAddress = 3,
    /// The maximum number of flows is reached, or the system has no file descriptor or port for another flow.
    Full = 4,
    /// The port is being closed, and begins no new flows.
    Closing = 5,
    /// The source address cannot be answered, or belongs to a listener of ours.
    Source = 6,
    /// The socket that has to send the datagram has no buffer space, or cannot send it.
    Send = 7,
}

/// The number of datagrams that one worker thread has dropped, by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops([AtomicU64; Dropped::NAMES.len()]);

impl Dropped {
    /// The names of the reasons in metrics, in the order of the variants.
    const NAMES: [&str; 8] =
        ["no-route", "no-backend", "no-endpoint", "refused-address", "full", "closing", "source", "send"];

    /// Returns the reason for a rule or backend that cannot be used.
    pub(super) fn of(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NoRoute => Self::NoRoute,
            Rejection::NoEndpoints => Self::NoEndpoint,
            Rejection::RefusedAddress => Self::RefusedAddress,
            Rejection::Overloaded => Self::Full,
            Rejection::BrokenBackend
            | Rejection::Closed
            | Rejection::BadGateway
            | Rejection::Timeout
            | Rejection::BadRequest
            | Rejection::Misdirected
            | Rejection::Forbidden
            | Rejection::Limited
            | Rejection::Unauthenticated
            | Rejection::Unauthorized
            | Rejection::CheckFailed
            | Rejection::MethodNotAllowed
            | Rejection::HeaderTimeout
            | Rejection::HeaderTooLarge
            | Rejection::ContentTooLarge => Self::NoBackend,
        }
    }
}

impl Drops {
    pub(super) fn note(&self, why: Dropped) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the sums over all worker threads, by reason.
    pub(crate) fn sum<'d>(all: impl Iterator<Item = &'d Self>) -> Vec<(&'static str, u64)> {
        let mut sums = Dropped::NAMES.map(|name| (name, 0));
        for drops in all {
            for ((_, sum), count) in sums.iter_mut().zip(&drops.0) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sums.into()
    }
}
