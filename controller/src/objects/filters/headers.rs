//! RequestHeaderModifier and ResponseHeaderModifier.

use http::{HeaderName, HeaderValue};
use portcullis_routing::step::HeaderModifier;

use crate::{
    ir::route::InvalidRule,
    objects::{
        checks::{Checks, Path},
        names,
        routes::not_served,
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
    let set = list(&headers.set, checks, &at.field("set"));
    let add = list(&headers.add, checks, &at.field("add"));
    let remove = names(&headers.remove, checks, &at.field("remove"));
    Ok(HeaderModifier { set: set?, add: add?, remove: remove? })
}

fn list(
    headers: &[(String, String)],
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Box<[(HeaderName, HeaderValue)]>, InvalidRule> {
    checks.entries(headers.len(), 0..=16, at);
    checks.unique(headers.iter().map(|(name, _)| name), at, |name| format!("{name} stands here twice"));
    let mut out: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(headers.len());
    let mut invalid = None;
    for (i, (name, value)) in headers.iter().enumerate() {
        let at = at.index(i);
        checks.form(name, names::HEADER_NAME, &at.field("name"));
        checks.length(value, 1..=4096, &at.field("value"));
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            // The first of several names that differ in case counts (HTTPHeader `name`).
            (Ok(name), Ok(_)) if out.iter().any(|(n, _)| *n == name) => {}
            (Ok(name), Ok(value)) => out.push((name, value)),
            _ => invalid = invalid.or(Some(not_served(&at.field("value"), "is no header value", checks))),
        }
    }
    invalid.unwrap_or(Ok(out.into()))
}

fn names(names: &[String], checks: &mut Checks, at: &Path<'_>) -> Result<Box<[HeaderName]>, InvalidRule> {
    checks.entries(names.len(), 0..=16, at);
    checks.unique(names, at, |name| format!("{name} stands here twice"));
    // The API server takes any text here.
    let parsed = names.iter().enumerate().map(|(i, name)| {
        HeaderName::try_from(name).or_else(|_| not_served(&at.index(i), "is no header name", checks))
    });
    parsed.collect()
}
