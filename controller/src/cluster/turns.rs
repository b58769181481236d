//! What waits, by namespace. Namespaces take turns, so that one with much to do delays another by one thing at a time.

use std::{collections::BTreeMap, ops::Bound};

#[derive(Debug)]
pub(super) struct Turns<K, V = ()> {
    waiting: BTreeMap<Box<str>, BTreeMap<K, V>>,
    /// Whose turn it was last.
    last: Option<Box<str>>,
}

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), last: None }
    }
}

impl<K: Ord, V> Turns<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn insert(&mut self, namespace: &str, key: K, value: V) {
        match self.waiting.get_mut(namespace) {
            Some(waiting) => drop(waiting.insert(key, value)),
            None => drop(self.waiting.insert(namespace.into(), BTreeMap::from([(key, value)]))),
        }
    }

    pub(super) fn remove(&mut self, namespace: &str, key: &K) -> Option<V> {
        let waiting = self.waiting.get_mut(namespace)?;
        let removed = waiting.remove(key);
        if waiting.is_empty() {
            self.waiting.remove(namespace);
        }
        removed
    }

    /// The first of the namespace whose turn it is.
    pub(super) fn next(&mut self) -> Option<(K, V)> {
        let after = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.waiting.range::<str, _>((after, Bound::Unbounded));
        let namespace = later.next().or_else(|| self.waiting.first_key_value())?.0.clone();
        let waiting = self.waiting.get_mut(&namespace)?;
        let first = waiting.pop_first();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.last = Some(namespace);
        first
    }

    /// Leaves out the last of the namespace that has most; of those that have as many, the very last.
    pub(super) fn shorten(&mut self) -> Option<(K, V)> {
        let longest = self
            .waiting
            .iter()
            .max_by_key(|(_, waiting)| (waiting.len(), waiting.last_key_value().map(|(key, _)| key)));
        let namespace = longest?.0.clone();
        let waiting = self.waiting.get_mut(&namespace)?;
        let last = waiting.pop_last();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(waiting: &[(&str, u32)]) -> Turns<u32> {
        let mut turns = Turns::default();
        waiting.iter().for_each(|(namespace, key)| turns.insert(namespace, *key, ()));
        turns
    }

    #[test]
    fn namespaces_take_turns() {
        let mut turns = of(&[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6), ("", 7)]);
        let mut order = Vec::new();
        while let Some((key, ())) = turns.next() {
            order.push(key);
            // One that always has more.
            if order.len() < 6 {
                turns.insert("a", 10 + key, ());
            }
        }
        assert_eq!(order[..7], [7, 1, 4, 5, 2, 6, 3]);
        assert!(turns.is_empty());
    }

    #[test]
    fn what_is_too_much_is_left_out_where_most_is() {
        let mut turns = of(&[("a", 1), ("b", 2), ("b", 3), ("c", 4)]);
        let left_out: Vec<_> = std::iter::from_fn(|| turns.shorten()).map(|(key, ())| key).collect();
        assert_eq!(left_out, [3, 4, 2, 1]);
        assert!(turns.is_empty());
    }

    #[test]
    fn what_is_removed_has_no_turn() {
        let mut turns = of(&[("a", 1), ("b", 2)]);
        assert_eq!(
            (turns.remove("a", &2), turns.remove("a", &1), turns.remove("a", &1)),
            (None, Some(()), None)
        );
        assert_eq!(turns.next(), Some((2, ())));
        assert!(turns.is_empty());
    }
}
