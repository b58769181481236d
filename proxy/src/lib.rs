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
mod options;
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
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold;
use portcullis_routing::{BackendKey, Carrier, PortKey, Table};
use portcullis_tls::Certificates;
use tokio::sync::watch;

pub use self::{
    admission::{ConnectionLimits, Limit, OverLimit},
    capacity::Capacity,
    ingress_metrics::{
        DURATION_BUCKETS, Histogram, IngressCounts, IngressSeries, OTHER_INGRESSES, OTHER_METHOD,
        SENT_BUCKETS, SIZE_BUCKETS, StatusLabel,
    },
    options::{Carriers, ClientOptions, ForwardedFor, HeaderNames, LiveOptions, LogOptions, Options},
    upstream::{
        dial::{LocalBackends, Own},
        tls::unverified_client,
    },
};
use self::{
    listener::{Listeners, Wanted},
    roots::Roots,
    shared::Shared,
    tls::TlsBase,
};

#[cfg(any(test, fuzzing))]
pub use self::http1::fuzz;

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

    /// Completed requests that a carrier forwarded or tried to forward to a backend, by carrier.
    pub fn forwarded(&self) -> Vec<(Carrier, u64)> {
        self.shared.forwarded()
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
