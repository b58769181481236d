//! What all worker threads have in common.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize},
};

use arc_swap::ArcSwap;
use portcullis_routing::Table;
use portcullis_tls::Certificates;

use crate::Options;

/// What all worker threads have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The table of requests that begin now.
    pub(crate) table: ArcSwap<Table>,
    /// The certificates of connections that begin now.
    pub(crate) certificates: ArcSwap<Certificates>,
    /// What does not change.
    pub(crate) options: Options,
    /// Whether the process is stopping: responses close their connections.
    pub(crate) draining: AtomicBool,
    /// Requests (streams, tunnels) that are being answered.
    pub(crate) in_flight: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            table: ArcSwap::from_pointee(Table::default()),
            certificates: ArcSwap::from_pointee(Certificates::default()),
            options,
            draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
        })
    }
}
