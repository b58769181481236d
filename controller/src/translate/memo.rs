//! What was read out of objects, kept so that each object is read once, however many others refer to it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::ir::ObjectKey;

/// Values by the object that they were read from.
#[derive(Debug)]
pub(super) struct Memo<O, T>(Mutex<HashMap<ObjectKey, (Arc<O>, T)>>);

impl<O, T: Clone> Memo<O, T> {
    /// Returns the value of an object. It is read anew unless it was read from the same object, or from one for which
    /// `is_same` holds.
    pub(super) fn get(
        &self,
        key: &ObjectKey,
        object: &Arc<O>,
        is_same: impl FnOnce(&O) -> bool,
        read: impl FnOnce() -> T,
    ) -> T {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(key) {
            Some((of, value)) if Arc::ptr_eq(of, object) || is_same(of) => value.clone(),
            _ => {
                let value = read();
                known.insert(key.clone(), (Arc::clone(object), value.clone()));
                value
            }
        }
    }

    /// Forgets the values of objects that do not exist any more.
    pub(super) fn retain(&self, exists: impl Fn(&ObjectKey) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| exists(key));
    }
}

impl<O, T> Default for Memo<O, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
