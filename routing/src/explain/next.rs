//! The rules beside the one that takes a request: which comes next, and which nearly took it.

use std::{cmp::Reverse, sync::Arc};

use super::{ExplainedRule, NearestMiss, NextRule, text};
use crate::{Asked, Entry, HostPattern, Listener, Precedence, Request, RequestHead, Selected};

/// An entry, and where it is found.
struct Candidate<'t> {
    listener: &'t Listener,
    host: &'t HostPattern,
    entry: &'t Entry,
}

/// The rule that takes the request, in words.
pub(super) fn rule(
    selected: &Selected<'_>,
    listener: &Listener,
    request: &Request<'_>,
) -> Option<ExplainedRule> {
    let mut all = matching(listener, request);
    all.find(|candidate| is(candidate, selected)).map(|candidate| text::rule(candidate.host, candidate.entry))
}

/// The rule that would take the request if that one did not.
pub(super) fn next(selected: &Selected<'_>, listener: &Listener, request: &Request<'_>) -> Option<NextRule> {
    let mut all = matching(listener, request).skip_while(|candidate| !is(candidate, selected));
    let first = all.next()?;
    let next = all.find(|candidate| !Arc::ptr_eq(&candidate.entry.rule, selected.rule))?;
    let because = match std::ptr::eq(first.listener, next.listener) {
        true => reason(&first, &next),
        false => "routes of the Gateway take precedence over the Ingresses of the host".to_owned(),
    };
    Some(NextRule { rule: text::rule(next.host, next.entry), because })
}

/// The rule that nearly took the request: the path fits, and the fewest other conditions do not hold; where no path
/// fits, the one that shares the most of it.
pub(super) fn nearest(listener: &Listener, request: &Request<'_>) -> Option<NearestMiss> {
    let best = candidates(listener, request.host).filter_map(|candidate| {
        let path = path(candidate.listener, request)?;
        let head = head(request, &path);
        let fits = candidate.entry.route_match.path.matches(&path);
        let shared = text::path(&candidate.entry.route_match.path).bytes().zip(path.bytes());
        let shared = shared.take_while(|(a, b)| a == b).count();
        let missing = candidate.entry.route_match.missing(&head);
        Some(((fits, Reverse(missing.len()), shared), candidate, missing))
    });
    // The first of equals, which is the first in the order of precedence.
    let (_, candidate, missing) = best.reduce(|best, other| if other.0 > best.0 { other } else { best })?;
    Some(NearestMiss { rule: text::rule(candidate.host, candidate.entry), missing })
}

fn is(candidate: &Candidate<'_>, selected: &Selected<'_>) -> bool {
    Arc::ptr_eq(&candidate.entry.rule, selected.rule)
        && std::ptr::eq(&raw const candidate.entry.route_match.path, selected.path)
}

/// All entries that fit, in the order in which they are asked.
fn matching<'t>(listener: &'t Listener, request: &Request<'_>) -> impl Iterator<Item = Candidate<'t>> {
    candidates(listener, request.host).filter(move |candidate| {
        path(candidate.listener, request)
            .is_some_and(|path| candidate.entry.route_match.matches(&head(request, &path)))
    })
}

/// All entries of the hosts that fit, those of the listener behind at last.
fn candidates<'t>(listener: &'t Listener, host: &str) -> impl Iterator<Item = Candidate<'t>> {
    let listeners =
        std::iter::successors(Some(listener), |listener| listener.http_routes()?.fallback.as_deref());
    listeners.flat_map(move |listener| {
        let hosts = listener.http_routes().into_iter().flat_map(|routes| routes.hosts.matches(host));
        let hosts: Vec<_> = hosts.collect();
        hosts.into_iter().flat_map(move |(host, table)| {
            table.entries().iter().map(move |entry| Candidate { listener, host, entry })
        })
    })
}

/// The path in the reading of a listener.
fn path(listener: &Listener, request: &Request<'_>) -> Option<String> {
    match request.asked {
        Asked::Resource(target) => Some(target.path.read(listener.id.reading()).ok()?.into_owned()),
        Asked::Server => None,
    }
}

fn head<'h>(request: &Request<'h>, path: &'h str) -> RequestHead<'h> {
    let query = match request.asked {
        Asked::Resource(target) => target.query,
        Asked::Server => None,
    };
    RequestHead { method: request.method, path, query, headers: request.headers }
}

/// The kind of a prefix ([`Precedence::path_kind`]); what takes every path comes after it.
const PREFIX: u8 = 2;

/// The first of the tie-breaks in which two entries of a listener differ.
fn reason(first: &Candidate<'_>, next: &Candidate<'_>) -> String {
    let is_host_other = first.host != next.host;
    let (first, next): (&Precedence, &Precedence) = (&first.entry.precedence, &next.entry.precedence);
    let both_prefixes = first.path_kind <= PREFIX && next.path_kind <= PREFIX;
    let reasons = [
        (is_host_other, "its route's hostname is more specific"),
        (
            first.path_kind != next.path_kind && !both_prefixes,
            "its kind of path match takes precedence (exact, regular expression, prefix)",
        ),
        (first.path_kind != next.path_kind || first.path_len != next.path_len, "its path is longer"),
        (first.method != next.method, "it matches a method"),
        (first.headers != next.headers, "it matches more headers"),
        (first.query != next.query, "it matches more query parameters"),
        (first.age != next.age, "its object is older"),
        (first.name != next.name, "its object comes first by namespace and name"),
    ];
    let reason = reasons.into_iter().find_map(|(differs, reason)| differs.then_some(reason));
    reason.unwrap_or("it is first in its object").to_owned()
}
