//! Translates TLSRoutes, TCPRoutes and UDPRoutes. Their single rule takes whole streams or datagrams, so only one route
//! can get those of a listener, or of a server name at a listener.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{HostPattern, Rule};

use super::{
    attach::{self, own_hosts, serves},
    rules::Rules,
};
use crate::{
    ir::Route,
    translate::{AttachPoint, FirstOf, HostTableKey, Listeners, Reader, StreamClaims, StreamPlace},
};

/// Returns the places that a route claims: the hostnames that it may serve, at each listener that it is attached to,
/// whether the listener is served or not. A route that takes requests, or is refused, claims none.
pub fn places(reader: &Reader<'_>, listeners: &Listeners, route: &Route) -> Vec<StreamPlace> {
    if route.kind.takes_requests() || route.refused.is_some() {
        return Vec::new();
    }
    let (parents, _) = attach::parents(reader, listeners, route);
    let points = parents.iter().flat_map(|parent| parent.outcome.iter().flatten());
    let places: BTreeSet<_> = points
        .flat_map(|point| hosts(reader, point, route).map(|host| (Arc::clone(&point.id), host.clone())))
        .collect();
    places.into_iter().collect()
}

/// Returns the slots that a route gets at the listeners that are served, each with the route's rule.
pub(super) fn streams<'p>(
    reader: &Reader<'_>,
    claims: &StreamClaims,
    route: &Route,
    rules: &Rules,
    points: impl Iterator<Item = &'p Arc<AttachPoint>>,
) -> Vec<(HostTableKey, Arc<Rule>)> {
    let Some(compiled) = rules.compiled.first() else { return Vec::new() };
    let mut streams = Vec::new();
    for point in points.filter(|point| point.served) {
        let Some(at) = &point.slot else { continue };
        let has = |host: &&HostPattern| {
            claims.has(&route.meta.key, &(Arc::clone(&point.id), (*host).clone())).is_ok()
        };
        // A route may name a hostname twice.
        let hosts: BTreeSet<_> = hosts(reader, point, route).filter(has).collect();
        let slots = hosts.into_iter().map(|host| HostTableKey { at: Arc::clone(at), host: host.clone() });
        streams.extend(slots.map(|slot| (slot, Arc::clone(&compiled.rule))));
    }
    streams
}

/// Returns a sentence about the places that a route claims and other routes get; `None` if there are none.
pub(super) fn of_others(
    reader: &Reader<'_>,
    claims: &StreamClaims,
    route: &Route,
    points: &[Arc<AttachPoint>],
) -> Option<String> {
    if route.kind.takes_requests() {
        return None;
    }
    let mut lost = FirstOf::default();
    for point in points {
        for host in hosts(reader, point, route) {
            let Err(taken) = claims.has(&route.meta.key, &(Arc::clone(&point.id), host.clone())) else {
                continue;
            };
            lost.add(|| match host {
                HostPattern::Any => format!("listener {} ({taken})", point.section),
                host => format!("{host} at listener {} ({taken})", point.section),
            });
        }
    }
    (lost.count > 0).then(|| format!("not served: {lost}"))
}

/// Returns the hostnames of a route that it may serve at a listener.
fn hosts<'r>(
    reader: &Reader<'_>,
    point: &AttachPoint,
    route: &'r Route,
) -> impl Iterator<Item = &'r HostPattern> {
    let may = |host: &&HostPattern| serves(reader, point, route, host).is_some_and(|serves| serves.is_ok());
    own_hosts(route).iter().filter(may)
}
