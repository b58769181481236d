//! Names the places in the table that a route's entries go to.
//!
//! A slot is one [`HostTable`]: the rules with the same port, listener and own hostname. At a listener of streams or
//! datagrams, a slot is one rule. A route is translated without its neighbours; all entries of a slot together are its
//! table.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{Entry, HostPattern, HostTable, ListenerId, PortKey, Rule};

use super::PolicyUse;
use crate::{
    ir::ObjectKey,
    status::{Message, RouteParentStatus},
};

/// The translation of a route.
#[derive(Clone, Debug, Default)]
pub struct Translated {
    /// The route's entries, by slot; each slot stands once.
    pub attachments: Vec<Attachment>,
    /// The slots whose streams or datagrams the route gets, each with the rule that takes them; each slot stands once.
    pub streams: Vec<(HostTableKey, Arc<Rule>)>,
    /// The Gateway listeners that the route is attached to, each once: they count the route in `attachedRoutes`.
    pub attached: Vec<Arc<ListenerId>>,
    /// The status for each of its parents that is ours.
    pub parents: Vec<RouteParentStatus>,
    /// The policies that concern its backends, each with the Gateways through which it does, in their order.
    pub policies: Box<[PolicyUse]>,
    /// Messages for its owner, beside its status.
    pub messages: Vec<Message>,
    /// Whether it concerns us; if not, nothing is reported of it.
    pub ours: bool,
}

/// The translation of the Ingresses of a host.
#[derive(Debug, Default)]
pub struct HostTranslation {
    /// Both ports share one table.
    pub tables: Vec<(HostTableKey, Arc<HostTable>)>,
    /// The rule that takes the host's TLS connections, where they are passed through.
    pub stream: Option<(HostTableKey, Arc<Rule>)>,
    /// The policies that concern its backends.
    pub policies: BTreeSet<ObjectKey>,
    /// Messages for the owners of the Ingresses, also about paths that other Ingresses have.
    pub messages: HostMessages,
}

/// By Ingress.
pub type HostMessages = BTreeMap<ObjectKey, BTreeSet<Message>>;

/// The key of a [`HostTable`] in the table, or of a rule of streams or datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostTableKey {
    /// Shared by the thousands of routes of one listener.
    pub at: Arc<ListenerKey>,
    /// The route's own hostname.
    pub host: HostPattern,
}

/// A listener of the table, and the source of rules there.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerKey {
    /// The port that is bound.
    pub port: PortKey,
    /// The hostname under which the port finds the listener.
    pub listener: HostPattern,
    /// Whose rules they are.
    pub owner: RuleSource,
}

impl HostTableKey {
    pub fn new(port: PortKey, listener: &HostPattern, owner: RuleSource, host: &HostPattern) -> Self {
        let at = Arc::new(ListenerKey { port, listener: listener.clone(), owner });
        Self { at, host: host.clone() }
    }
}

/// The order of the fields. Written by hand for a shortcut that `derive` does not take: slots of thousands of routes
/// are sorted, and nearly all of them are at the same listener.
impl Ord for HostTableKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let at = if Arc::ptr_eq(&self.at, &other.at) { Ordering::Equal } else { self.at.cmp(&other.at) };
        at.then_with(|| self.host.cmp(&other.host))
    }
}

impl PartialOrd for HostTableKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where the rules of a host table come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleSource {
    /// Those of routes at a Gateway's listener.
    Gateway(Arc<ListenerId>),
    /// Those of the Ingresses that name the host.
    Ingress,
    /// The default backend, which answers where no Ingress has a rule: behind every Ingress host of the port. The
    /// slot's `listener` and `host` are [`HostPattern::Any`].
    IngressDefault,
    /// The entries of ConfigMaps of TCP and UDP services.
    Services,
}

/// The entries of a route in one slot.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub slot: HostTableKey,
    /// The entries that it asks for; a route has one list of them for many slots.
    pub entries: Arc<[Entry]>,
}
