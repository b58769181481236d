//! Translates routes: to which listeners they attach, and what they get there, entries or whole streams.

mod attach;
mod filters;
mod grpc;
mod http;
mod rules;
mod streams;

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{Entry, HostPattern, Precedence, RouteKind, RouteMatch};

use super::{Attachment, HostTableKey, Listeners, Pools, Reader, StreamClaims, Translated};
use crate::{
    ir::Route,
    status::{self, Message},
};
use attach::Parent;
use rules::{Compile, Rules};

pub(crate) use attach::{NotAttached, parent_keys, shared_hosts};
pub(super) use http::spoken as spoken_by_http;
pub(crate) use rules::{InvalidRules, Unresolved, tls_towards};
pub use streams::places as stream_places;

/// What the translation of a route depends on in other routes.
#[derive(Clone, Copy, Debug)]
pub struct OtherRoutes<'a> {
    /// Whether the regular expressions of the route are within the budget of its namespace ([`super::PatternQuotas`]).
    pub patterns_granted: bool,
    pub streams: &'a StreamClaims,
}

/// Returns whether a route is attached to a listener. Only then are its regular expressions compiled and counted
/// against the budget of its namespace.
pub fn is_attached(reader: &Reader<'_>, listeners: &Listeners, route: &Route) -> bool {
    let (parents, _) = attach::parents(reader, listeners, route);
    parents.iter().any(|parent| parent.outcome.is_ok())
}

/// Translates one route at these listeners. Total: a route that cannot be served affects only its own traffic.
pub fn route(
    reader: &Reader<'_>,
    listeners: &Listeners,
    pools: &Pools,
    others: OtherRoutes<'_>,
    route: &Route,
) -> Translated {
    let (parents, mut messages) = attach::parents(reader, listeners, route);
    if parents.is_empty() {
        return Translated { messages, ..Translated::default() };
    }
    let settings = reader.settings();
    if let Some(why) = &route.refused {
        let parents = parents.iter();
        let parents =
            parents.map(|parent| status::refused_route_parent(route, settings, parent.parent_ref, why));
        return Translated { parents: parents.collect(), messages, ours: true, ..Translated::default() };
    }
    let mut attached = BTreeMap::new();
    for point in parents.iter().flat_map(|parent| parent.outcome.iter().flatten()) {
        attached.insert(Arc::clone(&point.id), Arc::clone(point));
    }
    let patterns = match (attached.is_empty(), others.patterns_granted) {
        (true, _) => Compile::Nothing,
        (false, true) => Compile::Patterns(&pools.patterns),
        (false, false) => Compile::OverBudget(settings.pattern_budget),
    };
    let rules = rules::compile(reader, &pools.backends, patterns, route);
    let parents = parents.iter().map(|Parent { parent_ref, outcome }| {
        let of_others = |points: &Vec<_>| streams::of_others(reader, others.streams, route, points);
        let outcome = outcome.as_ref().map(of_others).map_err(|error| *error);
        status::route_parent(route, settings, parent_ref, outcome, &rules.invalid, &rules.unresolved)
    });
    messages.extend(Message::warnings(&route.meta));
    let unserved = attached.values().filter(|point| !point.served);
    messages.extend(
        unserved.map(|point| Message::refused(format!("{} is not served; its status says why", point.id))),
    );
    let (attachments, streams) = match route.kind.takes_requests() {
        true => (attachments(reader, route, &rules, attached.values()), Vec::new()),
        false => (Vec::new(), streams::streams(reader, others.streams, route, &rules, attached.values())),
    };
    Translated {
        attachments,
        streams,
        parents: parents.collect(),
        attached: if rules.invalid.all { Vec::new() } else { attached.into_keys().collect() },
        messages,
        ours: true,
    }
}

fn attachments<'p>(
    reader: &Reader<'_>,
    route: &Route,
    rules: &Rules,
    points: impl Iterator<Item = &'p Arc<super::AttachPoint>>,
) -> Vec<Attachment> {
    let name: Arc<str> = format!("{}/{}", route.meta.namespace(), route.meta.name()).into();
    let served = points.filter(|point| point.served);
    let served: Vec<_> = served.filter_map(|point| Some((point.slot.as_ref()?, point))).collect();
    let mut hosts: Vec<_> = attach::own_hosts(route).iter().collect();
    hosts.sort();
    hosts.dedup();
    let mut attachments = Vec::with_capacity(served.len());
    for host in hosts {
        let serves = |point| attach::serves(reader, point, route, host).is_some_and(|serves| serves.is_ok());
        let mut points = served.iter().filter(|(_, point)| serves(point)).peekable();
        let mut entries =
            if points.peek().is_some() { entries_of(route, rules, host, &name) } else { Vec::new() };
        while let Some((at, _)) = points.next().filter(|_| !entries.is_empty()) {
            // The last one takes them, and as a rule it is the first.
            let entries =
                if points.peek().is_some() { entries.clone() } else { std::mem::take(&mut entries) };
            let slot = HostTableKey { at: Arc::clone(at), host: host.clone() };
            attachments.push(Attachment { slot, entries, implied: Vec::new() });
        }
    }
    attachments
}

fn entries_of(route: &Route, rules: &Rules, host: &HostPattern, name: &Arc<str>) -> Vec<Entry> {
    let entries = rules.compiled.iter().flat_map(|compiled| {
        compiled.matches.iter().map(move |(position, route_match)| Entry {
            precedence: Precedence::of(host, route_match, route.meta.created, Arc::clone(name), *position),
            route_match: finish(route.kind, route_match),
            rule: Arc::clone(&compiled.rule),
        })
    });
    entries.collect()
}

/// Adds the conditions that the kind of route implies. They do not count in the order of precedence.
fn finish(kind: RouteKind, route_match: &RouteMatch) -> RouteMatch {
    match kind {
        RouteKind::Grpc => grpc::only_grpc(route_match),
        RouteKind::Http | RouteKind::Ingress | RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => {
            route_match.clone()
        }
    }
}
