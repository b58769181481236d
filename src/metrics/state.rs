//! The metrics of the controller: readiness, leadership, ports and problems with objects.

use portcullis_controller::Severity;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use super::{Figures, gauge};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
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

pub(super) fn register(registry: &mut Registry, figures: &Figures) {
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
