//! What is known of a client's connection, and how the request path asks for it.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

/// What is known of a client's connection. Made once at accept, shared by all its requests (h2 streams too).
#[derive(Debug)]
pub(crate) struct ConnInfo {
    /// The table's port that it came in on (without the offset).
    pub(crate) port: u16,
    /// The client.
    pub(crate) peer: SocketAddr,
    /// Where the client connected to.
    pub(crate) local: SocketAddr,
    /// TLS that ended here.
    pub(crate) tls: Option<TlsInfo>,
    /// Whether this listener is being closed: responses say so.
    pub(crate) draining: Arc<AtomicBool>,
}

/// What the handshake brought.
#[derive(Debug)]
pub(crate) struct TlsInfo {
    /// The server name that the client sent, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// `TLSv1.3` and so on.
    pub(crate) version: &'static str,
}

tokio::task_local! {
    /// The connection of the request that is being handled: set around pingora's `process_new_http`.
    pub(crate) static CONN: Arc<ConnInfo>;
}
