//! A map by numbers that knows in which order its entries were used.

use std::collections::HashMap;

use slab::Slab;

/// A map by numbers. Nothing is allocated where a key is known.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    places: HashMap<u128, usize>,
    entries: Slab<Entry<T>>,
    /// `NONE` if there is no entry.
    newest: usize,
    oldest: usize,
}

#[derive(Debug)]
struct Entry<T> {
    key: u128,
    value: T,
    newer: usize,
    older: usize,
}

const NONE: usize = usize::MAX;

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), entries: Slab::new(), newest: NONE, oldest: NONE }
    }
}

impl<T> Recent<T> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The place of a key, which is now the one used last.
    pub(crate) fn find(&mut self, key: u128) -> Option<usize> {
        let place = *self.places.get(&key)?;
        self.touch(place);
        Some(place)
    }

    pub(crate) fn insert(&mut self, key: u128, value: T) -> usize {
        let place = self.entries.insert(Entry { key, value, newer: NONE, older: NONE });
        self.places.insert(key, place);
        self.link(place);
        place
    }

    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        self.entries.get(place).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(place).map(|entry| &mut entry.value)
    }

    /// The place of the entry that was used least recently.
    pub(crate) fn oldest(&self) -> Option<usize> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(crate) fn touch(&mut self, place: usize) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    pub(crate) fn remove(&mut self, place: usize) {
        self.unlink(place);
        if let Some(entry) = self.entries.try_remove(place) {
            self.places.remove(&entry.key);
        }
        // Memory follows the number of entries down, at no cost as long as that stays about the same.
        if self.entries.is_empty() {
            *self = Self::default();
        }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| &entry.value)
    }

    /// Makes a linked-out entry the newest.
    fn link(&mut self, place: usize) {
        let before = std::mem::replace(&mut self.newest, place);
        if let Some(entry) = self.entries.get_mut(place) {
            (entry.newer, entry.older) = (NONE, before);
        }
        match self.entries.get_mut(before) {
            Some(before) => before.newer = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: usize) {
        let Some((newer, older)) = self.entries.get(place).map(|entry| (entry.newer, entry.older)) else {
            return;
        };
        match self.entries.get_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_are_in_the_order_of_their_use(
            steps in prop::collection::vec((0..3_u8, 0..6_u128), 0..60),
        ) {
            let (mut recent, mut want) = (Recent::default(), Vec::<u128>::new());
            for (what, address) in steps {
                let known = want.iter().position(|other| *other == address);
                match (what, known) {
                    (0 | 1, Some(at)) => {
                        let place = recent.find(address).unwrap();
                        prop_assert_eq!(recent.get(place), Some(&address));
                        want.remove(at);
                        want.push(address);
                    }
                    (0 | 1, None) => {
                        prop_assert_eq!(recent.find(address), None);
                        recent.insert(address, address);
                        want.push(address);
                    }
                    _ => if let Some(oldest) = recent.oldest() {
                        recent.remove(oldest);
                        want.remove(0);
                    }
                }
                prop_assert_eq!(recent.len(), want.len());
                let oldest = recent.oldest().and_then(|place| recent.get(place)).copied();
                prop_assert_eq!(oldest, want.first().copied());
            }
            while let Some(oldest) = recent.oldest() {
                prop_assert_eq!(recent.get(oldest).copied(), Some(want.remove(0)));
                recent.remove(oldest);
            }
            prop_assert!(want.is_empty());
        }
    }
}
