//! Which listeners a route's `parentRefs` reach.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ir::{
        Kind, ObjectKey, Route,
        gateway::AllowedNamespaces,
        route::{ParentKind, ParentRef},
    },
    status::Message,
    translate::{AttachPoint, GatewayState, Listeners, Reader},
};

/// A parent that is ours, and how far the route came there.
pub(super) struct Parent<'r> {
    pub(super) parent_ref: &'r Arc<ParentRef>,
    /// At least one listener.
    pub(super) outcome: Result<Vec<Arc<AttachPoint>>, NotAttached>,
}

/// Why no listener of a parent takes a route; in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAttached {
    #[error("the Gateway has no listener with the sectionName and port of this parentRef")]
    NoMatchingParent,
    #[error("no listener of the Gateway allows routes of this kind from this namespace")]
    NotAllowedByListeners,
    #[error("no listener of the Gateway has a hostname in common with this route")]
    NoMatchingListenerHostname,
}

impl NotAttached {
    /// The reason of the route's `Accepted`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoMatchingParent => "NoMatchingParent",
            Self::NotAllowedByListeners => "NotAllowedByListeners",
            Self::NoMatchingListenerHostname => "NoMatchingListenerHostname",
        }
    }
}

pub(super) fn parents<'r>(
    reader: &Reader<'_>,
    listeners: &Listeners,
    route: &'r Route,
) -> (Vec<Parent<'r>>, Vec<Message>) {
    let (mut parents, mut messages) = (Vec::new(), Vec::new());
    for parent_ref in &route.parents {
        if let ParentKind::Other(other) = &parent_ref.kind {
            messages.push(Message::refused(format!(
                "parentRef {} {} is not a kind of parent that is served; use a Gateway",
                other.kind, parent_ref.name
            )));
            continue;
        }
        let namespace = parent_ref.namespace.as_deref().unwrap_or(route.meta.namespace());
        let key = ObjectKey::new(Kind::Gateway, namespace, &parent_ref.name);
        match listeners.of_gateway(reader, &key) {
            Some(gateway) => {
                let outcome = attach(reader, gateway, route, parent_ref);
                parents.push(Parent { parent_ref, outcome });
            }
            None if reader.has_gateway(&key) => {} // another controller's
            None => messages.push(Message::refused(format!("parentRef: {key} not found"))),
        }
    }
    (parents, messages)
}

fn attach(
    reader: &Reader<'_>,
    gateway: &GatewayState,
    route: &Route,
    parent_ref: &ParentRef,
) -> Result<Vec<Arc<AttachPoint>>, NotAttached> {
    let mut points: Vec<_> = gateway.listeners.iter().map(|listener| &listener.point).collect();
    let mut keep = |wanted: &mut dyn FnMut(&AttachPoint) -> bool, otherwise| {
        points.retain(|point| wanted(point));
        if points.is_empty() { Err(otherwise) } else { Ok(()) }
    };
    keep(
        &mut |point| {
            parent_ref.section.as_ref().is_none_or(|section| *section == point.section)
                && parent_ref.port.is_none_or(|port| port == point.port)
        },
        NotAttached::NoMatchingParent,
    )?;
    let from = gateway.gateway.meta.namespace();
    keep(
        &mut |point| point.kinds.contains(&route.kind) && allowed(reader, point, from, route),
        NotAttached::NotAllowedByListeners,
    )?;
    keep(
        &mut |point| {
            route.hostnames.is_empty() || route.hostnames.iter().any(|host| host.intersects(&point.hostname))
        },
        NotAttached::NoMatchingListenerHostname,
    )?;
    Ok(points.into_iter().cloned().collect())
}

fn allowed(reader: &Reader<'_>, point: &AttachPoint, gateway_namespace: &str, route: &Route) -> bool {
    let namespace = route.meta.namespace();
    match &point.namespaces {
        AllowedNamespaces::Same => namespace == gateway_namespace,
        AllowedNamespaces::All => true,
        AllowedNamespaces::None => false,
        AllowedNamespaces::Selector(selector) => {
            match reader.namespace(namespace) {
                Some(found) => selector.matches(&found.labels),
                // A folder need not hold the Namespace; the one label that the API server gives it is known.
                None => selector
                    .matches(&BTreeMap::from([("kubernetes.io/metadata.name".into(), namespace.into())])),
            }
        }
    }
}
