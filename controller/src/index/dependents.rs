//! Who read what: from a changed object back to the routes and Ingresses that it makes stale.

use std::{
    borrow::Borrow,
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use portcullis_routing::HostPattern;

use crate::{ir::ObjectKey, translate::References};

type By<K> = HashMap<K, BTreeSet<Arc<ObjectKey>>>;

/// The references of all routes and Ingresses, turned round.
#[derive(Debug, Default)]
pub(super) struct Dependents {
    objects: By<ObjectKey>,
    grants: By<Box<str>>,
    hosts: By<HostPattern>,
}

impl Dependents {
    /// Those that read an object, or found it missing.
    pub(super) fn of_object(&self, key: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        of(&self.objects, key)
    }

    /// Those that asked the ReferenceGrants of a namespace.
    pub(super) fn of_grants(&self, namespace: &str) -> impl Iterator<Item = ObjectKey> {
        of(&self.grants, namespace)
    }

    /// The Ingresses at a host.
    pub(super) fn of_host(&self, host: &HostPattern) -> impl Iterator<Item = ObjectKey> {
        of(&self.hosts, host)
    }

    /// Takes up what somebody reads now in place of what it read before.
    pub(super) fn replace(&mut self, who: &Arc<ObjectKey>, before: &References, now: &References) {
        replace(&mut self.objects, who, &before.objects, &now.objects);
        replace(&mut self.grants, who, &before.grants, &now.grants);
        replace(&mut self.hosts, who, &before.hosts, &now.hosts);
    }
}

fn of<'m, K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized>(
    map: &'m By<K>,
    what: &Q,
) -> impl Iterator<Item = ObjectKey> + use<'m, K, Q> {
    map.get(what).into_iter().flatten().map(|who| ObjectKey::clone(who))
}

fn replace<K: Hash + Ord + Clone>(
    map: &mut By<K>,
    who: &Arc<ObjectKey>,
    before: &BTreeSet<K>,
    now: &BTreeSet<K>,
) {
    for what in before.difference(now) {
        if let Some(dependents) = map.get_mut(what) {
            dependents.remove(who);
            if dependents.is_empty() {
                map.remove(what);
            }
        }
    }
    for what in now.difference(before) {
        map.entry(what.clone()).or_default().insert(Arc::clone(who));
    }
}
