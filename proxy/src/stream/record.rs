//! Counts streams and their bytes, and writes one line of the access log for each stream.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use portcullis_routing::{Backend, Rejection, Rule};
use tokio::time::Instant;
use tracing::Level;

use super::{Client, Route};
use crate::shared::Load;

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

/// What is counted and logged of a stream. Dropping this counts and logs the stream as ended.
#[derive(Debug)]
pub(crate) struct Record<'w> {
    load: &'w Load,
    spoken: Spoken,
    client: Client,
    server_name: Option<Box<str>>,
    tls: Option<&'static str>,
    route: Route,
    began: Instant,
    pub(crate) backend: Option<Arc<Backend>>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) attempts: u32,
    moved: Moved,
    end: End,
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
    const NAMES: [&str; 12] = [
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
    ];

    fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::ClientLeft => 1,
            Self::BackendLeft => 2,
            Self::Idle => 3,
            Self::Cut => 4,
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
                | Rejection::Unauthorized
                | Rejection::CheckFailed
                | Rejection::MethodNotAllowed
                | Rejection::HeaderTimeout
                | Rejection::HeaderTooLarge => 11,
            },
        }
    }

    fn rejection(self) -> Option<(Rejection, &'static str)> {
        match self {
            Self::Refused(rejection, why) => Some((rejection, why)),
            Self::Done | Self::ClientLeft | Self::BackendLeft | Self::Idle | Self::Cut => None,
        }
    }
}

impl Tally {
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

impl<'w> Record<'w> {
    pub(crate) fn begin(
        load: &'w Load,
        spoken: Spoken,
        client: Client,
        server_name: Option<Box<str>>,
        tls: Option<&'static str>,
        route: Route,
    ) -> Self {
        let (began, moved, end) = (Instant::now(), Moved::default(), End::Cut);
        let (backend, endpoint, attempts) = (None, None, 0);
        Self { load, spoken, client, server_name, tls, route, began, backend, endpoint, attempts, moved, end }
    }

    pub(crate) fn rule(&self) -> Option<Arc<Rule>> {
        self.route.rule.clone()
    }

    /// Notes the number of bytes that have been moved so far. Returns whether there are more than before.
    pub(crate) fn moved(&mut self, now: Moved) -> bool {
        let before = std::mem::replace(&mut self.moved, now);
        let tally = self.tally();
        for (count, more) in
            [(&tally.received, now.received - before.received), (&tally.sent, now.sent - before.sent)]
        {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
        before != now
    }

    /// Ends the record of a stream that was not cut.
    pub(crate) fn end(mut self, end: End) {
        self.end = end;
    }

    fn tally(&self) -> &Tallied {
        &self.load.streams.0[self.spoken as usize]
    }

    fn log(&self) {
        let (route, rejection) = (&self.route, self.end.rejection());
        let rule = route.rule.as_deref();
        tracing::info!(
            target: "access",
            protocol = self.spoken.name(),
            client = %self.client.peer.ip().to_canonical(),
            port = self.client.port,
            server_name = self.server_name.as_deref(),
            tls = self.tls,
            listener = route.listener.as_ref().map(tracing::field::display),
            route = rule.map(|rule| tracing::field::display(&rule.route)),
            rule = rule.map(|rule| rule.index),
            backend = self.backend.as_ref().map(|backend| tracing::field::display(&backend.key)),
            endpoint = self.endpoint.map(tracing::field::display),
            attempts = self.attempts,
            received = self.moved.received,
            sent = self.moved.sent,
            duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            end = End::NAMES[self.end.index()],
            rejection = rejection.map(|(rejection, _)| tracing::field::debug(rejection)),
            why = rejection.map(|(_, why)| why),
        );
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.tally().ends[self.end.index()].fetch_add(1, Ordering::Relaxed);
        if tracing::enabled!(target: "access", Level::INFO) {
            self.log();
        }
    }
}
