//! Limits of a client's connection.

use std::time::Duration;

use portcullis_routing::OwnTimeouts;
use tokio::time::{Instant, timeout_at};

use crate::{ClientOptions, Options};

/// Limits of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time from the first byte of a request's head to its last.
    pub(crate) head_time: Duration,
    /// Size of a request's head, in bytes.
    pub(crate) head_bytes: usize,
    /// Time without progress while bytes wait to be sent, or while the head of the answer is missing.
    pub(crate) idle: Duration,
    /// Time between two reads of a request's body.
    pub(crate) body: Duration,
    /// Time without progress of an HTTP/2 answer that has begun.
    pub(crate) stream_idle: Duration,
    /// Time without a request.
    pub(crate) keepalive: Duration,
}

impl Limits {
    /// Those of a connection that begins now.
    pub(crate) fn with(self, clients: &ClientOptions) -> Self {
        Self {
            head_time: clients.header_timeout.unwrap_or(self.head_time),
            head_bytes: clients.max_header_bytes.unwrap_or(self.head_bytes),
            keepalive: clients.keepalive_timeout.unwrap_or(self.keepalive),
            body: clients.body_timeout.unwrap_or(self.body),
            ..self
        }
    }

    pub(crate) fn new(options: &Options) -> Self {
        Self {
            head_time: options.header_timeout,
            head_bytes: options.max_header_bytes,
            idle: options.idle_timeout,
            body: options.idle_timeout,
            stream_idle: options.stream_idle_timeout,
            keepalive: options.keepalive_timeout,
        }
    }
}

/// Carries out `work` until a deadline. Returns `None` if it has passed.
pub(crate) async fn until<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// How long nothing may move in an exchange with a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    /// While the client sends nothing of its body.
    body: Duration,
    /// While the client takes nothing of the answer.
    client: Duration,
    /// While the backend takes nothing of the request.
    pub(crate) backend_reads: Duration,
    /// While nothing of the answer comes.
    backend_writes: Duration,
}

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The client sends more of the request.
    Body,
    /// The client takes more of the answer.
    Client,
    /// The backend takes more of the request.
    BackendReads,
    /// The backend sends more of its answer.
    BackendWrites,
}

impl Silence {
    /// The limits of a request's rule, and the proxy's where it has none.
    pub(crate) fn of(own: OwnTimeouts, limits: &Limits) -> Self {
        let OwnTimeouts { connect: _, send, read } = own;
        Self {
            body: limits.body,
            client: limits.idle,
            backend_reads: send.unwrap_or(limits.idle),
            backend_writes: read.unwrap_or(limits.idle),
        }
    }

    pub(crate) fn of_waiting(self, waits: Waits) -> Duration {
        match waits {
            Waits::Body => self.body,
            Waits::Client => self.client,
            Waits::BackendReads => self.backend_reads,
            Waits::BackendWrites => self.backend_writes,
        }
    }
}
