//! What the annotations of an Ingress say: a field for each family.

use std::sync::Arc;

use portcullis_routing::{
    Networks,
    pattern::Source,
    step::{Demand, IngressCors, OwnUrl},
};

use crate::ir::ObjectKey;

/// The annotations of an Ingress, read.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    pub access: Access,
    pub limits: Limits,
    pub redirects: Redirects,
    pub rewrite: Rewrite,
    /// `enable-cors` and `cors-*`.
    pub cors: Option<IngressCors>,
    /// `auth-tls-*`.
    pub auth_tls: Option<AuthTls>,
    pub unserved: Unserved,
    /// The annotation by which it asks for TLS of its own: client certificates, or TLS that is passed through.
    pub own_tls: Option<&'static str>,
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

/// Redirects. `None` is the global setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    /// `ssl-redirect`: whether plain HTTP is redirected to HTTPS on hosts with TLS.
    pub ssl: Option<bool>,
    /// `force-ssl-redirect`: the same on every host.
    pub force_ssl: Option<bool>,
    /// `preserve-trailing-slash`: whether a redirect to HTTPS keeps the slash at the end.
    pub keep_slash: bool,
    /// `temporal-redirect` and `permanent-redirect`: the status, and the place that every request is sent to.
    pub fixed: Option<(u16, Box<str>)>,
    /// `app-root`: where requests for `/` are sent.
    pub app_root: Option<Box<str>>,
    /// `from-to-www-redirect`: whether each host is also served with, or without, `www.`, as a redirect.
    pub from_to_www: bool,
    /// `relative-redirects` and `use-port-in-redirects`.
    pub own: OwnUrl,
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

/// The protections that an Ingress asks for and that are not served; what they protect is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    /// Annotations of ingress-nginx, without their prefix.
    pub protections: Box<[&'static str]>,
    /// The first annotation that is on no list; it closes paths if annotations are strict.
    pub unknown: Option<Box<str>>,
    /// Whether its hosts are protected as a whole, or it is not known which of their requests are.
    pub whole_hosts: bool,
}

impl Rewrite {
    /// Whether the paths of its hosts may be regular expressions.
    pub fn may_make_regex(&self) -> bool {
        self.use_regex || self.target.is_some()
    }
}

impl Unserved {
    /// What closes the Ingress, as messages name it; `None` where nothing does. `strict` is whether an annotation that
    /// is on no list does.
    pub fn closed_by(&self, strict: bool) -> Option<String> {
        const NAMED: usize = 5;
        let unknown = self.unknown.as_deref().filter(|_| strict);
        let names: Vec<_> = self.protections.iter().copied().chain(unknown).collect();
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| names[..names.len().min(NAMED)].join(", ") + &more)
    }
}
