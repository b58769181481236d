//! The objects of a kind that others look up by the thousand: found by a hash of their names.
//!
//! A key is neither made for a look nor kept beside the one that the object has.

use std::{fmt, hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};

use crate::ir::{Kind, ObjectKey};

/// An object that knows which one it is.
pub trait Keyed {
    /// Which object it is.
    fn key(&self) -> &ObjectKey;
}

/// Objects, or what is known of them, by kind, namespace and name.
#[derive(Clone)]
pub struct ByName<T> {
    hasher: RandomState,
    table: HashTable<T>,
}

impl<T: Keyed> ByName<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The object of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<&T> {
        self.find(key.kind, &key.namespace, &key.name)
    }

    /// The same, to be changed; not its key.
    pub(crate) fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut T> {
        let hash = hash_of(&self.hasher, key);
        self.table.find_mut(hash, |object| object.key() == key)
    }

    /// The object of this kind and name.
    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&T> {
        let is_it = |object: &T| is(object.key(), kind, namespace, name);
        self.table.find(hash(&self.hasher, kind, namespace, name), is_it)
    }

    /// Whether there is an object of this key.
    pub fn contains_key(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some()
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.values().map(Keyed::key)
    }

    /// All objects, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.table.iter()
    }

    /// Takes an object in, in place of the one of the same key.
    pub(super) fn insert(&mut self, object: T) {
        match self.entry(object.key()) {
            Entry::Occupied(mut before) => *before.get_mut() = object,
            Entry::Vacant(place) => drop(place.insert(object)),
        }
    }

    /// The object of this key, made where there is none; it must be of this key.
    pub(crate) fn get_or_insert_with(&mut self, key: &ObjectKey, make: impl FnOnce() -> T) -> &mut T {
        self.entry(key).or_insert_with(make).into_mut()
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        let hash = hash_of(&self.hasher, key);
        if let Ok(found) = self.table.find_entry(hash, |object| object.key() == key) {
            found.remove();
        }
    }

    fn entry(&mut self, key: &ObjectKey) -> Entry<'_, T> {
        let Self { hasher, table } = self;
        table.entry(hash_of(hasher, key), |other| other.key() == key, |other| hash_of(hasher, other.key()))
    }
}

fn is(key: &ObjectKey, kind: Kind, namespace: &str, name: &str) -> bool {
    *key.name == *name && *key.namespace == *namespace && key.kind == kind
}

fn hash_of(hasher: &RandomState, key: &ObjectKey) -> u64 {
    hash(hasher, key.kind, &key.namespace, &key.name)
}

fn hash(hasher: &RandomState, kind: Kind, namespace: &str, name: &str) -> u64 {
    hasher.hash_one((kind, namespace, name))
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), table: HashTable::new() }
    }
}

impl<T: fmt::Debug> fmt::Debug for ByName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.table).finish()
    }
}

impl<T: Keyed> Keyed for Arc<T> {
    fn key(&self) -> &ObjectKey {
        T::key(self)
    }
}

impl<T: Keyed> Keyed for Box<T> {
    fn key(&self) -> &ObjectKey {
        T::key(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Object(ObjectKey, u32);

    impl Keyed for Object {
        fn key(&self) -> &ObjectKey {
            &self.0
        }
    }

    fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(kind, namespace, name)
    }

    #[test]
    fn objects_are_found_by_all_parts_of_their_key() {
        let keys = [
            key(Kind::HttpRoute, "shop", "web"),
            key(Kind::GrpcRoute, "shop", "web"),
            key(Kind::HttpRoute, "sho", "pweb"),
            key(Kind::HttpRoute, "", "shopweb"),
        ];
        let mut all = ByName::default();
        for (number, key) in (0..).zip(&keys) {
            all.insert(Arc::new(Object(key.clone(), number)));
        }
        assert_eq!(all.len(), keys.len());
        for (number, key) in (0..).zip(&keys) {
            assert_eq!(all.get(key).unwrap().1, number, "{key}");
        }
        assert!(all.get(&key(Kind::HttpRoute, "shop", "we")).is_none());
    }

    #[test]
    fn an_object_takes_the_place_of_the_one_before() {
        let (web, api) = (key(Kind::Service, "shop", "web"), key(Kind::Service, "shop", "api"));
        let mut all = ByName::default();
        for (key, number) in [(&web, 1), (&api, 2), (&web, 3)] {
            all.insert(Arc::new(Object(key.clone(), number)));
        }
        assert_eq!((all.len(), all.get(&web).unwrap().1, all.get(&api).unwrap().1), (2, 3, 2));
        all.remove(&web);
        all.remove(&web);
        assert!(all.get(&web).is_none());
        assert_eq!(all.keys().collect::<Vec<_>>(), [&api]);
    }
}
