//! Who read what: from a changed object back to the routes and Ingresses that it makes stale.

use std::{borrow::Borrow, collections::BTreeSet, hash::Hash, sync::Arc};

use portcullis_routing::HostPattern;

use super::Map;
use crate::{ir::ObjectKey, translate::References};

type By<K> = Map<Arc<K>, Vec<Arc<ObjectKey>>>;

/// The references of all routes and Ingresses, turned round.
#[derive(Debug, Default)]
pub(super) struct Dependents {
    objects: By<ObjectKey>,
    grants: By<Box<str>>,
    hosts: By<HostPattern>,
}

/// [`References`], in their order, shared with all who read the same.
#[derive(Debug, Default)]
pub(super) struct Reads {
    objects: Box<[Arc<ObjectKey>]>,
    grants: Box<[Arc<Box<str>>]>,
    hosts: Box<[Arc<HostPattern>]>,
}

impl Dependents {
    /// Those that read an object, or found it missing.
    pub(super) fn of_object(&self, key: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        of(self.objects.get(key))
    }

    /// Those that asked the ReferenceGrants of a namespace.
    pub(super) fn of_grants(&self, namespace: &str) -> impl Iterator<Item = ObjectKey> {
        of(self.grants.get(&Box::from(namespace)))
    }

    /// The Ingresses at a host.
    pub(super) fn of_host(&self, host: &HostPattern) -> impl Iterator<Item = ObjectKey> {
        of(self.hosts.get(host))
    }

    /// Takes up what somebody reads now in place of what it read before.
    pub(super) fn replace(&mut self, who: &Arc<ObjectKey>, before: Reads, now: &References) -> Reads {
        Reads {
            objects: replace(&mut self.objects, who, &before.objects, &now.objects),
            grants: replace(&mut self.grants, who, &before.grants, &now.grants),
            hosts: replace(&mut self.hosts, who, &before.hosts, &now.hosts),
        }
    }
}

fn of(dependents: Option<&Vec<Arc<ObjectKey>>>) -> impl Iterator<Item = ObjectKey> {
    dependents.into_iter().flatten().map(|who| ObjectKey::clone(who))
}

fn replace<K: Hash + Ord + Clone>(
    map: &mut By<K>,
    who: &Arc<ObjectKey>,
    before: &[Arc<K>],
    now: &BTreeSet<K>,
) -> Box<[Arc<K>]> {
    for what in before.iter().filter(|what| !now.contains(&***what)) {
        if let Some(dependents) = map.get_mut(what) {
            dependents.retain(|dependent| !Arc::ptr_eq(dependent, who));
            if dependents.is_empty() {
                map.remove(what);
            }
        }
    }
    let known = |what: &K| before.binary_search_by(|known| K::cmp(known, what)).ok();
    now.iter()
        .map(|what| known(what).map_or_else(|| enter(map, who, what), |index| Arc::clone(&before[index])))
        .collect()
}

fn enter<K: Hash + Ord + Clone>(map: &mut By<K>, who: &Arc<ObjectKey>, what: &K) -> Arc<K> {
    if let Some((what, _)) = map.get_key_value(what.borrow()) {
        let what = Arc::clone(what);
        map.entry(Arc::clone(&what)).or_default().push(Arc::clone(who));
        return what;
    }
    let what = Arc::new(what.clone());
    map.insert(Arc::clone(&what), vec![Arc::clone(who)]);
    what
}
