//! What to report about each object: its status, exactly as it would be written to the cluster, and messages that have
//! no place there. The writer adds the times of transition.

mod backend_tls_policy;
mod bounded;
mod condition_types;
mod describe;
mod gateway;
mod gateway_class;
mod ingress;
mod listener;
mod listener_set;
mod port_services;
mod route;
mod types;
mod x_backend;

pub use backend_tls_policy::backend_tls_policy;
pub(crate) use bounded::shortened;
pub use condition_types::{ConditionType, EventLevel, Impact, Meaning};
pub use gateway::gateway;
pub use gateway_class::gateway_class;
pub use ingress::ingress;
pub use listener_set::listener_set;
pub use port_services::port_services;
pub use route::route;
pub(crate) use route::{refused_route_parent, route_parent};
pub use types::{
    Cause, Condition, ConditionStatus, GatewayClassStatus, GatewayStatus, GatewayStatusAddress,
    IngressLoadBalancer, IngressLoadBalancerIngress, IngressStatus, Level, ListenerStatus, Message,
    PolicyAncestorStatus, PolicyStatus, Report, RouteGroupKind, RouteParentStatus, RouteStatus, Status,
    Subject, SupportedFeature,
};
pub use x_backend::x_backend;

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{
    ir::{Kind, ObjectKey},
    problem::Topic,
};

/// The reports of all objects that are ours, and of routes that tried to be.
///
/// For a route without `parents` nothing is written. [`Display`](std::fmt::Display) is for people: a line for each
/// object, parent, listener, condition and message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses(BTreeMap<ObjectKey, Report>);

impl Statuses {
    /// The report of an object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Report> {
        self.0.get(key)
    }

    /// All of them, in the order of kinds, namespaces and names.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Report)> {
        self.0.iter()
    }

    /// Replaces or removes the report of an object; returns whether that changes anything.
    pub(crate) fn set(&mut self, key: &ObjectKey, report: Option<Report>) -> bool {
        match report {
            None => self.0.remove(key).is_some(),
            Some(report) => match self.0.entry(key.clone()) {
                Entry::Occupied(before) if *before.get() == report => false,
                Entry::Occupied(mut before) => {
                    before.insert(report);
                    true
                }
                Entry::Vacant(place) => {
                    place.insert(report);
                    true
                }
            },
        }
    }

    /// The same for many objects; of an object that is there more than once, the last report counts. Returns the keys of
    /// those that changed.
    pub(crate) fn set_all(&mut self, reports: Vec<(ObjectKey, Option<Report>)>) -> Vec<ObjectKey> {
        let follow = |of: &[(ObjectKey, _)]| of.is_sorted_by(|(one, _), (next, _)| one < next);
        let is_behind = match (self.0.last_key_value(), reports.first()) {
            (Some((last, _)), Some((first, _))) => last < first,
            _ => true,
        };
        // `BTreeMap::append` rebuilds the map, so it is used only for at least as many reports as are known,
        // sorted, and after all of them.
        if reports.len() < self.0.len() || !is_behind || !follow(&reports) {
            let set = |(key, report)| self.set(&key, report).then_some(key);
            return reports.into_iter().filter_map(set).collect();
        }
        // As at start-up: appended without a search for each.
        let mut reports: BTreeMap<_, _> =
            reports.into_iter().filter_map(|(key, report)| Some((key, report?))).collect();
        let changed = reports.keys().cloned().collect();
        self.0.append(&mut reports);
        changed
    }

    /// How many messages there are of each kind of object and topic, of those that are counted.
    pub fn topics(&self) -> BTreeMap<(Kind, Topic), usize> {
        let mut counts = BTreeMap::new();
        for (key, report) in &self.0 {
            for topic in report.messages.iter().filter_map(|message| message.topic) {
                *counts.entry((key.kind, topic)).or_default() += 1;
            }
        }
        counts
    }
}

impl FromIterator<(ObjectKey, Report)> for Statuses {
    fn from_iter<I: IntoIterator<Item = (ObjectKey, Report)>>(reports: I) -> Self {
        Self(reports.into_iter().collect())
    }
}

/// The message for an object that is refused as a whole.
pub(crate) fn refused(why: &str) -> String {
    format!("the object is invalid and is not served: {why}")
}

/// `a, b, c`.
pub(crate) fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Several messages as one: `a; b; c`. A condition's message is bounded (`metav1.Condition`), and nobody reads more.
pub(crate) fn sentences<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    const MOST: usize = 8;
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    match items.len().checked_sub(MOST) {
        None | Some(0) => items.join("; "),
        Some(more) => format!("{}; and {more} more", items[..MOST].join("; ")),
    }
}

#[cfg(test)]
mod tests;
