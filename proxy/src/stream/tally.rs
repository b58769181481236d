//! Counts streams and their bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_routing::Rejection;

/// The protocol that a client speaks, as far as we know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Any protocol over TCP.
    Tcp,
    /// TLS, passed through or terminated.
    Tls,
    /// Datagrams.
    Udp,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have sent all their bytes and ended.
    Done,
    /// The client broke off the stream.
    ClientLeft,
    /// The backend broke off the stream, or its endpoint is gone.
    BackendLeft,
    /// The stream was idle in both directions for too long.
    Idle,
    /// The proxy cut the stream, because the port was closed or the process stopped.
    Cut,
    /// The client began with a PROXY header, although it is not one of the proxies that the port trusts.
    ProxyHeader,
    /// The stream got no backend, for this reason.
    Refused(Rejection, &'static str),
}

/// Counts of one worker thread, by protocol: the streams that have ended, and the bytes of all streams.
#[derive(Debug, Default)]
pub(crate) struct Tally([Tallied; Spoken::ALL.len()]);

#[derive(Debug, Default)]
struct Tallied {
    ends: [AtomicU64; End::NAMES.len()],
    received: AtomicU64,
    sent: AtomicU64,
}

/// The number of bytes that a stream has moved: those sent to the backend (`received`) and those sent to the client
/// (`sent`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Spoken {
    const ALL: [Self; 3] = [Self::Tcp, Self::Tls, Self::Udp];

    /// The protocol's name in metrics and in the access log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }
}

impl End {
    /// The names in metrics and in the access log, by [`End::index`].
    const NAMES: [&str; 13] = [
        "done",
        "client",
        "backend",
        "idle",
        "cut",
        "no-route",
        "no-backend",
        "closed",
        "no-endpoint",
        "refused-address",
        "overloaded",
        "unreachable",
        "proxy-header",
    ];

    fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::ClientLeft => 1,
            Self::BackendLeft => 2,
            Self::Idle => 3,
            Self::Cut => 4,
            Self::ProxyHeader => 12,
            Self::Refused(rejection, _) => match rejection {
                Rejection::NoRoute => 5,
                Rejection::BrokenBackend => 6,
                Rejection::Closed => 7,
                Rejection::NoEndpoints => 8,
                Rejection::RefusedAddress => 9,
                Rejection::Overloaded => 10,
                Rejection::BadGateway
                | Rejection::Timeout
                // These rejections apply to requests only.
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
                | Rejection::ContentTooLarge => 11,
            },
        }
    }

    pub(super) fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    pub(super) fn rejection(self) -> Option<(Rejection, &'static str)> {
        match self {
            Self::Refused(rejection, why) => Some((rejection, why)),
            Self::Done
            | Self::ClientLeft
            | Self::BackendLeft
            | Self::Idle
            | Self::Cut
            | Self::ProxyHeader => None,
        }
    }
}

impl Tally {
    /// Counts the bytes that a stream has moved since `before`.
    pub(super) fn moved(&self, spoken: Spoken, before: Moved, now: Moved) {
        let Tallied { received, sent, .. } = &self.0[spoken as usize];
        for (count, more) in [(received, now.received - before.received), (sent, now.sent - before.sent)] {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    /// Counts a stream that has ended.
    pub(super) fn ended(&self, spoken: Spoken, end: End) {
        self.0[spoken as usize].ends[end.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the sums over all worker threads, by protocol.
    pub(crate) fn sum<'t>(all: impl Iterator<Item = &'t Self>) -> Vec<crate::Streams> {
        let mut sums: Vec<_> = Spoken::ALL
            .map(|spoken| crate::Streams {
                protocol: spoken.name(),
                ended: End::NAMES.map(|name| (name, 0)).into(),
                received: 0,
                sent: 0,
            })
            .into();
        for (sum, tallied) in all.flat_map(|tally| &tally.0).enumerate() {
            let sum = &mut sums[sum % Spoken::ALL.len()];
            sum.received += tallied.received.load(Ordering::Relaxed);
            sum.sent += tallied.sent.load(Ordering::Relaxed);
            for ((_, count), more) in sum.ended.iter_mut().zip(&tallied.ends) {
                *count += more.load(Ordering::Relaxed);
            }
        }
        sums
    }
}
