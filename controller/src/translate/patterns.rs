//! Regular expressions of routes and Ingresses: each text is compiled once.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use portcullis_routing::{
    InvalidPattern, Pattern, PatternSet,
    pattern::{GroupPattern, GroupSource, Source, WeakPattern},
};

/// The compiled regular expressions that are in use. Each text is compiled once, however many routes, listeners and
/// hostnames use it.
#[derive(Debug, Default)]
pub struct PatternPool {
    whole: ByText<Arc<str>, WeakPattern>,
    /// Those whose groups are read.
    groups: ByText<Arc<str>, Weak<GroupPattern>>,
}

/// The sets of many regular expressions that are in use. Each list of texts is compiled once, however many hostnames and
/// their aliases have it.
#[derive(Debug, Default)]
pub(super) struct PatternSetPool(ByText<Box<[Box<str>]>, Weak<PatternSet>>);

/// Compiled regular expressions by their text, or sets by their texts.
#[derive(Debug)]
struct ByText<K, W>(Mutex<HashMap<K, W>>);

/// A reference that does not keep a compiled regular expression alive.
trait Reference {
    type Compiled;

    fn of(compiled: &Self::Compiled) -> Self;

    fn compiled(&self) -> Option<Self::Compiled>;
}

/// While the pool has fewer texts than this, it is not searched for unused ones.
const FEW: usize = 64;

impl PatternPool {
    /// The compiled form of a text.
    pub(super) fn pattern(&self, source: &Source) -> Result<Pattern, InvalidPattern> {
        self.whole.compiled(Arc::clone(source.text()), |_| source.compile())
    }

    /// The compiled form of a text whose groups are read.
    pub(super) fn group_pattern(&self, source: &GroupSource) -> Result<Arc<GroupPattern>, InvalidPattern> {
        self.groups.compiled(Arc::clone(source.text()), |_| source.compile().map(Arc::new))
    }

    /// Forgets those that are no longer used.
    pub fn forget_unused(&self) {
        self.whole.forget_unused();
        self.groups.forget_unused();
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        self.whole.len() + self.groups.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PatternSetPool {
    /// The compiled form of a list of texts; `None` if that would be too large.
    pub(super) fn set(&self, texts: Box<[Box<str>]>) -> Option<Arc<PatternSet>> {
        self.0.compiled(texts, |texts| PatternSet::new(texts).map(Arc::new).ok_or(())).ok()
    }

    /// Forgets those that are no longer used.
    pub(super) fn forget_unused(&self) {
        self.0.forget_unused();
    }

    /// How many tables use each set.
    #[cfg(test)]
    pub(super) fn uses(&self) -> Vec<usize> {
        self.0.lock().values().map(Weak::strong_count).collect()
    }
}

impl<K: Eq + Hash, W: Reference> ByText<K, W> {
    fn compiled<E>(
        &self,
        text: K,
        compile: impl FnOnce(&K) -> Result<W::Compiled, E>,
    ) -> Result<W::Compiled, E> {
        let mut by_text = self.lock();
        if let Some(found) = by_text.get(&text).and_then(W::compiled) {
            return Ok(found);
        }
        let made = compile(&text)?;
        if by_text.len() >= FEW && by_text.len() == by_text.capacity() {
            by_text.retain(|_, pattern| pattern.compiled().is_some());
        }
        by_text.insert(text, W::of(&made));
        Ok(made)
    }

    fn forget_unused(&self) {
        let mut by_text = self.lock();
        by_text.retain(|_, pattern| pattern.compiled().is_some());
        let used = by_text.len();
        by_text.shrink_to(2 * used);
    }

    fn len(&self) -> usize {
        self.lock().values().filter(|pattern| pattern.compiled().is_some()).count()
    }

    /// Each change is a single insertion, so a poisoned lock guards a map that is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, W> Default for ByText<K, W> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl Reference for WeakPattern {
    type Compiled = Pattern;

    fn of(compiled: &Pattern) -> Self {
        compiled.downgrade()
    }

    fn compiled(&self) -> Option<Pattern> {
        self.upgrade()
    }
}

impl<T> Reference for Weak<T> {
    type Compiled = Arc<T>;

    fn of(compiled: &Arc<T>) -> Self {
        Arc::downgrade(compiled)
    }

    fn compiled(&self) -> Option<Arc<T>> {
        self.upgrade()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> Vec<Source> {
        texts.iter().map(|text| Source::parse(text).unwrap()).collect()
    }

    #[test]
    fn a_text_is_compiled_once_while_somebody_uses_it() {
        let pool = PatternPool::default();
        let source = &sources(&["a+"])[0];
        let one = pool.pattern(source).unwrap();
        assert!(pool.pattern(&sources(&["a+"])[0]).unwrap().ptr_eq(&one));
        assert!(!pool.pattern(&sources(&["a*"])[0]).unwrap().ptr_eq(&one));
        assert_eq!(pool.len(), 1, "the other one is gone");
        drop(one);
        assert!(pool.is_empty());
        for n in 0..10 * FEW {
            pool.pattern(&sources(&[&n.to_string()])[0]).unwrap();
        }
        assert!(pool.whole.lock().len() < 4 * FEW);
        let source = GroupSource::parse("/(a)").unwrap();
        let groups = pool.group_pattern(&source).unwrap();
        assert!(Arc::ptr_eq(&groups, &pool.group_pattern(&source).unwrap()));
        drop(groups);
        pool.forget_unused();
        assert!(pool.is_empty() && pool.groups.lock().is_empty());
    }

    #[test]
    fn a_list_of_texts_is_compiled_once_while_a_table_uses_it() {
        let pool = PatternSetPool::default();
        let texts = |last: &str| ["/a+", "/b+", last].map(Box::from).into_iter().collect::<Box<[Box<str>]>>();
        let one = pool.set(texts("/c+")).unwrap();
        assert!(Arc::ptr_eq(&one, &pool.set(texts("/c+")).unwrap()));
        assert!(!Arc::ptr_eq(&one, &pool.set(texts("/d+")).unwrap()));
        drop(one);
        pool.forget_unused();
        assert!(pool.0.lock().is_empty());
    }
}
