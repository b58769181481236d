//! What an Ingress says of the Services that it uses: how requests are spread over endpoints, and canaries.

use std::num::NonZeroUsize;

use http::HeaderName;
use portcullis_routing::{Template, balance::SameSite};

/// How requests are spread over endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// `load-balance`; `None` is the global setting.
    pub load_balance: Option<LoadBalance>,
}

/// A value of `load-balance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadBalance {
    /// One endpoint after the other.
    #[default]
    RoundRobin,
    /// The one of two that answers faster.
    Ewma,
}

impl LoadBalance {
    /// Reads a value.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "round_robin" => Some(Self::RoundRobin),
            "ewma" => Some(Self::Ewma),
            _ => None,
        }
    }
}

/// Endpoints by the hash of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashing {
    /// `upstream-hash-by`.
    pub by: Option<Template>,
    /// `upstream-hash-by-subset` and `-size`: how many endpoints share the requests of one text.
    pub subset: Option<NonZeroUsize>,
}

/// Endpoints by a cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// `affinity: cookie` and `session-cookie-*`.
    pub session: Option<Session>,
    /// `affinity-mode`.
    pub is_persistent: Option<bool>,
    /// `affinity-canary-behavior: legacy`: whether the canaries that this Ingress adds are chosen without regard to
    /// cookies.
    pub canaries_are_legacy: bool,
}

/// `session-cookie-*`: the cookie and its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    pub name: Box<str>,
    pub changes_on_failure: bool,
    /// In how many seconds it expires, as a date.
    pub expires: Option<i64>,
    pub max_age: Option<i64>,
    pub domain: Option<Box<str>>,
    /// `None` is the path of the rule.
    pub path: Option<Box<str>>,
    pub is_secure: bool,
    pub same_site: Option<SameSite>,
    pub is_same_site_conditional: bool,
}

/// `canary-*`: which requests the Service of such an Ingress gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    pub weight: u64,
    /// What the weight is a share of.
    pub total: u64,
    pub header: Option<(HeaderName, CanaryHeader)>,
    pub cookie: Option<Box<str>>,
}

/// How a header decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryHeader {
    /// By `always` and `never`.
    Word,
    Value(Box<str>),
    /// A regular expression that is searched for.
    Pattern(Box<str>),
}
