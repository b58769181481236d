//! Owners of hostnames: the first namespace that serves a hostname owns it (`first-namespace-owns`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use portcullis_routing::HostPattern;

use super::{Listeners, Reader, listeners::Classes, route};
use crate::{
    facts::Fact,
    ir::{Ingress, Kind, Meta, ObjectKey, Route},
};

/// The routes and Ingresses that serve each exact hostname at the shared addresses, the oldest first. The namespace of the oldest
/// owns the hostname.
#[derive(Clone, Debug, Default)]
pub struct HostOwners {
    hosts: HashMap<Arc<str>, BTreeSet<Claim>>,
    /// The hostnames with their labels reversed, so that all hostnames below a name are adjacent.
    reversed: BTreeSet<String>,
    claims: HashMap<ObjectKey, Claimed>,
    /// The parents of the routes that have claims.
    gateways: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// The hostnames whose claims have changed, each with its oldest claim before the change.
    changed: BTreeMap<Arc<str>, Option<Claim>>,
    /// The hostnames of routes whose parents have changed.
    moved: BTreeSet<Arc<str>>,
}

/// When an object was created, and its key.
type Claim = (i64, ObjectKey);

/// When an object was created, and the hostnames that it serves.
type Claimed = (i64, Box<[Arc<str>]>);

impl HostOwners {
    /// Whether a route that serves hostnames names a Gateway as its parent.
    pub(super) fn attaches(&self, route: &ObjectKey, gateway: &ObjectKey) -> bool {
        self.gateways.get(route).is_some_and(|gateways| gateways.contains(gateway))
    }

    /// The oldest object that serves a hostname.
    pub(super) fn first(&self, host: &str) -> Option<(i64, &ObjectKey)> {
        self.hosts.get(host)?.first().map(|(created, key)| (*created, key))
    }

    /// The hostnames below a name, each with the oldest object that serves it.
    pub(super) fn below(&self, name: &str) -> impl Iterator<Item = (&Arc<str>, i64, &ObjectKey)> {
        let prefix = reversed(name) + ".";
        let names = self.reversed.range(prefix.clone()..).take_while(move |name| name.starts_with(&prefix));
        names.filter_map(|name| {
            let (host, claims) = self.hosts.get_key_value(&*reversed(name))?;
            claims.first().map(|(created, key)| (host, *created, key))
        })
    }

    /// Updates the hostnames that a route serves.
    pub fn set_route(&mut self, reader: &Reader<'_>, listeners: &Listeners, route: &Route) {
        let hosts = exact(route::shared_hosts(reader, listeners, route).iter());
        let gateways: BTreeSet<_> = route::gateways(route).collect();
        let key = &route.meta.key;
        if self.gateways.get(key).is_some_and(|before| *before != gateways) {
            // Even if the hostnames stay the same, other listeners are now allowed to have them.
            self.moved.extend(self.claims.get(key).into_iter().flat_map(|(_, hosts)| hosts.iter().cloned()));
        }
        self.set(&route.meta, hosts);
        if self.claims.contains_key(key) {
            self.gateways.insert(key.clone(), gateways);
        }
    }

    /// Updates the hostnames that an Ingress serves.
    pub fn set_ingress(&mut self, reader: &Reader<'_>, ingress: &Ingress) {
        let hosts = if Classes::of(reader).is_ours(ingress) { ingress.hosts() } else { BTreeSet::new() };
        let namespace = ingress.meta.namespace();
        self.set(&ingress.meta, exact(hosts.iter().filter(|host| reader.may_serve(namespace, host).is_ok())));
    }

    /// The Ingresses that serve at least one hostname.
    pub(crate) fn ingresses(&self) -> impl Iterator<Item = &ObjectKey> {
        self.claims.keys().filter(|key| key.kind == Kind::Ingress)
    }

    /// Removes an object that is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.gateways.remove(key);
        let Some((created, hosts)) = self.claims.remove(key) else { return };
        let claim = (created, key.clone());
        for host in hosts {
            self.note_change(&host);
            if let Some(claims) = self.hosts.get_mut(&host) {
                claims.remove(&claim);
                if claims.is_empty() {
                    self.hosts.remove(&host);
                    self.reversed.remove(&reversed(&host));
                }
            }
        }
    }

    fn set(&mut self, meta: &Meta, hosts: BTreeSet<Arc<str>>) {
        let is_same = self
            .claims
            .get(&meta.key)
            .is_some_and(|(created, before)| *created == meta.created && before.iter().eq(&hosts));
        if is_same {
            return;
        }
        self.remove(&meta.key);
        if hosts.is_empty() {
            return;
        }
        for host in &hosts {
            self.note_change(host);
            self.hosts.entry(Arc::clone(host)).or_default().insert((meta.created, meta.key.clone()));
            self.reversed.insert(reversed(host));
        }
        self.claims.insert(meta.key.clone(), (meta.created, hosts.into_iter().collect()));
    }

    fn note_change(&mut self, host: &Arc<str>) {
        if !self.changed.contains_key(host) {
            let first = self.hosts.get(host).and_then(|claims| claims.first().cloned());
            self.changed.insert(Arc::clone(host), first);
        }
    }

    /// The facts that have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<Fact> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let others = changed
            .filter(|(host, before)| self.hosts.get(host).and_then(BTreeSet::first) != before.as_ref());
        let others = others.map(|(host, _)| host).chain(std::mem::take(&mut self.moved));
        let mut facts = BTreeSet::new();
        for host in others {
            facts.extend(names_above(&host).map(|name| Fact::OwnersBelow(name.into())));
            facts.insert(Fact::OwnerOf(host));
        }
        facts.into_iter().collect()
    }
}

/// `com.example.a` for `a.example.com`, and the other way round.
fn reversed(name: &str) -> String {
    name.rsplit('.').collect::<Vec<_>>().join(".")
}

/// `example.com` and `com` for `a.example.com`.
fn names_above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.')).map(|(_, rest)| rest)
}

fn exact<'h>(hosts: impl Iterator<Item = &'h HostPattern>) -> BTreeSet<Arc<str>> {
    let name = |host: &HostPattern| match host {
        HostPattern::Exact(name) => Some(Arc::clone(name)),
        HostPattern::Any | HostPattern::Wildcard(_) | HostPattern::WildcardLabel(_) => None,
    };
    hosts.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    fn meta(namespace: &str, name: &str, created: i64) -> Meta {
        let key = ObjectKey::new(Kind::HttpRoute, namespace, name);
        Meta { key, uid: None, generation: 1, version: 0, created, warnings: Box::default() }
    }

    fn hosts(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn hostnames_below_a_name_are_found() {
        let mut owners = HostOwners::default();
        owners.set(
            &meta("a", "x", 1),
            hosts(&["a.example.com", "b.a.example.com", "example.com", "a.xexample.com"]),
        );
        let below = |name: &str| owners.below(name).map(|(host, ..)| host.to_string()).collect::<Vec<_>>();
        assert_eq!(below("example.com"), ["a.example.com", "b.a.example.com"]);
        assert_eq!(below("a.example.com"), ["b.a.example.com"]);
        assert!(below("b.a.example.com").is_empty());
        let below = |name: &str| Fact::OwnersBelow(name.into());
        let facts = owners.take_changed();
        assert!(facts.contains(&below("com")) && facts.contains(&below("a.example.com")), "{facts:?}");
        assert!(!facts.contains(&below("b.a.example.com")), "{facts:?}");
    }

    #[test]
    fn a_hostname_belongs_to_the_oldest_object_that_serves_it() {
        let mut owners = HostOwners::default();
        let owner =
            |owners: &HostOwners, host: &str| owners.first(host).map(|(_, key)| key.namespace.to_string());
        let fact = |host: &str| Fact::OwnerOf(host.into());
        owners.set(&meta("b", "young", 2), hosts(&["x", "y"]));
        assert_eq!(owners.take_changed(), [fact("x"), fact("y")]);
        owners.set(&meta("a", "old", 1), hosts(&["x"]));
        assert_eq!(owners.take_changed(), [fact("x")]);
        assert_eq!((owner(&owners, "x"), owner(&owners, "y")), (Some("a".into()), Some("b".into())));
        owners.set(&meta("c", "younger", 3), hosts(&["x", "y"]));
        assert!(owners.take_changed().is_empty(), "nothing changes for anybody");
        owners.set(&meta("a", "old", 1), hosts(&["x", "z"]));
        assert_eq!(owners.take_changed(), [fact("z")]);
        owners.remove(&meta("a", "old", 1).key);
        owners.remove(&meta("b", "young", 2).key);
        assert_eq!(owners.take_changed(), [fact("x"), fact("y"), fact("z")]);
        assert_eq!(owner(&owners, "x"), Some("c".into()));
        owners.set(&meta("c", "younger", 3), hosts(&[]));
        assert!(owners.hosts.is_empty() && owners.claims.is_empty() && owners.reversed.is_empty());
    }
}
