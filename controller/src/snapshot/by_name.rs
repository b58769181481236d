//! The objects of a kind that others look up by the thousand: found by a hash of their names.
//!
//! A key is neither made for a look nor kept beside the one that the object has.

use std::{fmt, sync::Arc};

use hashbrown::{HashTable, hash_table::Entry};

use crate::ir::{Kind, ObjectKey};

/// An object that knows which one it is.
pub trait Keyed {
    /// Which object it is.
    fn key(&self) -> &ObjectKey;
}

/// Objects, or what is known of them, by kind, namespace and name.
#[derive(Clone)]
pub struct ByName<T>(HashTable<T>);

impl<T: Keyed> ByName<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<&T> {
        self.0.find(key.stored_hash(), |object| object.key() == key)
    }

    /// The same, to be changed; not its key.
    pub(crate) fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut T> {
        self.0.find_mut(key.stored_hash(), |object| object.key() == key)
    }

    /// The object of this kind and name.
    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&T> {
        let is_it = |object: &T| is(object.key(), kind, namespace, name);
        self.0.find(ObjectKey::hash_of(kind, namespace, name), is_it)
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
        self.0.iter()
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
        if let Ok(found) = self.0.find_entry(key.stored_hash(), |object| object.key() == key) {
            found.remove();
        }
    }

    fn entry(&mut self, key: &ObjectKey) -> Entry<'_, T> {
        self.0.entry(key.stored_hash(), |other| other.key() == key, |other| other.key().stored_hash())
    }
}

fn is(key: &ObjectKey, kind: Kind, namespace: &str, name: &str) -> bool {
    *key.name == *name && *key.namespace == *namespace && key.kind == kind
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for ByName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
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
