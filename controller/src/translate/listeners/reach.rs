//! How far annotations reach that ingress-nginx applies to a whole server.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_routing::HostPattern;

use crate::ir::{Ingress, ObjectKey, ingress::Age};

/// The Ingresses of a host that affect others there: those of their own namespace, and younger ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach<T> {
    /// The oldest of each namespace.
    of_namespace: BTreeMap<Box<str>, T>,
    /// The namespace of the oldest of all, and how old that is.
    oldest: Option<(Age, ObjectKey)>,
}

impl<T> Default for Reach<T> {
    fn default() -> Self {
        Self { of_namespace: BTreeMap::new(), oldest: None }
    }
}

impl<T> Reach<T> {
    /// Ingresses have to be added oldest first. One that may not serve the host affects only its own namespace.
    pub(super) fn add(&mut self, ingress: &Ingress, may_serve: bool, with: impl FnOnce() -> T) {
        if may_serve {
            self.oldest.get_or_insert_with(|| (ingress.age(), ingress.meta.key.clone()));
        }
        let namespace = ingress.meta.namespace();
        if !self.of_namespace.contains_key(namespace) {
            self.of_namespace.insert(namespace.into(), with());
        }
    }

    /// That of each namespace.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.of_namespace.values()
    }

    /// That of the oldest Ingress that may serve the host.
    pub(super) fn first(&self) -> Option<&T> {
        let (_, key) = self.oldest.as_ref()?;
        self.of_namespace.get(&key.namespace)
    }

    /// What affects an Ingress.
    pub(crate) fn reaching(&self, ingress: &Ingress) -> Option<&T> {
        self.of_namespace.get(ingress.meta.namespace()).or_else(|| {
            let (_, key) = self.oldest.as_ref().filter(|(age, _)| *age < ingress.age())?;
            self.of_namespace.get(&key.namespace)
        })
    }
}

/// The hosts that server-level annotations of an Ingress are for.
pub(super) fn protected_hosts(ingress: &Ingress) -> BTreeSet<HostPattern> {
    match ingress.rules.is_empty() {
        true => ingress.served_hosts(),
        false => ingress.hosts(),
    }
}
