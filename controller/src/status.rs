//! What to say about each object: its status, exactly as it would be written to the cluster, and what has no place
//! there. When a condition last changed is known to whoever writes it, and added there.

mod describe;
mod gateway;
mod gateway_class;
mod ingress;
mod route;
mod types;

pub use gateway::gateway;
pub use gateway_class::gateway_class;
pub use ingress::ingress;
pub use route::route;
pub(crate) use route::route_parent;
pub use types::{
    Condition, ConditionStatus, ConditionType, GatewayClassStatus, GatewayStatus, GatewayStatusAddress,
    IngressLoadBalancer, IngressLoadBalancerIngress, IngressStatus, Level, ListenerStatus, Message, Report,
    RouteGroupKind, RouteParentStatus, RouteStatus, SupportedFeature,
};

use std::collections::BTreeMap;

use crate::{
    ir::{Kind, ObjectKey},
    problem::Topic,
};

/// What is said about every object that is ours, and about routes that tried to be.
///
/// Its [`Display`](std::fmt::Display) is for people: a line for each object, parent, listener, condition and message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses {
    pub gateway_classes: BTreeMap<ObjectKey, Report<GatewayClassStatus>>,
    pub gateways: BTreeMap<ObjectKey, Report<GatewayStatus>>,
    /// HTTPRoutes and GRPCRoutes. Without `parents` there is nothing to write.
    pub routes: BTreeMap<ObjectKey, Report<RouteStatus>>,
    pub ingresses: BTreeMap<ObjectKey, Report<IngressStatus>>,
}

impl Statuses {
    /// How many messages there are of each kind of object and topic, of those that are counted.
    pub fn topics(&self) -> BTreeMap<(Kind, Topic), usize> {
        let mut counts = BTreeMap::new();
        let mut count = |key: &ObjectKey, messages: &[Message]| {
            for topic in messages.iter().filter_map(|message| message.topic) {
                *counts.entry((key.kind, topic)).or_default() += 1;
            }
        };
        let Self { gateway_classes, gateways, routes, ingresses } = self;
        gateway_classes.iter().for_each(|(key, report)| count(key, &report.messages));
        gateways.iter().for_each(|(key, report)| count(key, &report.messages));
        routes.iter().for_each(|(key, report)| count(key, &report.messages));
        ingresses.iter().for_each(|(key, report)| count(key, &report.messages));
        counts
    }
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
