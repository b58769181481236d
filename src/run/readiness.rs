//! What must hold before traffic should come.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use portcullis_controller::{
    Handle, Problem, cluster::statuses::RefusedStatuses, source::cluster::Progress, status::Statuses,
};
use portcullis_proxy::{Bindings, Proxy};
use portcullis_routing::{Explanation, PortKey};
use tokio::sync::watch;

use crate::{
    admin::{Told, json_text},
    explain::Question,
    logs,
    metrics::{
        self, Figures,
        nginx::{self, ControllerLabels, Nginx},
    },
    run::rendered::Rendered,
};

/// What readiness is made of.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    pub(super) controller: Handle,
    pub(super) proxy: Arc<Proxy>,
    pub(super) bindings: watch::Receiver<Arc<Bindings>>,
    /// The ports of the table that was published last: by those that are bound, those that listeners name.
    pub(super) ports: watch::Sender<BTreeMap<PortKey, u16>>,
    /// How far the source of objects has come, where it says so.
    pub(super) progress: watch::Sender<Progress>,
    /// Whether this replica writes; empty where there is no Lease.
    pub(super) leads: Arc<OnceLock<watch::Receiver<bool>>>,
    /// The statuses that the API server refuses; empty where none is written.
    pub(super) refused: Arc<OnceLock<RefusedStatuses>>,
    pub(super) stopping: watch::Sender<bool>,
    /// The labels of the metrics of ingress-nginx, if these are served.
    nginx: Option<Arc<ControllerLabels>>,
    /// When a table was published last, in seconds since 1970.
    pub(super) published_at: Arc<AtomicU64>,
    /// What `/status` answers.
    report: Arc<Rendered<Arc<Statuses>, Arc<[Problem]>>>,
    /// Whether listeners are made by whoever may, and not by whoever runs this process.
    many_owners: bool,
}

impl Readiness {
    pub(super) fn new(
        controller: Handle,
        proxy: Arc<Proxy>,
        many_owners: bool,
        nginx: Option<ControllerLabels>,
    ) -> Self {
        let report = Arc::new(Rendered::of(controller.statuses(), controller.problems()));
        Self {
            controller,
            bindings: proxy.bindings(),
            proxy,
            ports: watch::Sender::default(),
            progress: watch::Sender::default(),
            leads: Arc::default(),
            refused: Arc::default(),
            stopping: watch::Sender::new(false),
            nginx: nginx.map(Arc::new),
            published_at: Arc::default(),
            report,
            many_owners,
        }
    }

    /// What is served by the names of ingress-nginx.
    fn nginx(&self) -> Option<Nginx> {
        let controller = self.nginx.as_deref()?.clone();
        let (table, certificates) = (self.proxy.table(), self.proxy.certificates());
        Some(Nginx {
            controller,
            series: self.proxy.ingress_metrics(),
            orphans: nginx::orphans(&table),
            certificates: nginx::certificates(&table, &certificates),
            tables: table.generation,
            published_at: self.published_at.load(Ordering::Relaxed),
        })
    }

    /// By the ports that listeners name, of which several may be bound.
    fn connections_by_port(&self) -> BTreeMap<u16, usize> {
        let (ports, mut by_number) = (self.ports.borrow(), BTreeMap::new());
        for (bound, count) in self.proxy.connections_by_port() {
            if let Some(number) = ports.get(&bound) {
                *by_number.entry(*number).or_default() += count;
            }
        }
        by_number
    }
}

impl Told for Readiness {
    fn missing(&self) -> Vec<String> {
        if *self.stopping.borrow() {
            return vec!["the process is stopping".to_owned()];
        }
        if !*self.controller.ready().borrow() {
            let Progress { unread, unreadable } = &*self.progress.borrow();
            let unread = unread.iter().map(|kind| match unreadable.get(kind) {
                Some(why) => format!("{kind}, not read yet: {why}"),
                None => format!("{kind}, not read yet"),
            });
            return unread.chain(["the first table".to_owned()]).collect();
        }
        missing_ports(&self.ports.borrow(), &self.bindings.borrow(), self.many_owners)
    }

    fn degraded(&self) -> Vec<String> {
        let progress = self.progress.borrow();
        let kinds = progress.unreadable.iter().map(|(kind, why)| format!("{kind}: {why}"));
        kinds.chain(unbound_ports(&self.ports.borrow(), &self.bindings.borrow())).collect()
    }

    fn metrics(&self) -> String {
        let bindings = self.bindings.borrow().clone();
        metrics::text(&Figures {
            answered: self.proxy.answered(),
            forwarded: self.proxy.forwarded(),
            in_flight: self.proxy.in_flight(),
            connections: self.proxy.connections(),
            refused_addresses: self.proxy.refused_addresses(),
            failed_handshakes: self.proxy.failed_handshakes(),
            lost_mirrors: self.proxy.lost_mirrors(),
            uncompressed_responses: self.proxy.uncompressed_responses(),
            refused_bodies: self.proxy.refused_bodies(),
            spooled_bytes: self.proxy.spooled_bytes(),
            streams: self.proxy.streams(),
            dropped_datagrams: self.proxy.dropped_datagrams(),
            backend_connections: self.proxy.backend_connections(),
            dropped_log_lines: logs::dropped().into(),
            connections_by_port: self.connections_by_port(),
            over_limit: self.proxy.over_limit(),
            ready: self.missing().is_empty(),
            leads: self.leads.get().map(|leads| *leads.borrow()),
            refused_statuses: self.refused.get().map(RefusedStatuses::count),
            unbound: bindings.values().filter(|bound| bound.is_err()).count(),
            problems: self.controller.problems().borrow().iter().map(|problem| problem.severity).collect(),
            remarks: self.controller.remarks(),
            degraded: self.progress.borrow().unreadable.keys().copied().collect(),
            nginx: self.nginx(),
        })
    }

    fn statuses(&self) -> Bytes {
        self.report.text(|| json_text(&self.controller.report()))
    }

    fn explain(&self, question: &Question) -> Result<Explanation, String> {
        question.explain(&self.proxy.table())
    }
}

/// The ports that are not bound.
///
/// In a cluster one that could not be bound keeps nobody from the others: whoever may make a Gateway could take the
/// whole entrance down with it. Its listeners' conditions say so.
fn missing_ports(ports: &BTreeMap<PortKey, u16>, bindings: &Bindings, many_owners: bool) -> Vec<String> {
    let untried = ports.iter().filter(|(bound, _)| !bindings.contains_key(bound));
    let untried = untried
        .map(|(bound, port)| format!("port {}: not bound yet", named(bound, port)))
        .collect::<Vec<_>>();
    let any_bound = ports.keys().any(|bound| matches!(bindings.get(bound), Some(Ok(()))));
    if many_owners && any_bound {
        untried
    } else {
        untried.into_iter().chain(unbound_ports(ports, bindings)).collect()
    }
}

/// The ports that could not be bound, and why.
fn unbound_ports(ports: &BTreeMap<PortKey, u16>, bindings: &Bindings) -> Vec<String> {
    let failed = |(bound, port): (&PortKey, &u16)| {
        let error = bindings.get(bound)?.as_ref().err()?;
        // The proxy's own sentence begins with the port that it tried.
        Some(format!("listener port {}: {error}", named(bound, port)))
    };
    ports.iter().filter_map(failed).collect()
}

/// A bound port by the number that its listeners name.
fn named(bound: &PortKey, number: &u16) -> PortKey {
    PortKey { number: *number, ..*bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_that_cannot_be_bound_keeps_nobody_from_the_others() {
        let no = || Err("in use".to_owned());
        let refused = &["listener port 443: in use"][..];
        for (what, ports, bindings, many_owners, want) in [
            ("nothing to serve", &[][..], vec![], true, &[][..]),
            ("all bound", &[80, 443], vec![(80, Ok(())), (443, Ok(()))], true, &[]),
            ("not tried", &[80, 443], vec![(80, Ok(()))], true, &["port 443: not bound yet"]),
            ("one refused", &[80, 443], vec![(80, Ok(())), (443, no())], true, &[]),
            ("one refused, of one owner", &[80, 443], vec![(80, Ok(())), (443, no())], false, refused),
            ("the only one refused", &[443], vec![(443, no())], true, refused),
            ("a port of an older table", &[443], vec![(80, Ok(())), (443, no())], true, refused),
        ] {
            let ports = ports.iter().map(|port| (PortKey::tcp(*port), *port)).collect();
            let bindings = bindings.into_iter().map(|(port, bound)| (PortKey::tcp(port), bound));
            let got = missing_ports(&ports, &bindings.collect(), many_owners);
            assert_eq!(got, want, "{what}");
        }
    }
}
