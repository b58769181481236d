//! Regular expressions of routes and Ingresses: each text is compiled once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use portcullis_routing::{
    InvalidPattern, Pattern,
    pattern::{GroupPattern, GroupSource, Source, WeakPattern},
};

/// The compiled regular expressions that are in use. Each text is compiled once, however many routes, listeners and
/// hostnames use it.
#[derive(Debug, Default)]
pub struct PatternPool {
    whole: ByText<WeakPattern>,
    /// Those whose groups are read.
    groups: ByText<Weak<GroupPattern>>,
}

/// Compiled regular expressions by their texts.
#[derive(Debug)]
struct ByText<W>(Mutex<HashMap<Arc<str>, W>>);

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
        self.whole.compiled(Arc::clone(source.text()), || source.compile())
    }

    /// The compiled form of a text whose groups are read.
    pub(super) fn group_pattern(&self, source: &GroupSource) -> Result<Arc<GroupPattern>, InvalidPattern> {
        self.groups.compiled(Arc::clone(source.text()), || source.compile().map(Arc::new))
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

impl<W: Reference> ByText<W> {
    fn compiled(
        &self,
        text: impl AsRef<str> + Into<Arc<str>>,
        compile: impl FnOnce() -> Result<W::Compiled, InvalidPattern>,
    ) -> Result<W::Compiled, InvalidPattern> {
        let mut by_text = self.lock();
        if let Some(found) = by_text.get(text.as_ref()).and_then(W::compiled) {
            return Ok(found);
        }
        let made = compile()?;
        if by_text.len() >= FEW && by_text.len() == by_text.capacity() {
            by_text.retain(|_, pattern| pattern.compiled().is_some());
        }
        by_text.insert(text.into(), W::of(&made));
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
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Default for ByText<W> {
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

impl Reference for Weak<GroupPattern> {
    type Compiled = Arc<GroupPattern>;

    fn of(compiled: &Arc<GroupPattern>) -> Self {
        Arc::downgrade(compiled)
    }

    fn compiled(&self) -> Option<Arc<GroupPattern>> {
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
}
