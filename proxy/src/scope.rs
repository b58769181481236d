//! How the hooks of a request reach its connection, and tell what carries it of its end.

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{conn::ConnInfo, limits::Limits, refusal::Refused};

/// Where a request is handled: its connection, and what the request path tells it.
pub(crate) struct Scope {
    /// The connection of the request.
    pub(crate) conn: Arc<ConnInfo>,
    deadline: Cell<Option<Instant>>,
    streams: Cell<bool>,
    idle_limit: Cell<Option<Duration>>,
    cut: Cell<Option<Cut>>,
    read: Cell<bool>,
    refused: Cell<Option<Refused>>,
    tunnel: Cell<bool>,
}

/// Why a request was cut, where it was not for its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing moved.
    Stalled,
    /// The client is gone.
    ClientLeft,
}

tokio::task_local! {
    /// Set around pingora's `process_new_http`.
    pub(crate) static SCOPE: Scope;
}

impl Scope {
    pub(crate) fn new(conn: Arc<ConnInfo>) -> Self {
        Self {
            conn,
            deadline: Cell::new(None),
            streams: Cell::new(false),
            idle_limit: Cell::new(None),
            cut: Cell::new(None),
            read: Cell::new(false),
            refused: Cell::new(None),
            tunnel: Cell::new(false),
        }
    }

    /// The connection becomes another protocol's.
    pub(crate) fn set_tunnel(&self) {
        self.tunnel.set(true);
    }

    /// Whether the connection has become another protocol's.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.get()
    }

    /// Another request of the connection begins.
    pub(crate) fn begin(&self) {
        self.deadline.set(None);
        self.streams.set(false);
        self.idle_limit.set(None);
        self.read.set(false);
    }

    /// The request has been read, and has a context.
    pub(crate) fn set_read(&self) {
        self.read.set(true);
    }

    /// Whether the request has been read.
    pub(crate) fn is_read(&self) -> bool {
        self.read.get()
    }

    /// The head of the request is refused.
    pub(crate) fn refuse(&self, refused: Refused) {
        self.refused.set(Some(refused));
    }

    /// Why the head of the request was refused, to whoever asks first.
    pub(crate) fn take_refused(&self) -> Option<Refused> {
        self.refused.take()
    }

    /// Sets (or with `None` lifts) the time at which the request is cut, whatever it is doing: its future is
    /// dropped, so that the context is dropped without `logging`, the connection (HTTP/1) or the stream (h2) ends.
    ///
    /// The last resort once the response's head is out; before that an answer of 504 is for the request path to
    /// give. It may be called in any hook and holds until the request's end.
    pub(crate) fn set_deadline(&self, at: Option<Instant>) {
        self.deadline.set(at);
    }

    /// The time at which the request is cut.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// The answer has begun, and its backend may be silent for long: one that is there can be told from one that is not.
    pub(crate) fn streams(&self) {
        self.streams.set(true);
    }

    /// Sets how long nothing may move, in place of what the proxy has for every request.
    pub(crate) fn set_idle_limit(&self, limit: Option<Duration>) {
        self.idle_limit.set(limit);
    }

    /// How long nothing may move. The client may be silent within its request's body for as long as the connection's own limit
    /// allows, which comes before this one.
    pub(crate) fn idle_limit(&self, limits: &Limits) -> Duration {
        let of_proxy = if self.streams.get() { limits.stream_idle } else { limits.idle };
        self.idle_limit.get().unwrap_or(of_proxy).max(limits.body)
    }

    /// Says why the request is cut, to what is dropped with it.
    pub(crate) fn set_cut(&self, why: Cut) {
        self.cut.set(Some(why));
    }

    /// Why the request is cut.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("conn", &self.conn).finish_non_exhaustive()
    }
}
