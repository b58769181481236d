//! Tables and certificates as text, in an order of their own.

use std::collections::BTreeMap;

use portcullis_routing::{
    BackendProtocol, Endpoints, Entry, Filters, HostPattern, Listener, PathMatch, Protocol, RouteMatch, Rule,
    Table, ValueMatch, WeightedBackend,
    filter::{PathRewrite, Redirect},
};
use portcullis_tls::Certificates;

pub(crate) fn table(table: &Table) -> String {
    let mut out = String::new();
    for (number, port) in &table.ports {
        let protocol = match port.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
        };
        let listeners: BTreeMap<_, _> = port.listeners.iter().collect();
        for (hostname, found) in listeners {
            out += &format!("{protocol}:{number} {} at {}\n", host(hostname), found.id);
            listener(&mut out, found);
        }
    }
    out
}

pub(crate) fn certificates(certificates: &Certificates) -> String {
    let mut out = String::new();
    for (number, port) in &certificates.ports {
        let listeners: BTreeMap<_, _> = port.listeners.iter().collect();
        for (hostname, termination) in listeners {
            let shown = termination.certificates.iter().map(|certificate| {
                let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
                format!("certificate of {}", names.join(" "))
            });
            let shown: Vec<_> = shown.collect();
            let shown = if shown.is_empty() { "no certificate".into() } else { shown.join(", ") };
            out += &format!("tls:{number} {} shows {shown}\n", host(hostname));
        }
    }
    out
}

fn listener(out: &mut String, found: &Listener) {
    let hosts: BTreeMap<_, _> = found.hosts.iter().collect();
    for (name, table) in hosts {
        *out += &format!("  {}\n", host(name));
        table
            .entries()
            .iter()
            .for_each(|e| *out += &format!("    {} -> {}\n", asks(&e.route_match), answer(e)));
    }
    if let Some(fallback) = &found.fallback {
        *out += &format!("  then {}\n", fallback.id);
        listener(out, fallback);
    }
}

/// `*.` of an Ingress is one label.
fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::WildcardLabel(_) => format!("{pattern} (one label)"),
        _ => pattern.to_string(),
    }
}

fn asks(asked: &RouteMatch) -> String {
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => format!("={text}"),
        ValueMatch::Regex(regex) => format!("~{regex}"),
    };
    let path = match &asked.path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "prefix /".into(),
        PathMatch::Prefix(prefix) => format!("prefix {prefix}"),
        PathMatch::Regex(regex) => format!("regex {regex}"),
        PathMatch::GrpcMethod(method) => format!("grpc method {method}"),
    };
    let method = asked.method.iter().map(|m| format!("{m} "));
    let headers = asked.headers.iter().map(|h| format!(" header {}{}", h.name, value(&h.value)));
    let query = asked.query.iter().map(|q| format!(" query {}{}", q.name, value(&q.value)));
    method.chain([path]).chain(headers).chain(query).collect()
}

fn answer(entry: &Entry) -> String {
    let rule = &entry.rule;
    let place = format!("{} rule {}", rule.route, rule.index);
    let (filters, rest) = (filters(&rule.filters), rest(rule));
    let backends: Vec<_> = rule.backends.all().iter().map(backend).collect();
    let backends = match (&rule.filters.redirect, &*backends) {
        (Some(_), _) => String::new(),
        (None, []) => "500".into(),
        (None, backends) => backends.join(", "),
    };
    format!("{filters}{backends}{rest} [{place}]")
}

fn backend(choice: &WeightedBackend) -> String {
    let filters = filters(&choice.filters);
    let backend = match &choice.backend {
        Err(error) => format!("500 ({error})"),
        Ok(backend) => {
            let protocol = match backend.protocol {
                BackendProtocol::Http1 => "",
                BackendProtocol::Http2 => " h2",
            };
            let tls = backend.tls.as_ref().map(|tls| format!(" tls {} {:?}", tls.server_name, tls.verify));
            let endpoints = match &**backend.endpoints.load() {
                Endpoints::Addresses(addresses) => {
                    addresses.iter().map(|e| e.address.to_string()).collect::<Vec<_>>().join(" ")
                }
                Endpoints::Name { host, port } => format!("{host}:{port}"),
            };
            format!("{}{protocol}{} ({endpoints})", backend.key, tls.unwrap_or_default())
        }
    };
    format!("{} {filters}{backend}", choice.weight)
}

fn filters(filters: &Filters) -> String {
    let mut out = String::new();
    for (name, headers) in [("request", &filters.request_headers), ("response", &filters.response_headers)] {
        let Some(headers) = headers else { continue };
        let pair = |sign: &str, (name, value): &(http::HeaderName, http::HeaderValue)| {
            format!(" {sign}{name}={}", value.to_str().unwrap_or("not a text"))
        };
        let set = headers.set.iter().map(|h| pair("", h));
        let add = headers.add.iter().map(|h| pair("+", h));
        let remove = headers.remove.iter().map(|h| format!(" -{h}"));
        out += &format!("{name} headers{}; ", set.chain(add).chain(remove).collect::<String>());
    }
    if let Some(rewrite) = &filters.rewrite {
        let host = rewrite.hostname.as_ref().map(|host| format!(" host {host}")).unwrap_or_default();
        out += &format!("rewrite{host}{}; ", path(rewrite.path.as_ref()));
    }
    for mirror in &filters.mirrors {
        let to = mirror.backend.as_ref().map_or_else(|e| format!("nobody ({e})"), |b| b.key.to_string());
        out += &format!("mirror {}/{} to {to}; ", mirror.numerator, mirror.denominator);
    }
    if let Some(cors) = &filters.cors {
        out += &format!("cors {}; ", cors.allow_origins.join(" "));
    }
    filters.redirect.iter().for_each(|r| out += &redirect(r));
    out
}

fn redirect(redirect: &Redirect) -> String {
    let scheme = redirect.scheme.as_ref().map(|s| format!(" {s}")).unwrap_or_default();
    let host = redirect.hostname.as_ref().map(|h| format!(" host {h}")).unwrap_or_default();
    let port = redirect.port.map(|p| format!(" port {p}")).unwrap_or_default();
    format!("redirect {}{scheme}{host}{port}{}", redirect.status.as_u16(), path(redirect.path.as_ref()))
}

fn path(rewrite: Option<&PathRewrite>) -> String {
    match rewrite {
        None => String::new(),
        Some(PathRewrite::Full(path)) => format!(" path {path}"),
        Some(PathRewrite::Prefix(prefix)) => format!(" prefix {prefix}/"),
    }
}

fn rest(rule: &Rule) -> String {
    let timeout = |name: &str, limit: Option<std::time::Duration>| {
        limit.map(|limit| format!(", {name} {limit:?}")).unwrap_or_default()
    };
    let retry = rule.retry.as_ref().map(|r| format!(", retry {} on {:?}", r.attempts, r.codes));
    let name = rule.name.as_ref().map(|name| format!(", named {name}"));
    timeout("request timeout", rule.timeouts.request)
        + &timeout("backend timeout", rule.timeouts.backend_request)
        + &retry.unwrap_or_default()
        + &name.unwrap_or_default()
}
