//! What a translation read, so that a change finds what it makes stale.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::HostPattern;

use crate::ir::{Kind, ObjectKey, Service};

/// What the translation of a route or an Ingress read. A change of anything named here makes it stale; a change of
/// anything else does not.
///
/// An Ingress depends on every IngressClass besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Services (existing or not), Gateways (their state in [`super::Listeners`], not their object) and Namespaces
    /// (their labels).
    pub objects: BTreeSet<ObjectKey>,
    /// Namespaces whose ReferenceGrants were asked.
    pub grants: BTreeSet<Arc<str>>,
    /// Hosts of [`super::IngressSide`] that were read.
    pub hosts: BTreeSet<HostPattern>,
}

impl References {
    pub(super) fn add(&mut self, kind: Kind, namespace: &str, name: &str) -> ObjectKey {
        let key = ObjectKey::new(kind, namespace, name);
        self.objects.insert(key.clone());
        key
    }

    /// The same of a Service, which may be missing. Rules name the same few again and again: where there is one, no
    /// key is made.
    pub(super) fn add_service(&mut self, found: Option<&Service>, namespace: &str, name: &str) {
        match found {
            Some(service) => drop(self.objects.insert(service.meta.key.clone())),
            None => drop(self.add(Kind::Service, namespace, name)),
        }
    }
}
