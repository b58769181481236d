//! RequestHeaderModifier and ResponseHeaderModifier.

use http::{HeaderName, HeaderValue};
use portcullis_routing::step::{Change, HeaderModifier};

use crate::{
    ir::route::InvalidRule,
    objects::{
        checks::{Checks, Path},
        invalid::{invalid, not_served},
        names,
        wire::{RequestHeaderModifier, ResponseHeaderModifier},
    },
};

/// Either modifier: `(name, value)` to set and to add, names to remove.
pub(super) struct Headers {
    set: Vec<(String, String)>,
    add: Vec<(String, String)>,
    remove: Vec<String>,
}

macro_rules! headers_from {
    ($($modifier:ty),*) => {$(
        impl From<$modifier> for Headers {
            fn from(modifier: $modifier) -> Self {
                Self {
                    set: modifier.set.into_iter().flatten().map(|h| (h.name, h.value)).collect(),
                    add: modifier.add.into_iter().flatten().map(|h| (h.name, h.value)).collect(),
                    remove: modifier.remove.unwrap_or_default(),
                }
            }
        }
    )*};
}
headers_from!(RequestHeaderModifier, ResponseHeaderModifier);

pub(super) fn read(
    headers: Headers,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<HeaderModifier, InvalidRule> {
    let set = list(&headers.set, Change::Set, checks, &at.field("set"));
    let add = list(&headers.add, Change::Add, checks, &at.field("add"));
    let remove = names(&headers.remove, checks, &at.field("remove"));
    HeaderModifier::new(set?, add?, remove?).map_err(|forbidden| invalid(at, forbidden.to_string()))
}

fn list(
    headers: &[(String, String)],
    change: Change,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Box<[(HeaderName, HeaderValue)]>, InvalidRule> {
    checks.entries(headers.len(), 0..=16, at);
    checks.unique(headers.iter().map(|(name, _)| name), at, |name| format!("{name} is duplicated"));
    let mut out: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(headers.len());
    let mut refused = None;
    for (i, (name, value)) in headers.iter().enumerate() {
        let at = at.index(i);
        checks.form(name, names::HEADER_NAME, &at.field("name"));
        checks.length(value, 1..=4096, &at.field("value"));
        let read = match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                permitted(change, name, checks, &at.field("name")).map(|name| (name, value))
            }
            _ => not_served(&at.field("value"), "is not a valid header value", checks),
        };
        match read {
            // The first of several names that differ in case counts (HTTPHeader `name`).
            Ok((name, _)) if out.iter().any(|(n, _)| *n == name) => {}
            Ok(header) => out.push(header),
            Err(invalid) => refused = refused.or(Some(invalid)),
        }
    }
    refused.map_or(Ok(out.into()), Err)
}

fn names(names: &[String], checks: &mut Checks, at: &Path<'_>) -> Result<Box<[HeaderName]>, InvalidRule> {
    checks.entries(names.len(), 0..=16, at);
    checks.unique(names, at, |name| format!("{name} is duplicated"));
    // The API server takes any text here.
    let parsed = names.iter().enumerate().map(|(i, name)| match HeaderName::try_from(name) {
        Ok(name) => permitted(Change::Remove, name, checks, &at.index(i)),
        Err(_) => not_served(&at.index(i), "is not a valid header name", checks),
    });
    // All of them, so that each says what is wrong with it.
    let all: Vec<_> = parsed.collect();
    all.into_iter().collect()
}

/// A header that a modifier can change in this way.
fn permitted(
    change: Change,
    name: HeaderName,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<HeaderName, InvalidRule> {
    match change.check(&name) {
        Ok(()) => Ok(name),
        Err(forbidden) => not_served(at, forbidden.to_string(), checks),
    }
}
