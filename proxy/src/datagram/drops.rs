//! Datagrams that are dropped, by the reason.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_routing::Rejection;

/// Why a datagram goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The listener has no route.
    NoRoute = 0,
    /// The rule has no backend, or the one chosen is broken.
    NoBackend = 1,
    /// The backend has no endpoint.
    NoEndpoint = 2,
    /// No datagram is carried to the backend's address.
    RefusedAddress = 3,
    /// There are as many flows as there may be, or the machine has no file or port for another one.
    Full = 4,
    /// The port is being closed, and takes no new flows.
    Closing = 5,
    /// Nobody can be answered at the address that it comes from, or we would answer ourselves.
    Source = 6,
    /// The socket that it would go out by has no room, or cannot send it.
    Send = 7,
}

/// What one worker thread has dropped.
#[derive(Debug, Default)]
pub(crate) struct Drops([AtomicU64; Dropped::NAMES.len()]);

impl Dropped {
    /// What metrics call them, in their order.
    const NAMES: [&str; 8] =
        ["no-route", "no-backend", "no-endpoint", "refused-address", "full", "closing", "source", "send"];

    /// A rule or backend that cannot be used.
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
            | Rejection::MethodNotAllowed
            | Rejection::HeaderTimeout
            | Rejection::HeaderTooLarge => Self::NoBackend,
        }
    }
}

impl Drops {
    pub(super) fn note(&self, why: Dropped) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The sums of all threads.
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
