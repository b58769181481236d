//! The data plane: listeners, TLS, HTTP, load balancing. A request -> the table -> a backend.
//!
//! Knows nothing of Kubernetes objects: a [`Table`] and [`Certificates`] come in through [`Proxy::publish`].

mod accept;
mod admission;
mod app;
mod body;
mod budget;
mod capacity;
mod clock;
mod conn;
mod datagram;
mod drain;
mod http;
mod http1;
mod http2;
mod in_place;
mod ingress_metrics;
mod io;
mod limiter;
mod limits;
mod listener;
mod load;
mod passwords;
mod proxy_protocol;
mod random;
mod ranges;
mod recent;
mod refusal;
mod roots;
mod scope;
mod shared;
mod stall;
mod stream;
mod tls;
mod upstream;
mod versioned;
mod worker;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use ::http::HeaderName;
use pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold;
use portcullis_routing::{
    BackendKey, ClusterAddresses, ExternalNames, PortKey, Table, log_format::LogFormat, step::MapKeys,
};
use portcullis_tls::{Certificates, Offer};
use tokio::sync::watch;

pub use self::{
    admission::{ConnectionLimits, Limit, OverLimit},
    capacity::Capacity,
    ingress_metrics::{
        DURATION_BUCKETS, Histogram, IngressCounts, IngressSeries, OTHER_INGRESSES, OTHER_METHOD,
        SENT_BUCKETS, SIZE_BUCKETS, StatusLabel,
    },
};
use self::{
    listener::{Listeners, Wanted},
    roots::Roots,
    shared::Shared,
    tls::TlsBase,
};

pub use self::upstream::{
    dial::{LocalBackends, Own},
    tls::unverified_client,
};

#[cfg(any(test, fuzzing))]
pub use self::http1::fuzz;

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
    /// The maximum number of label sets in [`Proxy::ingress_metrics`]. A namespace can have half of them.
    pub ingress_label_sets: usize,
    /// Writes a line of the access log that has a format of its own ([`LogOptions::format`]); the line has its end.
    pub access_line: Option<fn(&str)>,
    /// What holds until [`Proxy::set_live_options`] says otherwise.
    pub live: LiveOptions,
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

/// Counts of the streams of one protocol. A stream is a connection that is forwarded as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// `tcp`, `tls` (passed through or terminated) or `udp` (each flow of datagrams counts as a stream).
    pub protocol: &'static str,
    /// The number of streams that have ended, by how they ended.
    pub ended: Vec<(&'static str, u64)>,
    /// Bytes sent to backends, including those of streams that have not ended.
    pub received: u64,
    /// Bytes sent to clients, including those of streams that have not ended.
    pub sent: u64,
}

/// Whether each port of the table is bound; the text says why not, and calls it by the number that its listeners have.
/// A port that is missing has not been tried yet.
pub type Bindings = BTreeMap<PortKey, Result<(), String>>;

/// The running data plane. Dropping it ends its threads and cuts what is still connected; [`Proxy::drain`] first.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    bindings: watch::Receiver<Arc<Bindings>>,
    done: watch::Receiver<u64>,
    // Dropped in this order: the listeners end with `wanted`, and give up the workers, which then end too.
    wanted: watch::Sender<Wanted>,
    listeners: Option<JoinHandle<()>>,
    workers: Vec<worker::Handle>,
}

impl Proxy {
    /// Starts the worker threads; nothing is bound before the first [`Proxy::publish`]. Blocks until they run.
    ///
    /// # Errors
    /// Where a thread cannot be started, or no file can be made in the directory for bodies.
    pub fn start(options: Options) -> std::io::Result<Self> {
        // pingora's own timers cost more to set, stay until they would have gone off, and wake a thread
        // a hundred times a second. Limits below a second use them all the same.
        set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
        if let Some(directory) = &options.spool_directory {
            body::check_directory(directory)?;
        }
        let shared = Shared::new(options);
        let tls = TlsBase::new();
        let roots = Roots::find()?;
        let workers = (0..shared.loads.len())
            .map(|i| worker::Handle::start(i, Arc::clone(&shared), Arc::clone(&tls), roots.file()))
            .collect::<std::io::Result<Vec<_>>>()?;
        let (wanted, wanted_seen) = watch::channel(Wanted::default());
        let (bindings, bindings_seen) = watch::channel(Arc::default());
        let (done, done_seen) = watch::channel(0);
        let listeners = Listeners {
            bind: shared.options.bind.clone(),
            workers: workers.iter().map(|w| w.commands.clone()).collect(),
            wanted: wanted_seen,
            bindings,
            done,
            admission: Arc::clone(&shared.admission),
            bound: BTreeMap::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let listeners = std::thread::Builder::new()
            .name("listeners".into())
            .spawn(move || runtime.block_on(listeners.run()))?;
        Ok(Self {
            shared,
            bindings: bindings_seen,
            done: done_seen,
            wanted,
            listeners: Some(listeners),
            workers,
        })
    }

    /// Serves this table from the next request on; binds and closes ports as it asks. Returns at once, before the
    /// ports are bound ([`Proxy::bindings`]).
    pub fn publish(&self, table: Arc<Table>, certificates: Arc<Certificates>) {
        let ports = table.ports.iter().map(|(bound, port)| (*bound, port.number)).collect();
        // In this order: no connection finds a listener whose certificate is not there yet.
        self.shared.certificates.store(certificates);
        self.shared.table.store(table);
        self.wanted.send_if_modified(|wanted| {
            if self.shared.draining.load(Ordering::Relaxed) || wanted.ports == ports {
                return false;
            }
            *wanted = Wanted { generation: wanted.generation + 1, ports };
            true
        });
    }

    /// Takes these options from the next connection and the next request on.
    pub fn set_live_options(&self, options: LiveOptions) {
        self.shared.set_live(options);
    }

    /// The table that is served now.
    pub fn table(&self) -> Arc<Table> {
        self.shared.table.load_full()
    }

    /// Says what of the deployment is ours, and so never a backend; in place of what was said before.
    pub fn set_own(&self, own: Own) {
        self.shared.own.store(Arc::new(own));
    }

    /// How often the address of a backend was refused, by reason.
    pub fn refused_addresses(&self) -> Vec<(&'static str, u64)> {
        self.shared.refusals.counts().into()
    }

    /// How many handshakes of clients failed, by reason.
    pub fn failed_handshakes(&self) -> Vec<(&'static str, u64)> {
        let counts = self.shared.failed_handshakes.iter().map(|count| count.load(Ordering::Relaxed));
        tls::HandshakeError::REASONS.into_iter().zip(counts).collect()
    }

    /// Counts of streams, by protocol.
    pub fn streams(&self) -> Vec<Streams> {
        stream::Tally::sum(self.shared.loads.iter().map(|load| &load.streams))
    }

    /// How many datagrams were dropped, by reason.
    pub fn dropped_datagrams(&self) -> Vec<(&'static str, u64)> {
        datagram::Drops::sum(self.shared.loads.iter().map(|load| &load.drops))
    }

    /// How many mirrored requests were given up or failed, by reason.
    pub fn lost_mirrors(&self) -> Vec<(&'static str, u64)> {
        self.shared.mirrors.counts().into()
    }

    /// The number of responses that were not compressed because the memory for it was used up.
    pub fn uncompressed_responses(&self) -> u64 {
        self.shared.loads.iter().map(|load| load.coders.refused()).sum()
    }

    /// The size of buffered request bodies, in memory and in files.
    pub fn spooled_bytes(&self) -> Vec<(&'static str, u64)> {
        self.shared.spools.held().into()
    }

    /// The number of requests that were rejected because there was no space for their bodies.
    pub fn refused_bodies(&self) -> u64 {
        self.shared.spools.refused()
    }

    /// The requests of rules with [labels](portcullis_routing::IngressLabels), sorted by labels.
    pub fn ingress_metrics(&self) -> Vec<IngressSeries> {
        ingress_metrics::sum(self.shared.loads.iter().map(|load| &load.ingress))
    }

    /// The certificates that are served now.
    pub fn certificates(&self) -> Arc<Certificates> {
        self.shared.certificates.load_full()
    }

    /// Which ports are bound, as it changes.
    pub fn bindings(&self) -> watch::Receiver<Arc<Bindings>> {
        self.bindings.clone()
    }

    /// The number of requests, h2 streams, WebSockets, TCP and TLS streams, and flows of datagrams that are being
    /// served now.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Requests that are over, by the first digit of their status; 0 is those that were cut before any answer.
    pub fn answered(&self) -> [u64; 6] {
        self.shared.answered()
    }

    /// Connections that our own carrier has to backends now, idle ones too, by backend; only backends that have any.
    pub fn backend_connections(&self) -> Vec<(BackendKey, usize)> {
        self.shared.backend_connections.counts()
    }

    /// Connections that clients hold now, idle ones too.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Connections that clients hold now, by the port that is bound.
    pub fn connections_by_port(&self) -> BTreeMap<PortKey, usize> {
        self.shared.admission.by_port()
    }

    /// Connections that were closed because a limit was reached, by that limit.
    pub fn over_limit(&self) -> BTreeMap<Limit, OverLimit> {
        self.shared.admission.over_limit()
    }

    /// Stops accepting, tells clients to go, waits for what is in flight, cuts what is left at `ceiling`. Nothing
    /// is bound any more after that, whatever is published.
    pub async fn drain(&self, ceiling: Duration) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let mut closing = 0;
        self.wanted.send_modify(|wanted| {
            closing = wanted.generation + 1;
            *wanted = Wanted { generation: closing, ports: Default::default() };
        });
        let _ = self.done.clone().wait_for(|done| *done >= closing).await;
        drain::finished(&self.shared, ceiling).await;
        for worker in &self.workers {
            let _ = worker.commands.send(worker::Command::Cut);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The listeners' thread waits for this end, and the workers' for theirs.
        self.wanted = watch::Sender::default();
        if let Some(listeners) = self.listeners.take() {
            let _ = listeners.join();
        }
    }
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
