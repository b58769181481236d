//! The metrics of requests, connections, streams and datagrams.

use std::{cmp::Reverse, fmt::Debug, hash::Hash, sync::atomic::AtomicU64};

use portcullis_proxy::{Limit, Streams};
use portcullis_routing::{BackendKey, BackendObject};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use super::{Figures, gauge};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCarrier {
    carrier: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InStore {
    store: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPort {
    port: u16,
}

/// A Service's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBackend {
    namespace: String,
    service: String,
    /// The port: `80`, or `53/udp`.
    port: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLimit {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

/// The labels of ended streams and flows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEnd {
    protocol: &'static str,
    end: &'static str,
}

/// The labels of a direction: from clients (`in`), or to them (`out`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDirection {
    protocol: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLog {
    log: &'static str,
}

/// In the order of [`Figures::answered`].
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) fn register(registry: &mut Registry, figures: &Figures) {
    requests(registry, figures);
    bodies(registry, figures);
    connections(registry, figures);
    streams(registry, &figures.streams);
    by_reason(registry, figures);
    let lines = figures.dropped_log_lines.iter().map(|(log, count)| (OfLog { log }, *count));
    counters(registry, "dropped_log_lines", "Log lines dropped because they were not read in time", lines);
}

fn requests(registry: &mut Registry, figures: &Figures) {
    let answered = CLASSES.into_iter().zip(figures.answered).map(|(class, count)| (Class { class }, count));
    counters(registry, "requests", "Completed requests, by status class", answered);
    let forwarded = figures.forwarded.iter();
    let forwarded = forwarded.map(|(carrier, count)| (OfCarrier { carrier: carrier.to_string() }, *count));
    let help = "Completed requests that a carrier forwarded or tried to forward to a backend";
    counters(registry, "forwarded_requests", help, forwarded);
    registry.register(
        "requests_in_flight",
        "Requests, HTTP/2 streams, WebSockets, TCP and TLS streams and UDP flows in flight",
        ConstGauge::new(gauge(figures.in_flight)),
    );
}

fn bodies(registry: &mut Registry, figures: &Figures) {
    let help = "Responses that were not compressed because the memory for it was used up";
    registry.register("uncompressed_responses", help, ConstCounter::new(figures.uncompressed_responses));
    let help = "Requests that were rejected because there was no space for their bodies";
    registry.register("refused_bodies", help, ConstCounter::new(figures.refused_bodies));
    let spooled = Family::<InStore, Gauge>::default();
    for (store, bytes) in &figures.spooled_bytes {
        spooled.get_or_create(&InStore { store }).set(i64::try_from(*bytes).unwrap_or(i64::MAX));
    }
    registry.register("spooled_bytes", "The size of buffered request bodies", spooled);
}

fn connections(registry: &mut Registry, figures: &Figures) {
    registry.register(
        "connections",
        "Client connections, including idle ones",
        ConstGauge::new(gauge(figures.connections)),
    );
    let by_port = Family::<OfPort, Gauge>::default();
    for (port, count) in &figures.connections_by_port {
        by_port.get_or_create(&OfPort { port: *port }).set(gauge(*count));
    }
    registry.register("port_connections", "Client connections, by listener port", by_port);
    let limits = || figures.over_limit.iter().map(|(limit, over)| (OfLimit::of(*limit), over));
    let help = "Idle connections closed to make room, by the limit that was reached";
    counters(registry, "connections_shed", help, limits().map(|(limit, over)| (limit, over.shed)));
    let help = "New connections closed because no connection was idle, by the limit that was reached";
    counters(registry, "connections_refused", help, limits().map(|(limit, over)| (limit, over.refused)));
    let help = "Connections to backends of the carrier http1, including idle ones, and of streams";
    registry.register("backend_connections", help, by_backend(&figures.backend_connections));
}

fn streams(registry: &mut Registry, streams: &[Streams]) {
    let ended = streams.iter().flat_map(|Streams { protocol, ended, .. }| {
        ended.iter().map(|(end, count)| (OfEnd { protocol, end }, *count))
    });
    counters(
        registry,
        "streams",
        "Completed TCP and TLS streams and UDP flows, by the way they ended",
        ended,
    );
    let bytes = streams.iter().flat_map(|Streams { protocol, received, sent, .. }| {
        [("in", received), ("out", sent)]
            .map(|(direction, count)| (OfDirection { protocol, direction }, *count))
    });
    let help = "Bytes of streams and flows, from clients (in) and to clients (out)";
    counters(registry, "stream_bytes", help, bytes);
}

fn by_reason(registry: &mut Registry, figures: &Figures) {
    let help = "Prohibited backend addresses to which no connection was made";
    for (name, help, counts) in [
        ("refused_addresses", help, &figures.refused_addresses),
        ("failed_handshakes", "Failed TLS handshakes of clients", &figures.failed_handshakes),
        ("lost_mirrors", "Mirrored requests that were aborted or failed", &figures.lost_mirrors),
        ("dropped_datagrams", "Dropped datagrams", &figures.dropped_datagrams),
    ] {
        counters(registry, name, help, counts.iter().map(|(reason, count)| (OfReason { reason }, *count)));
    }
}

/// Registers a counter for each of these labels.
fn counters<L: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    counts: impl Iterator<Item = (L, u64)>,
) {
    let family = Family::<L, Counter<u64, AtomicU64>>::default();
    for (labels, count) in counts {
        family.get_or_create(&labels).inc_by(count);
    }
    registry.register(name, help, family);
}

/// The maximum number of backends that have a series of their own.
pub(super) const MAX_BACKENDS: usize = 1000;

/// Returns a series for each of the backends with the most connections, and one with the sum of all others.
fn by_backend(connections: &[(BackendKey, usize)]) -> Family<OfBackend, Gauge> {
    let mut connections: Vec<_> = connections.iter().collect();
    connections.sort_by_key(|(backend, count)| (Reverse(*count), backend));
    let family = Family::<OfBackend, Gauge>::default();
    for (place, (backend, count)) in connections.into_iter().enumerate() {
        let labels = if place < MAX_BACKENDS { OfBackend::of(backend) } else { OfBackend::others() };
        family.get_or_create(&labels).inc_by(gauge(*count));
    }
    family
}

impl OfBackend {
    fn of(backend: &BackendKey) -> Self {
        let BackendKey { kind, namespace, service, port } = backend;
        let service = match kind {
            BackendObject::Service => service.to_string(),
            BackendObject::XBackend => format!("XBackend/{service}"),
        };
        Self { namespace: namespace.to_string(), service, port: port.to_string() }
    }

    /// No Service has such a name.
    fn others() -> Self {
        Self { namespace: String::new(), service: "_others".into(), port: "0".into() }
    }
}

impl OfLimit {
    fn of(limit: Limit) -> Self {
        let limit = match limit {
            Limit::Process => "process",
            Limit::Port => "port",
            Limit::Client => "client",
        };
        Self { limit }
    }
}
