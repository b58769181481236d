//! Sets aside the objects of namespaces that are not served, until they are.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ir::{Object, ObjectKey},
    snapshot::{Change, Snapshot},
    translate::{ServedNamespaces, Settings, depends_on_namespace, is_selected},
};

/// Which namespaces are served, and the objects of all others.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) served: Arc<ServedNamespaces>,
    aside: BTreeMap<Box<str>, BTreeMap<ObjectKey, Object>>,
}

impl Scope {
    /// Takes up a change. Returns it where its object is served, and sets the object aside otherwise.
    pub(super) fn filter(&mut self, change: Change, settings: &Settings) -> Option<Change> {
        if self.is_served(change.key(), settings) {
            return Some(change);
        }
        match change {
            Change::Apply(object) => self.set_aside(object),
            Change::Delete(key) => {
                if let Some(objects) = self.aside.get_mut(&key.namespace) {
                    objects.remove(&key);
                }
            }
        }
        None
    }

    /// Finds out which namespaces are served now. Returns the changes of served objects that follow from that.
    pub(super) fn renew(&mut self, snapshot: &Snapshot, settings: &Settings) -> Vec<Change> {
        self.served.renew(snapshot, settings);
        let mut changes = Vec::new();
        for object in snapshot.objects() {
            if !self.is_served(&object.meta().key, settings) {
                changes.push(Change::Delete(object.meta().key.clone()));
                self.set_aside(object);
            }
        }
        let back = std::mem::take(&mut self.aside).into_values().flat_map(BTreeMap::into_values);
        for object in back.collect::<Vec<_>>() {
            match self.is_served(&object.meta().key, settings) {
                true => changes.push(Change::Apply(object)),
                false => self.set_aside(object),
            }
        }
        changes
    }

    /// The same where one Namespace has changed.
    pub(super) fn renew_namespace(
        &mut self,
        namespace: &str,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Vec<Change> {
        match (self.served.contains(namespace), is_selected(namespace, snapshot, settings)) {
            (false, true) => {
                self.served.add(namespace);
                let back = self.aside.remove(namespace).unwrap_or_default();
                back.into_values().map(Change::Apply).collect()
            }
            (true, false) => {
                self.served.remove(namespace);
                let objects = snapshot.objects().filter(|object| *object.meta().key.namespace == *namespace);
                let gone: Vec<_> =
                    objects.filter(|object| !self.is_served(&object.meta().key, settings)).collect();
                let changes = gone.iter().map(|object| Change::Delete(object.meta().key.clone())).collect();
                gone.into_iter().for_each(|object| self.set_aside(object));
                changes
            }
            (true, true) | (false, false) => Vec::new(),
        }
    }

    /// The same for objects that settings named before, or name now.
    pub(super) fn renew_objects<'k>(
        &mut self,
        keys: impl IntoIterator<Item = &'k ObjectKey>,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in keys {
            if self.is_served(key, settings) {
                let of_namespace = self.aside.get_mut(&key.namespace);
                changes.extend(of_namespace.and_then(|objects| objects.remove(key)).map(Change::Apply));
            } else if let Some(object) = snapshot.get(key) {
                changes.push(Change::Delete(key.clone()));
                self.set_aside(object);
            }
        }
        changes
    }

    fn is_served(&self, key: &ObjectKey, settings: &Settings) -> bool {
        !depends_on_namespace(key, settings) || self.served.contains(&key.namespace)
    }

    fn set_aside(&mut self, object: Object) {
        let key = object.meta().key.clone();
        self.aside.entry(key.namespace.clone()).or_default().insert(key, object);
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        index::Index,
        ir::{Kind, ObjectKey},
        snapshot::Change,
        translate::{Settings, testing::snapshot},
    };

    #[test]
    fn objects_that_settings_come_to_name_are_served_whatever_their_namespace() {
        let objects = snapshot(
            "
kind: Secret
metadata: { namespace: operator, name: default }
type: kubernetes.io/tls
data: { tls.crt: '', tls.key: '' }
---
kind: ConfigMap
metadata: { namespace: operator, name: settings }
",
        );
        let secret = ObjectKey::new(Kind::Secret, "operator", "default");
        let map = ObjectKey::new(Kind::ConfigMap, "operator", "settings");
        let selected =
            Settings { namespace_selector: Some("team=red".parse().unwrap()), ..Settings::default() };
        let mut index = Index::new(selected.clone());
        index.apply(objects.objects().map(Change::Apply));
        for (default_certificate, settings_map) in
            [(None, None), (Some(&secret), None), (None, Some(&map)), (None, None)]
        {
            index.set_settings(Settings {
                default_certificate: default_certificate.cloned(),
                settings_map: settings_map.cloned(),
                ..selected.clone()
            });
            let is_served = |key| index.snapshot().get(key).is_some();
            let served = (is_served(&secret), is_served(&map));
            assert_eq!(served, (default_certificate.is_some(), settings_map.is_some()));
        }
    }
}
