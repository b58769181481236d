//! Translates routes: to which listeners they attach, and what they get there, entries or whole streams.

mod attach;
mod filters;
pub(super) mod grpc;
pub(super) mod http;
mod rules;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{Entry, Precedence};

use super::{
    AttachPoint, Attachment, HostTableKey, Listeners, PolicyUse, PolicyUser, Pools, Reader, StreamClaims,
    Translated, backend_refs::Connecting,
};
use crate::{
    ir::{ObjectKey, Route},
    status::{self, Message},
};
use attach::Parent;
use rules::{Compile, PlacedMatch, Rules};

pub(crate) use attach::{NotAttached, parent_keys, shared_hosts};
pub(super) use http::spoken as spoken_by_http;
pub(crate) use rules::{InvalidRules, Unresolved};
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
    let groups = groups(route, attached.values());
    let compiled = groups.iter().map(|(connecting, points)| {
        (rules::compile(reader, &pools.backends, patterns, route, connecting), points)
    });
    let compiled: Vec<_> = compiled.collect();
    // What they cannot serve, and what they do not find, is the same in all of them.
    let Some((rules, _)) = compiled.first() else { return Translated { messages, ..Translated::default() } };
    let (invalid, unresolved) = (&rules.invalid, &rules.unresolved);
    let policies = compiled.iter().flat_map(|(rules, points)| policy_uses(rules, &parents, points));
    let policies: BTreeSet<_> = policies.collect();
    let parents = parents.iter().map(|Parent { parent_ref, outcome, .. }| {
        let of_others = |points: &Vec<_>| streams::of_others(reader, others.streams, route, points);
        let outcome = outcome.as_ref().map(of_others).map_err(|error| *error);
        status::route_parent(route, settings, parent_ref, outcome, invalid, unresolved)
    });
    messages.extend(Message::warnings(&route.meta));
    let unserved = attached.values().filter(|point| !point.served);
    messages.extend(
        unserved.map(|point| Message::refused(format!("{} is not served; see its status", point.id))),
    );
    let closed: BTreeSet<_> =
        compiled.iter().flat_map(|(rules, _)| &rules.closed).map(ToString::to_string).collect();
    let closed = closed.into_iter().map(|why| format!("{why}; its share of the requests is rejected"));
    messages.extend(closed.map(Message::refused));
    let (mut attached_entries, mut attached_streams) = (Vec::new(), Vec::new());
    for (rules, points) in &compiled {
        let points = points.iter().copied();
        match route.kind.takes_requests() {
            true => attached_entries.extend(attachments(reader, route, rules, points)),
            false => {
                attached_streams.extend(streams::streams(reader, others.streams, route, rules, points));
            }
        }
    }
    Translated {
        attachments: attached_entries,
        streams: attached_streams,
        policies: policies.into_iter().collect(),
        parents: parents.collect(),
        attached: if invalid.all { Vec::new() } else { attached.keys().cloned().collect() },
        messages,
        ours: true,
    }
}

/// The listeners of a route, those together from which backends are connected to in the same way; one group without any
/// if it has none.
fn groups<'p>(
    route: &Route,
    points: impl Iterator<Item = &'p Arc<AttachPoint>>,
) -> Vec<(Connecting, Vec<&'p Arc<AttachPoint>>)> {
    let mut groups: Vec<(Connecting, Vec<_>)> = Vec::new();
    for point in points {
        let connecting = Connecting::from(point, route);
        match groups.iter_mut().find(|(known, _)| *known == connecting) {
            Some((_, points)) => points.push(point),
            None => groups.push((connecting, vec![point])),
        }
    }
    if groups.is_empty() {
        groups.push((Connecting::default(), Vec::new()));
    }
    groups
}

/// The policies that concern the backends of rules, each with the Gateways of these listeners.
fn policy_uses(rules: &Rules, parents: &[Parent<'_>], points: &[&Arc<AttachPoint>]) -> Vec<PolicyUse> {
    if rules.policies.is_empty() {
        return Vec::new();
    }
    let is_one = |point: &Arc<AttachPoint>| point.served && points.iter().any(|one| one.id == point.id);
    let attached = parents.iter().filter(|parent| parent.outcome.iter().flatten().any(is_one));
    let gateways: BTreeSet<_> = attached.map(|parent| &parent.gateway).collect();
    let of_policy = |policy: &ObjectKey| {
        let uses = gateways.iter().map(|gateway| (policy.clone(), PolicyUser::Gateway((*gateway).clone())));
        uses.collect::<Vec<_>>()
    };
    rules.policies.iter().flat_map(of_policy).collect()
}

fn attachments<'p>(
    reader: &Reader<'_>,
    route: &Route,
    rules: &Rules,
    points: impl Iterator<Item = &'p Arc<super::AttachPoint>>,
) -> Vec<Attachment> {
    let served = points.filter(|point| point.served);
    let served: Vec<_> = served.filter_map(|point| Some((point.slot.as_ref()?, point))).collect();
    let mut hosts: Vec<_> = attach::own_hosts(route).iter().collect();
    hosts.sort();
    hosts.dedup();
    let entries = if served.is_empty() { Arc::default() } else { entries_of(route, rules) };
    let mut attachments = Vec::with_capacity(served.len());
    if entries.is_empty() {
        return attachments;
    }
    for host in hosts {
        let serves = |point| attach::serves(reader, point, route, host).is_some_and(|serves| serves.is_ok());
        for (at, _) in served.iter().filter(|(_, point)| serves(point)) {
            let slot = HostTableKey { at: Arc::clone(at), host: host.clone() };
            attachments.push(Attachment { slot, entries: Arc::clone(&entries) });
        }
    }
    attachments
}

fn entries_of(route: &Route, rules: &Rules) -> Arc<[Entry]> {
    let name: Arc<str> = [route.meta.namespace(), "/", route.meta.name()].concat().into();
    let name = &name;
    let entries = rules.compiled.iter().flat_map(|compiled| {
        compiled.matches.iter().map(move |PlacedMatch { position, written, served }| Entry {
            precedence: Precedence::of(written, route.meta.created, Arc::clone(name), *position),
            route_match: Arc::clone(served),
            rule: Arc::clone(&compiled.rule),
        })
    });
    entries.collect()
}
