//! Which namespaces are served ([`Settings::namespace_selector`]). Objects of all others do not exist for translation.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

use super::Settings;
use crate::{
    ir::{Kind, ObjectKey},
    kinds::Scope,
    snapshot::{Change, Snapshot},
};

/// The namespaces that are served; `None` is all of them. Changes in place.
#[derive(Debug, Default)]
pub struct ServedNamespaces(RwLock<Option<HashSet<Box<str>>>>);

impl ServedNamespaces {
    /// Whether objects of a namespace are served. Those without a namespace are.
    pub fn contains(&self, namespace: &str) -> bool {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner);
        namespace.is_empty() || served.as_ref().is_none_or(|served| served.contains(namespace))
    }

    /// Determines all of them again.
    pub(crate) fn renew(&self, snapshot: &Snapshot, settings: &Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = selected(snapshot, settings);
    }

    /// Removes one.
    pub(crate) fn remove(&self, namespace: &str) {
        if let Some(served) = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner) {
            served.remove(namespace);
        }
    }

    /// Adds one.
    pub(crate) fn add(&self, namespace: &str) {
        if let Some(served) = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner) {
            served.insert(namespace.into());
        }
    }
}

/// Whether an object is served only if its namespace is. Objects of the operator apply whatever their namespace.
pub(crate) fn depends_on_namespace(key: &ObjectKey, settings: &Settings) -> bool {
    let Settings { default_certificate, settings_map, tcp_services, udp_services, .. } = settings;
    let named = [default_certificate, settings_map, tcp_services, udp_services];
    let of_headers = settings.live.ingress.headers.maps();
    let is_named = named.into_iter().flatten().chain(of_headers).any(|named| named == key);
    key.kind.resource().scope == Scope::Namespace && !is_named
}

/// Whether a namespace exists and is selected.
pub(crate) fn is_selected(namespace: &str, snapshot: &Snapshot, settings: &Settings) -> bool {
    let Some(selector) = &settings.namespace_selector else { return true };
    let namespace = snapshot.namespaces.get(&ObjectKey::new(Kind::Namespace, "", namespace));
    namespace.is_some_and(|namespace| selector.matches(&namespace.labels))
}

/// The objects that are served, of all that there are. `settings` have the live settings of the ConfigMap.
pub(crate) fn served_objects(all: &Snapshot, settings: &Settings) -> Snapshot {
    let served = ServedNamespaces::default();
    served.renew(all, settings);
    let mut snapshot = Snapshot::default();
    for object in all.objects() {
        let key = &object.meta().key;
        if !depends_on_namespace(key, settings) || served.contains(&key.namespace) {
            snapshot.apply(Change::Apply(object));
        }
    }
    snapshot
}

fn selected(snapshot: &Snapshot, settings: &Settings) -> Option<HashSet<Box<str>>> {
    let selector = settings.namespace_selector.as_ref()?;
    let selected = snapshot.namespaces.values().filter(|namespace| selector.matches(&namespace.labels));
    Some(selected.map(|namespace| namespace.meta.key.name.clone()).collect())
}
