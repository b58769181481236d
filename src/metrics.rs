//! What the admin port counts, in the text format of OpenMetrics.
//!
//! Labels come from our own enumerations and from objects, never from a request.

pub mod nginx;
mod process;
mod state;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_controller::{Severity, Topic, ir::Kind};
use portcullis_proxy::{Limit, OverLimit, Streams};
use portcullis_routing::{BackendKey, Carrier};
use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};

use self::{nginx::Nginx, process::Usage};

/// What [`text`] is served as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The state of the process, as read for one scrape.
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
    /// The severity of each document or object with a problem.
    pub problems: Vec<Severity>,
    /// The number of remarks about accepted objects.
    pub remarks: BTreeMap<(Kind, Topic), usize>,
    /// Kinds that cannot be read.
    pub degraded: BTreeSet<&'static str>,
    /// What is also served by the names of ingress-nginx.
    pub nginx: Option<Nginx>,
}

/// The figures as Prometheus reads them.
pub fn text(figures: &Figures) -> String {
    let mut registry = Registry::with_prefix("portcullis");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of the running binary", version);
    traffic::register(&mut registry, figures);
    state::register(&mut registry, figures);
    let mut text = String::new();
    // Only the writer can fail, and a String does not.
    let _ = encode(&mut text, &registry);
    let mut registry = Registry::with_prefix("process");
    let usage = Usage::of_this_process();
    let usage =
        usage.inspect_err(|error| tracing::debug!(%error, "the process's own figures cannot be read"));
    let usage = usage.ok();
    usage.iter().for_each(|usage| process::register(&mut registry, usage));
    // The combined text has one end marker.
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

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use portcullis_routing::BackendObject;

    use super::{traffic::MAX_BACKENDS, *};

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
