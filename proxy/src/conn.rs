//! What is known of a client's connection, and how the request path asks for it and answers.

use std::{
    cell::Cell,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use portcullis_routing::{ClientAuth, PortKey, Rejection, step::ClientCertificate};
use tokio::time::Instant;

use crate::{http::context::Context, limits::Limits, shared::Load};

/// What is known of a client's connection. Made once at accept, shared by all its requests (h2 streams too).
#[derive(Debug)]
pub(crate) struct ConnInfo {
    /// The table's port that it came in on: the one that is bound.
    pub(crate) port: PortKey,
    /// The port that the client connected to, as far as it can know.
    pub(crate) client_port: u16,
    /// What lies between that and the listener's own ([`portcullis_routing::Port::offset`]).
    pub(crate) offset: u16,
    /// The client.
    pub(crate) peer: SocketAddr,
    /// Its address as backends are told it.
    pub(crate) client: HeaderValue,
    /// `client_port` as backends are told it.
    pub(crate) client_port_text: HeaderValue,
    /// The lines that tell a backend of a client that is not trusted.
    pub(crate) forwarded: Box<[u8]>,
    /// Where the client connected to.
    pub(crate) local: SocketAddr,
    /// TLS that ended here.
    pub(crate) tls: Option<TlsInfo>,
    /// Whether this listener is being closed: responses say so.
    pub(crate) draining: Arc<AtomicBool>,
    /// Where its requests are counted.
    pub(crate) load: Arc<Load>,
}

/// What the handshake brought.
#[derive(Debug)]
pub(crate) struct TlsInfo {
    /// The server name that the client sent, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// The policy of client authentication of the handshake.
    pub(crate) client_auth: ClientAuth,
    /// The certificate that the client has shown, if the policy is to report it.
    pub(crate) certificate: Option<Box<ClientCertificate>>,
    /// `TLSv1.3` and so on.
    pub(crate) version: &'static str,
}

/// Where a request is handled: its connection, and what the request path tells it.
pub(crate) struct Scope {
    /// The connection of the request.
    pub(crate) conn: Arc<ConnInfo>,
    deadline: Cell<Option<Instant>>,
    streams: Cell<bool>,
    cut: Cell<Option<Cut>>,
    read: Cell<bool>,
    refused: Cell<Option<Refused>>,
    tunnel: Cell<bool>,
    /// A request that was decided about, for the hooks that carry it.
    decided: Cell<Option<Box<Context>>>,
}

/// Why a request has no context, which would tell of its end: its head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What the client was told; 0 is nothing.
    pub(crate) status: u16,
    pub(crate) rejection: Rejection,
    pub(crate) why: &'static str,
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

impl ConnInfo {
    /// `https` where TLS ended here.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether a response that begins now must be the last one of an HTTP/1 connection.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl Scope {
    pub(crate) fn new(conn: Arc<ConnInfo>) -> Self {
        Self {
            conn,
            deadline: Cell::new(None),
            streams: Cell::new(false),
            cut: Cell::new(None),
            read: Cell::new(false),
            refused: Cell::new(None),
            tunnel: Cell::new(false),
            decided: Cell::new(None),
        }
    }

    /// Hands over a request that was decided about.
    pub(crate) fn set_decided(&self, context: Box<Context>) {
        self.read.set(true);
        self.decided.set(Some(context));
    }

    /// The request that was decided about.
    pub(crate) fn take_decided(&self) -> Option<Box<Context>> {
        self.decided.take()
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

    /// How long nothing may move.
    pub(crate) fn idle_limit(&self, limits: &Limits) -> Duration {
        if self.streams.get() { limits.stream_idle } else { limits.idle }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A connection of somebody to port 80.
    pub(crate) fn conn() -> Arc<ConnInfo> {
        let peer = SocketAddr::from(([192, 0, 2, 1], 50000));
        Arc::new(ConnInfo {
            port: PortKey::tcp(80),
            client_port: 80,
            offset: 0,
            peer,
            client: HeaderValue::from_static("192.0.2.1"),
            client_port_text: HeaderValue::from_static("80"),
            forwarded: Box::default(),
            local: SocketAddr::from(([192, 0, 2, 2], 80)),
            tls: None,
            draining: Arc::default(),
            load: Arc::default(),
        })
    }
}
