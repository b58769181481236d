//! The data plane: listeners, TLS, HTTP, load balancing. A request -> the table -> a backend.
//!
//! Knows nothing of Kubernetes objects: a [`Table`] and [`Certificates`] come in through [`Proxy::publish`].

mod conn;
mod http;
mod shared;
mod upstream;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use portcullis_routing::Table;
use portcullis_tls::Certificates;
use tokio::sync::watch;

/// How the data plane runs; what does not change with the table.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses that every listener binds.
    pub bind: Vec<IpAddr>,
    /// Added to every listener's port.
    pub port_offset: u16,
    /// Worker threads; each has its own listeners and its own connections to backends.
    pub workers: usize,
    /// Peers whose `X-Forwarded-*` are believed, as `address/prefix length`.
    pub trusted: Vec<(IpAddr, u8)>,
    /// Limit of time for a connection to a backend.
    pub connect_timeout: Duration,
    /// Limit of time between two reads.
    pub idle_timeout: Duration,
    /// Limit of time for a request's head.
    pub header_timeout: Duration,
}

/// Whether each port of the table is bound; the text says why not.
pub type Bindings = BTreeMap<u16, Result<(), String>>;

/// The running data plane.
#[derive(Debug)]
pub struct Proxy {
    bindings: watch::Sender<Arc<Bindings>>,
}

impl Proxy {
    /// Starts the worker threads; nothing is bound before the first [`Proxy::publish`].
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn start(_options: Options) -> std::io::Result<Self> {
        Ok(Self { bindings: watch::Sender::default() })
    }

    /// Serves this table from the next request on; binds and closes ports as it asks.
    pub fn publish(&self, _table: Arc<Table>, _certificates: Arc<Certificates>) {}

    /// Which ports are bound, as it changes.
    pub fn bindings(&self) -> watch::Receiver<Arc<Bindings>> {
        self.bindings.subscribe()
    }

    /// Stops accepting, tells clients to go, waits for what is in flight, cuts what is left at `ceiling`.
    pub async fn drain(&self, _ceiling: Duration) {}
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind: vec![IpAddr::from([0, 0, 0, 0])],
            port_offset: 0,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            trusted: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(10),
        }
    }
}
