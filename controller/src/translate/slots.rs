//! Names the places in the table that a route's entries go to, and merges the entries of the same place.
//!
//! A slot is one [`HostTable`]: the rules with the same port, listener and own hostname. At a listener of streams or
//! datagrams, a slot is one rule. A route is translated without its neighbours; what depends on them (which Ingress
//! keeps a path) is decided here, when the attachments of one slot are put together.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{Entry, HostPattern, HostTable, ListenerId, PathMatch, PortKey, RouteId, Rule};

use super::PolicyUse;
use crate::{
    ir::{Kind, ObjectKey},
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
    pub tables: Vec<(HostTableKey, HostTable)>,
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
}

/// The path of a [`Loss`] of the default backend.
const DEFAULT_BACKEND: &str = "default backend";

/// The entries of a route in one slot.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub slot: HostTableKey,
    /// The entries that it asks for.
    pub entries: Vec<Entry>,
    /// Entries of an Ingress that apply only if no entry of the slot has the same path: its default backend, and its
    /// backend for ACME challenges on a host that is redirected.
    pub implied: Vec<Entry>,
}

/// A path that an Ingress asks for and another one has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// Who does not get it.
    pub loser: Arc<RouteId>,
    /// Who has it; the loser itself where the path stands twice in it.
    pub winner: Arc<RouteId>,
    pub host: HostPattern,
    /// `prefix /cart`, or `default backend` for that of what nothing matches.
    pub path: Box<str>,
}

impl Loss {
    /// The Ingress that lost.
    pub fn of(&self) -> ObjectKey {
        ObjectKey::new(Kind::Ingress, &self.loser.namespace, &self.loser.name)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { loser, winner, host, path } = self;
        if &**path == DEFAULT_BACKEND {
            return write!(
                f,
                "what no rule matches goes to the default backend of {winner}, which comes first (by age, then by name)"
            );
        }
        if loser == winner {
            return write!(f, "{path} of host {host} stands there twice; the first one is served");
        }
        write!(f, "{path} of host {host} is answered by {winner}, which comes first (by age, then by name)")
    }
}

/// Puts the attachments of one slot together; the order in which they come does not matter.
///
/// Routes of the Gateway API are ordered by their precedence, and all stay. Of Ingresses that ask for the same path
/// the oldest has it.
pub(crate) fn merge<'a>(
    slot: &HostTableKey,
    attachments: impl IntoIterator<Item = &'a Attachment>,
) -> (HostTable, Vec<Loss>) {
    let attachments: Vec<_> = attachments.into_iter().collect();
    let entries = attachments.iter().flat_map(|a| &a.entries);
    if let RuleSource::Gateway(_) = slot.at.owner {
        return (HostTable::compile(entries.cloned().collect()), Vec::new());
    }
    let mut kept: BTreeMap<PathKey, &Entry> = BTreeMap::new();
    let mut losses = BTreeSet::new();
    for entry in by_precedence(entries) {
        let path = PathKey::of(&entry.route_match.path);
        if let Some(winner) = kept.get(&path) {
            losses.insert(Loss {
                loser: Arc::clone(&entry.rule.route),
                winner: Arc::clone(&winner.rule.route),
                host: slot.host.clone(),
                path: match slot.at.owner {
                    RuleSource::IngressDefault => DEFAULT_BACKEND.into(),
                    _ => path.to_string().into(),
                },
            });
        } else {
            kept.insert(path, entry);
        }
    }
    for entry in by_precedence(attachments.iter().flat_map(|a| &a.implied)) {
        kept.entry(PathKey::of(&entry.route_match.path)).or_insert(entry);
    }
    (HostTable::compile(kept.into_values().cloned().collect()), losses.into_iter().collect())
}

fn by_precedence<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<&'e Entry> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|a, b| b.precedence.cmp(&a.precedence));
    entries
}

/// A path by its kind and text. Entries of Ingresses match by nothing else, so two with the same key are in conflict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathKey {
    Exact(Box<str>),
    Prefix(Box<str>),
    Other(Box<str>),
}

impl PathKey {
    pub(super) fn of(path: &PathMatch) -> Self {
        match path {
            PathMatch::Exact(path) => Self::Exact((&**path).into()),
            PathMatch::Prefix(path) => Self::Prefix((&**path).into()),
            PathMatch::Regex(regex) => Self::Other(regex.as_str().into()),
            PathMatch::GrpcMethod(method) => Self::Other((&**method).into()),
        }
    }
}

impl std::fmt::Display for PathKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "exact {path}"),
            Self::Prefix(path) if path.is_empty() => f.write_str("prefix /"),
            Self::Prefix(path) => write!(f, "prefix {path}"),
            Self::Other(pattern) => f.write_str(pattern),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_routing::{Backends, Precedence, RouteKind, RouteMatch, Rule, Steps, Timeouts};

    use super::*;

    #[test]
    fn the_oldest_ingress_keeps_a_path_in_whatever_order_they_come() {
        let members = [
            attachment("old", 1, &[prefix("/"), exact("/a")], &[]),
            attachment("twin", 1, &[prefix("/")], &[]),
            attachment("new", 2, &[prefix("/"), exact("/a"), prefix("/a")], &[]),
        ];
        let lost =
            "prefix / of host * is answered by Ingress shop/old, which comes first (by age, then by name)";
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let (table, losses) = merge(&slot(RuleSource::Ingress), order.map(|index| &members[index]));
            assert_eq!(winners(&table), ["exact /a old", "prefix /a new", "prefix / old"], "{order:?}");
            assert_eq!(losses.len(), 3, "{order:?}");
            assert_eq!(losses.iter().filter(|l| l.to_string() == lost).count(), 2, "{order:?}");
        }
    }

    #[test]
    fn what_is_implied_gives_way_to_what_is_asked_for_by_anybody() {
        let members = [
            attachment("old", 1, &[], &[prefix("/")]),
            attachment("older", 0, &[], &[prefix("/"), prefix("/x")]),
            attachment("new", 2, &[prefix("/")], &[]),
        ];
        let (table, losses) = merge(&slot(RuleSource::Ingress), &members);
        assert_eq!(winners(&table), ["prefix /x older", "prefix / new"]);
        assert!(losses.is_empty());
        let (table, _) = merge(&slot(RuleSource::Ingress), &members[..2]);
        assert_eq!(winners(&table), ["prefix /x older", "prefix / older"]);
    }

    #[test]
    fn routes_at_a_gateway_all_stay() {
        let members = [attachment("old", 1, &[prefix("/")], &[]), attachment("new", 2, &[prefix("/")], &[])];
        let (table, losses) =
            merge(&slot(RuleSource::Gateway(Arc::new(ListenerId::gateway("n", "g", "l")))), &members);
        assert_eq!(winners(&table), ["prefix / old", "prefix / new"]);
        assert!(losses.is_empty());
    }

    fn slot(owner: RuleSource) -> HostTableKey {
        HostTableKey::new(PortKey::tcp(80), &HostPattern::Any, owner, &HostPattern::Any)
    }

    fn prefix(path: &str) -> PathMatch {
        PathMatch::Prefix(path.trim_end_matches('/').into())
    }

    fn exact(path: &str) -> PathMatch {
        PathMatch::Exact(path.into())
    }

    fn winners(table: &HostTable) -> Vec<String> {
        let text = |e: &Entry| format!("{} {}", PathKey::of(&e.route_match.path), e.rule.route.name);
        table.entries().iter().map(text).collect()
    }

    fn attachment(name: &str, age: i64, paths: &[PathMatch], implied: &[PathMatch]) -> Attachment {
        let route =
            Arc::new(RouteId { kind: RouteKind::Ingress, namespace: "shop".into(), name: name.into() });
        let entry = |(index, path): (usize, &PathMatch)| {
            let route_match = RouteMatch {
                path: path.clone(),
                method: None,
                headers: Box::default(),
                query: Box::default(),
            };
            let rule = Rule {
                route: Arc::clone(&route),
                index,
                name: None,
                steps: Steps::default(),
                backends: Backends::default(),
                timeouts: Timeouts::default(),
                retry: None,
            };
            let precedence = Precedence::of(&HostPattern::Any, &route_match, age, name.into(), (index, 0));
            Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }
        };
        let entries = |paths: &[PathMatch]| paths.iter().enumerate().map(entry).collect();
        Attachment { slot: slot(RuleSource::Ingress), entries: entries(paths), implied: entries(implied) }
    }
}
