//! Statuses -> findings: what a condition would say of an object.

use super::{Finding, Level};
use crate::{
    ir::ObjectKey,
    status::{
        self, Condition, ConditionType, Impact, Message, PolicyAncestorStatus, Report, RouteParentStatus,
        Statuses, Subject,
    },
};

/// What is wrong with the objects, as their statuses would say.
pub(super) fn findings(statuses: &Statuses) -> Vec<(&ObjectKey, Finding)> {
    let of_object = |(key, report)| of(report).into_iter().map(move |finding| (key, finding));
    statuses.iter().flat_map(of_object).collect()
}

fn of(report: &Report) -> Vec<Finding> {
    let all = report.status.conditions();
    let is_accepted = |c: &Condition| c.kind == ConditionType::Accepted && c.is_true();
    let anywhere = all.iter().any(|(subject, conditions)| {
        matches!(subject, Subject::Parent(_) | Subject::Ancestor(_)) && conditions.iter().any(is_accepted)
    });
    let (mut own, mut of_parts) = (Vec::new(), Vec::new());
    for (subject, conditions) in all {
        match subject {
            Subject::Object => own.extend(bad_ones("", conditions)),
            // A Gateway may be accepted while a listener is not; the Gateway's own conditions say if it is not.
            Subject::Listener(listener) => {
                of_parts.extend(bad_ones(&format!("listener {}", listener.name), conditions).map(partly));
            }
            Subject::Parent(RouteParentStatus { parent_ref: at, .. })
            | Subject::Ancestor(PolicyAncestorStatus { ancestor_ref: at, .. }) => {
                let at = format!("at {at}");
                let found = bad_ones(&at, conditions);
                of_parts.extend(found.map(|finding| if anywhere { partly(finding) } else { finding }));
            }
        }
    }
    of_parts.into_iter().chain(own).chain(report.messages.iter().filter_map(message)).collect()
}

fn bad_ones(at: &str, conditions: &[Condition]) -> impl Iterator<Item = Finding> {
    conditions.iter().filter(|condition| condition.is_bad()).map(move |condition| {
        let level = match condition.kind.meaning().impact {
            Impact::Nothing => Level::Warning,
            Impact::Part => Level::Unresolved,
            Impact::Whole => Level::Error,
        };
        let kind = condition.kind.as_str();
        let field = if at.is_empty() { kind.to_owned() } else { format!("{at}: {kind}") };
        let (reason, message) = (Some(condition.reason), condition.message.clone().into_owned());
        Finding { level, field, reason, message, line: None }
    })
}

fn partly(finding: Finding) -> Finding {
    Finding { level: finding.level.min(Level::Unresolved), ..finding }
}

/// `None` for what was found while the object was read: that is reported with its line.
fn message(message: &Message) -> Option<Finding> {
    let warning = Finding::warning("", message.text.clone());
    match message.level {
        status::Level::Refused => Some(Finding { level: Level::Unresolved, ..warning }),
        status::Level::Warning => None,
        status::Level::Note => Some(warning),
    }
}
