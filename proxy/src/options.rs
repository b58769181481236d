//! Options of the data plane.

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

/// The proxy implementations that forward requests to backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carriers {
    /// Our own for HTTP/1 backends, pingora for HTTP/2 backends and tunnels.
    #[default]
    All,
    /// pingora for all requests.
    Pingora,
}

/// Options of the data plane that are fixed when it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The proxy implementations in use.
    pub carriers: Carriers,
    /// Addresses that every listener binds.
    pub bind: Vec<IpAddr>,
    /// Worker threads; each has its own listeners and its own connections to backends.
    pub workers: usize,
    /// Time limit for connecting to a backend.
    pub connect_timeout: Duration,
    /// How long a peer may accept none of the bytes that wait for it, or an HTTP/1 backend may send nothing of its response.
    /// For HTTP/2 backends, the time limit for the head of the response.
    pub idle_timeout: Duration,
    /// How long a response of an HTTP/2 backend may be idle in both directions after its head, as that of a gRPC watch can
    /// be.
    pub stream_idle_timeout: Duration,
    /// The interval between PINGs on a connection to an HTTP/2 backend. The connection is closed if a PING is not answered
    /// within 5 s. gRPC servers close a connection that sends a fourth PING within five minutes without data in between, so
    /// the interval must be at least a third of `stream_idle_timeout`.
    pub backend_ping_interval: Duration,
    /// Time limit for receiving the head of a request, from its first byte to its last.
    pub header_timeout: Duration,
    /// The maximum size of the head of an HTTP/1 request, in bytes. For HTTP/2 it is 64 KiB.
    pub max_header_bytes: usize,
    /// How long a client's connection may be open without a request.
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
    /// How long connections of a port that is no longer in the table may continue (WebSockets do not end by themselves).
    /// Then they are closed.
    pub port_drain: Duration,
    /// The maximum number of idle connections to backends in each of pingora's pools. Each worker has
    /// [`Capacity::POOLS`].
    pub upstream_idle_connections: usize,
    /// The maximum number of idle connections to HTTP/1 backends of our own carrier, of all workers together.
    pub idle_connections: usize,
    /// Whether backends can be on this machine.
    pub local_backends: LocalBackends,
    /// Which addresses the DNS names of backends may resolve to.
    pub external_names: ExternalNames,
    /// DNS servers; if empty, those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// The owners of the addresses in the cluster, for `external_names`.
    pub cluster_addresses: Arc<ClusterAddresses>,
    /// The maximum number of requests, streams and flows of datagrams in flight. At the limit, requests are rejected with
    /// 503, and streams are closed.
    pub max_requests: usize,
    /// The maximum number of mirrored requests in flight of each worker. Beyond it, requests are not mirrored.
    pub max_mirrors: usize,
    /// The maximum memory of all mirrored requests, in bytes. Those to one namespace can use a quarter of it.
    pub mirror_bytes: usize,
    /// Maximum size of buffered request bodies in memory. A namespace can use at most as much as remains for others.
    pub spool_memory: usize,
    /// Directory for bodies that do not fit into memory; without it, bodies are buffered in memory only.
    pub spool_directory: Option<PathBuf>,
    /// Maximum size of the files in that directory, shared as [`Self::spool_memory`].
    pub spool_bytes: u64,
    /// The maximum number of label sets in [`Proxy::ingress_metrics`](crate::Proxy::ingress_metrics). A namespace can have
    /// half of them.
    pub ingress_label_sets: usize,
    /// Writes a line of the access log in a custom format ([`LogOptions::format`]). The line includes its line break.
    pub access_line: Option<fn(&str)>,
    /// The initial values of the options that [`Proxy::set_live_options`](crate::Proxy::set_live_options) can change.
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
    /// Peers whose `X-Forwarded-*` headers are trusted, as `address/prefix length`.
    pub trusted: Vec<(IpAddr, u8)>,
    /// Peers that are trusted for the client's address only, not for scheme, host and port.
    pub trusted_for_address: Vec<(IpAddr, u8)>,
    /// The header with the client's address, in place of `X-Forwarded-For`.
    pub client_header: Option<HeaderName>,
    /// The value of `X-Forwarded-For` for backends if the peer is trusted.
    pub forwarded_for: ForwardedFor,
    /// The access log of requests.
    pub log: LogOptions,
    /// Limits of new connections of clients.
    pub clients: ClientOptions,
    /// What is offered in TLS handshakes with clients.
    pub offer: Offer,
    /// Load balancers that begin each connection with a PROXY header (version 1 or 2), as `address/prefix length`. A
    /// connection from one of them without the header is refused. Connections from other addresses have no such header.
    pub proxy_protocol: Vec<(IpAddr, u8)>,
    /// The same on the ports of the table that require it ([`Port::proxy_protocol`](portcullis_routing::Port)).
    pub port_proxies: Vec<(IpAddr, u8)>,
    /// Limits of clients' connections. Connections that are open when a limit is lowered stay open; idle ones make room for
    /// new ones.
    pub connections: ConnectionLimits,
}

/// Options of the access log. Requests are only logged if the tracing target `access` is enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The custom format of the lines; `None` is a tracing event.
    pub format: Option<Arc<LogFormat>>,
    /// Requests with these targets are not logged.
    pub skipped: Option<Arc<MapKeys>>,
    /// Whether no request is logged.
    pub is_off: bool,
}

/// Options of client connections. `None` is the value in [`Options`], unless stated otherwise.
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
    /// Whether no `X-Request-ID` is added to requests without one.
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

/// The value of `X-Forwarded-For` for backends if the peer is a trusted proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFor {
    /// The list that the proxy sent, followed by the address of the proxy.
    #[default]
    List,
    /// Only the client's address.
    Client,
}
