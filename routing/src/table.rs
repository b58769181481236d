//! The table that a request is held against: ports, their listeners, their hosts, the rules of a host.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

mod host;

pub use host::HostTable;

use crate::{
    HostMap, PathMatch, PortKey, Precedence, RequestView, RouteMatch, Rule,
    path::{InvalidPath, Reading},
};

/// Everything that is served. Immutable once published: a change clones it (cheap: all parts are shared) and
/// replaces the parts that changed.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Counts up with each publication.
    pub generation: u64,
    /// By the port that is bound on this machine.
    pub ports: BTreeMap<PortKey, Arc<Port>>,
}

/// What is served on one port.
#[derive(Clone, Debug)]
pub struct Port {
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The port that the listener or Ingress names, and that messages talk of.
    pub number: u16,
    /// What clients add to that number to get here: nothing, where a Service leads from the one port to the other.
    pub offset: u16,
    /// By hostname; the most specific one alone takes a request (listener isolation).
    pub listeners: HostMap<Arc<Listener>>,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1 and h2c.
    Http,
    /// HTTP/1 and h2 over TLS that ends here.
    Https,
}

/// A listener: the routes that are attached to it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Whose it is.
    pub id: Arc<ListenerId>,
    /// By the hostname that the route itself names ([`HostPattern::Any`](crate::HostPattern::Any) where it names none); asked from the
    /// most specific one down, so that the route's own hostname comes first in precedence.
    pub hosts: HostMap<Arc<HostTable>>,
    /// Asked for what `hosts` leave: the Ingress of the same hostname behind a Gateway's listener.
    pub fallback: Option<Arc<Listener>>,
}

/// Whose a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerId {
    /// A listener of a Gateway.
    Gateway {
        /// The Gateway's namespace.
        namespace: Box<str>,
        /// The Gateway's name.
        name: Box<str>,
        /// The listener's name.
        section: Box<str>,
    },
    /// A host of the Ingresses.
    Ingress,
}

/// One match of one rule, with its place in the order of precedence.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it asks.
    pub route_match: RouteMatch,
    /// Its place in the order.
    pub precedence: Precedence,
    /// What it leads to.
    pub rule: Arc<Rule>,
}

/// The rule that takes a request.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'t> {
    /// The rule.
    pub rule: &'t Arc<Rule>,
    /// The condition on the path that matched; a prefix can be replaced by a filter.
    pub path: &'t PathMatch,
    /// The reading of the path in which it matched.
    pub reading: Reading,
}

impl Port {
    /// A port without listeners, which clients reach by its number.
    pub fn new(protocol: Protocol, number: u16) -> Self {
        Self { protocol, number, offset: 0, listeners: HostMap::default() }
    }

    /// The port that clients connect to.
    pub fn for_clients(&self) -> u16 {
        self.number.saturating_add(self.offset)
    }

    /// The listener that a host (lower case, no port) belongs to.
    pub fn listener(&self, host: &str) -> Option<&Arc<Listener>> {
        self.listeners.most_specific(host)
    }
}

impl Listener {
    /// A listener without routes.
    pub fn new(id: ListenerId) -> Self {
        Self { id: Arc::new(id), hosts: HostMap::default(), fallback: None }
    }

    /// The rule that takes a request for `host` (lower case, no port).
    ///
    /// Whoever reads the path in another way (the backend, another listener of this host) finds the same rule, so that
    /// nobody passes by a rule with a second reading. Does not allocate for a path that is canonical and has no escapes
    /// that are read in two ways.
    ///
    /// # Errors
    /// [`InvalidPath::Ambiguous`] where another reading leads to another rule, [`InvalidPath::AboveRoot`] where Ingresses
    /// are asked for a path that nginx refuses.
    pub fn route(&self, host: &str, request: &RequestView<'_>) -> Result<Option<Selected<'_>>, InvalidPath> {
        let path = request.path;
        let selected = self.select(host, request, &|reading| path.read(reading))?;
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
        let reading = self.id.reading();
        let path = form(reading)?;
        let head = request.head(&path);
        let own = self.hosts.matches(host).find_map(|(_, table)| {
            table.find(&head).map(|entry| Selected {
                rule: &entry.rule,
                path: &entry.route_match.path,
                reading,
            })
        });
        match (own, &self.fallback) {
            (None, Some(fallback)) => fallback.select(host, request, form),
            (own, _) => Ok(own),
        }
    }

    /// Whether this listener or one behind it has this reading.
    fn asks(&self, reading: Reading) -> bool {
        self.id.reading() == reading || self.fallback.as_ref().is_some_and(|fallback| fallback.asks(reading))
    }
}

impl ListenerId {
    /// How the paths of its requests are read.
    pub fn reading(&self) -> Reading {
        match self {
            Self::Gateway { .. } => Reading::Gateway,
            Self::Ingress => Reading::Ingress,
        }
    }
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { namespace, name, section } => {
                write!(f, "Gateway {namespace}/{name} listener {section}")
            }
            Self::Ingress => f.write_str("Ingress"),
        }
    }
}

#[cfg(test)]
mod tests;
