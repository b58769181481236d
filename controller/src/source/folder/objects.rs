//! Which file has an object, and what was told of it.

use std::{collections::BTreeMap, path::Path};

use super::FileName;
use crate::{
    ir::{Object, ObjectKey},
    snapshot::{ByName, Keyed},
};

/// The objects of all files.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Each by itself, as up to half of a table's places are empty.
    known: ByName<Box<Known>>,
    /// Of objects that several files have, all but the first of these, in their order.
    others: BTreeMap<ObjectKey, Vec<FileName>>,
}

/// What is known of an object.
#[derive(Debug)]
pub(super) struct Known {
    key: ObjectKey,
    /// The first file that has it, whose is served. None for a Namespace that nobody wrote, and for what is gone.
    pub(super) file: Option<FileName>,
    /// As it was told last.
    pub(super) told: Option<Object>,
}

impl Objects {
    pub(super) fn get_or_insert(&mut self, key: &ObjectKey) -> &mut Known {
        self.known.get_or_insert_with(key, || Box::new(Known { key: key.clone(), file: None, told: None }))
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.known.remove(key);
    }

    /// What was told of an object that no file has any more.
    pub(super) fn left_over(&self, key: &ObjectKey) -> Option<&Object> {
        self.known.get(key).filter(|known| known.file.is_none())?.told.as_ref()
    }

    /// Whether a file has an object.
    pub(super) fn is_claimed(&self, key: &ObjectKey) -> bool {
        self.known.get(key).is_some_and(|known| known.file.is_some())
    }

    /// Notes that a file has an object.
    pub(super) fn claim(&mut self, key: &ObjectKey, file: &FileName) {
        let first = &mut self.get_or_insert(key).file;
        let later = match first {
            None => return *first = Some(file.clone()),
            Some(first) if first == file => return,
            Some(first) if file < first => std::mem::replace(first, file.clone()),
            Some(_) => file.clone(),
        };
        let others = self.others.entry(key.clone()).or_default();
        if let Err(place) = others.binary_search(&later) {
            others.insert(place, later);
        }
    }

    /// Notes that a file has an object no longer.
    pub(super) fn unclaim(&mut self, key: &ObjectKey, file: &Path) {
        let Some(known) = self.known.get_mut(key) else { return };
        let others = self.others.get_mut(key);
        if known.file.as_deref() != Some(file) {
            others.into_iter().for_each(|others| others.retain(|other| **other != *file));
        } else {
            known.file = others.filter(|others| !others.is_empty()).map(|others| others.remove(0));
        }
        if self.others.get(key).is_some_and(Vec::is_empty) {
            self.others.remove(key);
        }
    }

    /// The objects that several files have.
    pub(super) fn duplicates(&self) -> impl Iterator<Item = &ObjectKey> {
        self.others.keys()
    }

    /// The files that have an object, in their order.
    pub(super) fn files(&self, key: &ObjectKey) -> impl Iterator<Item = &FileName> {
        let first = self.known.get(key).and_then(|known| known.file.as_ref());
        first.into_iter().chain(self.others.get(key).into_iter().flatten())
    }
}

impl Keyed for Known {
    fn key(&self) -> &ObjectKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    #[test]
    fn the_first_file_has_an_object_in_whatever_order_they_come_and_go() {
        let key = ObjectKey::new(Kind::Service, "shop", "web");
        let name = |name: &str| FileName::from(Path::new(name));
        for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
            let mut objects = Objects::default();
            for file in order.iter().chain(&order) {
                objects.claim(&key, &name(file));
            }
            let files = |objects: &Objects| objects.files(&key).cloned().collect::<Vec<_>>();
            assert_eq!(files(&objects), ["a", "b", "c"].map(name), "{order:?}");
            assert_eq!(objects.duplicates().collect::<Vec<_>>(), [&key]);
            for (index, gone) in order.iter().enumerate() {
                objects.unclaim(&key, Path::new(gone));
                let mut left = order[index + 1..].to_vec();
                left.sort_unstable();
                assert_eq!(files(&objects), left.into_iter().map(name).collect::<Vec<_>>(), "{order:?}");
                assert_eq!(objects.duplicates().count(), usize::from(index == 0), "{order:?}");
            }
        }
    }
}
