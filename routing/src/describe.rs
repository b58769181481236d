//! A table as text, for people and for tests: one order, whatever order it was built in.
//!
//! ```text
//! http:80 *.example.com at Gateway infra/public listener web
//!   first external auth shop/auth:80 by HTTP
//!   shop.example.com
//!     GET prefix /cart header x-canary=1 -> 9 shop/cart:8080, 1 shop/next:8080 [HTTPRoute shop/web rule 0]
//!     prefix / -> 1 500 (Service shop/web not found) [HTTPRoute shop/web rule 1]
//!   then Ingress
//!   *
//!     prefix / -> redirect 308 https; [Ingress shop/web rule 0]
//! ```
//!
//! Endpoints are left out: they change without the table.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use crate::{
    Backend, BackendProtocol, ClientAuth, Entry, Failures, HostPattern, HostTable, HttpRoutes, Listener,
    OwnTimeouts, PathMatch, ProxyProtocol, Repeats, Retry, RouteMatch, Rule, Serves, Step, Steps, Table,
    TlsMode, ValueMatch, WeightedBackend,
    step::{
        AuthProtocol, Check, ClientCertificateCheck, Cors, Demand, ExternalAuth, HeaderModifier,
        HeaderTemplates, HttpAuth, IngressCors, IngressRedirect, Mirror, PathRewrite, Redirect, Spool,
        UrlRewrite,
    },
};

/// Everything that is served, by port, by the listener's hostname, by the route's, by precedence.
impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bound, port) in &self.ports {
            for (host, listener) in port.listeners.iter().collect::<BTreeMap<_, _>>() {
                write!(f, "{}:{}", Spoken(listener), port.number)?;
                if bound.number != port.number {
                    write!(f, " (bound as {bound})")?;
                }
                let proxied = if port.proxy_protocol { " with PROXY protocol" } else { "" };
                writeln!(f, " {}{}{proxied} at {}", Host(host), listener.tls, listener.id)?;
                listener.fmt(f)?;
            }
            if let Some(unmatched) = &port.unmatched {
                writeln!(f, "port {} otherwise{unmatched}", port.number)?;
            }
        }
        Ok(())
    }
}

/// Writes, after a space, whether TLS is passed through or client certificates are asked for; otherwise nothing.
impl Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asks, sets) = match self {
            Self::None | Self::Terminate(ClientAuth::Unasked) => return Ok(()),
            Self::Passthrough => return f.write_str(" passed through"),
            Self::Terminate(ClientAuth::Optional(sets)) => ("requests", sets),
            Self::Terminate(ClientAuth::Required(sets)) => ("requires", sets),
            Self::Terminate(ClientAuth::Reported { authorities, .. }) => ("reports", authorities),
        };
        write!(f, " {asks} client certificates")?;
        sets.iter()
            .enumerate()
            .try_for_each(|(n, set)| write!(f, "{}{set:?}", if n == 0 { " verified by " } else { " or " }))
    }
}

impl Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.serves {
            Serves::Http(routes) => routes.fmt(f),
            Serves::Stream(routes) => {
                let mut routes = routes.iter().collect::<BTreeMap<&HostPattern, _>>().into_iter();
                routes.try_for_each(|(host, rule)| {
                    writeln!(f, "  {}\n    every connection -> {rule}", Host(host))
                })
            }
            Serves::Datagram(rule) => {
                rule.iter().try_for_each(|rule| writeln!(f, "    every datagram -> {rule}"))
            }
        }
    }
}

/// The filters, the hosts and rules, and those of the fallback below them.
impl Display for HttpRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filters.iter().try_for_each(|filter| writeln!(f, "  first {filter}"))?;
        for (host, table) in self.hosts.iter().collect::<BTreeMap<&HostPattern, _>>() {
            write!(f, "  {}\n{table}", Host(host))?;
        }
        if let Some(value) = &self.hsts {
            writeln!(f, "  otherwise hsts {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        match &self.fallback {
            Some(fallback) => write!(f, "  then {}\n{fallback}", fallback.id),
            None => Ok(()),
        }
    }
}

impl Display for HostTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries().iter().try_for_each(|entry| writeln!(f, "    {entry}"))
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.route_match, self.rule)
    }
}

impl Display for BackendProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// What a listener speaks with clients.
struct Spoken<'a>(&'a Listener);

impl Display for Spoken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.0.serves, &self.0.tls) {
            (Serves::Http(_), TlsMode::None) => "http",
            (Serves::Http(_), TlsMode::Terminate(_) | TlsMode::Passthrough) => "https",
            (Serves::Stream(_), TlsMode::None) => "tcp",
            (Serves::Stream(_), TlsMode::Terminate(_) | TlsMode::Passthrough) => "tls",
            (Serves::Datagram(_), _) => "udp",
        })
    }
}

/// The two wildcards would look alike.
struct Host<'a>(&'a HostPattern);

impl Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            HostPattern::WildcardLabel(_) => write!(f, "{} (one label)", self.0),
            _ => self.0.fmt(f),
        }
    }
}

impl Display for RouteMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.method.iter().try_for_each(|method| write!(f, "{method} "))?;
        self.path.fmt(f)?;
        self.headers.iter().try_for_each(|h| write!(f, " header {}{}", h.name, h.value))?;
        self.query.iter().try_for_each(|q| write!(f, " query {}{}", q.name, q.value))
    }
}

impl Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "exact {path}"),
            Self::Prefix(prefix) if prefix.is_empty() => f.write_str("prefix /"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
            Self::Regex(regex) => write!(f, "regex {}", regex.as_str()),
            Self::Location(location) => write!(f, "location {}", location.text),
            Self::GrpcMethod(method) => write!(f, "grpc method {method}"),
        }
    }
}

impl Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "={text}"),
            Self::Regex(regex) => write!(f, "~{}", regex.as_str()),
        }
    }
}

/// What the rule does, who answers, and where it was written.
impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.fmt(f)?;
        match self.backends.all() {
            [] if self.steps.iter().any(Step::answers_all) => {}
            [] => f.write_str("500 (no backend) ")?,
            [first, rest @ ..] => {
                first.fmt(f)?;
                let fallback = self.backends.fallback().map(|(place, _)| place);
                for (place, backend) in (1..).zip(rest) {
                    f.write_str(if fallback == Some(place) { ", without endpoints " } else { ", " })?;
                    backend.fmt(f)?;
                }
                f.write_str(" ")?;
            }
        }
        self.backends.canary().iter().try_for_each(|canary| write!(f, "{canary} "))?;
        self.timeouts().request.iter().try_for_each(|t| write!(f, "request timeout {t:?} "))?;
        self.timeouts().backend_request.iter().try_for_each(|t| write!(f, "backend timeout {t:?} "))?;
        self.timeouts().own.fmt(f)?;
        if let Some(retry) = self.retry.as_deref().filter(|retry| **retry != Retry::of_ingresses()) {
            write!(f, "{retry} ")?;
        }
        write!(f, "[{} rule {}]", self.route, self.index)
    }
}

/// Each limit with a space behind it.
impl Display for OwnTimeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connect.iter().try_for_each(|limit| write!(f, "connect timeout {limit:?} "))?;
        self.send.iter().try_for_each(|limit| write!(f, "send timeout {limit:?} "))?;
        self.read.iter().try_for_each(|limit| write!(f, "read timeout {limit:?} "))
    }
}

/// What is left out is as HTTPRouteRetry has it.
impl Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retry {} on {:?}", self.attempts, self.codes)?;
        if self.failures != Failures::default() {
            let Failures { error, timeout, invalid } = self.failures;
            let named = [(error, " error"), (timeout, " timeout"), (invalid, " invalid")];
            named.iter().filter(|(is, _)| *is).try_for_each(|(_, name)| f.write_str(name))?;
        }
        self.within.iter().try_for_each(|limit| write!(f, " within {limit:?}"))?;
        f.write_str(match self.repeats {
            Repeats::IdempotentOrAnswered => "",
            Repeats::Idempotent => " if idempotent",
            Repeats::All => " of any method",
        })
    }
}

impl Display for WeightedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.weight, self.steps)?;
        match &self.backend {
            Ok(backend) => write!(f, "{backend}{}", self.balance),
            Err(error) => write!(f, "{} ({error})", error.rejection().status().as_u16()),
        }
    }
}

impl Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)?;
        if self.endpoints.is_by_service() {
            f.write_str(" at its own address")?;
        }
        if self.protocol == BackendProtocol::Http2 {
            f.write_str(" h2")?;
        }
        f.write_str(match self.proxy_protocol {
            None => "",
            Some(ProxyProtocol::V1) => " proxy-v1",
            Some(ProxyProtocol::V2) => " proxy-v2",
        })?;
        self.tls.iter().try_for_each(|tls| write!(f, " tls {tls}"))
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnTls => f.write_str("403 behind a Gateway's TLS"),
            Self::PassedThrough => f.write_str("403 where TLS is terminated"),
            Self::ClientCertificate(check) => check.fmt(f),
            Self::Blocked(values) => values.fmt(f),
            Self::BodySize(most) => write!(f, "body {} at most", Size(most.0)),
            Self::Cors(cors) => cors.fmt(f),
            Self::IngressCors(cors) => cors.fmt(f),
            Self::IngressRedirect(redirect) => redirect.fmt(f),
            Self::RewriteTarget(rewrite) => write!(f, "rewrite to {}", rewrite.target),
            Self::Endpoints => f.write_str("endpoints"),
            Self::AccessList(list) => list.fmt(f),
            Self::Check(check) => check.fmt(f),
            Self::Satisfy => f.write_str("one of these checks"),
            Self::Redirect(redirect) => redirect.fmt(f),
            Self::RequestHeaders(headers) => write!(f, "request headers{headers}"),
            Self::RequestTemplates(headers) => write!(f, "request headers{headers}"),
            Self::Rewrite(rewrite) => rewrite.fmt(f),
            Self::Spool(spool) => write!(f, "spool {}", Size(spool.memory.into())),
            Self::Mirror(mirror) => mirror.fmt(f),
            Self::IngressMirror(mirror) => mirror.fmt(f),
            Self::ResponseHeaders(headers) => write!(f, "response headers{headers}"),
            Self::AnswerRewrite(rewrite) => rewrite.fmt(f),
            Self::AnswerHeaders(headers) => write!(f, "headers of every answer{headers}"),
            Self::AnswerTemplates(headers) => write!(f, "headers of every answer{headers}"),
            Self::Connection(connection) => write!(f, "connection {}", connection.as_str()),
            Self::ErrorPages(pages) => pages.fmt(f),
            Self::AnswerCookie(cookie) => {
                write!(f, "cookie {}", String::from_utf8_lossy(cookie.value.as_bytes()))
            }
            Self::Compress(compress) => compress.fmt(f),
            Self::Pace(pace) => {
                let (rate, after) = (u64::from(pace.rate.get()) << 10, u64::from(pace.after) << 10);
                write!(f, "pace {}/s", Size(rate))?;
                if after > 0 { write!(f, " after {}", Size(after)) } else { Ok(()) }
            }
            Self::Unlogged => f.write_str("not logged"),
            Self::Hsts(value) => write!(f, "hsts {}", String::from_utf8_lossy(value.as_bytes())),
        }
    }
}

/// A number of bytes, in the largest unit that it is a multiple of.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes.is_multiple_of(1 << 30) => write!(f, "{} GiB", bytes >> 30),
            bytes if bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} B"),
        }
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits(limits) => limits.fmt(f),
            Self::Basic(basic) => basic.fmt(f),
            Self::ExternalAuth(auth) => auth.fmt(f),
            Self::IngressAuth(auth) => auth.fmt(f),
            Self::Closed(why) => write!(f, "closed ({why})"),
        }
    }
}

impl Display for ExternalAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, what: &str, names: &[http::HeaderName]| {
            let names: Vec<_> = names.iter().map(http::HeaderName::as_str).collect();
            if names.is_empty() { Ok(()) } else { write!(f, " {what} {}", names.join(",")) }
        };
        f.write_str("external auth ")?;
        match &self.backend {
            Ok(backend) => backend.fmt(f)?,
            Err(error) => write!(f, "closed ({error})")?,
        }
        if self.body > 0 {
            write!(f, " with bodies up to {}", Size(self.body.into()))?;
        }
        match &self.protocol {
            AuthProtocol::Http(HttpAuth { path_prefix, request_headers, answer_headers }) => {
                f.write_str(" by HTTP")?;
                if !path_prefix.is_empty() {
                    write!(f, " at {path_prefix}")?;
                }
                list(f, "with", request_headers)?;
                list(f, "taking", answer_headers)
            }
            AuthProtocol::Grpc { request_headers } => {
                f.write_str(" by gRPC")?;
                list(f, "with", request_headers)
            }
        }
    }
}

/// Each step with a `; ` behind it, but for what every Ingress has without annotations.
impl Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_usual = |step: &&Step| matches!(step, Step::Spool(spool) if *spool == Spool::default());
        self.iter().filter(|step| !is_usual(step)).try_for_each(|step| write!(f, "{step}; "))
    }
}

impl Display for HeaderModifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.set().iter().try_for_each(|(name, value)| write!(f, " {name}={}", text(value)))?;
        self.add().iter().try_for_each(|(name, value)| write!(f, " +{name}={}", text(value)))?;
        self.remove().iter().try_for_each(|name| write!(f, " -{name}"))
    }
}

impl Display for HeaderTemplates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().iter().try_for_each(|(name, template)| write!(f, " {name}={template}"))
    }
}

impl Display for UrlRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rewrite")?;
        self.hostname.iter().try_for_each(|host| write!(f, " host {host}"))?;
        self.path.iter().try_for_each(|path| write!(f, " {path}"))
    }
}

impl Display for PathRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(path) => write!(f, "path {path}"),
            Self::Prefix(prefix) if prefix.is_empty() => f.write_str("prefix /"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
        }
    }
}

impl Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redirect {}", self.status.as_u16())?;
        self.scheme.iter().try_for_each(|scheme| write!(f, " {scheme}"))?;
        self.hostname.iter().try_for_each(|host| write!(f, " host {host}"))?;
        self.port.iter().try_for_each(|port| write!(f, " port {port}"))?;
        self.path.iter().try_for_each(|path| write!(f, " {path}"))
    }
}

impl Display for ClientCertificateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.demand {
            Demand::Nothing => "client certificate not asked for",
            Demand::ValidIfAny => "client certificate valid if any",
            Demand::Any => "client certificate reported",
            Demand::Valid => "client certificate valid",
            Demand::Impossible => "403 (client certificates cannot be verified)",
        })?;
        self.subject.iter().try_for_each(|subject| write!(f, ", subject {}", subject.as_str()))?;
        self.error_page.iter().try_for_each(|page| write!(f, ", else to {page}"))?;
        f.write_str(if self.pass { ", passed on" } else { "" })
    }
}

impl Display for IngressCors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cors")?;
        match &self.origins {
            None => f.write_str(" *"),
            Some(origins) => origins.iter().try_for_each(|origin| write!(f, " {}", origin.0)),
        }
    }
}

impl Display for IngressRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppRoot(root) => write!(f, "redirect 302 / to {root}"),
            Self::Fixed { status, to, own: _ } => write!(f, "redirect {} to {to}", status.as_u16()),
            Self::Https { status, keep_slash: _, port: _ } => {
                write!(f, "redirect {} to https", status.as_u16())
            }
            Self::OtherHost { status, host, ports: _ } => {
                write!(f, "redirect {} to host {host}", status.as_u16())
            }
            Self::AddSlash(_) => f.write_str("redirect 301 to the path with a slash at its end"),
        }
    }
}

impl Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mirror {}/{} to ", self.numerator, self.denominator)?;
        match &self.backend {
            Ok(backend) => backend.fmt(f),
            Err(error) => write!(f, "no backend ({error})"),
        }
    }
}

impl Display for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cors")?;
        self.allow_origins.iter().try_for_each(|origin| write!(f, " {}", origin.as_str()))
    }
}

#[cfg(test)]
mod tests;
