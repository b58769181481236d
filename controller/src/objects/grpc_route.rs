//! GRPCRoute.

use portcullis_routing::{PathMatch, RouteKind, RouteMatch};
use serde_json::Value;

use super::{
    backends,
    checks::{Checks, Path},
    filters::{self, Owner},
    matches::{self, WrittenHeader},
    names::quoted,
    parent_refs, part,
    routes::{check_rules, hostnames},
    session_persistence, typed, wire,
};
use crate::ir::{
    Meta, Route,
    route::{InvalidRule, Regex, RouteRule},
};

/// Reads a GRPCRoute.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<Route> {
    let spec: wire::GrpcRouteSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let rules = spec.rules.unwrap_or_default();
    let at_rules = at.field("rules");
    checks.entries(rules.len(), 0..=16, &at_rules);
    check_rules(
        rules.iter().map(|r| r.name.as_deref()),
        rules.iter().map(|r| r.matches.len()),
        checks,
        &at_rules,
    );
    part::not_served(spec.use_default_gateways.as_ref(), checks, &at.field("useDefaultGateways"));
    Some(Route {
        meta,
        kind: RouteKind::Grpc,
        parents: parent_refs::read(spec.parent_refs, checks, &at.field("parentRefs")),
        hostnames: hostnames(&spec.hostnames, 0..=16, checks, &at.field("hostnames")),
        rules: rules.into_iter().enumerate().map(|(i, r)| rule(r, checks, &at_rules.index(i))).collect(),
        patterns: checks.patterns.take(),
        refused: None,
    })
}

fn rule(rule: wire::GrpcRule, checks: &mut Checks, at: &Path<'_>) -> RouteRule {
    let persistence = rule.session_persistence.map(|part| {
        let at = at.field("sessionPersistence");
        Box::new(part.read(checks, &at).and_then(|written| session_persistence::read(written, checks, &at)))
    });
    let (at_matches, at_filters) = (at.field("matches"), at.field("filters"));
    let at_backends = at.field("backendRefs");
    let mut matches = part::read_all(&rule.matches, checks, &at_matches);
    if matches.is_empty() {
        matches.push(Ok(wire::GrpcMatch::default()));
    }
    let matches = matches.into_iter().enumerate();
    let filters = part::read_all(&rule.filters, checks, &at_filters);
    let backends = backends::with_filters(rule.backend_refs, checks, &at_backends);
    RouteRule {
        name: rule.name.map(Into::into),
        matches: matches
            .map(|(i, m)| matches::written(m.and_then(|m| one_match(m, checks, &at_matches.index(i)))))
            .collect(),
        filters: filters::read(filters, Owner::Grpc, checks, &at_filters),
        backends: backends::read(backends, Owner::Grpc, checks, &at_backends),
        timeouts: None,
        retry: None,
        persistence,
    }
}

fn one_match(
    written: wire::GrpcMatch,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<RouteMatch<Regex>, InvalidRule> {
    let path = match written.method {
        Some(method) => path(&method, checks, &at.field("method")),
        None => Ok(PathMatch::Prefix("".into())),
    };
    let headers = written.headers.unwrap_or_default().into_iter().map(|h| WrittenHeader {
        name: h.name,
        is_regex: h.r#type == Some(wire::GrpcHeaderType::RegularExpression),
        value: h.value,
    });
    let headers = matches::headers(headers.collect(), checks, &at.field("headers"));
    Ok(RouteMatch { path: path?, method: None, headers: headers?, query: Box::default() })
}

/// A gRPC method is the path `/service/method` (gRPC over HTTP/2, `Path`).
fn path(
    written: &wire::GrpcMethod,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<PathMatch<Regex>, InvalidRule> {
    let (service, method) = (written.service.as_deref(), written.method.as_deref());
    for (field, text) in [("service", service), ("method", method)] {
        checks.length(text.unwrap_or_default(), 0..=1024, &at.field(field));
    }
    checks.require(service.is_some() || method.is_some(), at, "must have a service, a method or both");
    if written.r#type == Some(wire::GrpcMethodType::RegularExpression) {
        return regex(service, method, checks, at);
    }
    if let Some(service) = service.filter(|s| !is_service(s)) {
        checks.error(
            &at.field("service"),
            format!("{} is not a valid gRPC service name such as package.Service", quoted(service)),
        );
    }
    if let Some(method) = method.filter(|m| !is_identifier(m)) {
        checks.error(&at.field("method"), format!("{} is not a valid gRPC method name", quoted(method)));
    }
    Ok(match (service, method) {
        (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}").into()),
        (Some(service), None) => PathMatch::Prefix(format!("/{service}").into()),
        (None, Some(method)) => PathMatch::GrpcMethod(method.into()),
        (None, None) => PathMatch::Prefix("".into()),
    })
}

fn regex(
    service: Option<&str>,
    method: Option<&str>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<PathMatch<Regex>, InvalidRule> {
    // Each by itself first, so that a message names its field, and so that neither reaches out of its group.
    for (field, text) in [("service", service), ("method", method)] {
        if let Some(text) = text {
            matches::part_of_regex(text, checks, &at.field(field))?;
        }
    }
    let part = |text: Option<&str>| text.map_or_else(|| "[^/]+".to_owned(), |text| format!("(?:{text})"));
    let whole = format!("/{}/{}", part(service), part(method));
    matches::regex(&whole, checks, at).map(PathMatch::Regex)
}

fn is_service(text: &str) -> bool {
    text.strip_prefix('.').unwrap_or(text).split('.').all(is_identifier)
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests;
