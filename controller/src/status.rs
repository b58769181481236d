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

use crate::ir::ObjectKey;

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
