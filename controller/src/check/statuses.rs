//! Statuses -> findings: what a condition would say of an object.

use super::{Finding, Level};
use crate::{
    ir::ObjectKey,
    status::{self, Condition, ConditionStatus, ConditionType, Message, RouteParentStatus, Statuses},
};

/// What is wrong with the objects, by what would be written on them.
pub(super) fn findings(statuses: &Statuses) -> Vec<(&ObjectKey, Finding)> {
    let mut out = Vec::new();
    for (key, report) in &statuses.gateway_classes {
        out.extend(conditions("", &report.status.conditions).map(|f| (key, f)));
        out.extend(report.messages.iter().filter_map(message).map(|m| (key, m)));
    }
    for (key, report) in &statuses.gateways {
        for listener in &report.status.listeners {
            // A Gateway is accepted without its worst listener; the Gateway's own conditions tell the rest.
            let at = format!("listener {}", listener.name);
            out.extend(conditions(&at, &listener.conditions).map(|f| (key, partly(f))));
        }
        out.extend(conditions("", &report.status.conditions).map(|f| (key, f)));
        out.extend(report.messages.iter().filter_map(message).map(|m| (key, m)));
    }
    for (key, report) in &statuses.routes {
        let accepted = |p: &RouteParentStatus| {
            p.conditions.iter().any(|c| c.kind == ConditionType::Accepted && c.is_true())
        };
        let anywhere = report.status.parents.iter().any(accepted);
        for parent in &report.status.parents {
            let at = parent_name(parent);
            let said = conditions(&at, &parent.conditions);
            out.extend(said.map(|f| (key, if anywhere { partly(f) } else { f })));
        }
        out.extend(report.messages.iter().filter_map(message).map(|m| (key, m)));
    }
    for (key, report) in &statuses.ingresses {
        out.extend(report.messages.iter().filter_map(message).map(|m| (key, m)));
    }
    out
}

fn conditions(at: &str, conditions: &[Condition]) -> impl Iterator<Item = Finding> {
    use ConditionType::{Accepted, Conflicted, OverlappingTlsConfig, PartiallyInvalid};
    conditions.iter().filter_map(move |condition| {
        let level = match (condition.kind, condition.status) {
            // Said of what is wrong; the others of what is right.
            (OverlappingTlsConfig, ConditionStatus::True) => Level::Warning,
            (Conflicted | PartiallyInvalid, ConditionStatus::True) => Level::Unresolved,
            (OverlappingTlsConfig | Conflicted | PartiallyInvalid, _) => return None,
            (Accepted, ConditionStatus::False) => Level::Error,
            (_, ConditionStatus::False) => Level::Unresolved,
            _ => return None,
        };
        let kind = condition.kind.as_str();
        let field = if at.is_empty() { kind.to_owned() } else { format!("{at}: {kind}") };
        let (reason, message) = (Some(condition.reason), condition.message.clone().into_owned());
        Some(Finding { level, field, reason, message, line: None })
    })
}

fn partly(finding: Finding) -> Finding {
    Finding { level: finding.level.min(Level::Unresolved), ..finding }
}

/// `None` for what was found when the object was read: that is told with its line.
fn message(message: &Message) -> Option<Finding> {
    let warning = Finding::warning("", message.text.clone());
    match message.level {
        status::Level::Refused => Some(Finding { level: Level::Unresolved, ..warning }),
        status::Level::Warning => None,
        status::Level::Note => Some(warning),
    }
}

fn parent_name(parent: &RouteParentStatus) -> String {
    let to = &parent.parent_ref;
    let namespace = to.namespace.as_deref().map(|n| format!("{n}/")).unwrap_or_default();
    let section = to.section.as_deref().map(|s| format!(" listener {s}")).unwrap_or_default();
    format!("at {} {namespace}{}{section}", to.kind.kind(), to.name)
}
