//! Statuses as text: for `portcullis check`, and for reading a golden file's diff.

use std::fmt;

use super::{Condition, ConditionStatus, Level, ListenerStatus, Message, Report, Statuses, Subject, list};
use crate::ir::{ObjectKey, route::ParentRef};

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(key, report)| object(f, key, report))
    }
}

fn object(f: &mut fmt::Formatter<'_>, key: &ObjectKey, report: &Report) -> fmt::Result {
    writeln!(f, "{key}{}", at(&list(report.status.addresses())))?;
    for (subject, of_subject) in report.status.conditions() {
        match subject {
            Subject::Object => {
                conditions(f, 2, of_subject)?;
                attached_sets(f, report)?;
            }
            Subject::Listener(of) => listener(f, of)?,
            Subject::Parent(of) => parent(f, &of.parent_ref, &of.conditions)?,
            Subject::Ancestor(of) => parent(f, &of.ancestor_ref, &of.conditions)?,
        }
    }
    messages(f, &report.messages)
}

fn attached_sets(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    match report.status.of_gateway().map_or(0, |status| status.attached_listener_sets) {
        0 => Ok(()),
        count => writeln!(f, "  ListenerSets: {count} attached"),
    }
}

fn listener(f: &mut fmt::Formatter<'_>, listener: &ListenerStatus) -> fmt::Result {
    let kinds = list(listener.supported_kinds.iter().map(|kind| kind.kind));
    let kinds = if kinds.is_empty() { "no kind" } else { &kinds };
    writeln!(f, "  listener {}: {} attached, {kinds}", listener.name, listener.attached_routes)?;
    conditions(f, 4, &listener.conditions)
}

fn parent(f: &mut fmt::Formatter<'_>, to: &ParentRef, of_parent: &[Condition]) -> fmt::Result {
    writeln!(f, "  at {to}")?;
    conditions(f, 4, of_parent)
}

fn conditions(f: &mut fmt::Formatter<'_>, indent: usize, conditions: &[Condition]) -> fmt::Result {
    for condition in conditions {
        let Condition { kind, status, reason, message, .. } = condition;
        let status = format!("{status:?}");
        write!(f, "{:indent$}{:<20}  {status:<5}  {reason}", "", kind.as_str())?;
        // If all is well, the reason says enough.
        match condition.is_good() {
            true => writeln!(f)?,
            false => writeln!(f, ": {message}")?,
        }
    }
    Ok(())
}

fn messages(f: &mut fmt::Formatter<'_>, messages: &[Message]) -> fmt::Result {
    messages.iter().try_for_each(|message| match message.level {
        Level::Refused => writeln!(f, "  refused: {}", message.text),
        Level::Warning => writeln!(f, "  warning: {}", message.text),
        Level::Note => writeln!(f, "  note: {}", message.text),
    })
}

fn at(addresses: &str) -> String {
    if addresses.is_empty() { String::new() } else { format!(" at {addresses}") }
}

impl Condition {
    /// Whether the condition says that all is well, and no more than that.
    fn is_good(&self) -> bool {
        let meaning = self.kind.meaning();
        if meaning.passing || self.status != meaning.good {
            return false;
        }
        // Not if it is accepted or served only in part.
        meaning.good == ConditionStatus::False
            || self.reason == meaning.name && !self.message.starts_with("not ")
    }
}
