//! What one worker thread is doing, counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use portcullis_routing::Carrier;

use crate::{
    body::Coders,
    datagram::Drops,
    ingress_metrics::{Counters, Limiter},
    stream::Tally,
};

/// The counts of one worker thread. Counted for each thread apart, so that no request waits for another core's
/// cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load {
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    /// Requests that are over, by the first digit of their status; the first ones had no answer.
    answered: [AtomicU64; 6],
    /// Those for which an attempt at an endpoint was made, by carrier.
    forwarded: [AtomicU64; 2],
    /// Counts of ended streams, and of the bytes that streams have transferred.
    pub(crate) streams: Tally,
    /// Counts of dropped datagrams.
    pub(crate) drops: Drops,
    /// Streams and flows of datagrams that have a place.
    streaming: AtomicUsize,
    /// The encoders of responses.
    pub(crate) coders: Arc<Coders>,
    /// The requests of Ingresses, if the metrics of ingress-nginx are enabled.
    pub(crate) ingress: Counters,
}

/// A connection; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Load>);

/// The place of a stream or of a flow of datagrams among those of its worker. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct StreamPlace(Arc<Load>);

/// A request, h2 stream or tunnel; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'l>(&'l Load);

impl Load {
    /// The counts of a worker that has label sets of Ingresses within this limit.
    pub(crate) fn new(limiter: &Arc<Limiter>) -> Self {
        Self { ingress: Counters::new(limiter), ..Self::default() }
    }

    /// A connection begins.
    pub(crate) fn connection(self: &Arc<Self>) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(self))
    }

    /// Takes a place for a stream or a flow of datagrams. Returns `None` if `most` places are taken.
    pub(crate) fn stream_place(self: &Arc<Self>, most: usize) -> Option<StreamPlace> {
        if self.streaming.load(Ordering::Relaxed) >= most {
            return None;
        }
        self.streaming.fetch_add(1, Ordering::Relaxed);
        Some(StreamPlace(Arc::clone(self)))
    }

    /// A request begins.
    pub(crate) fn request(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Requests, h2 streams and tunnels that are being answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Connections that clients hold, idle ones too.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests that are over, of one first digit of their status.
    pub(crate) fn answers(&self, class: usize) -> u64 {
        self.answered[class].load(Ordering::Relaxed)
    }

    /// A request is over.
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100);
        self.answered[if class < self.answered.len() { class } else { 0 }].fetch_add(1, Ordering::Relaxed);
    }

    /// Completed requests that this carrier forwarded or tried to forward.
    pub(crate) fn forwards(&self, carrier: Carrier) -> u64 {
        self.forwarded[carrier as usize].load(Ordering::Relaxed)
    }

    /// A request that this carrier forwarded or tried to forward is over.
    pub(crate) fn forwarded(&self, carrier: Carrier) {
        self.forwarded[carrier as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.streaming.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
