//! Which listeners a route's `parentRefs` reach.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::HostPattern;

use crate::{
    ir::{
        Kind, ObjectKey, Route,
        route::{ParentKind, ParentRef},
    },
    status::Message,
    translate::{AttachPoint, HostRefusal, ListenerState, Listeners, Reader},
};

/// A parent that is ours, and whether the route attaches to it.
pub(super) struct Parent<'r> {
    pub(super) parent_ref: &'r Arc<ParentRef>,
    /// The Gateway that the parent is, or that of the ListenerSet.
    pub(super) gateway: ObjectKey,
    /// At least one listener.
    pub(super) outcome: Result<Vec<Arc<AttachPoint>>, NotAttached>,
}

/// Why no listener of a parent takes a route; in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAttached {
    #[error("no listener of the parent has the sectionName and port of this parentRef")]
    NoMatchingParent,
    #[error("no listener of the parent allows routes of this kind from this namespace")]
    NotAllowedByListeners,
    #[error("no listener of the parent has a hostname in common with this route")]
    NoMatchingListenerHostname,
    #[error("the namespace of this route may serve none of its hostnames at the shared addresses")]
    HostnamesRefused,
}

impl NotAttached {
    /// The reason of the route's `Accepted`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoMatchingParent => "NoMatchingParent",
            Self::NotAllowedByListeners | Self::HostnamesRefused => "NotAllowedByListeners",
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
        let Some(key) = parent(route, parent_ref) else {
            messages.push(Message::refused(format!(
                "parentRef {} {} is not a supported kind of parent; use a Gateway or a ListenerSet",
                parent_ref.kind.kind(),
                parent_ref.name
            )));
            continue;
        };
        match listeners.of_parent(reader, &key) {
            Some(of_parent) => {
                let parent = (&*key.namespace, of_parent);
                let outcome = attach(reader, parent, route, parent_ref, &mut messages);
                let gateway = listeners.gateway_of(&key);
                parents.push(Parent { parent_ref, gateway, outcome });
            }
            None if reader.has_parent(&key) => {} // another controller's
            None => messages.push(Message::refused(format!("parentRef: {key} not found"))),
        }
    }
    (parents, messages)
}

fn attach(
    reader: &Reader<'_>,
    (namespace, listeners): (&str, &[ListenerState]),
    route: &Route,
    parent_ref: &ParentRef,
    messages: &mut Vec<Message>,
) -> Result<Vec<Arc<AttachPoint>>, NotAttached> {
    let mut points: Vec<_> = listeners.iter().map(|listener| &listener.point).collect();
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
    let from = route.meta.namespace();
    keep(
        &mut |point| point.kinds.contains(&route.kind) && reader.allows(&point.namespaces, namespace, from),
        NotAttached::NotAllowedByListeners,
    )?;
    keep(
        &mut |point| {
            route.hostnames.is_empty() || route.hostnames.iter().any(|host| host.intersects(&point.hostname))
        },
        NotAttached::NoMatchingListenerHostname,
    )?;
    let refusals = points.iter().flat_map(|point| {
        own_hosts(route).iter().filter_map(|host| serves(reader, point, route, host)?.err())
    });
    let refusals: BTreeSet<_> = refusals.map(|why| format!("not served: {why}")).collect();
    messages.extend(refusals.into_iter().map(Message::refused));
    points.retain(|point| hosts_at(reader, point, route).next().is_some());
    if points.is_empty() {
        return Err(NotAttached::HostnamesRefused);
    }
    Ok(points.into_iter().cloned().collect())
}

/// The hostnames that a route names; one that names none serves every host.
pub(super) fn own_hosts(route: &Route) -> &[HostPattern] {
    // A refused route does not serve every host just because its hostnames could not be read.
    if route.hostnames.is_empty() && route.refused.is_none() { &[HostPattern::Any] } else { &route.hostnames }
}

/// The hostnames of a route that it serves at a listener.
fn hosts_at<'r>(
    reader: &Reader<'_>,
    point: &AttachPoint,
    route: &'r Route,
) -> impl Iterator<Item = &'r HostPattern> {
    own_hosts(route)
        .iter()
        .filter(|host| serves(reader, point, route, host).is_some_and(|serves| serves.is_ok()))
}

/// Whether a route may serve a hostname of its own at a listener; `None` where the listener has no host in common with
/// it.
pub(super) fn serves(
    reader: &Reader<'_>,
    point: &AttachPoint,
    route: &Route,
    host: &HostPattern,
) -> Option<Result<(), HostRefusal>> {
    let served = host.intersects(&point.hostname).then(|| common(host, &point.hostname))?;
    Some(if point.shared && point.has_hostnames() {
        reader.may_serve(route.meta.namespace(), served)
    } else {
        Ok(())
    })
}

/// The more specific of two hostnames that have hosts in common.
fn common<'h>(one: &'h HostPattern, other: &'h HostPattern) -> &'h HostPattern {
    if one.covers(other) { other } else { one }
}

/// Returns the Gateways and ListenerSets that a route names as its parents.
pub(crate) fn parent_keys(route: &Route) -> impl Iterator<Item = ObjectKey> + '_ {
    route.parents.iter().filter_map(|parent_ref| parent(route, parent_ref))
}

/// Returns the object that a `parentRef` names; `None` for a kind that is not served.
fn parent(route: &Route, parent: &ParentRef) -> Option<ObjectKey> {
    let kind = match &parent.kind {
        ParentKind::Gateway => Kind::Gateway,
        ParentKind::ListenerSet => Kind::ListenerSet,
        ParentKind::Other(_) => return None,
    };
    let namespace = parent.namespace.as_deref().unwrap_or(route.meta.namespace());
    Some(ObjectKey::new(kind, namespace, &parent.name))
}

/// The hosts that a route serves at the shared addresses.
pub(crate) fn shared_hosts(
    reader: &Reader<'_>,
    listeners: &Listeners,
    route: &Route,
) -> BTreeSet<HostPattern> {
    let (parents, _) = parents(reader, listeners, route);
    let points = parents.iter().flat_map(|parent| parent.outcome.iter().flatten());
    // Otherwise anybody could claim hostnames by a ListenerSet that no Gateway allows.
    let points = points.filter(|point| point.shared && point.is_allowed);
    points
        .flat_map(|point| hosts_at(reader, point, route).map(|host| common(host, &point.hostname).clone()))
        .collect()
}
