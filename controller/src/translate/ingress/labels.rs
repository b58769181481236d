//! The labels of the requests of an Ingress in the metrics of ingress-nginx.

use std::{
    hash::BuildHasher,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use portcullis_routing::{HostPattern, IngressLabels, bounded_label};

use super::{
    compiler::Compiler,
    paths::{self, Place},
};
use crate::ir::ingress::IngressBackend;

/// The labels in use, each once: when an Ingress is compiled again, the counters of its unchanged paths are kept.
#[derive(Debug, Default)]
pub struct LabelPool(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    hasher: RandomState,
    labels: HashTable<Known>,
}

#[derive(Debug)]
struct Known {
    hash: u64,
    labels: Weak<IngressLabels>,
}

impl LabelPool {
    fn labels(&self, labels: IngressLabels) -> Arc<IngressLabels> {
        // Each change is a single insertion, so a poisoned lock guards a map that is whole.
        let Inner { hasher, labels: known } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hasher.hash_one(&labels);
        let mut same_hash = known.iter_hash(hash).filter_map(|known| known.labels.upgrade());
        if let Some(found) = same_hash.find(|found| **found == labels) {
            return found;
        }
        let made = Arc::new(labels);
        if known.len() == known.capacity() {
            known.retain(|known| known.labels.strong_count() > 0);
        }
        known.insert_unique(hash, Known { hash, labels: Arc::downgrade(&made) }, |known| known.hash);
        made
    }

    /// The labels of the requests of an Ingress for which there is no room under the labels of their paths.
    fn of_ingress(&self, namespace: &str, ingress: &str) -> Arc<IngressLabels> {
        let [host, path, service] = [""; 3].map(Into::into);
        let (namespace, ingress) = (namespace.into(), ingress.into());
        self.labels(IngressLabels { namespace, ingress, host, path, service, of_ingress: None })
    }

    /// Removes labels that are no longer used.
    pub fn forget_unused(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.labels.retain(|known| known.labels.strong_count() > 0);
    }
}

impl Compiler<'_> {
    /// The labels of the requests of a path, if the metrics are enabled.
    pub(super) fn labels(&self, place: &Place<'_>) -> Option<Arc<IngressLabels>> {
        if !self.host.reader.settings().ingress_labels {
            return None;
        }
        let backend = match place.path {
            Some((_, path)) => Some(&path.backend),
            None => self.ingress.default_backend.as_ref(),
        };
        let service = match backend {
            Some(IngressBackend::Service { name, .. }) => name.clone(),
            Some(IngressBackend::Resource(_)) | None => "".into(),
        };
        let host = match self.host.served_as {
            HostPattern::Any => "_".into(),
            host => host.to_string().into(),
        };
        let (namespace, ingress) = (self.ingress.meta.namespace(), self.ingress.meta.name());
        let path = place.path.map_or(paths::ROOT, |(_, path)| &path.text);
        let pool = &self.host.pools.labels;
        Some(pool.labels(IngressLabels {
            namespace: namespace.into(),
            ingress: ingress.into(),
            host,
            // Longer paths of the Ingress that begin alike have one series.
            path: bounded_label(path).into(),
            service,
            of_ingress: Some(pool.of_ingress(namespace, ingress)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(path: &str) -> IngressLabels {
        let [namespace, ingress, host, service] = ["shop", "web", "shop.example", "web"].map(Into::into);
        IngressLabels { namespace, ingress, host, path: path.into(), service, of_ingress: None }
    }

    #[test]
    fn labels_in_use_are_not_created_again() {
        let pool = LabelPool::default();
        let first = pool.labels(labels("/"));
        assert!(Arc::ptr_eq(&first, &pool.labels(labels("/"))));
        assert!(!Arc::ptr_eq(&first, &pool.labels(labels("/other"))));
        let before = Arc::downgrade(&first);
        drop(first);
        assert_eq!(before.strong_count(), 0, "the pool does not keep them");
        (0..1000).for_each(|n| drop(pool.labels(labels(&format!("/{n}")))));
        assert!(pool.0.lock().unwrap().labels.len() < 50);
        pool.forget_unused();
        assert!(pool.0.lock().unwrap().labels.is_empty());
    }
}
