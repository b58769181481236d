//! What a translation read, so that a change finds what it makes stale.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::HostPattern;

use crate::ir::{Kind, ObjectKey};

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

    /// The same for whoever needs no key: rules name the same few Services again and again, and none is made for that.
    pub(super) fn note(&mut self, kind: Kind, namespace: &str, name: &str) {
        let is_it = |key: &ObjectKey| *key.name == *name && *key.namespace == *namespace && key.kind == kind;
        if !self.objects.iter().any(is_it) {
            self.objects.insert(ObjectKey::new(kind, namespace, name));
        }
    }
}
