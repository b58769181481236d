//! How the data plane runs.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use portcullis_routing::{ClusterAddresses, ExternalNames, log_format::LogFormat, step::MapKeys};
use portcullis_tls::Offer;

use crate::{Capacity, ConnectionLimits, LocalBackends};

/// What carries requests to backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carriers {
    /// Our own carries requests to HTTP/1 backends, pingora those to HTTP/2 backends and tunnels.
    #[default]
    All,
    /// pingora carries everything.
    Pingora,
}

/// How the data plane runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// What carries requests.
    pub carriers: Carriers,
    /// Addresses that every listener binds.
    pub bind: Vec<IpAddr>,
    /// Worker threads; each has its own listeners and its own connections to backends.
    pub workers: usize,
    /// Limit of time for a connection to a backend.
    pub connect_timeout: Duration,
    /// Limit of time while bytes wait that a peer does not take, or for more of an answer; of HTTP/2 backends, for its
    /// head.
    pub idle_timeout: Duration,
    /// Limit of time for an answer of an HTTP/2 backend that has begun and goes on with nothing in either direction, as
    /// that of a gRPC watch may.
    pub stream_idle_timeout: Duration,
    /// Each connection to an HTTP/2 backend is pinged so often, and ended 5 s after a PING that is not answered. Servers
    /// of gRPC end a connection themselves on which the fourth PING within five minutes comes without data of theirs
    /// between, so it is a third of `stream_idle_timeout` at least.
    pub backend_ping_interval: Duration,
    /// Limit of time for a request's head, from its first byte to its last.
    pub header_timeout: Duration,
    /// Limit of bytes for the head of an HTTP/1 request; h2 has 64 KiB.
    pub max_header_bytes: usize,
    /// Limit of time for a client's connection without a request.
    pub keepalive_timeout: Duration,
    /// Time limit for a TLS handshake, or for the ClientHello of a connection whose TLS is passed through.
    pub handshake_timeout: Duration,
    /// How long a stream (TCP, TLS passthrough, or TLS terminated for TCP) may be idle in both directions.
    pub tcp_idle_timeout: Duration,
    /// How long a flow of datagrams may be idle in both directions.
    pub udp_idle_timeout: Duration,
    /// The maximum number of streams and flows of datagrams. At the limit, a new stream is closed, and a datagram that would
    /// begin a flow is dropped. The flows of one listener take three quarters of it at most.
    pub max_streams: usize,
    /// The maximum number of kernel pipes of each worker, for streams that transfer many bytes and for large bodies of answers.
    /// A pipe takes two descriptors.
    pub pipes: usize,
    /// Limit of time for the connections of a port that is no longer in the table to end (WebSockets do not end by
    /// themselves); then they are cut.
    pub port_drain: Duration,
    /// The maximum number of idle connections to backends in each of pingora's pools. Each worker has
    /// [`Capacity::POOLS`].
    pub upstream_idle_connections: usize,
    /// The maximum number of idle connections to HTTP/1 backends of our own carrier, of all workers together.
    pub idle_connections: usize,
    /// Whether backends may be on this machine.
    pub local_backends: LocalBackends,
    /// Where the names of backends may lead.
    pub external_names: ExternalNames,
    /// Servers that are asked for the addresses of names; those of the system where there are none.
    pub name_servers: Vec<SocketAddr>,
    /// Which addresses are whose; asked where that limits names.
    pub cluster_addresses: Arc<ClusterAddresses>,
    /// The maximum number of requests, streams and flows of datagrams in flight. At the limit, a request is answered
    /// 503, and a stream is closed.
    pub max_requests: usize,
    /// Limit of mirrored requests that each worker has in flight; more are not begun.
    pub max_mirrors: usize,
    /// Limit of bytes that all mirrored requests together hold; those to one namespace hold a quarter of it.
    pub mirror_bytes: usize,
    /// Maximum size of buffered request bodies in memory. A namespace can use at most as much as remains for others.
    pub spool_memory: usize,
    /// Directory for bodies that do not fit into memory; without it, bodies are buffered in memory only.
    pub spool_directory: Option<PathBuf>,
    /// Maximum size of the files in that directory, shared as [`Self::spool_memory`].
    pub spool_bytes: u64,
    /// The maximum number of label sets in [`Proxy::ingress_metrics`](crate::Proxy::ingress_metrics). A namespace can have half of them.
    pub ingress_label_sets: usize,
    /// Writes a line of the access log that has a format of its own ([`LogOptions::format`]); the line has its end.
    pub access_line: Option<fn(&str)>,
    /// What holds until [`Proxy::set_live_options`](crate::Proxy::set_live_options) says otherwise.
    pub live: LiveOptions,
}

impl Default for Options {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        // The usual limit of open files in a container.
        let capacity = Capacity::of(1 << 20, workers);
        Self {
            carriers: Carriers::default(),
            bind: vec![IpAddr::from([0, 0, 0, 0])],
            workers,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            stream_idle_timeout: Duration::from_secs(300),
            backend_ping_interval: Duration::from_secs(100),
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 64 << 10,
            keepalive_timeout: Duration::from_secs(75),
            handshake_timeout: Duration::from_secs(10),
            tcp_idle_timeout: Duration::from_secs(3600),
            udp_idle_timeout: Duration::from_secs(60),
            max_streams: capacity.streams,
            pipes: capacity.pipes,
            port_drain: Duration::from_secs(240),
            local_backends: LocalBackends::Refused,
            external_names: ExternalNames::External,
            name_servers: Vec::new(),
            cluster_addresses: Arc::default(),
            upstream_idle_connections: capacity.idle_backends,
            idle_connections: capacity.idle_http1,
            max_requests: capacity.requests,
            max_mirrors: capacity.mirrors,
            mirror_bytes: 64 << 20,
            spool_memory: 64 << 20,
            spool_directory: None,
            spool_bytes: 1 << 30,
            ingress_label_sets: 1000,
            access_line: None,
            live: LiveOptions {
                trusted: Vec::new(),
                trusted_for_address: Vec::new(),
                client_header: None,
                forwarded_for: ForwardedFor::List,
                clients: ClientOptions::default(),
                offer: Offer::default(),
                log: LogOptions::default(),
                proxy_protocol: Vec::new(),
                port_proxies: Vec::new(),
                connections: capacity.connections(),
            },
        }
    }
}

/// Options that can change while the data plane runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Peers whose `X-Forwarded-*` are believed, as `address/prefix length`.
    pub trusted: Vec<(IpAddr, u8)>,
    /// Peers that are believed as to the client's address alone, and not as to scheme, host and port.
    pub trusted_for_address: Vec<(IpAddr, u8)>,
    /// The header with the client's address, in place of `X-Forwarded-For`.
    pub client_header: Option<HeaderName>,
    /// What backends get in `X-Forwarded-For` behind trusted peers.
    pub forwarded_for: ForwardedFor,
    /// The access log of requests.
    pub log: LogOptions,
    /// Limits of new connections of clients.
    pub clients: ClientOptions,
    /// What is offered in TLS handshakes with clients.
    pub offer: Offer,
    /// Load balancers in front that begin each connection with a PROXY header (version 1 or 2), as
    /// `address/prefix length`. A connection from one of them that does not is refused; connections from elsewhere are
    /// taken as they are.
    pub proxy_protocol: Vec<(IpAddr, u8)>,
    /// The same on the ports of the table that require it ([`Port::proxy_protocol`](portcullis_routing::Port)).
    pub port_proxies: Vec<(IpAddr, u8)>,
    /// Limits of clients' connections. Connections that are open when a limit is lowered stay open; idle ones make room for
    /// new ones.
    pub connections: ConnectionLimits,
}

/// What of requests is logged, if the tracing target `access` is enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The form of the lines; `None` is an event.
    pub format: Option<Arc<LogFormat>>,
    /// Requests with these targets are not logged.
    pub skipped: Option<Arc<MapKeys>>,
    /// Whether no request is logged.
    pub is_off: bool,
}

/// How connections of clients are served; `None` is as [`Options`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// [`Options::header_timeout`].
    pub header_timeout: Option<Duration>,
    /// [`Options::keepalive_timeout`].
    pub keepalive_timeout: Option<Duration>,
    /// [`Options::max_header_bytes`].
    pub max_header_bytes: Option<usize>,
    /// The time between two reads of a request's body; `None` is [`Options::idle_timeout`].
    pub body_timeout: Option<Duration>,
    /// The number of requests after which a connection is closed; `None` is no limit.
    pub max_requests: Option<NonZeroU32>,
    /// Whether requests without `X-Request-ID` get none.
    pub without_request_ids: bool,
    /// Whether clients may not use HTTP/2.
    pub without_http2: bool,
    /// The header names that backends of Ingresses receive.
    pub header_names: HeaderNames,
}

/// The names of request headers that are forwarded to the backends of Ingresses. The others are dropped, as in nginx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderNames {
    /// Names of letters, digits and dashes.
    #[default]
    Plain,
    /// The same, and names with `_`.
    WithUnderscores,
    /// All names.
    Any,
}

impl HeaderNames {
    /// Whether headers of this name are forwarded.
    pub(crate) fn allow(self, name: &[u8]) -> bool {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        match self {
            Self::Plain => name.iter().all(is_plain),
            Self::WithUnderscores => name.iter().all(|byte| is_plain(byte) || *byte == b'_'),
            Self::Any => true,
        }
    }
}

/// What backends get in `X-Forwarded-For` where the peer is a trusted proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFor {
    /// The list that the proxy sent, and the proxy.
    #[default]
    List,
    /// The client alone.
    Client,
}
