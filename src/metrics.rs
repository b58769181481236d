//! What the admin port counts, in the text format of OpenMetrics.
//!
//! Labels come from our own enumerations and from objects, never from a request.

pub mod nginx;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::atomic::AtomicU64,
};

use portcullis_controller::{Severity, Topic, ir::Kind};
use portcullis_proxy::{Limit, OverLimit, Streams};
use portcullis_routing::{BackendKey, BackendObject, Carrier};
use procfs::{ProcResult, WithCurrentSystemInfo as _, process::Process};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::{Registry, Unit},
};

use self::nginx::Nginx;

/// What [`text`] is served as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How the process stands; read anew for each scrape.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests that are over, by the first digit of their status; 0 is those that were cut before any answer.
    pub answered: [u64; 6],
    /// Completed requests that a carrier forwarded or tried to forward to a backend.
    pub forwarded: Vec<(Carrier, u64)>,
    pub in_flight: usize,
    pub connections: usize,
    /// How often the address of a backend was refused, by reason.
    pub refused_addresses: Vec<(&'static str, u64)>,
    /// Handshakes of clients that failed, by reason.
    pub failed_handshakes: Vec<(&'static str, u64)>,
    /// Mirrored requests that were aborted or failed, by reason.
    pub lost_mirrors: Vec<(&'static str, u64)>,
    /// Responses that were not compressed because the memory for it was used up.
    pub uncompressed_responses: u64,
    /// Requests that were rejected because there was no space for their bodies.
    pub refused_bodies: u64,
    /// The size of buffered request bodies, in memory and in files.
    pub spooled_bytes: Vec<(&'static str, u64)>,
    /// Streams and flows of datagrams, by the protocol that clients speak.
    pub streams: Vec<Streams>,
    /// Dropped datagrams, by reason.
    pub dropped_datagrams: Vec<(&'static str, u64)>,
    /// Connections to backends that have any.
    pub backend_connections: Vec<(BackendKey, usize)>,
    /// Log lines that were dropped because they were not read in time, by log.
    pub dropped_log_lines: Vec<(&'static str, u64)>,
    /// Connections by the port that listeners name.
    pub connections_by_port: BTreeMap<u16, usize>,
    /// Connections that were closed because a limit was reached, by that limit.
    pub over_limit: BTreeMap<Limit, OverLimit>,
    pub ready: bool,
    /// `None` where there is no Lease, as with a folder.
    pub leads: Option<bool>,
    /// Objects whose status the API server refuses; `None` where none is written.
    pub refused_statuses: Option<usize>,
    /// Ports of the table that are not bound.
    pub unbound: usize,
    /// Documents and objects with something wrong, by how wrong.
    pub problems: Vec<Severity>,
    /// How many remarks there are about objects that are accepted.
    pub remarks: BTreeMap<(Kind, Topic), usize>,
    /// Kinds that cannot be read.
    pub degraded: BTreeSet<&'static str>,
    /// What is also served by the names of ingress-nginx.
    pub nginx: Option<Nginx>,
}

/// What the process uses.
#[derive(Clone, Copy, Debug)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    /// In seconds since 1970.
    started_at: u64,
    open_files: usize,
}

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
struct OfKind {
    kind: &'static str,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSeverity {
    severity: &'static str,
}

/// A kind, and what there is to remark about objects of it: closed lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTopic {
    kind: &'static str,
    reason: &'static str,
    /// Of ingress-nginx, without the prefix; empty where it is not about one that is known.
    annotation: &'static str,
}

/// In the order of [`Figures::answered`].
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The figures as Prometheus reads them.
pub fn text(figures: &Figures) -> String {
    let mut registry = Registry::with_prefix("portcullis");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of the running binary", version);
    traffic(&mut registry, figures);
    state(&mut registry, figures);
    let mut text = String::new();
    // Only the writer can fail, and a String does not.
    let _ = encode(&mut text, &registry);
    let mut registry = Registry::with_prefix("process");
    let usage = Usage::of_this_process();
    let usage =
        usage.inspect_err(|error| tracing::debug!(%error, "the process's own figures cannot be read"));
    let usage = usage.ok();
    usage.iter().for_each(|usage| process(&mut registry, usage));
    // One text, one end.
    text.truncate(text.len() - END.len());
    let _ = encode(&mut text, &registry);
    if let Some(nginx) = &figures.nginx {
        text.truncate(text.len() - END.len());
        nginx::write(figures, usage.as_ref(), nginx, &mut text);
        text.push_str(END);
    }
    text
}

const END: &str = "# EOF\n";

fn traffic(registry: &mut Registry, figures: &Figures) {
    let requests = Family::<Class, Counter<u64, AtomicU64>>::default();
    for (class, count) in CLASSES.into_iter().zip(figures.answered) {
        requests.get_or_create(&Class { class }).inc_by(count);
    }
    registry.register("requests", "Completed requests, by status class", requests);
    let forwarded = Family::<OfCarrier, Counter<u64, AtomicU64>>::default();
    for (carrier, count) in &figures.forwarded {
        forwarded.get_or_create(&OfCarrier { carrier: carrier.to_string() }).inc_by(*count);
    }
    let help = "Completed requests that a carrier forwarded or tried to forward to a backend";
    registry.register("forwarded_requests", help, forwarded);
    registry.register(
        "requests_in_flight",
        "Requests, HTTP/2 streams, WebSockets, TCP and TLS streams and UDP flows in flight",
        ConstGauge::new(gauge(figures.in_flight)),
    );
    registry.register(
        "connections",
        "Client connections, including idle ones",
        ConstGauge::new(gauge(figures.connections)),
    );
    let by_reason = [
        (
            "refused_addresses",
            "Prohibited backend addresses to which no connection was made",
            &figures.refused_addresses,
        ),
        ("failed_handshakes", "Failed TLS handshakes of clients", &figures.failed_handshakes),
        ("lost_mirrors", "Mirrored requests that were aborted or failed", &figures.lost_mirrors),
        ("dropped_datagrams", "Dropped datagrams", &figures.dropped_datagrams),
    ];
    for (name, help, counts) in by_reason {
        let family = Family::<OfReason, Counter<u64, AtomicU64>>::default();
        for (reason, count) in counts {
            family.get_or_create(&OfReason { reason }).inc_by(*count);
        }
        registry.register(name, help, family);
    }
    let help = "Responses that were not compressed because the memory for it was used up";
    registry.register("uncompressed_responses", help, ConstCounter::new(figures.uncompressed_responses));
    let help = "Requests that were rejected because there was no space for their bodies";
    registry.register("refused_bodies", help, ConstCounter::new(figures.refused_bodies));
    let spooled = Family::<InStore, Gauge>::default();
    for (store, bytes) in &figures.spooled_bytes {
        spooled.get_or_create(&InStore { store }).set(i64::try_from(*bytes).unwrap_or(i64::MAX));
    }
    registry.register("spooled_bytes", "The size of buffered request bodies", spooled);
    streams(registry, &figures.streams);
    let dropped = Family::<OfLog, Counter<u64, AtomicU64>>::default();
    for (log, count) in &figures.dropped_log_lines {
        dropped.get_or_create(&OfLog { log }).inc_by(*count);
    }
    registry.register("dropped_log_lines", "Log lines dropped because they were not read in time", dropped);
    let by_backend = by_backend(&figures.backend_connections);
    let help = "Connections to backends of the carrier http1, including idle ones, and of streams";
    registry.register("backend_connections", help, by_backend);
    let by_port = Family::<OfPort, Gauge>::default();
    for (port, count) in &figures.connections_by_port {
        by_port.get_or_create(&OfPort { port: *port }).set(gauge(*count));
    }
    registry.register("port_connections", "Client connections, by listener port", by_port);
    let (shed, refused) = (Family::<OfLimit, Counter>::default(), Family::<OfLimit, Counter>::default());
    for (limit, over_limit) in &figures.over_limit {
        let limit = match limit {
            Limit::Process => "process",
            Limit::Port => "port",
            Limit::Client => "client",
        };
        shed.get_or_create(&OfLimit { limit }).inc_by(over_limit.shed);
        refused.get_or_create(&OfLimit { limit }).inc_by(over_limit.refused);
    }
    registry.register(
        "connections_shed",
        "Idle connections closed to make room, by the limit that was reached",
        shed,
    );
    registry.register(
        "connections_refused",
        "New connections closed because no connection was idle, by the limit that was reached",
        refused,
    );
}

fn streams(registry: &mut Registry, streams: &[Streams]) {
    let ended = Family::<OfEnd, Counter<u64, AtomicU64>>::default();
    let bytes = Family::<OfDirection, Counter<u64, AtomicU64>>::default();
    for Streams { protocol, ended: ends, received, sent } in streams {
        for (end, count) in ends {
            ended.get_or_create(&OfEnd { protocol, end }).inc_by(*count);
        }
        for (direction, count) in [("in", received), ("out", sent)] {
            bytes.get_or_create(&OfDirection { protocol, direction }).inc_by(*count);
        }
    }
    let help = "Completed TCP and TLS streams and UDP flows, by the way they ended";
    registry.register("streams", help, ended);
    registry.register(
        "stream_bytes",
        "Bytes of streams and flows, from clients (in) and to clients (out)",
        bytes,
    );
}

/// The maximum number of backends that have a series of their own.
const MAX_BACKENDS: usize = 1000;

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

fn state(registry: &mut Registry, figures: &Figures) {
    registry.register(
        "ready",
        "1 if the first routing table is active and all ports are bound",
        ConstGauge::new(i64::from(figures.ready)),
    );
    if let Some(leads) = figures.leads {
        registry.register(
            "leader",
            "1 in the replica that writes to the cluster",
            ConstGauge::new(i64::from(leads)),
        );
    }
    if let Some(refused) = figures.refused_statuses {
        let help = "Objects with a status that the API server rejects even with shortened messages";
        registry.register("refused_statuses", help, ConstGauge::new(gauge(refused)));
    }
    registry.register(
        "unbound_ports",
        "Ports of listeners that could not be bound",
        ConstGauge::new(gauge(figures.unbound)),
    );
    let problems = Family::<OfSeverity, Gauge>::default();
    for (severity, name) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
        let count = figures.problems.iter().filter(|of| **of == severity).count();
        problems.get_or_create(&OfSeverity { severity: name }).set(gauge(count));
    }
    registry.register("problems", "Objects that are rejected (error) or have a warning (warning)", problems);
    let remarks = Family::<OfTopic, Gauge>::default();
    for ((kind, topic), count) in &figures.remarks {
        let (reason, annotation) = topic.labels();
        remarks.get_or_create(&OfTopic { kind: kind.as_str(), reason, annotation }).set(gauge(*count));
    }
    let help = "Parts of accepted objects that are closed, not served or have no effect";
    registry.register("object_warnings", help, remarks);
    let degraded = Family::<OfKind, Gauge>::default();
    for kind in &figures.degraded {
        degraded.get_or_create(&OfKind { kind }).set(1);
    }
    registry.register("unreadable_kinds", "Kinds of objects that cannot be read from the cluster", degraded);
}

/// Under the names that other exporters give them.
fn process(registry: &mut Registry, usage: &Usage) {
    registry.register_with_unit("cpu", "CPU time", Unit::Seconds, ConstCounter::new(usage.cpu_seconds));
    let resident = i64::try_from(usage.resident_bytes).unwrap_or(i64::MAX);
    registry.register_with_unit("resident_memory", "Resident memory", Unit::Bytes, ConstGauge::new(resident));
    registry.register("open_fds", "Open files and sockets", ConstGauge::new(gauge(usage.open_files)));
}

impl Usage {
    fn of_this_process() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        Ok(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            started_at: procfs::boot_time_secs()? + stat.starttime / procfs::ticks_per_second(),
            open_files: process.fd_count()?,
        })
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_line() {
        let figures = Figures {
            answered: [1, 0, 20, 3, 4, 5],
            forwarded: vec![(Carrier::Http1, 21), (Carrier::Pingora, 2)],
            in_flight: 7,
            connections: 8,
            refused_addresses: vec![("loopback", 9)],
            failed_handshakes: vec![("timeout", 11)],
            lost_mirrors: vec![("memory", 10)],
            uncompressed_responses: 20,
            refused_bodies: 18,
            spooled_bytes: vec![("file", 19)],
            streams: vec![Streams {
                protocol: "tcp",
                ended: vec![("done", 14), ("idle", 0)],
                received: 15,
                sent: 16,
            }],
            dropped_datagrams: vec![("full", 17)],
            backend_connections: vec![(backend("web"), 13)],
            dropped_log_lines: vec![("access", 12)],
            connections_by_port: BTreeMap::from([(80, 3), (443, 5)]),
            over_limit: BTreeMap::from([(Limit::Process, OverLimit { shed: 6, refused: 1 })]),
            ready: true,
            leads: Some(false),
            refused_statuses: Some(9),
            unbound: 2,
            problems: vec![Severity::Error, Severity::Warning, Severity::Warning],
            remarks: BTreeMap::from([
                ((Kind::Ingress, Topic::Protection("auth-url")), 3),
                ((Kind::HttpRoute, Topic::UnknownField), 4),
            ]),
            degraded: BTreeSet::from(["secrets"]),
            nginx: None,
        };
        let text = text(&figures);
        for line in [
            "portcullis_requests_total{class=\"none\"} 1",
            "portcullis_requests_total{class=\"2xx\"} 20",
            "portcullis_requests_total{class=\"5xx\"} 5",
            "portcullis_forwarded_requests_total{carrier=\"http1\"} 21",
            "portcullis_forwarded_requests_total{carrier=\"pingora\"} 2",
            "portcullis_requests_in_flight 7",
            "portcullis_connections 8",
            "portcullis_refused_addresses_total{reason=\"loopback\"} 9",
            "portcullis_failed_handshakes_total{reason=\"timeout\"} 11",
            "portcullis_lost_mirrors_total{reason=\"memory\"} 10",
            "portcullis_uncompressed_responses_total 20",
            "portcullis_refused_bodies_total 18",
            "portcullis_spooled_bytes{store=\"file\"} 19",
            "portcullis_streams_total{protocol=\"tcp\",end=\"done\"} 14",
            "portcullis_streams_total{protocol=\"tcp\",end=\"idle\"} 0",
            "portcullis_stream_bytes_total{protocol=\"tcp\",direction=\"in\"} 15",
            "portcullis_stream_bytes_total{protocol=\"tcp\",direction=\"out\"} 16",
            "portcullis_dropped_datagrams_total{reason=\"full\"} 17",
            "portcullis_backend_connections{namespace=\"shop\",service=\"web\",port=\"80\"} 13",
            "portcullis_dropped_log_lines_total{log=\"access\"} 12",
            "portcullis_port_connections{port=\"443\"} 5",
            "portcullis_connections_shed_total{limit=\"process\"} 6",
            "portcullis_connections_refused_total{limit=\"process\"} 1",
            "portcullis_ready 1",
            "portcullis_leader 0",
            "portcullis_refused_statuses 9",
            "portcullis_unbound_ports 2",
            "portcullis_problems{severity=\"error\"} 1",
            "portcullis_problems{severity=\"warning\"} 2",
            "portcullis_object_warnings{kind=\"Ingress\",reason=\"ProtectionNotServed\",annotation=\"auth-url\"} 3",
            "portcullis_object_warnings{kind=\"HTTPRoute\",reason=\"UnknownField\",annotation=\"\"} 4",
            "portcullis_unreadable_kinds{kind=\"secrets\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        for name in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "] {
            assert!(text.lines().any(|l| l.starts_with(name)), "{name} is not in\n{text}");
        }
        assert_eq!(text.matches(END).count(), 1);
        assert!(text.ends_with(END));
    }

    fn backend(service: &str) -> BackendKey {
        BackendKey {
            kind: BackendObject::Service,
            namespace: "shop".into(),
            service: service.into(),
            port: portcullis_routing::PortKey::tcp(80),
        }
    }

    #[test]
    fn backends_beyond_the_most_are_summed_up() {
        let connections = (0..MAX_BACKENDS + 2).map(|n| (backend(&format!("s{n}")), n + 1)).collect();
        let text = text(&Figures { backend_connections: connections, ..Figures::default() });
        let lines: Vec<_> =
            text.lines().filter(|line| line.starts_with("portcullis_backend_connections{")).collect();
        assert_eq!(lines.len(), MAX_BACKENDS + 1);
        let others = "portcullis_backend_connections{namespace=\"\",service=\"_others\",port=\"0\"} 3";
        assert!(lines.contains(&others), "{text}");
    }

    #[test]
    fn without_a_lease_nobody_is_said_to_lead() {
        assert!(!text(&Figures::default()).contains("leader"));
    }
}
