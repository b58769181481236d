//! Who read what: from a changed object back to the routes and Ingresses that it makes stale.

use std::{collections::BTreeSet, hash::Hash, sync::Arc};

use portcullis_routing::HostPattern;

use super::Map;
use crate::{ir::ObjectKey, translate::References};

type By<K> = Map<K, Vec<ObjectKey>>;

/// The references of all routes and Ingresses, turned round.
#[derive(Debug, Default)]
pub(super) struct Dependents {
    objects: By<ObjectKey>,
    grants: By<Arc<str>>,
    hosts: By<HostPattern>,
}

/// [`References`], in their order, shared with all who read the same.
#[derive(Debug, Default)]
pub(super) struct Reads {
    objects: Box<[ObjectKey]>,
    grants: Box<[Arc<str>]>,
    hosts: Box<[HostPattern]>,
}

impl Dependents {
    /// Those that read an object, or found it missing.
    pub(super) fn of_object(&self, key: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        of(self.objects.get(key))
    }

    /// Those that asked the ReferenceGrants of a namespace.
    pub(super) fn of_grants(&self, namespace: &str) -> impl Iterator<Item = ObjectKey> {
        of(self.grants.get(namespace))
    }

    /// The Ingresses at a host.
    pub(super) fn of_host(&self, host: &HostPattern) -> impl Iterator<Item = ObjectKey> {
        of(self.hosts.get(host))
    }

    /// Takes up what somebody reads now in place of what it read before.
    pub(super) fn replace(&mut self, who: &ObjectKey, before: Reads, now: &References) -> Reads {
        Reads {
            objects: replace(&mut self.objects, who, &before.objects, &now.objects),
            grants: replace(&mut self.grants, who, &before.grants, &now.grants),
            hosts: replace(&mut self.hosts, who, &before.hosts, &now.hosts),
        }
    }
}

fn of(dependents: Option<&Vec<ObjectKey>>) -> impl Iterator<Item = ObjectKey> {
    dependents.into_iter().flatten().cloned()
}

fn replace<K: Hash + Ord + Clone>(
    map: &mut By<K>,
    who: &ObjectKey,
    before: &[K],
    now: &BTreeSet<K>,
) -> Box<[K]> {
    for what in before.iter().filter(|what| !now.contains(what)) {
        if let Some(dependents) = map.get_mut(what) {
            dependents.retain(|dependent| !dependent.ptr_eq(who));
            if dependents.is_empty() {
                map.remove(what);
            }
        }
    }
    let known = |what: &K| before.binary_search(what).ok();
    now.iter()
        .map(|what| known(what).map_or_else(|| enter(map, who, what), |index| before[index].clone()))
        .collect()
}

/// Notes who reads something; returns what it reads as it is noted, which all who read it share.
fn enter<K: Hash + Ord + Clone>(map: &mut By<K>, who: &ObjectKey, what: &K) -> K {
    if let Some((what, _)) = map.get_key_value(what) {
        let what = what.clone();
        map.entry(what.clone()).or_default().push(who.clone());
        return what;
    }
    map.insert(what.clone(), vec![who.clone()]);
    what.clone()
}
