//! What the controller has read: every object by its key. [`Snapshot`] and its maps come from `kinds.rs`.

mod by_name;
mod slices;

use std::{collections::BTreeMap, sync::Arc};

pub use by_name::{ByName, Keyed};
pub use slices::Slices;

pub use crate::kinds::Snapshot;

use crate::ir::{EndpointSlice, Object, ObjectKey};

/// One thing that happened to an object.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new or another than before.
    Apply(Object),
    /// It is gone.
    Delete(ObjectKey),
}

impl Change {
    /// Of which object it is.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Apply(object) => &object.meta().key,
            Self::Delete(key) => key,
        }
    }
}

impl Snapshot {
    /// Carries out one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Apply(object) => self.insert(object),
            Change::Delete(key) => self.remove(&key),
        }
    }
}

/// Objects of one type, by their keys.
pub(crate) trait Store {
    type Object;

    fn find(&self, key: &ObjectKey) -> Option<&Arc<Self::Object>>;

    /// Takes an object in, in place of the one of the same key.
    fn put(&mut self, object: Arc<Self::Object>);

    fn forget(&mut self, key: &ObjectKey);
}

impl<T: Keyed> Store for BTreeMap<ObjectKey, Arc<T>> {
    type Object = T;

    fn find(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.get(key)
    }

    fn put(&mut self, object: Arc<T>) {
        self.insert(object.key().clone(), object);
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.remove(key);
    }
}

impl<T: Keyed> Store for ByName<Arc<T>> {
    type Object = T;

    fn find(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.get(key)
    }

    fn put(&mut self, object: Arc<T>) {
        self.insert(object);
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.remove(key);
    }
}

impl Store for Slices {
    type Object = EndpointSlice;

    fn find(&self, key: &ObjectKey) -> Option<&Arc<EndpointSlice>> {
        self.get(key)
    }

    fn put(&mut self, slice: Arc<EndpointSlice>) {
        self.insert(slice);
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.remove(key);
    }
}
