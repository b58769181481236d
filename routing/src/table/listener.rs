//! A listener: its owner, how it handles TLS, and what it serves.

use std::{borrow::Cow, fmt, sync::Arc};

use http::HeaderValue;

use super::{HostTable, Selected};
use crate::{
    HostMap, HostPattern, RequestView, Rule, TlsMaterial,
    path::{InvalidPath, Reading},
    step::Check,
};

/// A listener of a port. What it serves and what happens to TLS are its own: one port may end TLS for a hostname and
/// pass it through for another.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Whose it is.
    pub id: Arc<ListenerId>,
    /// What becomes of a client's TLS.
    pub tls: TlsMode,
    /// What is served.
    pub serves: Serves,
}

/// The owner of a listener, and its name there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId {
    /// Whose it is.
    pub owner: ListenerOwner,
    /// Its name among the owner's listeners; empty if there is only one.
    pub section: Box<str>,
}

/// Whose a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerOwner {
    /// A Gateway's.
    Gateway {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
    /// A ListenerSet's.
    ListenerSet {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
    /// The Ingresses' that name this host.
    IngressHost(HostPattern),
    /// A ConfigMap's of TCP or UDP services.
    Services {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
}

/// What becomes of a client's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// There is none.
    None,
    /// It ends here.
    Terminate(ClientAuth),
    /// It is passed on as it is; nothing but the server name is read.
    Passthrough,
}

/// What a listener asks of its clients' certificates.
///
/// A session is resumed without asking again, and so only under the policy under which it began: what ends TLS has to
/// keep sessions apart by this value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// No certificate is requested.
    #[default]
    Unasked,
    /// A certificate is requested and may be missing or invalid: whether to trust the client is left to the backend.
    Optional(Arc<[TlsMaterial]>),
    /// A certificate is requested and verified, and each request is told the outcome
    /// ([`ClientCertificateCheck`](crate::step::ClientCertificateCheck)).
    Reported {
        /// The authorities.
        authorities: Arc<[TlsMaterial]>,
        /// The most certificates between the client's and an authority's.
        depth: u8,
    },
    /// The client must show a certificate that is valid and issued by an authority of one of these sets. Without any
    /// set, no client is accepted.
    Required(Arc<[TlsMaterial]>),
}

/// What a listener serves.
#[derive(Clone, Debug)]
pub enum Serves {
    /// Requests.
    Http(HttpRoutes),
    /// Connections, each as a whole: by the server name that a route names, [`HostPattern::Any`] where it names none.
    Stream(HostMap<Arc<Rule>>),
    /// Datagrams; without a route they go nowhere.
    Datagram(Option<Arc<Rule>>),
}

/// The HTTP routes of a listener.
#[derive(Clone, Debug, Default)]
pub struct HttpRoutes {
    /// What every request has to pass, in this order, before a rule is chosen, be it of the fallback. What they make of
    /// the request's headers is what routes match (ListenerFilters `requests`).
    pub filters: Arc<[Check]>,
    /// By the hostname that the route itself names ([`HostPattern::Any`] where it names none); asked from the most
    /// specific one down, so that the route's own hostname comes first in precedence.
    pub hosts: HostMap<Arc<HostTable>>,
    /// Asked if no rule of `hosts` matches: the Ingress of the same hostname behind a Gateway's listener.
    pub fallback: Option<Arc<Listener>>,
    /// `Strict-Transport-Security` (RFC 6797) in responses over TLS to requests that no rule matches.
    pub hsts: Option<Arc<HeaderValue>>,
}

impl Listener {
    /// A listener for plain HTTP.
    pub fn http(id: impl Into<Arc<ListenerId>>, routes: HttpRoutes) -> Self {
        Self { id: id.into(), tls: TlsMode::None, serves: Serves::Http(routes) }
    }

    /// The routes of a listener that serves HTTP.
    pub fn http_routes(&self) -> Option<&HttpRoutes> {
        match &self.serves {
            Serves::Http(routes) => Some(routes),
            Serves::Stream(_) | Serves::Datagram(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn http_routes_mut(&mut self) -> Option<&mut HttpRoutes> {
        match &mut self.serves {
            Serves::Http(routes) => Some(routes),
            Serves::Stream(_) | Serves::Datagram(_) => None,
        }
    }

    /// The rule for connections with this server name, and the hostname of its route: the most specific one.
    pub fn stream(&self, server_name: Option<&str>) -> Option<(&HostPattern, &Arc<Rule>)> {
        let Serves::Stream(routes) = &self.serves else { return None };
        // A server name has no trailing dot (RFC 6066, section 3), but some clients send one.
        let name = server_name.map_or("", |name| name.strip_suffix('.').unwrap_or(name));
        routes.matches(name).next()
    }

    /// What every request has to pass before a rule is chosen.
    pub fn filters(&self) -> &[Check] {
        self.http_routes().map_or(&[], |routes| &routes.filters)
    }

    /// The rule that takes a request for `host` (lower case, no port).
    ///
    /// If the path is read in another way (by the backend, or another listener of this host), the rule is the same, so
    /// that no rule can be bypassed by a second reading. Does not allocate for a path that is canonical and has no
    /// escapes that are read in two ways.
    ///
    /// # Errors
    /// [`InvalidPath::Ambiguous`] where another reading leads to another rule, [`InvalidPath::AboveRoot`] where
    /// Ingresses are asked for a path that nginx refuses.
    pub fn route(&self, host: &str, request: &RequestView<'_>) -> Result<Option<Selected<'_>>, InvalidPath> {
        let path = request.path;
        let mut selected = self.select(host, request, &|reading| path.read(reading))?;
        if let Some(selected) = &mut selected {
            selected.behind_gateway = selected.reading != self.id.reading();
        }
        let rule = |selected: Option<Selected<'_>>| selected.map(|selected| Arc::as_ptr(selected.rule));
        let is_same = |variant| {
            let form = |reading| path.form(reading, variant).ok_or(InvalidPath::AboveRoot);
            self.select(host, request, &form).is_ok_and(|other| rule(other) == rule(selected))
        };
        match path.variants(self.asks(Reading::Gateway), self.asks(Reading::Ingress)).all(is_same) {
            true => Ok(selected),
            false => Err(InvalidPath::Ambiguous),
        }
    }

    /// The first rule that takes a request whose path has these forms.
    fn select<'p>(
        &self,
        host: &str,
        request: &RequestView<'_>,
        form: &dyn Fn(Reading) -> Result<Cow<'p, str>, InvalidPath>,
    ) -> Result<Option<Selected<'_>>, InvalidPath> {
        let Some(routes) = self.http_routes() else { return Ok(None) };
        let reading = self.id.reading();
        let path = form(reading)?;
        let head = request.head(&path);
        let own = routes.hosts.matches(host).find_map(|(_, table)| {
            table.find(&head).map(|entry| Selected {
                rule: &entry.rule,
                path: &entry.route_match.path,
                reading,
                behind_gateway: false,
            })
        });
        match (own, &routes.fallback) {
            (None, Some(fallback)) => fallback.select(host, request, form),
            (own, _) => Ok(own),
        }
    }

    /// Whether this listener or its fallback reads paths in this way.
    fn asks(&self, reading: Reading) -> bool {
        let fallback = self.http_routes().and_then(|routes| routes.fallback.as_ref());
        self.id.reading() == reading || fallback.is_some_and(|fallback| fallback.asks(reading))
    }
}

impl TlsMode {
    /// The policy of client authentication, if TLS is terminated.
    pub fn client_auth(&self) -> Option<&ClientAuth> {
        match self {
            Self::Terminate(policy) => Some(policy),
            Self::None | Self::Passthrough => None,
        }
    }
}

impl ListenerId {
    /// A listener of a Gateway.
    pub fn gateway(namespace: &str, name: &str, section: &str) -> Self {
        let owner = ListenerOwner::Gateway { namespace: namespace.into(), name: name.into() };
        Self { owner, section: section.into() }
    }

    /// The listener of a host of Ingresses.
    pub fn ingress(host: HostPattern) -> Self {
        Self { owner: ListenerOwner::IngressHost(host), section: Box::default() }
    }

    /// The listener of an entry of a ConfigMap of TCP or UDP services.
    pub fn service(namespace: &str, name: &str, entry: &str) -> Self {
        let owner = ListenerOwner::Services { namespace: namespace.into(), name: name.into() };
        Self { owner, section: entry.into() }
    }

    /// Whether it is that of an entry of a ConfigMap of TCP or UDP services.
    pub fn is_service(&self) -> bool {
        matches!(self.owner, ListenerOwner::Services { .. })
    }

    /// Whether it is the Ingresses'.
    pub fn is_ingress(&self) -> bool {
        matches!(self.owner, ListenerOwner::IngressHost(_))
    }

    /// How the paths of its requests are read.
    pub fn reading(&self) -> Reading {
        match self.owner {
            ListenerOwner::Gateway { .. }
            | ListenerOwner::ListenerSet { .. }
            | ListenerOwner::Services { .. } => Reading::Gateway,
            ListenerOwner::IngressHost(_) => Reading::Ingress,
        }
    }
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, section } = self;
        match owner {
            ListenerOwner::Gateway { namespace, name } => {
                write!(f, "Gateway {namespace}/{name} listener {section}")
            }
            ListenerOwner::ListenerSet { namespace, name } => {
                write!(f, "ListenerSet {namespace}/{name} listener {section}")
            }
            ListenerOwner::IngressHost(_) => f.write_str("Ingress"),
            ListenerOwner::Services { namespace, name } => {
                write!(f, "ConfigMap {namespace}/{name} entry {section}")
            }
        }
    }
}
