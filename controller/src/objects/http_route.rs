//! HTTPRoute.

use std::{sync::Arc, time::Duration};

use http::Method;
use portcullis_routing::{PathMatch, QueryMatch, Retry, RouteKind, RouteMatch, Timeouts, path::canonicalise};
use serde_json::Value;

use super::{
    backends::{self, ReadBackend},
    checks::{Checks, Path},
    filters::{self, Owner, ReadFilter},
    invalid::invalid,
    matches::{self, WrittenHeader},
    names::{self, quoted},
    parent_refs, part,
    routes::{check_rules, hostnames},
    session_persistence, typed, wire,
};
use crate::ir::{
    Meta, Route,
    route::{InvalidRule, Regex, RouteRule, parse_duration},
};

/// Reads an HTTPRoute.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<Route> {
    let spec: wire::HttpRouteSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let rules = spec.rules.unwrap_or_else(|| vec![wire::HttpRule::default()]);
    let at_rules = at.field("rules");
    checks.entries(rules.len(), 1..=16, &at_rules);
    check_rules(
        rules.iter().map(|r| r.name.as_deref()),
        rules.iter().map(|r| r.matches.as_ref().map_or(1, Vec::len)),
        checks,
        &at_rules,
    );
    part::not_served(spec.use_default_gateways.as_ref(), checks, &at.field("useDefaultGateways"));
    Some(Route {
        meta,
        kind: RouteKind::Http,
        parents: parent_refs::read(spec.parent_refs, checks, &at.field("parentRefs")),
        hostnames: hostnames(&spec.hostnames, 0..=16, checks, &at.field("hostnames")),
        rules: rules.into_iter().enumerate().map(|(i, r)| rule(r, checks, &at_rules.index(i))).collect(),
        patterns: checks.patterns.take(),
        refused: None,
    })
}

fn rule(rule: wire::HttpRule, checks: &mut Checks, at: &Path<'_>) -> RouteRule {
    let (at_matches, at_filters) = (at.field("matches"), at.field("filters"));
    let matches = rule.matches.as_ref().map(|matches| part::read_all(matches, checks, &at_matches));
    let filters = part::read_all(&rule.filters, checks, &at_filters);
    let backends = backends::with_filters(rule.backend_refs, checks, &at.field("backendRefs"));
    check_redirect(&filters, &backends, checks, at);
    check_prefix_replacement(matches.as_deref(), &filters, &backends, checks, at);
    let persistence = rule.session_persistence.map(|part| {
        let at = at.field("sessionPersistence");
        Box::new(part.read(checks, &at).and_then(|written| session_persistence::read(written, checks, &at)))
    });
    let matches = matches.filter(|m| !m.is_empty()).unwrap_or_else(|| vec![Ok(wire::HttpMatch::default())]);
    let matches = matches.into_iter().enumerate();
    RouteRule {
        name: rule.name.map(Into::into),
        matches: matches
            .map(|(i, m)| matches::written(m.and_then(|m| one_match(m, checks, &at_matches.index(i)))))
            .collect(),
        filters: filters::read(filters, Owner::Http, checks, &at_filters),
        backends: backends::read(backends, Owner::Http, checks, &at.field("backendRefs")),
        timeouts: rule.timeouts.and_then(|t| timeouts(&t, checks, &at.field("timeouts")).of_rule()),
        retry: rule.retry.map(|r| Arc::new(retry(&r, checks, &at.field("retry")))),
        persistence,
    }
}

fn check_redirect(filters: &[ReadFilter], backends: &[ReadBackend], checks: &mut Checks, at: &Path<'_>) {
    if !backends.is_empty() && filters.iter().flatten().any(|f| f.request_redirect.is_some()) {
        checks.error(at, "must not have both a RequestRedirect filter and backendRefs");
    }
}

/// A prefix can be replaced only where it is clear which one matched.
fn check_prefix_replacement(
    matches: Option<&[Result<wire::HttpMatch, InvalidRule>]>,
    filters: &[ReadFilter],
    backends: &[ReadBackend],
    checks: &mut Checks,
    at: &Path<'_>,
) {
    let of_backends: Vec<_> = backends.iter().map(|b| filters::replaces_prefix(&b.filters)).collect();
    let of_rule = filters::replaces_prefix(filters);
    // The API server checks backends only where exactly one of them has such a filter; what it accepts is accepted.
    let is_asked = |kind: usize| of_rule[kind] || of_backends.iter().filter(|b| b[kind]).count() == 1;
    if !is_asked(0) && !is_asked(1) {
        return;
    }
    let one_prefix = match matches {
        None => true,
        Some([Ok(one)]) => match &one.path {
            None => true,
            Some(path) => matches!(path.r#type, None | Some(wire::PathType::PathPrefix)),
        },
        // It is unknown what it matches, so it matches no request.
        Some([Err(_)]) => true,
        Some(_) => false,
    };
    checks.require(
        one_prefix,
        at,
        "must have exactly one match, of type PathPrefix, if a filter has replacePrefixMatch",
    );
}

fn one_match(
    written: wire::HttpMatch,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<RouteMatch<Regex>, InvalidRule> {
    let path = match written.path {
        Some(written) => path(written, checks, &at.field("path")),
        None => Ok(PathMatch::Prefix("".into())),
    };
    let headers = written.headers.unwrap_or_default().into_iter().map(|h| WrittenHeader {
        name: h.name,
        is_regex: h.r#type == Some(wire::HeaderType::RegularExpression),
        value: h.value,
    });
    let headers = matches::headers(headers.collect(), checks, &at.field("headers"));
    let query = query(written.query_params.unwrap_or_default(), checks, &at.field("queryParams"));
    Ok(RouteMatch {
        path: path?,
        method: written.method.map(|m| method(&m).into()),
        headers: headers?,
        query: query?,
    })
}

fn path(
    written: wire::HttpPath,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<PathMatch<Regex>, InvalidRule> {
    let at = at.field("value");
    let text = written.value.as_deref().unwrap_or("/");
    checks.length(text, 0..=1024, &at);
    let kind = written.r#type.unwrap_or(wire::PathType::PathPrefix);
    if kind == wire::PathType::RegularExpression {
        return matches::regex(text, checks, &at).map(PathMatch::Regex);
    }
    check_path(text, checks, &at);
    let Ok(canonical) = canonicalise(text) else { return Err(invalid(&at, "is not a valid path")) };
    Ok(match kind {
        wire::PathType::Exact => PathMatch::Exact(canonical.into()),
        _ => PathMatch::Prefix(canonical.trim_end_matches('/').into()),
    })
}

/// What HTTPPathMatch says of `Exact` and `PathPrefix`.
fn check_path(text: &str, checks: &mut Checks, at: &Path<'_>) {
    checks.require(text.starts_with('/'), at, "must begin with '/'");
    for part in ["//", "/./", "/../", "%2f", "%2F", "#"] {
        if text.contains(part) {
            checks.error(at, format!("must not contain '{part}'"));
        }
    }
    for end in ["/..", "/."] {
        if text.ends_with(end) {
            checks.error(at, format!("must not end with '{end}'"));
        }
    }
    let rest = text.as_bytes();
    let fits = |i: usize, b: u8| match b {
        b'%' => rest.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        _ => b.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&b),
    };
    // '#' has its own message.
    if !rest.iter().enumerate().all(|(i, b)| fits(i, *b) || *b == b'#') {
        checks.error(at, format!("{} has a character that must be percent-encoded", quoted(text)));
    }
}

fn method(method: &wire::Method) -> Method {
    match method {
        wire::Method::Get => Method::GET,
        wire::Method::Head => Method::HEAD,
        wire::Method::Post => Method::POST,
        wire::Method::Put => Method::PUT,
        wire::Method::Delete => Method::DELETE,
        wire::Method::Connect => Method::CONNECT,
        wire::Method::Options => Method::OPTIONS,
        wire::Method::Trace => Method::TRACE,
        wire::Method::Patch => Method::PATCH,
    }
}

fn query(
    written: Vec<wire::QueryParam>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Box<[QueryMatch<Regex>]>, InvalidRule> {
    checks.entries(written.len(), 0..=16, at);
    checks.unique(written.iter().map(|q| &q.name), at, |name| format!("{name} is duplicated"));
    let read = written.into_iter().enumerate().map(|(i, param)| {
        let at = at.index(i);
        checks.form(&param.name, names::HEADER_NAME, &at.field("name"));
        checks.length(&param.value, 1..=1024, &at.field("value"));
        let is_regex = param.r#type == Some(wire::QueryType::RegularExpression);
        let value = matches::value(is_regex, param.value, checks, &at.field("value"))?;
        Ok(QueryMatch { name: param.name.into(), value })
    });
    // All are read before an error returns, so that each reports its own.
    let all: Vec<_> = read.collect();
    all.into_iter().collect()
}

fn timeouts(written: &wire::Timeouts, checks: &mut Checks, at: &Path<'_>) -> Timeouts {
    let request = duration(written.request.as_deref(), checks, &at.field("request"));
    let backend_request = duration(written.backend_request.as_deref(), checks, &at.field("backendRequest"));
    // Zero is no limit (HTTPRouteTimeouts), for the comparison too.
    let limit = |d: Option<Duration>| d.filter(|d| !d.is_zero());
    if let (Some(request), Some(backend)) = (limit(request), backend_request)
        && backend > request
    {
        checks.error(&at.field("backendRequest"), "must not be longer than timeouts.request");
    }
    Timeouts { request: limit(request), backend_request: limit(backend_request), ..Timeouts::default() }
}

fn duration(text: Option<&str>, checks: &mut Checks, at: &Path<'_>) -> Option<Duration> {
    let text = text?;
    let duration = api_duration(text);
    if duration.is_none() {
        checks.error(at, format!("{} is not a duration such as 10s, 1m30s or 500ms", quoted(text)));
    }
    duration
}

/// The API server accepts up to four parts in any order, with the meaning that GEP-2257 gives them.
pub(super) fn api_duration(text: &str) -> Option<Duration> {
    parse_duration(text).or_else(|| {
        let mut rest = text;
        let mut total = Duration::ZERO;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
            let (unit, millis) = units.into_iter().find(|(unit, _)| rest[digits..].starts_with(unit))?;
            let count = rest[..digits].parse::<u64>().ok().filter(|_| digits <= 5)?;
            total += Duration::from_millis(count * millis);
            rest = &rest[digits + unit.len()..];
            if rest.is_empty() {
                return Some(total);
            }
        }
        None
    })
}

fn retry(written: &wire::Retry, checks: &mut Checks, at: &Path<'_>) -> Retry {
    let codes = written.codes.as_deref().unwrap_or_default();
    let at_codes = at.field("codes");
    checks.unique(codes, &at_codes, |code| format!("{code} is duplicated"));
    for (i, code) in codes.iter().enumerate() {
        checks.range(*code, 400, 599, &at_codes.index(i));
    }
    let attempts = written.attempts.unwrap_or(1);
    checks.range(attempts, 0, i64::from(i32::MAX), &at.field("attempts"));
    Retry {
        codes: codes.iter().filter_map(|code| u16::try_from(*code).ok()).collect(),
        attempts: attempts.try_into().unwrap_or_default(),
        backoff: duration(written.backoff.as_deref(), checks, &at.field("backoff")),
        ..Retry::default()
    }
}

#[cfg(test)]
mod tests;
