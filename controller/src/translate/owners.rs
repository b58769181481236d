//! Owners of hostnames: the first namespace that serves a hostname owns it (`first-namespace-owns`).

mod below;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use portcullis_routing::HostPattern;

use super::{Listeners, Reader, Taker, listeners::Classes, route};
use crate::{
    facts::Fact,
    ir::{Ingress, Kind, Meta, ObjectKey, Route},
};
use below::{Below, Owner, Parents, names_above};

/// The routes and Ingresses that serve each exact hostname at the shared addresses, the oldest first. The namespace of
/// the oldest owns the hostname.
#[derive(Clone, Debug, Default)]
pub struct HostOwners {
    hosts: HashMap<Arc<str>, BTreeSet<Claim>>,
    /// The oldest claims, by the names above their hostnames.
    below: Below,
    claims: HashMap<ObjectKey, Claimed>,
    /// The hostnames whose claims have changed, each with its oldest claim before the change.
    changed: BTreeMap<Arc<str>, Option<Claim>>,
    /// The hostnames of routes whose parents have changed.
    moved: BTreeSet<Arc<str>>,
}

/// When an object was created, and its key.
type Claim = (i64, ObjectKey);

/// What an object claims.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claimed {
    created: i64,
    /// In order.
    hosts: Box<[Arc<str>]>,
    parents: Parents,
}

impl HostOwners {
    /// Whether a route that serves hostnames names a Gateway or ListenerSet as its parent.
    pub(super) fn attaches(&self, route: &ObjectKey, parent: &ObjectKey) -> bool {
        self.claims.get(route).is_some_and(|claimed| claimed.parents.contains(parent))
    }

    /// The oldest object that serves a hostname.
    pub(super) fn first(&self, host: &str) -> Option<(i64, &ObjectKey)> {
        self.hosts.get(host)?.first().map(|(created, key)| (*created, key))
    }

    /// The oldest hostname that a wildcard covers and that an older object of another namespace owns, unless that
    /// object is a route which attaches to the taker; and its owner.
    pub(super) fn in_the_way(
        &self,
        taker: Taker<'_>,
        wildcard: &HostPattern,
    ) -> Option<(&Arc<str>, &ObjectKey)> {
        let (name, is_one_label) = match wildcard {
            HostPattern::Wildcard(name) => (name, false),
            HostPattern::WildcardLabel(name) => (name, true),
            HostPattern::Any | HostPattern::Exact(_) => return None,
        };
        self.below.in_the_way(taker, name, is_one_label).map(|(_, host, owner)| (host, owner))
    }

    /// Updates the hostnames that a route serves.
    pub fn set_route(&mut self, reader: &Reader<'_>, listeners: &Listeners, route: &Route) {
        let hosts = exact(route::shared_hosts(reader, listeners, route).iter());
        self.set(&route.meta, hosts, Arc::new(route::parent_keys(route).collect()));
    }

    /// Updates the hostnames that an Ingress serves.
    pub fn set_ingress(&mut self, reader: &Reader<'_>, ingress: &Ingress) {
        let hosts = if Classes::of(reader).is_ours(ingress) { ingress.hosts() } else { BTreeSet::new() };
        let namespace = ingress.meta.namespace();
        let hosts = exact(hosts.iter().filter(|host| reader.may_serve(namespace, host).is_ok()));
        self.set(&ingress.meta, hosts, Parents::default());
    }

    /// The Ingresses that serve at least one hostname.
    pub(crate) fn ingresses(&self) -> impl Iterator<Item = &ObjectKey> {
        self.claims.keys().filter(|key| key.kind == Kind::Ingress)
    }

    /// Removes an object that is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        if let Some(before) = self.withdraw(key) {
            before.hosts.iter().for_each(|host| self.renew_below(host));
        }
    }

    fn set(&mut self, meta: &Meta, hosts: BTreeSet<Arc<str>>, parents: Parents) {
        let now = Claimed { created: meta.created, hosts: hosts.iter().cloned().collect(), parents };
        if self.claims.get(&meta.key) == Some(&now) {
            return;
        }
        let before = self.withdraw(&meta.key);
        if let Some(before) = &before
            && before.parents != now.parents
        {
            // Even if the hostnames stay the same, other listeners are now allowed to have them.
            self.moved.extend(before.hosts.iter().cloned());
        }
        for host in &hosts {
            self.note_change(host);
            self.hosts.entry(Arc::clone(host)).or_default().insert((meta.created, meta.key.clone()));
        }
        if !hosts.is_empty() {
            self.claims.insert(meta.key.clone(), now);
        }
        let no_longer = before.iter().flat_map(|before| &before.hosts).filter(|host| !hosts.contains(*host));
        hosts.iter().chain(no_longer).for_each(|host| self.renew_below(host));
    }

    /// Takes away the claims of an object.
    fn withdraw(&mut self, key: &ObjectKey) -> Option<Claimed> {
        let before = self.claims.remove(key)?;
        let claim = (before.created, key.clone());
        for host in &before.hosts {
            self.note_change(host);
            if let Some(claims) = self.hosts.get_mut(host) {
                claims.remove(&claim);
                if claims.is_empty() {
                    self.hosts.remove(host);
                }
            }
        }
        Some(before)
    }

    fn renew_below(&mut self, host: &Arc<str>) {
        let first = self.hosts.get(host).and_then(BTreeSet::first);
        let owner = first.and_then(|(created, key)| {
            let parents = Arc::clone(&self.claims.get(key)?.parents);
            Some(Owner { created: *created, key: key.clone(), parents })
        });
        self.below.set(host, owner);
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

    impl HostOwners {
        fn serve(&mut self, meta: &Meta, hosts: BTreeSet<Arc<str>>) {
            self.set(meta, hosts, Parents::default());
        }
    }

    #[test]
    fn a_change_of_an_owner_concerns_all_names_above_its_hostname() {
        let mut owners = HostOwners::default();
        owners.serve(&meta("a", "x", 1), hosts(&["b.a.example.com"]));
        let below = |name: &str| Fact::OwnersBelow(name.into());
        let facts = ["a.example.com", "com", "example.com"].map(below);
        let own = Fact::OwnerOf("b.a.example.com".into());
        assert_eq!(owners.take_changed(), [[own].as_slice(), &facts].concat());
    }

    #[test]
    fn a_wildcard_may_be_taken_once_the_owner_below_it_attaches_to_the_taker() {
        let mut owners = HostOwners::default();
        let gateway = ObjectKey::new(Kind::Gateway, "infra", "public");
        let taker = Meta { key: gateway.clone(), ..meta("infra", "public", 2) };
        let wildcard = HostPattern::Wildcard("example.com".into());
        let route = meta("a", "x", 1);
        owners.serve(&route, hosts(&["a.example.com"]));
        owners.take_changed();
        assert_eq!(
            owners.in_the_way((&taker).into(), &wildcard),
            Some((&Arc::from("a.example.com"), &route.key)),
            "nothing attaches to it"
        );
        let parents = Parents::new([gateway].into());
        owners.set(&route, hosts(&["a.example.com"]), parents);
        assert_eq!(owners.in_the_way((&taker).into(), &wildcard), None);
        assert!(owners.take_changed().contains(&Fact::OwnersBelow("example.com".into())));
        owners.remove(&route.key);
        assert_eq!(owners.in_the_way((&taker).into(), &wildcard), None);
    }

    #[test]
    fn a_hostname_belongs_to_the_oldest_object_that_serves_it() {
        let mut owners = HostOwners::default();
        let owner =
            |owners: &HostOwners, host: &str| owners.first(host).map(|(_, key)| key.namespace.to_string());
        let fact = |host: &str| Fact::OwnerOf(host.into());
        owners.serve(&meta("b", "young", 2), hosts(&["x", "y"]));
        assert_eq!(owners.take_changed(), [fact("x"), fact("y")]);
        owners.serve(&meta("a", "old", 1), hosts(&["x"]));
        assert_eq!(owners.take_changed(), [fact("x")]);
        assert_eq!((owner(&owners, "x"), owner(&owners, "y")), (Some("a".into()), Some("b".into())));
        owners.serve(&meta("c", "younger", 3), hosts(&["x", "y"]));
        assert!(owners.take_changed().is_empty(), "nothing changes for anybody");
        owners.serve(&meta("a", "old", 1), hosts(&["x", "z"]));
        assert_eq!(owners.take_changed(), [fact("z")]);
        owners.remove(&meta("a", "old", 1).key);
        owners.remove(&meta("b", "young", 2).key);
        assert_eq!(owners.take_changed(), [fact("x"), fact("y"), fact("z")]);
        assert_eq!(owner(&owners, "x"), Some("c".into()));
        owners.serve(&meta("c", "younger", 3), hosts(&[]));
        assert!(owners.hosts.is_empty() && owners.claims.is_empty());
    }
}
