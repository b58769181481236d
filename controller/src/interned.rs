//! Values that are in use, each once.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashbrown::HashTable;

/// The values in use. Equal ones are shared; it does not keep them alive.
#[derive(Debug)]
pub(crate) struct Interned<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    known: HashTable<Known<T>>,
    /// With so many values, those that are no longer used are removed.
    full: usize,
}

#[derive(Debug)]
struct Known<T> {
    hash: u64,
    value: Weak<T>,
}

/// With fewer values, there is no search for those that are no longer used.
const FEW: usize = 16;

impl<T> Interned<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Inner { known: HashTable::new(), full: FEW }))
    }

    /// Removes the values that are no longer used.
    pub(crate) fn forget_unused(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).forget_unused();
    }
}

impl<T: Eq> Interned<T> {
    /// Returns the value in use that is equal to this one, or this one. Equal values have equal hashes.
    pub(crate) fn share(&self, hash: u64, value: Arc<T>) -> Arc<T> {
        // Each change is a single insertion, so a poisoned lock guards a table that is whole.
        let inner = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut same_hash = inner.known.iter_hash(hash).filter_map(|known| known.value.upgrade());
        if let Some(found) = same_hash.find(|found| *found == value) {
            return found;
        }
        if inner.known.len() >= inner.full {
            inner.forget_unused();
        }
        let known = Known { hash, value: Arc::downgrade(&value) };
        inner.known.insert_unique(hash, known, |known| known.hash);
        value
    }
}

impl<T> Inner<T> {
    fn forget_unused(&mut self) {
        self.known.retain(|known| known.value.strong_count() > 0);
        self.known.shrink_to(2 * self.known.len(), |known| known.hash);
        // What is no longer used takes memory until it is removed, so few of them may come together.
        self.full = self.known.len() + self.known.len() / 8 + FEW;
    }
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<T> Interned<T> {
        fn len(&self) -> usize {
            self.0.lock().unwrap().known.len()
        }
    }

    #[test]
    fn equal_values_are_one_while_one_is_used() {
        let interned = Interned::default();
        let first = interned.share(1, Arc::new("a"));
        assert!(Arc::ptr_eq(&first, &interned.share(1, Arc::new("a"))));
        assert!(!Arc::ptr_eq(&first, &interned.share(1, Arc::new("b"))), "the same hash");
        let before = Arc::downgrade(&first);
        drop(first);
        assert_eq!(before.strong_count(), 0, "it is not kept alive");
        interned.forget_unused();
        assert_eq!(interned.len(), 0);
    }

    #[test]
    fn few_unused_values_are_known() {
        let interned = Interned::default();
        let used: Vec<_> = (0..100).map(|n| interned.share(n, Arc::new(n))).collect();
        (100..10_000).for_each(|n| drop(interned.share(n, Arc::new(n))));
        assert!(interned.len() <= used.len() + used.len() / 8 + FEW, "{}", interned.len());
    }
}
