//! Limits the number of label sets, for all workers together.

use std::{
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use foldhash::{HashMap, HashSet, fast::RandomState};
use portcullis_routing::{BackendKey, IngressLabels};

use super::{MethodLabel, OTHER_INGRESSES, counters::Key};

/// Which label sets exist. A worker asks for the first of its requests with each set of labels.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The maximum number of label sets. Those with [`OTHER_INGRESSES`] are not among them.
    most: usize,
    /// For the hashes of canaries, which are equal in all workers.
    hasher: RandomState,
    /// The labels of all requests that are not counted elsewhere.
    others: Arc<IngressLabels>,
    sets: Mutex<Sets>,
}

#[derive(Debug, Default)]
struct Sets {
    /// By the address of their labels.
    paths: HashMap<usize, OfPath>,
    total: usize,
    of_namespaces: HashMap<Box<str>, usize>,
}

/// The label sets of a path.
#[derive(Debug)]
struct OfPath {
    labels: Weak<IngressLabels>,
    sets: HashSet<Key>,
}

/// The maximum number of label sets of a path, before methods are combined and status codes become classes.
const MOST_OF_PATH: usize = 50;

impl Limiter {
    pub(crate) fn new(most: usize) -> Self {
        let [namespace, host, path, service] = ["", "", "", ""].map(Into::into);
        let others = IngressLabels { namespace, ingress: OTHER_INGRESSES.into(), host, path, service };
        Self { most, hasher: RandomState::default(), others: Arc::new(others), sets: Mutex::default() }
    }

    /// The hash of a canary in a [`Key`], which is never 0.
    pub(super) fn hash(&self, canary: &BackendKey) -> u64 {
        self.hasher.hash_one(canary).max(1)
    }

    /// Returns the label set that a request is counted in: its own one if there is room for it.
    pub(super) fn admit<'l>(
        &'l self,
        labels: &'l Arc<IngressLabels>,
        key: Key,
    ) -> (Key, &'l Arc<IngressLabels>) {
        let mut sets = self.lock();
        let combined = Key { method: MethodLabel::OTHER, status: key.status.class(), ..key };
        let has_room = sets.has_room(&labels.namespace, self.most);
        let path = sets.paths.get(&key.labels).map(|path| &path.sets);
        let exists = |key: &Key| path.is_some_and(|path| path.contains(key));
        if exists(&key) {
            return (key, labels);
        }
        let admitted = if path.is_none_or(|path| path.len() < MOST_OF_PATH) { key } else { combined };
        if exists(&combined) && (!has_room || admitted == combined) {
            return (combined, labels);
        }
        if has_room {
            sets.insert(labels, admitted);
            return (admitted, labels);
        }
        let labels = Arc::as_ptr(&self.others).addr();
        (Key { labels, canary: 0, ..combined }, &self.others)
    }

    /// Removes the label sets of paths that do not exist any more.
    pub(super) fn sweep(&self) {
        let Sets { paths, total, of_namespaces } = &mut *self.lock();
        if *total == 0 {
            return;
        }
        (*total, *of_namespaces) = (0, HashMap::default());
        paths.retain(|_, OfPath { labels, sets }| {
            let Some(labels) = labels.upgrade() else { return false };
            *total += sets.len();
            *of_namespaces.entry(labels.namespace.clone()).or_default() += sets.len();
            true
        });
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

impl Sets {
    /// Whether a namespace can have another label set. It can have half of all.
    fn has_room(&self, namespace: &str, most: usize) -> bool {
        let of_namespace = self.of_namespaces.get(namespace).copied().unwrap_or_default();
        self.total < most && of_namespace < most.div_ceil(2)
    }

    fn insert(&mut self, labels: &Arc<IngressLabels>, key: Key) {
        let new = || OfPath { labels: Arc::downgrade(labels), sets: HashSet::default() };
        if self.paths.entry(key.labels).or_insert_with(new).sets.insert(key) {
            self.total += 1;
            *self.of_namespaces.entry(labels.namespace.clone()).or_default() += 1;
        }
    }
}
