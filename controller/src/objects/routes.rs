//! What HTTPRoute and GRPCRoute have alike: hostnames, rule names, the number of matches.

use portcullis_routing::HostPattern;

use super::{
    checks::{Checks, Path},
    names,
};
use crate::{ir::route::InvalidRule, problem::Topic};

/// `spec.hostnames`.
pub(crate) fn hostnames(hostnames: &[String], checks: &mut Checks, at: &Path<'_>) -> Box<[HostPattern]> {
    checks.entries(hostnames.len(), 0..=16, at);
    let mut patterns = Vec::with_capacity(hostnames.len());
    for (i, text) in hostnames.iter().enumerate() {
        checks.form(text, names::HOSTNAME, &at.index(i));
        patterns.extend(HostPattern::parse(text).ok());
    }
    patterns.into()
}

/// The limits and names of `spec.rules`.
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

/// What the API server accepts and cannot be served.
pub(crate) fn invalid(at: &Path<'_>, message: impl Into<Box<str>>) -> InvalidRule {
    InvalidRule { field: at.to_string().into(), message: message.into() }
}

/// The same, with a warning beside it: a route's condition will say it too.
pub(crate) fn not_served<T>(
    at: &Path<'_>,
    message: impl Into<Box<str>>,
    checks: &mut Checks,
) -> Result<T, InvalidRule> {
    let rule = invalid(at, message);
    checks.warning_of(Topic::Condition, at, rule.message.clone());
    Err(rule)
}

/// A value that is not known here: a later release of the API may permit it.
pub(crate) fn unknown_here<T>(
    at: &Path<'_>,
    message: impl Into<Box<str>>,
    checks: &mut Checks,
) -> Result<T, InvalidRule> {
    if checks.tolerates_unknown_values() {
        return not_served(at, message, checks);
    }
    let rule = invalid(at, message);
    checks.error(at, rule.message.clone());
    Err(rule)
}
