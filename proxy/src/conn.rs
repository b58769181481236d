//! What is known of a client's connection.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use http::HeaderValue;
use portcullis_routing::{ClientAuth, PortKey, step::ClientCertificate};

use crate::{HeaderNames, body::Usage, limits::Limits, load::Load};

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
    /// Whether TLS ended at the load balancer in front, as its PROXY header says by the port.
    pub(crate) is_tls_before: bool,
    /// Its limits.
    pub(crate) limits: Limits,
    /// The header names of its requests that backends of Ingresses receive.
    pub(crate) header_names: HeaderNames,
    /// Whether this listener is being closed: responses say so.
    pub(crate) draining: Arc<AtomicBool>,
    /// Its requests, and how many there may be.
    pub(crate) requests: Requests,
    /// Whether requests without `X-Request-ID` get none.
    pub(crate) without_request_ids: bool,
    /// Where its requests are counted.
    pub(crate) load: Arc<Load>,
    /// The memory of its request bodies that are being buffered; `None` for trusted proxies, which have many clients.
    pub(crate) buffered: Option<Usage>,
}

/// The requests of a connection. They are not counted without a limit.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    most: Option<NonZeroU32>,
    begun: AtomicU32,
}

impl Requests {
    /// `None` is no limit.
    pub(crate) fn most(most: Option<NonZeroU32>) -> Self {
        Self { most, begun: AtomicU32::new(0) }
    }
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

impl ConnInfo {
    /// `https` where TLS ended here or at the load balancer in front.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() || self.is_tls_before { "https" } else { "http" }
    }

    /// Whether a response that begins now must be the last one of an HTTP/1 connection.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.is_spent()
    }

    /// Counts a request that begins.
    pub(crate) fn begin_request(&self) {
        if self.requests.most.is_some() {
            self.requests.begun.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the peer is a trusted proxy, which has many clients.
    pub(crate) fn is_of_proxy(&self) -> bool {
        self.buffered.is_none()
    }

    /// Whether there have been as many requests as there may be.
    pub(crate) fn is_spent(&self) -> bool {
        self.requests.most.is_some_and(|most| self.requests.begun.load(Ordering::Relaxed) >= most.get())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Options;

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
            is_tls_before: false,
            limits: Limits::new(&Options::default()),
            header_names: HeaderNames::default(),
            draining: Arc::default(),
            requests: Requests::default(),
            without_request_ids: false,
            load: Arc::default(),
            buffered: Some(Usage::default()),
        })
    }
}
