//! Load in a closed loop, where each client asks again when it has its answer or a pause after it; or at a fixed rate.
//!
//! The latencies of a closed loop hide what would have been asked during a stall (coordinated omission): they compare
//! proxies under the same saturation, and say nothing of a service level. Those at a fixed rate do.

mod clients;
mod pace;

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::clients::start;
use self::pace::Pace;
use crate::{client::Shape, histogram::Histogram};

/// A client that failed waits this long, so that a dead proxy is not asked a million times.
const AFTER_FAILURE: Duration = Duration::from_millis(5);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// HTTP/1.1 on a kept connection, names of headers in lower case.
    H1,
    /// The same, names spelt as browsers and curl spell them.
    H1Spelt,
    /// The same with the headers of a browser.
    H1Browser,
    /// The same over TLS.
    H1Tls,
    /// A new connection with a full TLS handshake for each request.
    Handshake,
    /// HTTP/2 over TLS, many streams on one connection.
    H2,
    /// An upload of 1 MiB on a kept connection.
    Post,
    /// An upload of 64 KiB in chunks.
    PostChunked,
    /// Messages on a WebSocket, each of which comes back.
    WebSocket,
    /// Unary calls on HTTP/2 over TLS.
    Grpc,
    /// HTTP/1.1 on a new connection for each request.
    Connection,
    /// Datagrams, each of which comes back.
    Datagram,
}

/// How many clients do it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What each of them does.
    pub mode: Mode,
    /// Connections at a time.
    pub connections: usize,
    /// Streams at a time on each (HTTP/2 only).
    pub streams: usize,
    /// Wait between an answer and the next request.
    pub pause: Duration,
}

/// What the clients count.
#[derive(Debug, Default)]
pub struct Tally {
    stopped: Cell<bool>,
    measuring: Cell<bool>,
    requests: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    reconnects: Cell<u64>,
    latency: RefCell<Histogram>,
    limit: Cell<u64>,
    reached: Notify,
    /// None in a closed loop.
    pace: Option<Pace>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Good answers in the measured time.
    pub requests: u64,
    /// Requests without a good answer (status 200, whole body) at any time, the warm-up included.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// Connections that the server closed as HTTP allows it (`Connection: close`, GOAWAY).
    pub reconnects: u64,
    /// Measured time.
    pub seconds: f64,
    /// Good answers a second.
    pub per_second: f64,
    /// Median of the latencies, µs.
    pub p50: f64,
    /// 99th percentile of the latencies, µs.
    pub p99: f64,
    /// 99.9th percentile of the latencies, µs.
    pub p999: f64,
    /// Longest latency, µs.
    pub max: f64,
    /// CPU that the proxy (with its child processes) used for each good answer, µs.
    pub cpu_per_request: Option<f64>,
    /// Share of one core that the proxy used, 0 to 1.
    pub cpu_share: Option<f64>,
}

impl Mode {
    /// Of its requests, where they are HTTP/1.1.
    fn shape(self) -> Shape {
        match self {
            Self::H1Spelt => Shape::Spelt,
            Self::H1Browser => Shape::Browser,
            Self::Post => Shape::Post,
            Self::PostChunked => Shape::PostChunked,
            _ => Shape::Lower,
        }
    }

    /// Whether it speaks to the HTTPS port.
    pub const fn over_tls(self) -> bool {
        matches!(self, Self::H1Tls | Self::Handshake) || self.is_http2()
    }

    /// Whether each request has a connection of its own.
    fn connects_for_each(self) -> bool {
        matches!(self, Self::Handshake | Self::Connection)
    }

    const fn is_http2(self) -> bool {
        matches!(self, Self::H2 | Self::Grpc)
    }
}

impl Tally {
    /// Of clients that send so many requests in each second, whatever becomes of those before.
    pub fn at_rate(per_second: f64) -> Self {
        Self { pace: Some(Pace::new(per_second)), ..Self::default() }
    }

    /// From now on requests are counted. The clients stop after `limit` good answers (0: never).
    pub fn measure(&self, limit: u64) {
        self.limit.set(limit);
        self.requests.set(0);
        self.latency.replace(Histogram::default());
        self.measuring.set(true);
    }

    /// Waits until a request may be sent. Returns when it should have been.
    async fn turn(&self) -> Instant {
        match &self.pace {
            Some(pace) => pace.turn().await,
            None => Instant::now(),
        }
    }

    /// The request of this turn was not sent; another connection sends it.
    fn not_sent(&self, began: Instant) {
        if let Some(pace) = &self.pace {
            pace.take_back(began);
        }
    }

    /// Waits until the limit is reached.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// No client asks again.
    pub fn stop(&self) {
        self.measuring.set(false);
        self.stopped.set(true);
    }

    /// How many requests had no good answer so far.
    pub fn errors(&self) -> u64 {
        self.errors.get()
    }

    /// What was counted in this measured time. The proxy's CPU is for the caller to add.
    pub fn report(&self, measured: Duration) -> Report {
        let latency = self.latency.borrow();
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        Report {
            requests: self.requests.get(),
            errors: self.errors.get(),
            first_error: self.first_error.borrow().clone(),
            reconnects: self.reconnects.get(),
            seconds: measured.as_secs_f64(),
            per_second: self.requests.get() as f64 / measured.as_secs_f64(),
            p50: micros(latency.percentile(50.0)),
            p99: micros(latency.percentile(99.0)),
            p999: micros(latency.percentile(99.9)),
            max: micros(latency.max()),
            cpu_per_request: None,
            cpu_share: None,
        }
    }

    /// Counts a request that failed.
    pub fn failed(&self, error: &anyhow::Error) {
        if self.stopped.get() {
            return;
        }
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
    }

    fn answered(&self, began: Instant) {
        if !self.measuring.get() {
            return;
        }
        let requests = self.requests.get() + 1;
        self.requests.set(requests);
        self.latency.borrow_mut().record(began.elapsed());
        if requests == self.limit.get() {
            // Before the clients can ask once more.
            self.stop();
            self.reached.notify_one();
        }
    }

    fn reconnected(&self) {
        self.reconnects.set(self.reconnects.get() + 1);
    }
}
