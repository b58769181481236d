//! The table that a request is held against: ports, their listeners, their hosts, the rules of a host.

use std::{collections::BTreeMap, sync::Arc};

mod host;
mod listener;

pub use host::{HostTable, PatternSet, SortedEntries};
pub use listener::{ClientAuth, HttpRoutes, Listener, ListenerId, ListenerOwner, Serves, TlsMode};

use crate::{HostMap, PathMatch, PortKey, Precedence, RouteMatch, Rule, path::Reading, step::AddedHeaders};

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
    /// What a connection to it begins with.
    pub protocol: Protocol,
    /// The port that the listener or Ingress names, and that messages talk of.
    pub number: u16,
    /// What clients add to that number to get here: nothing, where a Service leads from the one port to the other.
    pub offset: u16,
    /// Whether the connections of load balancers begin with a PROXY protocol header, whatever other ports require.
    pub proxy_protocol: bool,
    /// By hostname; the most specific one alone takes a request (listener isolation).
    pub listeners: HostMap<Arc<Listener>>,
    /// The headers of responses to requests for hosts without a listener, and to those that no rule of Ingresses takes.
    pub unmatched: Option<Arc<AddedHeaders>>,
}

/// What a port speaks before it is known which of its listeners is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1 and h2c; the listener is that of the request's host.
    Http,
    /// TLS; the listener is that of the server name, and ends it or passes it through.
    Tls,
    /// Anything over TCP, for the one listener of the port.
    Tcp,
    /// Anything over UDP, for the one listener of the port.
    Udp,
}

/// One match of one rule, with its place in the order of precedence.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it asks. A route has one value of a match, however many listeners and hostnames it is at.
    pub route_match: Arc<RouteMatch>,
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
    /// Whether it is an Ingress's, and takes what the routes of a Gateway's listener left.
    pub behind_gateway: bool,
}

impl Port {
    /// A port without listeners, which clients reach by its number.
    pub fn new(protocol: Protocol, number: u16) -> Self {
        let listeners = HostMap::default();
        Self { protocol, number, offset: 0, proxy_protocol: false, listeners, unmatched: None }
    }

    /// The port that clients connect to.
    pub fn for_clients(&self) -> u16 {
        self.number.saturating_add(self.offset)
    }

    /// The listener that a host (lower case, no port) belongs to.
    pub fn listener(&self, host: &str) -> Option<&Arc<Listener>> {
        self.listeners.most_specific(host)
    }

    /// The listener that a handshake with this server name (lower case) belongs to; the one for every host where the client
    /// sent none.
    pub fn greeted(&self, server_name: Option<&str>) -> Option<&Arc<Listener>> {
        // A server name has no last dot (RFC 6066, section 3), but clients send it.
        let server_name = server_name.map(|name| name.strip_suffix('.').unwrap_or(name));
        self.listener(server_name.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
