//! Settings of all Ingresses: keys that ingress-nginx's ConfigMap has, by the same names.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_routing::{
    Networks,
    step::{BlockedValues, Compress, OwnUrl, Spool},
};

use super::{
    ObjectKey,
    ingress::{AuthOptions, LoadBalance, Risk, ServiceTarget, Upstream},
};

/// What holds for every Ingress whose annotations do not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressSettings {
    /// `ssl-redirect`; `None` is the value of the command line.
    pub ssl_redirect: Option<bool>,
    /// `force-ssl-redirect`.
    pub force_ssl_redirect: bool,
    /// `no-tls-redirect-locations`: rules whose path begins with one of these are not redirected.
    pub not_redirected: Box<[Box<str>]>,
    /// `preserve-trailing-slash`.
    pub keep_slash: bool,
    /// `relative-redirects` and `use-port-in-redirects`.
    pub own_url: OwnUrl,
    /// `retry-non-idempotent`: whether requests of any method are repeated.
    pub repeats_all: bool,
    /// `http-redirect-code`: the status of redirects to HTTPS and to or from `www.`.
    pub redirect_status: StatusCode,
    pub hsts: Hsts,
    pub access: GlobalAccess,
    pub limits: LimitSettings,
    /// `allow-cross-namespace-resources`: whether Ingresses may use Secrets of other namespaces.
    pub allow_cross_namespace: bool,
    /// `proxy-body-size`, in bytes; 0 is no limit.
    pub body_size: u64,
    /// `proxy-request-buffering`: whether bodies are received as a whole.
    pub request_buffering: bool,
    /// `client-body-buffer-size`: how many bytes of one are held in memory.
    pub body_buffer: u64,
    /// `limit-rate` and `limit-rate-after`, in KiB, and `proxy-buffering`, without which they have no effect.
    pub pacing: PacingDefaults,
    /// `use-gzip`, `enable-brotli`, and `gzip-*` and `brotli-*`.
    pub compression: Arc<Compress>,
    /// `service-upstream`.
    pub service_upstream: bool,
    /// `proxy-connect-timeout` and so on, `proxy-next-upstream` and so on.
    pub upstream: Upstream,
    /// `load-balance`.
    pub load_balance: LoadBalance,
    pub auth: GlobalAuth,
    /// Why all Ingresses are closed: a key that may protect backends is not served.
    pub closed_by: Option<Box<str>>,
    /// `annotations-risk-level`: Ingresses with a riskier annotation are closed. Snippets, which are Critical, are closed
    /// anyway if they may protect something.
    pub risk_level: Risk,
    pub errors: GlobalErrors,
    pub headers: HeaderSettings,
}

/// Headers of answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderSettings {
    /// `global-allowed-response-headers`: what `custom-headers` of an Ingress may set.
    pub allowed: Box<[HeaderName]>,
    /// `hide-headers`: what of the answers of backends clients do not get.
    pub hidden: Box<[HeaderName]>,
    /// `add-headers`: headers of every answer.
    pub add: HeadersOfMap,
    /// `proxy-set-headers`: headers of requests to backends.
    pub send: HeadersOfMap,
    /// `proxy-add-original-uri-header`: whether backends get the client's target in `X-Original-URI`.
    pub original_uri: bool,
}

/// Headers that are set from a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadersOfMap {
    pub map: Option<ObjectKey>,
    /// Those of the ConfigMap that can be set. A value can contain variables of nginx.
    pub headers: Box<[(HeaderName, Box<str>)]>,
}

impl HeaderSettings {
    /// The ConfigMaps of headers.
    pub fn maps(&self) -> impl Iterator<Item = &ObjectKey> {
        [&self.add, &self.send].into_iter().filter_map(|headers| headers.map.as_ref())
    }
}

/// Answers that a default backend gives in place of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalErrors {
    /// `custom-http-errors`: their statuses, in ascending order.
    pub statuses: Box<[u16]>,
    /// `disable-proxy-intercept-errors`: whether answers of backends are passed.
    pub passes_backends: bool,
}

/// External authentication of all Ingresses that have none of their own: the keys `global-auth-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalAuth {
    pub url: Option<ServiceTarget>,
    pub options: AuthOptions,
    /// A key whose value cannot be used. It is not known what is to be checked how, so that nothing passes.
    pub unusable: Option<&'static str>,
    /// `no-auth-locations`: rules whose path begins with one of these are not checked.
    pub exempt: Box<[Box<str>]>,
}

/// The pace of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacingDefaults {
    /// `limit-rate`, in KiB per second; 0 is no limit.
    pub rate: u32,
    /// `limit-rate-after`, in KiB.
    pub after: u32,
    /// `proxy-buffering`.
    pub buffering: bool,
}

/// What holds for the limits of all Ingresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// `limit-req-status-code`.
    pub request_status: StatusCode,
    /// `limit-conn-status-code`.
    pub connection_status: StatusCode,
    /// `limit-ipv6-prefix-length`: how many leading bits of an IPv6 address identify a client, 32 to 128.
    pub ipv6_prefix: u8,
}

/// Which clients may send requests, by their address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalAccess {
    /// `whitelist-source-range`: these alone, at Ingresses without an annotation of that kind.
    pub allow: Option<Arc<Networks>>,
    /// `denylist-source-range`: not these, at Ingresses without an annotation of that kind.
    pub deny: Denied,
    /// `block-cidrs`: not these, at any Ingress.
    pub block: Denied,
    /// `block-user-agents`: requests of these are refused, at any Ingress.
    pub user_agents: Option<Arc<BlockedValues>>,
    /// `block-referers`: the same.
    pub referers: Option<Arc<BlockedValues>>,
}

/// Networks whose clients are denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Denied {
    #[default]
    Nobody,
    Networks(Arc<Networks>),
    /// It is not known whom, since the setting cannot be read.
    Unknown,
}

/// HTTP Strict Transport Security.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// `hsts`; `None` is on for the controller of ingress-nginx alone, since browsers keep it for long.
    pub is_on: Option<bool>,
    /// `hsts-max-age`, in seconds.
    pub max_age: u64,
    /// `hsts-include-subdomains`.
    pub include_subdomains: bool,
    /// `hsts-preload`.
    pub preload: bool,
}

impl Default for IngressSettings {
    fn default() -> Self {
        Self {
            ssl_redirect: None,
            force_ssl_redirect: false,
            not_redirected: acme(),
            keep_slash: false,
            own_url: OwnUrl::default(),
            repeats_all: false,
            redirect_status: StatusCode::PERMANENT_REDIRECT,
            auth: GlobalAuth::default(),
            closed_by: None,
            risk_level: Risk::Critical,
            errors: GlobalErrors::default(),
            headers: HeaderSettings::default(),
            hsts: Hsts { is_on: None, max_age: 31_536_000, include_subdomains: true, preload: false },
            load_balance: LoadBalance::RoundRobin,
            body_size: 1 << 20,
            request_buffering: true,
            body_buffer: Spool::default().memory.into(),
            pacing: PacingDefaults::default(),
            compression: Arc::default(),
            service_upstream: false,
            upstream: Upstream::default(),
            access: GlobalAccess::default(),
            allow_cross_namespace: false,
            limits: LimitSettings {
                request_status: StatusCode::SERVICE_UNAVAILABLE,
                connection_status: StatusCode::SERVICE_UNAVAILABLE,
                ipv6_prefix: 128,
            },
        }
    }
}

impl Default for GlobalAuth {
    fn default() -> Self {
        Self { url: None, options: AuthOptions::default(), unusable: None, exempt: acme() }
    }
}

/// Where ACME servers ask for their challenge (RFC 8555, section 8.3): over plain HTTP, and of everybody.
fn acme() -> Box<[Box<str>]> {
    ["/.well-known/acme-challenge".into()].into()
}

impl Hsts {
    /// The value of `Strict-Transport-Security` (RFC 6797, section 6.1).
    pub fn value(&self) -> Option<HeaderValue> {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        HeaderValue::try_from(format!("max-age={}{subdomains}{preload}", self.max_age)).ok()
    }
}
