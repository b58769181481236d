//! The labels of the requests of an Ingress in the metrics of ingress-nginx.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use portcullis_routing::{HostPattern, IngressLabels, bounded_label};

use super::{
    compiler::Compiler,
    paths::{self, Place},
};
use crate::{interned::Interned, ir::ingress::IngressBackend};

/// The labels in use, each once: when an Ingress is compiled again, the counters of its unchanged paths are kept.
#[derive(Debug, Default)]
pub struct LabelPool {
    hasher: RandomState,
    labels: Interned<IngressLabels>,
}

impl LabelPool {
    fn labels(&self, labels: IngressLabels) -> Arc<IngressLabels> {
        self.labels.share(self.hasher.hash_one(&labels), Arc::new(labels))
    }

    /// The labels of an Ingress without those of a path. Requests are counted under them when the limit of label sets is
    /// reached.
    fn of_ingress(&self, namespace: &str, ingress: &str) -> Arc<IngressLabels> {
        let [host, path, service] = [""; 3].map(Into::into);
        let (namespace, ingress) = (namespace.into(), ingress.into());
        self.labels(IngressLabels { namespace, ingress, host, path, service, of_ingress: None })
    }

    /// Removes labels that are no longer used.
    pub fn forget_unused(&self) {
        self.labels.forget_unused();
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
    }
}
