//! Ingress.

pub(super) mod annotations;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, IngressBackend as WrittenBackend, IngressRule as WrittenRule, IngressSpec,
    IngressTLS as WrittenTls,
};
use portcullis_routing::{HostPattern, path::of_ingress};
use serde_json::Value;

use super::{
    checks::{Checks, Origin, Path},
    names::{self, quoted},
    typed,
};
use crate::ir::{
    Ingress, Meta,
    gateway::Reference,
    ingress::{self, IngressBackend, IngressPath, IngressRule, IngressTls, PathKind, PortRef, Unserved},
};
use annotations::Read;

pub(super) const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// Reads an Ingress.
pub(crate) fn read(
    document: &Value,
    meta: Meta,
    annotations: &BTreeMap<String, String>,
    checks: &mut Checks,
) -> Option<Ingress> {
    let spec: IngressSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    check_class(&spec, annotations, checks, &at);
    let (rules, tls) = (spec.rules.unwrap_or_default(), spec.tls.unwrap_or_default());
    if rules.is_empty() && spec.default_backend.is_none() {
        checks.error(&at, "must have defaultBackend or rules");
    }
    let Read { annotations: mut read, refused } = annotations::read(annotations, checks);
    let written: usize = rules.iter().filter_map(|rule| Some(rule.http.as_ref()?.paths.len())).sum();
    let (at_rules, at_tls) = (at.field("rules"), at.field("tls"));
    let is_regex = read.rewrite.may_make_regex();
    let rules =
        rules.into_iter().enumerate().filter_map(|(i, r)| rule(r, is_regex, checks, &at_rules.index(i)));
    let rules: Vec<_> = rules.collect();
    // It is unknown which requests a path that is left out would have matched.
    read.unserved.whole_hosts |= rules.iter().map(|rule| rule.paths.len()).sum::<usize>() < written;
    let tls = tls.into_iter().enumerate().map(|(i, t)| one_tls(t, checks, &at_tls.index(i)));
    let tls: Vec<_> = tls.collect();
    let default_backend = spec.default_backend.and_then(|b| backend(b, checks, &at.field("defaultBackend")));
    let ingress = Ingress {
        meta,
        class: spec.ingress_class_name.map(Into::into),
        legacy_class: annotations.get(LEGACY_CLASS).map(|class| class.as_str().into()),
        default_backend,
        tls: tls.into(),
        rules: rules.into(),
        annotations: annotations::shared(annotations, read),
        refused: None,
    };
    Some(match refused {
        None => ingress,
        Some(why) => without_paths(ingress, why),
    })
}

/// An Ingress that is refused because of an annotation: it keeps its hosts, and has no paths there.
fn without_paths(ingress: Ingress, why: Box<str>) -> Ingress {
    let hosts = ingress.rules.iter().map(|rule| IngressRule { host: rule.host.clone(), paths: Vec::new() });
    let unserved = ingress.annotations.unserved.clone();
    let annotations = Arc::new(ingress::Annotations { unserved, ..Default::default() });
    let rules = hosts.collect::<Vec<_>>().into();
    Ingress {
        rules,
        annotations,
        default_backend: None,
        tls: Default::default(),
        refused: Some(why),
        ..ingress
    }
}

/// What can still be read of an Ingress that is refused as a whole: its protections, and its hosts without their
/// paths. Other Ingresses of its namespace must not be served without the protections, and other namespaces must not
/// take the hosts.
pub(super) fn protected(
    spec: &Value,
    annotations: &BTreeMap<String, String>,
) -> (Unserved, Vec<IngressRule>) {
    // The problems of the object already say what is wrong with it.
    let mut checks = Checks::of("", Origin::ApiServer);
    let mut unserved = annotations::read(annotations, &mut checks).annotations.unserved;
    // It is unknown which paths it would have protected, so it protects the whole hosts.
    unserved.whole_hosts = !unserved.protections.is_empty() || unserved.unknown.is_some();
    let rules = spec.get("rules").and_then(Value::as_array).into_iter().flatten();
    let hosts = rules.filter_map(|rule| match rule.get("host") {
        None => Some(HostPattern::Any),
        Some(host) => HostPattern::parse_ingress(host.as_str()?).ok(),
    });
    let rules = hosts.map(|host| IngressRule { host, paths: Vec::new() });
    (unserved, rules.collect())
}

fn check_class(
    spec: &IngressSpec,
    annotations: &BTreeMap<String, String>,
    checks: &mut Checks,
    at: &Path<'_>,
) {
    let Some(class) = &spec.ingress_class_name else { return };
    checks.form(class, names::SUBDOMAIN, &at.field("ingressClassName"));
    if annotations.get(LEGACY_CLASS).is_some_and(|legacy| legacy != class) {
        checks.error(&annotation(LEGACY_CLASS), "must be the same as spec.ingressClassName if both are set");
    }
}

fn annotation(name: &str) -> Path<'_> {
    const METADATA: Path<'_> = Path::Field(&Path::Root, "metadata");
    const ANNOTATIONS: Path<'_> = Path::Field(&METADATA, "annotations");
    Path::Field(&ANNOTATIONS, name)
}

fn rule(rule: WrittenRule, is_regex: bool, checks: &mut Checks, at: &Path<'_>) -> Option<IngressRule> {
    let host = host(rule.host.as_deref().unwrap_or_default(), checks, &at.field("host"));
    let at = at.field("http");
    let paths = match rule.http {
        // A host without paths is served by the default backend.
        None => Vec::new(),
        Some(http) => {
            let at = at.field("paths");
            checks.entries(http.paths.len(), 1..=usize::MAX, &at);
            let paths = http.paths.into_iter().enumerate();
            paths.filter_map(|(i, p)| path(p, is_regex, checks, &at.index(i))).collect()
        }
    };
    Some(IngressRule { host: host?, paths })
}

/// A host of a rule or of `tls`; `None` if it is refused.
fn host(text: &str, checks: &mut Checks, at: &Path<'_>) -> Option<HostPattern> {
    if text.parse::<IpAddr>().is_ok() {
        checks.error(at, "must be a DNS name, not an IP address");
    } else if text.contains('*') {
        checks.form(text, names::WILDCARD, at);
    } else if !text.is_empty() {
        checks.form(text, names::SUBDOMAIN, at);
    }
    HostPattern::parse_ingress(text).ok()
}

/// `is_regex`: the paths of the Ingress are regular expressions.
fn path(written: HTTPIngressPath, is_regex: bool, checks: &mut Checks, at: &Path<'_>) -> Option<IngressPath> {
    let backend = backend(written.backend, checks, &at.field("backend"));
    let at_path = at.field("path");
    let text = written.path.as_deref().unwrap_or_default();
    let kind = written.path_type.as_str();
    match kind {
        "Exact" | "Prefix" => check_path(text, checks, &at_path),
        "ImplementationSpecific" => {
            checks.require(text.is_empty() || text.starts_with('/'), &at_path, "must begin with '/'");
        }
        "" => checks.error(&at.field("pathType"), "is required: Exact, Prefix or ImplementationSpecific"),
        _ => checks.error(
            &at.field("pathType"),
            format!("{} is not one of Exact, Prefix, ImplementationSpecific", quoted(kind)),
        ),
    }
    let text = if text.is_empty() { "/" } else { text };
    if !is_regex && of_ingress(text).is_none() {
        checks.warning(&at_path, format!("no request has a path like {}; it is ignored", quoted(text)));
        return None;
    }
    if !is_regex && text.contains('%') {
        let what = "'%' is literal, as in ingress-nginx: write the character, not its percent-encoding";
        checks.warning(&at_path, what);
    }
    let kind = if kind == "Exact" { PathKind::Exact } else { PathKind::Prefix };
    Some(IngressPath { text: text.into(), kind, backend: backend? })
}

fn check_path(text: &str, checks: &mut Checks, at: &Path<'_>) {
    checks.require(text.starts_with('/'), at, "must begin with '/'");
    for part in ["//", "/./", "/../", "%2f", "%2F"] {
        if text.contains(part) {
            checks.error(at, format!("must not contain '{part}'"));
        }
    }
    for end in ["/..", "/."] {
        if text.ends_with(end) {
            checks.error(at, format!("must not end with '{end}'"));
        }
    }
}

fn backend(written: WrittenBackend, checks: &mut Checks, at: &Path<'_>) -> Option<IngressBackend> {
    match (written.service, written.resource) {
        (Some(_), Some(_)) => {
            checks.error(at, "must not have both service and resource");
            None
        }
        (None, None) => {
            checks.error(at, "must have a service or a resource");
            None
        }
        (None, Some(resource)) => {
            let at = at.field("resource");
            checks.require(!resource.kind.is_empty(), &at.field("kind"), "is required");
            checks.require(!resource.name.is_empty(), &at.field("name"), "is required");
            checks.warning(&at, "is not supported; only a Service can be a backend");
            Some(IngressBackend::Resource(Box::new(Reference {
                group: resource.api_group.unwrap_or_default().into(),
                kind: resource.kind.into(),
                namespace: None,
                name: resource.name.into(),
            })))
        }
        (Some(service), None) => {
            let at = at.field("service");
            checks.form(&service.name, names::LABEL_1035, &at.field("name"));
            let at = at.field("port");
            let port = service.port.unwrap_or_default();
            let name = port.name.filter(|name| !name.is_empty());
            let port = match (name, port.number.filter(|n| *n != 0)) {
                (Some(name), None) => {
                    checks.form(&name, names::PORT_NAME, &at.field("name"));
                    PortRef::Name(name.into())
                }
                (None, Some(number)) => PortRef::Number(checks.port(number, &at.field("number"))),
                (Some(_), Some(_)) => {
                    checks.error(&at, "must not have both name and number");
                    return None;
                }
                (None, None) => {
                    checks.error(&at, "must have a name or a number");
                    return None;
                }
            };
            Some(IngressBackend::Service { name: service.name.into(), port })
        }
    }
}

fn one_tls(tls: WrittenTls, checks: &mut Checks, at: &Path<'_>) -> IngressTls {
    let at_hosts = at.field("hosts");
    let hosts = tls.hosts.unwrap_or_default();
    let hosts = hosts.iter().enumerate().filter_map(|(i, text)| {
        let at = at_hosts.index(i);
        checks.require(!text.is_empty(), &at, "must not be empty");
        host(text, checks, &at)
    });
    let hosts = hosts.collect();
    let secret = tls.secret_name.filter(|name| !name.is_empty());
    checks.optional_form(secret.as_deref(), names::SUBDOMAIN, &at.field("secretName"));
    IngressTls { hosts, secret: secret.map(Into::into) }
}

#[cfg(test)]
mod tests;
