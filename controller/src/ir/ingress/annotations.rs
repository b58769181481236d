//! What the annotations of an Ingress say: a field for each family.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use portcullis_routing::{
    Failures, HostPattern, Networks, OwnTimeouts, Repeats, TlsVersions,
    pattern::Source,
    step::{BackendConnection, Demand, IngressCors, Satisfy},
};
use portcullis_tls::CipherPolicy;

use crate::ir::ObjectKey;

use super::auth::{ExternalAuth, ServiceTarget};
use super::{Affinity, Balancing, Canary, Hashing};

/// The annotations of an Ingress, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    pub access: Access,
    pub limits: Limits,
    pub basic_auth: BasicAuth,
    pub passthrough: SslPassthrough,
    /// `mirror-*`.
    pub mirroring: Option<Mirroring>,
    pub redirects: Redirects,
    pub rewrite: Rewrite,
    /// `enable-cors` and `cors-*`.
    pub cors: Option<Arc<IngressCors>>,
    pub server_alias: ServerAlias,
    pub upstream_vhost: UpstreamVhost,
    pub logs: Logs,
    /// `auth-tls-*`.
    pub auth_tls: Option<AuthTls>,
    pub balancing: Balancing,
    pub hashing: Hashing,
    pub affinity: Affinity,
    /// Whether it is a canary, and of which requests.
    pub canary: Option<Canary>,
    /// `auth-url`, what belongs to it, and `enable-global-auth`.
    pub external_auth: ExternalAuth,
    pub body: Body,
    pub pacing: Pacing,
    pub upstream: Upstream,
    pub backend: BackendSpeech,
    pub errors: Errors,
    pub answers: Answers,
    /// `ssl-ciphers` and `ssl-prefer-server-ciphers`, which are for its whole hosts.
    pub ciphers: CipherPolicy,
    pub unserved: Unserved,
    /// The annotation by which it asks for TLS of its own: client certificates, or TLS that is passed through.
    pub own_tls: Option<&'static str>,
    /// The riskiest annotation (`annotations-risk-level`).
    pub risk: Option<(Risk, &'static str)>,
}

/// How risky ingress-nginx considers an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    Low,
    Medium,
    High,
    Critical,
}

impl Risk {
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its name in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }
}

impl Annotations {
    /// Whether requests are sent to a URL that an annotation names (`auth-url`, `mirror-target`).
    pub fn names_url(&self) -> bool {
        self.external_auth.own.is_some() || self.mirroring.is_some()
    }
}

/// Which clients may send requests, by their address. `None` is the global setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `allowlist-source-range`, `whitelist-source-range`: these alone.
    pub allow: Option<Arc<Networks>>,
    /// `denylist-source-range`: not these.
    pub deny: Option<Arc<Networks>>,
}

/// How many requests a client may send to the Ingress. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `limit-rps`: in a second.
    pub second: Option<u32>,
    /// `limit-rpm`: in a minute.
    pub minute: Option<u32>,
    /// `limit-connections`: at a time.
    pub connections: Option<u32>,
    /// `limit-burst-multiplier`: how many times the limit may come at once.
    pub burst_multiplier: u32,
    /// `limit-allowlist`, `limit-whitelist`: clients that are not limited.
    pub exempt: Option<Arc<Networks>>,
}

/// Who may send requests, by name and password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasicAuth {
    /// `None` is no password.
    pub passwords: Option<Passwords>,
    /// `satisfy`: whether a client has to pass this check and the others of access, or one of them.
    pub satisfy: Satisfy,
}

/// Where the passwords are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwords {
    /// `auth-secret`: namespace, if it is written, and name.
    pub secret: (Option<Box<str>>, Box<str>),
    /// `auth-secret-type`.
    pub form: SecretForm,
    /// The value of `WWW-Authenticate`, which has `auth-realm`.
    pub challenge: HeaderValue,
}

/// How users are written in a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// `auth-file`: its key `auth` is a file of `htpasswd`.
    File,
    /// `auth-map`: each key is a user.
    Map,
}

/// Redirects. `None` is the global setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    /// `ssl-redirect`: whether plain HTTP is redirected to HTTPS on hosts with TLS.
    pub ssl: Option<bool>,
    /// `force-ssl-redirect`: the same on every host.
    pub force_ssl: Option<bool>,
    /// `preserve-trailing-slash`: whether a redirect to HTTPS keeps the slash at the end.
    pub keep_slash: Option<bool>,
    /// `temporal-redirect` and `permanent-redirect`: the status, and the place that every request is sent to.
    pub fixed: Option<(u16, Box<str>)>,
    /// `app-root`: where requests for `/` are sent.
    pub app_root: Option<Box<str>>,
    /// `from-to-www-redirect`: whether each host is also served with, or without, `www.`, as a redirect.
    pub from_to_www: bool,
    /// `relative-redirects`: whether redirects to this host have no scheme and host.
    pub is_relative: Option<bool>,
    /// `use-port-in-redirects`.
    pub with_port: Option<bool>,
}

/// How paths are matched, and what becomes of them on the way to the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// `use-regex`.
    pub use_regex: bool,
    /// `rewrite-target`.
    pub target: Option<Box<str>>,
    /// `x-forwarded-prefix`: what a backend is told of the path that was replaced.
    pub forwarded_prefix: Option<Box<str>>,
}

/// `upstream-vhost`: the Host that backends see, in place of the client's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamVhost {
    pub host: Option<Arc<str>>,
}

/// Where requests are copied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirroring {
    /// `mirror-target`.
    pub target: ServiceTarget,
    /// `mirror-host`: the Host of copies; `None` is the target's host.
    pub host: Option<Box<str>>,
    /// `mirror-request-body`.
    pub body: bool,
}

/// `ssl-passthrough`: whether the TLS connections of its hosts go to a backend as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SslPassthrough {
    pub is_on: bool,
}

/// `enable-access-log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Whether requests are not logged.
    pub is_off: bool,
}

/// `server-alias`: other names of each of its hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAlias {
    pub hosts: Vec<HostPattern>,
}

/// What a host asks of its clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthTls {
    /// The Secret with the authorities; `None` if it is not named with its namespace.
    pub secret: Option<ObjectKey>,
    pub demand: Demand,
    /// The most certificates between the client's and an authority's.
    pub depth: u8,
    /// What the subject must contain.
    pub subject: Option<Source>,
    /// Where clients without a valid certificate are sent.
    pub error_page: Option<Box<str>>,
    /// Whether backends get the certificate.
    pub pass: bool,
}

/// The bodies of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// `proxy-body-size`, in bytes; 0 is no limit, `None` the global setting.
    pub size: Option<u64>,
    /// `proxy-request-buffering`: whether they are received as a whole; `None` is the global setting.
    pub buffering: Option<bool>,
    /// `client-body-buffer-size`: how many bytes of one are held in memory; `None` is the global setting.
    pub buffer: Option<u64>,
}

/// How fast answers are sent. `None` is the global setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// `limit-rate`, in KiB per second; 0 is no limit.
    pub rate: Option<u32>,
    /// `limit-rate-after`, in KiB.
    pub after: Option<u32>,
    /// `proxy-buffering`: without it, ingress-nginx does not limit the rate.
    pub buffering: Option<bool>,
}

/// How long backends may take, and when another one is asked. `None` is the global setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// `proxy-connect-timeout`, `proxy-send-timeout`, `proxy-read-timeout`.
    pub timeouts: OwnTimeouts,
    /// `proxy-next-upstream`.
    pub next: Option<NextUpstream>,
    /// `proxy-next-upstream-tries`: how many attempts there are; 0 is no limit in nginx.
    pub tries: Option<u32>,
    /// `proxy-next-upstream-timeout`: how long after the first attempt others are begun; zero is no limit.
    pub next_timeout: Option<Duration>,
}

/// How backends are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendSpeech {
    /// `backend-protocol`; `None` is what the Service's port says.
    pub speech: Option<Speech>,
    /// `proxy-ssl-*`.
    pub tls: Option<ProxySsl>,
    /// `service-upstream`: whether connections are made to the Service's own address; `None` is the global setting.
    pub service_upstream: Option<bool>,
}

/// Default backends, and the answers that they give in place of others. `None` is the global setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// `custom-http-errors`: the statuses of the answers, in ascending order.
    pub statuses: Option<Box<[u16]>>,
    /// `default-backend`: a Service of the Ingress's namespace.
    pub default_backend: Option<Box<str>>,
    /// `disable-proxy-intercept-errors`: whether answers of backends are passed.
    pub passes_backends: Option<bool>,
}

/// What is changed of answers, and what backends get in `Connection`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// `custom-headers`: a ConfigMap, as `namespace/name`, with headers of every answer.
    pub headers: Option<Box<str>>,
    /// `connection-proxy-header`.
    pub connection: Option<BackendConnection>,
    /// `proxy-cookie-domain`: a domain, and what takes its place.
    pub cookie_domain: Option<(Box<str>, Box<str>)>,
    /// `proxy-cookie-path`: the beginning of a path, and what takes its place.
    pub cookie_path: Option<(Box<str>, Box<str>)>,
    /// `proxy-redirect-from` and `proxy-redirect-to`.
    pub redirect: Option<(Box<str>, Box<str>)>,
}

/// A value of `backend-protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Http,
    Https,
    /// As the client speaks to us.
    AutoHttp,
    Grpc,
    Grpcs,
    /// FastCGI, which is not served.
    Fcgi,
}

/// TLS to backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySsl {
    /// `proxy-ssl-secret`, by namespace and name: a client certificate, authorities, or both.
    pub secret: (Box<str>, Box<str>),
    /// `proxy-ssl-verify`.
    pub verify: bool,
    /// `proxy-ssl-name`: the name in the backend's certificate.
    pub name: Option<Box<str>>,
    /// `proxy-ssl-server-name`: whether it is sent.
    pub sends_name: bool,
    /// `proxy-ssl-protocols`.
    pub versions: TlsVersions,
}

impl Speech {
    /// Reads a value in upper case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "HTTP" => Self::Http,
            "HTTPS" => Self::Https,
            "AUTO_HTTP" => Self::AutoHttp,
            "GRPC" => Self::Grpc,
            "GRPCS" => Self::Grpcs,
            "FCGI" => Self::Fcgi,
            _ => return None,
        })
    }
}

/// What is worth another attempt (`proxy-next-upstream`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextUpstream {
    pub failures: Failures,
    pub codes: Box<[u16]>,
    pub repeats: Repeats,
}

/// The protections that an Ingress asks for and that are not served; what they protect is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    pub protections: Box<[UnservedProtection]>,
    /// The first annotation that is on no list; it closes paths if annotations are strict.
    pub unknown: Option<Box<str>>,
    /// Whether its hosts are protected as a whole, or it is not known which of their requests are.
    pub whole_hosts: bool,
}

/// An annotation of ingress-nginx that protects and cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnservedProtection {
    /// Its name, without the prefix.
    pub name: &'static str,
    /// Why, as in "`is not supported`" or "`\"many\" is not a number`".
    pub why: Box<str>,
}

impl NextUpstream {
    /// Whether nothing is worth another attempt.
    pub fn is_off(&self) -> bool {
        let Failures { error, timeout, invalid } = self.failures;
        !(error || timeout || invalid) && self.codes.is_empty()
    }
}

impl Rewrite {
    /// Whether the paths of its hosts may be regular expressions.
    pub fn may_make_regex(&self) -> bool {
        self.use_regex || self.target.is_some()
    }
}

impl Unserved {
    /// The annotations that close the Ingress, as messages name them; `None` where nothing does. `strict` is whether an
    /// annotation that is on no list does.
    pub fn closed_by(&self, strict: bool) -> Option<String> {
        let unknown = self.unknown_if(strict).map(str::to_owned);
        let names = self.protections.iter().map(|protection| protection.name.to_owned());
        first_few(names.chain(unknown).collect(), ", ")
    }

    /// The same with the reason for each, which may quote its value: for messages to the owner of the Ingress.
    pub fn why_closed(&self, strict: bool) -> Option<String> {
        let unknown = self.unknown_if(strict).map(|name| format!("{name}: is not a known annotation"));
        let whys =
            self.protections.iter().map(|protection| format!("{}: {}", protection.name, protection.why));
        first_few(whys.chain(unknown).collect(), "; ")
    }

    fn unknown_if(&self, strict: bool) -> Option<&str> {
        self.unknown.as_deref().filter(|_| strict)
    }
}

/// Joins the first few of a list, and says how many more there are; `None` for an empty list.
fn first_few(all: Vec<String>, separator: &str) -> Option<String> {
    const NAMED: usize = 5;
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!all.is_empty()).then(|| all[..all.len().min(NAMED)].join(separator) + &more)
}
