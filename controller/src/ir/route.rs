//! Routes of every kind, in one form.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use portcullis_routing::{
    HostPattern, PathMatch, Retry, RouteKind, RouteMatch, Timeouts,
    pattern::Source,
    step::{AuthProtocol, Cors, HeaderModifier, Redirect, UrlRewrite},
};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{Meta, x_backend::SessionPersistence};

/// An HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute.
#[derive(Clone, Debug)]
pub struct Route {
    pub meta: Meta,
    /// Any kind except [`RouteKind::Ingress`].
    pub kind: RouteKind,
    /// Shared with what is said of the route at each.
    pub parents: Box<[Arc<ParentRef>]>,
    /// Empty is every host of the listener.
    pub hostnames: Box<[HostPattern]>,
    pub rules: Box<[RouteRule]>,
    /// The regular expressions of all matches, each text once.
    pub patterns: Box<[Source]>,
    /// Why it is refused as a whole. Such a route has no rules.
    pub refused: Option<Box<str>>,
}

/// `parentRefs[]`, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParentRef {
    #[serde(flatten)]
    pub kind: ParentKind,
    /// As written; `None` is the route's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Box<str>>,
    pub name: Box<str>,
    #[serde(rename = "sectionName", skip_serializing_if = "Option::is_none")]
    pub section: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What kind of object a parent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParentKind {
    Gateway,
    ListenerSet,
    /// One that is not served.
    Other(Box<GroupKind>),
}

/// `group` and `kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKind {
    pub group: Box<str>,
    pub kind: Box<str>,
}

/// `rules[]`.
#[derive(Clone, Debug)]
pub struct RouteRule {
    pub name: Option<Box<str>>,
    /// A rule that takes requests has at least one match: if it is written without matches, it has one that takes every
    /// request. Rules of streams and datagrams have none.
    pub matches: Box<[Result<WrittenMatch, Box<InvalidRule>>]>,
    pub filters: Box<[Result<RouteFilter, InvalidRule>]>,
    pub backends: Box<[BackendRef]>,
    /// The rules of the table share it.
    pub timeouts: Option<Arc<Timeouts>>,
    pub retry: Option<Arc<Retry>>,
    pub persistence: Option<Box<Result<SessionPersistence, InvalidRule>>>,
}

/// A match of a rule.
#[derive(Clone, Debug)]
pub enum WrittenMatch {
    /// One without regular expressions; the table shares it.
    Plain(Arc<RouteMatch>),
    /// One whose regular expressions are compiled where the route is attached.
    WithPatterns(Box<RouteMatch<Regex>>),
}

/// The match of a rule that is written without one. Thousands of rules share it.
static EVERY_REQUEST: LazyLock<Arc<RouteMatch>> = LazyLock::new(|| {
    let (headers, query) = (Box::default(), Box::default());
    Arc::new(RouteMatch { path: PathMatch::Prefix("".into()), method: None, headers, query })
});

impl From<RouteMatch<Regex>> for WrittenMatch {
    fn from(written: RouteMatch<Regex>) -> Self {
        let RouteMatch { path, method, headers, query } = &written;
        let takes_all = matches!(path, PathMatch::Prefix(prefix) if prefix.is_empty());
        if takes_all && method.is_none() && headers.is_empty() && query.is_empty() {
            return Self::Plain(Arc::clone(&EVERY_REQUEST));
        }
        match written.compiled(&mut |_| Err(())) {
            Ok(plain) => Self::Plain(Arc::new(plain)),
            Err(()) => Self::WithPatterns(Box::new(written)),
        }
    }
}

/// A regular expression of a match. It is compiled where the route is attached.
#[derive(Clone, Debug)]
pub struct Regex {
    pub source: Source,
    /// The field, from the object's root.
    pub field: Box<str>,
}

/// Why a rule cannot be served: `UnsupportedValue`, or with others that can, `PartiallyInvalid`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidRule {
    /// The field, from the object's root: `spec.rules[0].matches[1].path.value`.
    pub field: Box<str>,
    pub message: Box<str>,
}

/// `filters[]` of a rule or a backend.
#[derive(Clone, Debug)]
pub enum RouteFilter {
    RequestHeaders(HeaderModifier),
    ResponseHeaders(HeaderModifier),
    Redirect(Redirect),
    Rewrite(UrlRewrite),
    Mirror(MirrorFilter),
    Cors(Cors),
    ExternalAuth(ExternalAuthFilter),
}

/// RequestMirror before its backend is resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorFilter {
    pub backend: ObjectBackendRef,
    pub numerator: u32,
    pub denominator: u32,
}

/// ExternalAuth before its backend is resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalAuthFilter {
    pub backend: ObjectBackendRef,
    pub protocol: AuthProtocol,
    /// `forwardBody.maxSize`; 0 is no body.
    pub body: u32,
}

/// `backendRefs[]`.
#[derive(Clone, Debug)]
pub struct BackendRef {
    pub target: ObjectBackendRef,
    pub weight: u32,
    pub filters: Box<[Result<RouteFilter, InvalidRule>]>,
}

/// A reference to a backend, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectBackendRef {
    pub kind: BackendKind,
    /// `None` is the route's own.
    pub namespace: Option<Box<str>>,
    pub name: Box<str>,
    pub port: Option<u16>,
}

/// What kind of object a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackendKind {
    Service,
    XBackend,
    /// One that is not served, as messages name it: `kind` of the core group, else `group/kind`.
    Other(Box<str>),
}

impl ParentKind {
    pub fn group(&self) -> &str {
        match self {
            Self::Gateway | Self::ListenerSet => "gateway.networking.k8s.io",
            Self::Other(other) => &other.group,
        }
    }

    pub fn kind(&self) -> &str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::Other(other) => &other.kind,
        }
    }
}

impl Serialize for ParentKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ParentKind", 2)?;
        fields.serialize_field("group", self.group())?;
        fields.serialize_field("kind", self.kind())?;
        fields.end()
    }
}

/// `Gateway infra/public listener http port 80`, as far as the reference names it.
impl fmt::Display for ParentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, section, port } = self;
        write!(f, "{} ", kind.kind())?;
        namespace.iter().try_for_each(|namespace| write!(f, "{namespace}/"))?;
        write!(f, "{name}")?;
        section.iter().try_for_each(|section| write!(f, " listener {section}"))?;
        port.iter().try_for_each(|port| write!(f, " port {port}"))
    }
}

/// Reads a Gateway API duration (GEP-2257: `1h2m3s4ms`, each part at most five digits).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Some(after) = rest[digits..].strip_prefix(unit) else { continue };
        if digits == 0 || digits > 5 || (unit == "m" && after.starts_with('s')) {
            continue;
        }
        let count: u64 = rest[..digits].parse().ok()?;
        total += Duration::from_millis(count * millis);
        rest = after;
    }
    rest.is_empty().then_some(total)
}
