//! Conditions that HTTPRoute and GRPCRoute share: texts by value or by regular expression, headers.

use http::HeaderName;
use portcullis_routing::{HeaderMatch, RouteMatch, ValueMatch, pattern::Source};

use super::{
    checks::{Checks, Path},
    invalid::not_served,
    names,
};
use crate::ir::route::{InvalidRule, Regex, WrittenMatch};

/// A condition on a header as it is written.
pub(crate) struct WrittenHeader {
    pub(crate) name: String,
    pub(crate) is_regex: bool,
    pub(crate) value: String,
}

/// A match that was read, as a rule has it.
pub(crate) fn written(
    read: Result<RouteMatch<Regex>, InvalidRule>,
) -> Result<WrittenMatch, Box<InvalidRule>> {
    read.map(WrittenMatch::from).map_err(Box::new)
}

/// Reads the conditions on headers.
pub(crate) fn headers(
    written: Vec<WrittenHeader>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Box<[HeaderMatch<Regex>]>, InvalidRule> {
    checks.entries(written.len(), 0..=16, at);
    checks.unique(written.iter().map(|h| &h.name), at, |name| format!("{name} is duplicated"));
    let mut out: Vec<HeaderMatch<Regex>> = Vec::with_capacity(written.len());
    let mut invalid = None;
    for (i, header) in written.into_iter().enumerate() {
        let at = at.index(i);
        checks.form(&header.name, names::HEADER_NAME, &at.field("name"));
        checks.length(&header.value, 1..=4096, &at.field("value"));
        let Ok(name) = HeaderName::try_from(&header.name) else { continue };
        match value(header.is_regex, header.value, checks, &at.field("value")) {
            // The first of several names that differ in case counts (HTTPHeaderMatch `name`).
            Ok(_) if out.iter().any(|m| m.name == name) => {}
            Ok(value) => out.push(HeaderMatch { name, value }),
            Err(error) => invalid = invalid.or(Some(error)),
        }
    }
    invalid.map_or(Ok(out.into()), Err)
}

/// A text to compare with or a regular expression to fit.
pub(crate) fn value(
    is_regex: bool,
    text: String,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<ValueMatch<Regex>, InvalidRule> {
    if is_regex {
        regex(&text, checks, at).map(ValueMatch::Regex)
    } else {
        Ok(ValueMatch::Exact(text.into()))
    }
}

/// A regular expression over a whole text.
pub(crate) fn regex(text: &str, checks: &mut Checks, at: &Path<'_>) -> Result<Regex, InvalidRule> {
    match checks.patterns.add(text) {
        Ok(source) => Ok(Regex { source, field: at.to_string().into() }),
        Err(refused) => not_served(at, refused.to_string(), checks),
    }
}

/// Whether a part of a regular expression is one by itself.
pub(crate) fn part_of_regex(text: &str, checks: &mut Checks, at: &Path<'_>) -> Result<(), InvalidRule> {
    match Source::parse(text) {
        Ok(_) => Ok(()),
        Err(invalid) => not_served(at, invalid.to_string(), checks),
    }
}
