//! Limits the number of label sets, for all workers together.

use std::{
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use foldhash::{HashMap, HashSet, fast::RandomState};
use portcullis_routing::IngressLabels;

use super::{MethodLabel, OTHER_INGRESSES, counters::Key};

/// Which label sets exist. A worker asks for the first of its requests with each set of labels.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The maximum number of label sets. Those with [`OTHER_INGRESSES`] are not among them, nor are those of Ingresses.
    most: usize,
    /// For the hashes of canaries, which are equal in all workers.
    hasher: RandomState,
    /// The labels of all requests that are not counted elsewhere.
    others: Arc<IngressLabels>,
    sets: Mutex<Sets>,
}

/// Where a request is counted.
#[derive(Debug)]
pub(super) struct Admitted<'l> {
    /// The label set that has all its figures.
    pub(super) key: Key,
    /// The labels of that set.
    pub(super) labels: &'l Arc<IngressLabels>,
    /// The label set of its Ingress that has the number of requests instead, and its labels.
    pub(super) of_ingress: Option<(Key, &'l Arc<IngressLabels>)>,
}

#[derive(Debug, Default)]
struct Sets {
    of_paths: Group,
    /// The label sets of the requests of Ingresses beyond the limit. They only have the number of requests.
    of_ingresses: Group,
}

/// Label sets that are limited together.
#[derive(Debug, Default)]
struct Group {
    /// By the address of their labels.
    labels: HashMap<usize, OfLabels>,
    total: usize,
    of_namespaces: HashMap<Box<str>, usize>,
}

/// The label sets in use for one path, or for one Ingress.
#[derive(Debug)]
struct OfLabels {
    labels: Weak<IngressLabels>,
    sets: HashSet<Key>,
}

/// The maximum number of label sets of a path, before methods are combined and status codes become classes.
const MOST_OF_PATH: usize = 50;
/// How many label sets of Ingresses there can be for each of the others. Such a set is one series, others are about 90.
const OF_INGRESSES: usize = 10;

impl Limiter {
    pub(crate) fn new(most: usize) -> Self {
        let [namespace, host, path, service] = ["", "", "", ""].map(Into::into);
        let ingress = OTHER_INGRESSES.into();
        let others = IngressLabels { namespace, ingress, host, path, service, of_ingress: None };
        Self { most, hasher: RandomState::default(), others: Arc::new(others), sets: Mutex::default() }
    }

    /// The hash of a canary in a [`Key`], which is never 0.
    pub(super) fn hash(&self, canary: &str) -> u64 {
        self.hasher.hash_one(canary).max(1)
    }

    /// Returns the label set that a request is counted in: its own one if there is room for it. Otherwise its Ingress counts
    /// it, so that an error can be attributed to an Ingress.
    pub(super) fn admit<'l>(&'l self, labels: &'l Arc<IngressLabels>, key: Key) -> Admitted<'l> {
        let mut sets = self.lock();
        let Sets { of_paths, of_ingresses } = &mut *sets;
        let whole = |key, labels| Admitted { key, labels, of_ingress: None };
        let combined = Key { method: MethodLabel::OTHER, status: key.status.class(), ..key };
        let has_room = of_paths.has_room(&labels.namespace, self.most);
        let path = of_paths.labels.get(&key.labels).map(|path| &path.sets);
        let exists = |key: &Key| path.is_some_and(|path| path.contains(key));
        if exists(&key) {
            return whole(key, labels);
        }
        let admitted = if path.is_none_or(|path| path.len() < MOST_OF_PATH) { key } else { combined };
        if exists(&combined) && (!has_room || admitted == combined) {
            return whole(combined, labels);
        }
        if has_room {
            of_paths.insert(labels, admitted);
            return whole(admitted, labels);
        }
        let of =
            |labels: &Arc<IngressLabels>| Key { labels: Arc::as_ptr(labels).addr(), canary: 0, ..combined };
        let of_ingress = labels.of_ingress.as_ref().map(|labels| (of(labels), labels));
        let of_ingress = of_ingress.filter(|(key, labels)| of_ingresses.admit(labels, *key, self.most));
        Admitted { key: of(&self.others), labels: &self.others, of_ingress }
    }

    /// Removes the label sets of paths and Ingresses that do not exist any more.
    pub(super) fn sweep(&self) {
        let Sets { of_paths, of_ingresses } = &mut *self.lock();
        of_paths.sweep();
        of_ingresses.sweep();
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        // What a panic leaves undone is made good by the next sweep.
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Group {
    /// Whether a namespace can have another label set. It can have half of all.
    fn has_room(&self, namespace: &str, most: usize) -> bool {
        let of_namespace = self.of_namespaces.get(namespace).copied().unwrap_or_default();
        self.total < most && of_namespace < most.div_ceil(2)
    }

    fn insert(&mut self, labels: &Arc<IngressLabels>, key: Key) {
        let new = || OfLabels { labels: Arc::downgrade(labels), sets: HashSet::default() };
        if self.labels.entry(key.labels).or_insert_with(new).sets.insert(key) {
            self.total += 1;
            *self.of_namespaces.entry(labels.namespace.clone()).or_default() += 1;
        }
    }

    /// Whether there is this label set of an Ingress, or room for it. Errors have precedence: others can have half of the room.
    fn admit(&mut self, labels: &Arc<IngressLabels>, key: Key, most: usize) -> bool {
        if self.labels.get(&key.labels).is_some_and(|of| of.sets.contains(&key)) {
            return true;
        }
        let most = most.saturating_mul(OF_INGRESSES);
        let has_room = self.has_room(&labels.namespace, if key.status.is_error() { most } else { most / 2 });
        if has_room {
            self.insert(labels, key);
        }
        has_room
    }

    fn sweep(&mut self) {
        if self.total == 0 {
            return;
        }
        let Self { labels, total, of_namespaces } = self;
        (*total, *of_namespaces) = (0, HashMap::default());
        labels.retain(|_, OfLabels { labels, sets }| {
            let Some(labels) = labels.upgrade() else { return false };
            *total += sets.len();
            *of_namespaces.entry(labels.namespace.clone()).or_default() += sets.len();
            true
        });
    }
}
