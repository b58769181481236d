//! Reads what several kinds of routes have in common: hostnames, rule names, the number of matches, rules of streams.

use portcullis_routing::HostPattern;

use super::{
    backends,
    checks::{Checks, Limits, Path},
    names, wire,
};
use crate::ir::route::RouteRule;

/// Reads `spec.hostnames`.
pub(crate) fn hostnames(
    hostnames: &[String],
    limits: Limits,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[HostPattern]> {
    checks.entries(hostnames.len(), limits, at);
    let mut patterns = Vec::with_capacity(hostnames.len());
    for (i, text) in hostnames.iter().enumerate() {
        checks.form(text, names::HOSTNAME, &at.index(i));
        patterns.extend(HostPattern::parse(text).ok());
    }
    patterns.into()
}

/// Reads `spec.rules` of a TLSRoute, TCPRoute or UDPRoute: exactly one rule, which takes all traffic of the route.
pub(crate) fn stream_rules(
    rules: Vec<wire::StreamRule>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[RouteRule]> {
    checks.entries(rules.len(), 1..=1, at);
    check_rules(rules.iter().map(|rule| rule.name.as_deref()), std::iter::empty(), checks, at);
    let read = rules.into_iter().enumerate().map(|(i, rule)| RouteRule {
        name: rule.name.map(Into::into),
        matches: Box::default(),
        filters: Box::default(),
        backends: backends::plain(rule.backend_refs, checks, &at.index(i).field("backendRefs")),
        timeouts: None,
        retry: None,
        persistence: None,
    });
    read.collect()
}

/// Checks the limits and names of `spec.rules`.
pub(crate) fn check_rules<'r>(
    names: impl Iterator<Item = Option<&'r str>>,
    matches: impl Iterator<Item = usize>,
    checks: &mut Checks,
    at: &Path<'_>,
) {
    let mut seen = std::collections::BTreeSet::new();
    for (i, name) in names.enumerate() {
        let Some(name) = name else { continue };
        checks.form(name, names::SUBDOMAIN, &at.index(i).field("name"));
        if !seen.insert(name) {
            checks.error(&at.index(i).field("name"), "must be unique within the route");
        }
    }
    let mut total = 0;
    for (i, count) in matches.enumerate() {
        checks.entries(count, 0..=64, &at.index(i).field("matches"));
        total += count;
    }
    if total > 128 {
        checks.error(at, format!("must have at most 128 matches in all rules together, has {total}"));
    }
}
