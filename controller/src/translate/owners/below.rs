//! Finds the oldest hostname below a name that stands in the way of a wildcard, without a walk over all hostnames
//! below it.
//!
//! ```text
//! example.com -> { the parents to which a route attaches -> { its namespace -> hostnames } }    the oldest first everywhere
//! ```
//!
//! Two kinds of owners do not stand in the way: those of the taker's own namespace, and routes that attach to the
//! taker. Each is passed over as a whole.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{ir::ObjectKey, translate::Taker};

/// The Gateways and ListenerSets to which a route attaches; none for an Ingress.
pub(super) type Parents = Arc<BTreeSet<ObjectKey>>;

/// The owner of a hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) created: i64,
    pub(super) key: ObjectKey,
    pub(super) parents: Parents,
}

/// When the owner of a hostname was created, the hostname, and its owner.
pub(super) type Owned = (i64, Arc<str>, ObjectKey);

/// The owners of hostnames, by the names above them.
#[derive(Clone, Debug, Default)]
pub(super) struct Below {
    names: HashMap<Box<str>, Name>,
    owners: HashMap<Arc<str>, Owner>,
    /// How many groups and hostnames have been looked at.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

/// What is below a name.
#[derive(Clone, Debug, Default)]
struct Name {
    all: ByParents,
    /// Those with exactly one label more.
    children: ByParents,
}

type ByParents = ByAge<Parents, ByAge<Box<str>, BTreeSet<Owned>>>;

impl Below {
    /// Updates the owner of a hostname; `None` if nobody serves it.
    pub(super) fn set(&mut self, host: &Arc<str>, owner: Option<Owner>) {
        if self.owners.get(host) == owner.as_ref() {
            return;
        }
        if let Some(before) = self.owners.remove(host) {
            self.edit(host, &before, |owned, one| owned.remove(&one));
        }
        if let Some(now) = owner {
            self.edit(host, &now, |owned, one| owned.insert(one));
            self.owners.insert(Arc::clone(host), now);
        }
    }

    /// The oldest hostname below a name, of those that an older object of another namespace owns, unless that object
    /// is a route which attaches to the taker. `children`: only hostnames with exactly one label more than the name.
    pub(super) fn in_the_way(&self, taker: Taker<'_>, name: &str, children: bool) -> Option<&Owned> {
        let below = self.names.get(name)?;
        let groups = if children { &below.children } else { &below.all };
        let mut oldest: Option<&Owned> = None;
        for (first, parents, by_namespace) in groups.oldest_first() {
            self.look();
            if first.0 >= taker.since || oldest.is_some_and(|oldest| oldest < first) {
                break;
            }
            if parents.contains(taker.key) {
                continue;
            }
            // The taker's namespace is one of the two oldest, or does not matter.
            let others = by_namespace.oldest_first().inspect(|_| self.look());
            let others = others.filter(|(_, namespace, _)| ***namespace != *taker.key.namespace);
            let Some((first, ..)) = { others }.next() else { continue };
            if first.0 < taker.since {
                oldest = oldest.into_iter().chain([first]).min();
            }
        }
        oldest
    }

    fn edit(&mut self, host: &Arc<str>, owner: &Owner, edit: impl Fn(&mut BTreeSet<Owned>, Owned) -> bool) {
        for (number, name) in names_above(host).enumerate() {
            let below = self.names.entry(name.into()).or_default();
            let children = (number == 0).then_some(&mut below.children);
            for groups in children.into_iter().chain([&mut below.all]) {
                groups.edit(&owner.parents, |by_namespace| {
                    by_namespace.edit(&owner.key.namespace, |owned| {
                        edit(owned, (owner.created, Arc::clone(host), owner.key.clone()));
                    });
                });
            }
            if below.all.is_empty() {
                self.names.remove(name);
            }
        }
    }

    fn look(&self) {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
    }
}

/// `example.com` and `com` for `a.example.com`.
pub(super) fn names_above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.')).map(|(_, rest)| rest)
}

/// Groups, of which those without anything are not kept.
#[derive(Clone, Debug)]
struct ByAge<K, G> {
    groups: BTreeMap<K, G>,
    /// The groups by the oldest in each.
    order: BTreeSet<(Owned, K)>,
}

/// Something with an oldest member.
trait Aged {
    /// The oldest, if there is one.
    fn oldest(&self) -> Option<&Owned>;
}

impl Aged for BTreeSet<Owned> {
    fn oldest(&self) -> Option<&Owned> {
        self.first()
    }
}

impl<K: Ord, G> Aged for ByAge<K, G> {
    fn oldest(&self) -> Option<&Owned> {
        self.order.first().map(|(oldest, _)| oldest)
    }
}

impl<K: Ord + Clone, G: Aged + Default> ByAge<K, G> {
    fn oldest_first(&self) -> impl Iterator<Item = (&Owned, &K, &G)> {
        self.order.iter().filter_map(|(oldest, key)| Some((oldest, key, self.groups.get(key)?)))
    }

    fn edit(&mut self, key: &K, edit: impl FnOnce(&mut G)) {
        let group = self.groups.entry(key.clone()).or_default();
        let before = group.oldest().cloned();
        edit(group);
        let now = group.oldest().cloned();
        if now != before {
            before.map(|oldest| self.order.remove(&(oldest, key.clone())));
            now.clone().map(|oldest| self.order.insert((oldest, key.clone())));
        }
        if now.is_none() {
            self.groups.remove(key);
        }
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl<K, G> Default for ByAge<K, G> {
    fn default() -> Self {
        Self { groups: BTreeMap::new(), order: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ir::{Kind, Meta};

    fn gateway(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Gateway, "infra", name)
    }

    fn owner(namespace: &str, created: i64, parents: &[&str]) -> Owner {
        let key = ObjectKey::new(Kind::HttpRoute, namespace, "route");
        Owner { created, key, parents: Arc::new(parents.iter().map(|name| gateway(name)).collect()) }
    }

    fn taker(key: ObjectKey, created: i64) -> Meta {
        Meta { key, uid: None, generation: 1, version: 0, created, warnings: Box::default() }
    }

    impl Below {
        fn is_empty(&self) -> bool {
            self.names.is_empty() && self.owners.is_empty()
        }

        fn looks_for(&self, taker: &Meta, name: &str) -> usize {
            self.looks.set(0);
            self.in_the_way(taker.into(), name, false);
            self.looks.get()
        }
    }

    #[test]
    fn hostnames_below_a_name_are_found() {
        let mut below = Below::default();
        for host in ["b.a.example.com", "example.com", "a.xexample.com"] {
            below.set(&host.into(), Some(owner("a", 1, &[])));
        }
        let taker = taker(gateway("public"), 2);
        let find =
            |name, children| below.in_the_way((&taker).into(), name, children).map(|(_, host, _)| &**host);
        assert_eq!(find("example.com", false), Some("b.a.example.com"));
        assert_eq!(find("example.com", true), None);
        assert_eq!(find("a.example.com", true), Some("b.a.example.com"));
        assert_eq!(find("b.a.example.com", false), None);
        assert_eq!(find("ample.com", false), None);
    }

    #[test]
    fn a_wildcard_is_decided_by_few_looks_however_many_hostnames_are_below_it() {
        type MakeOwner = fn(i64) -> Owner;
        let rows: [(&str, MakeOwner); 5] = [
            ("all are younger", |n| owner(&format!("team-{n}"), 10_000 + n, &[])),
            ("all are of its own namespace", |n| owner("infra", n, &[])),
            ("all attach to it", |n| owner(&format!("team-{n}"), n, &["public"])),
            ("all attach to another", |n| owner(&format!("team-{n}"), n, &["internal"])),
            ("one of another namespace is among its own", |n| {
                owner(if n == 1000 { "shop" } else { "infra" }, n, &[])
            }),
        ];
        for (what, make) in rows {
            let mut below = Below::default();
            for number in 0..2000 {
                below.set(&format!("host-{number}.a.example.com").into(), Some(make(number)));
            }
            let taker = taker(gateway("public"), 5_000);
            for name in ["com", "example.com", "a.example.com"] {
                let looks = below.looks_for(&taker, name);
                assert!(looks <= 4, "{what}: {looks} looks below {name}");
            }
            assert_eq!(below.looks_for(&taker, "example.org"), 0, "{what}");
        }
    }

    #[derive(Clone, Debug)]
    struct Edit {
        host: usize,
        owner: Option<Owner>,
    }

    const HOSTS: [&str; 7] =
        ["a.x.com", "b.x.com", "c.a.x.com", "x.com", "d.c.a.x.com", "a.y.com", "localhost"];

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let parents = prop::sample::subsequence(vec!["public", "internal"], 0..=2);
        let of = ("[a-c]", 0..5i64, parents)
            .prop_map(|(namespace, created, parents)| owner(&namespace, created, &parents));
        let edit = (0..HOSTS.len(), prop::option::of(of)).prop_map(|(host, owner)| Edit { host, owner });
        prop::collection::vec(edit, 0..24)
    }

    proptest! {
        #[test]
        fn the_one_in_the_way_is_the_one_that_a_walk_over_all_finds(
            edits in edits(), namespace in "[a-c]", name in "public|internal", created in 0..6i64
        ) {
            let mut below = Below::default();
            let mut plain = BTreeMap::new();
            for Edit { host, owner } in edits {
                below.set(&HOSTS[host].into(), owner.clone());
                match owner {
                    Some(owner) => drop(plain.insert(HOSTS[host], owner)),
                    None => drop(plain.remove(HOSTS[host])),
                }
            }
            for key in [gateway(&name), ObjectKey::new(Kind::Gateway, &namespace, &name)] {
                let taker = taker(key, created);
                for above in ["com", "x.com", "a.x.com", "y.com", "localhost", "org"] {
                    for children in [false, true] {
                        let found = below.in_the_way((&taker).into(), above, children).cloned();
                        prop_assert_eq!(found, walk(&plain, &taker, above, children), "{} {}", above, children);
                    }
                }
            }
            for host in HOSTS {
                below.set(&host.into(), None);
            }
            prop_assert!(below.is_empty());
        }
    }

    fn walk(hosts: &BTreeMap<&str, Owner>, taker: &Meta, name: &str, children: bool) -> Option<Owned> {
        let is_below = |host: &str| {
            let more = host.strip_suffix(name).and_then(|more| more.strip_suffix('.'));
            more.is_some_and(|more| !children || !more.contains('.'))
        };
        let in_the_way = hosts.iter().filter(|(host, owner)| {
            is_below(host)
                && owner.created < taker.created
                && *owner.key.namespace != *taker.namespace()
                && !owner.parents.contains(&taker.key)
        });
        in_the_way.map(|(host, owner)| (owner.created, Arc::from(*host), owner.key.clone())).min()
    }
}
