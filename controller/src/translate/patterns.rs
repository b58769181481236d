//! Regular expressions of routes: each text is compiled once, and the routes of a namespace together have a memory budget.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use portcullis_routing::{
    InvalidPattern, Pattern,
    pattern::{GroupPattern, Source, WeakPattern},
};

use crate::ir::{Meta, ObjectKey};

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
    pub(super) fn group_pattern(&self, text: &str) -> Result<Arc<GroupPattern>, InvalidPattern> {
        self.groups.compiled(text, || GroupPattern::compile(text).map(Arc::new))
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

/// The regular expressions that the attached routes of each namespace need, and which routes are within the namespace's
/// budget: older routes take precedence, and a younger one may still fit where an older one did not.
///
/// [`PatternQuotas::set`] and [`PatternQuotas::remove`] only record. [`PatternQuotas::settle`] decides once for all that
/// was recorded, so that a batch of routes costs one pass over each namespace, not one for each route.
#[derive(Debug, Default)]
pub struct PatternQuotas {
    namespaces: HashMap<Box<str>, Quota>,
    /// The namespaces that have changed since they were decided last.
    dirty: BTreeSet<Box<str>>,
    /// The budget by which all others were decided.
    budget: usize,
}

#[derive(Debug, Default)]
struct Quota {
    /// The oldest first.
    routes: BTreeMap<(i64, ObjectKey), Box<[Source]>>,
    ages: HashMap<ObjectKey, i64>,
    /// How many routes need each text.
    texts: HashMap<Arc<str>, usize>,
    /// The cost of all texts, each counted once.
    cost: usize,
    refused: BTreeSet<ObjectKey>,
    /// How many routes have been looked at to decide.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

impl PatternQuotas {
    /// Records which regular expressions a route needs: none where it is not attached.
    pub fn set(&mut self, route: &Meta, needs: Option<&[Source]>) {
        let Some(needs) = needs.filter(|needs| !needs.is_empty()) else { return self.remove(&route.key) };
        let namespace = &route.key.namespace;
        if self.namespaces.entry(namespace.clone()).or_default().set(route, needs) {
            self.dirty.insert(namespace.clone());
        }
    }

    /// Records that a route is gone.
    pub fn remove(&mut self, route: &ObjectKey) {
        let Some(quota) = self.namespaces.get_mut(&route.namespace) else { return };
        if quota.remove(route) {
            self.dirty.insert(route.namespace.clone());
        }
    }

    /// Decides anew for the namespaces that have changed, and for all of them where the budget has. Returns the routes
    /// whose outcome has changed.
    pub fn settle(&mut self, budget: usize) -> Vec<ObjectKey> {
        if std::mem::replace(&mut self.budget, budget) != budget {
            self.dirty.extend(self.namespaces.keys().cloned());
        }
        let mut changed = Vec::new();
        for namespace in std::mem::take(&mut self.dirty) {
            let Some(quota) = self.namespaces.get_mut(&namespace) else { continue };
            changed.extend(quota.settle(budget));
            if quota.routes.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
        changed
    }

    /// Whether the regular expressions of a route may be compiled, as decided last.
    pub fn grants(&self, route: &ObjectKey) -> bool {
        self.namespaces.get(&route.namespace).is_none_or(|quota| !quota.refused.contains(route))
    }
}

impl Quota {
    /// Returns whether anything has changed.
    fn set(&mut self, route: &Meta, needs: &[Source]) -> bool {
        let place = (route.created, route.key.clone());
        if self.routes.get(&place).is_some_and(|before| **before == *needs) {
            return false;
        }
        self.remove(&route.key);
        for source in needs {
            let count = self.texts.entry(Arc::clone(source.text())).or_default();
            *count += 1;
            if *count == 1 {
                self.cost += source.cost();
            }
        }
        self.ages.insert(route.key.clone(), route.created);
        self.routes.insert(place, needs.into());
        true
    }

    /// Returns whether anything has changed.
    fn remove(&mut self, route: &ObjectKey) -> bool {
        let Some(age) = self.ages.remove(route) else { return false };
        let needed = self.routes.remove(&(age, route.clone())).unwrap_or_default();
        for source in &needed {
            let Some(count) = self.texts.get_mut(source.text()) else { continue };
            *count -= 1;
            if *count == 0 {
                self.texts.remove(source.text());
                self.cost -= source.cost();
            }
        }
        true
    }

    /// Decides anew; returns the routes whose outcome has changed.
    fn settle(&mut self, budget: usize) -> Vec<ObjectKey> {
        let refused = if self.cost <= budget { BTreeSet::new() } else { self.refused_within(budget) };
        let changed = refused.symmetric_difference(&self.refused).cloned().collect();
        self.refused = refused;
        changed
    }

    fn refused_within(&self, budget: usize) -> BTreeSet<ObjectKey> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + self.routes.len());
        let (mut granted, mut used) = (HashSet::new(), 0);
        let mut refused = BTreeSet::new();
        for ((_, route), sources) in &self.routes {
            let more: usize =
                sources.iter().filter(|source| !granted.contains(source.text())).map(Source::cost).sum();
            if used + more <= budget {
                used += more;
                granted.extend(sources.iter().map(Source::text));
            } else {
                refused.insert(route.clone());
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    fn sources(texts: &[&str]) -> Vec<Source> {
        texts.iter().map(|text| Source::parse(text).unwrap()).collect()
    }

    fn meta(name: &str, created: i64) -> Meta {
        let key = ObjectKey::new(Kind::HttpRoute, "shop", name);
        Meta { key, uid: None, generation: 1, version: 0, created, warnings: Box::default() }
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
        let groups = pool.group_pattern("/(a)").unwrap();
        assert!(Arc::ptr_eq(&groups, &pool.group_pattern("/(a)").unwrap()));
        drop(groups);
        pool.forget_unused();
        assert!(pool.is_empty() && pool.groups.lock().is_empty());
    }

    #[test]
    fn the_oldest_routes_of_a_namespace_have_its_budget() {
        let one = Source::parse("a").unwrap().cost();
        for (what, budget, routes, refused) in [
            (
                "all fit",
                3 * one,
                &[("old", 1, &["a"][..]), ("mid", 2, &["b"]), ("new", 3, &["c"])][..],
                &[][..],
            ),
            ("a text counts once", one, &[("old", 1, &["a"]), ("mid", 2, &["a"]), ("new", 3, &["a"])], &[]),
            (
                "the youngest does not",
                2 * one,
                &[("old", 1, &["a"]), ("mid", 2, &["b"]), ("new", 3, &["c"])],
                &["new"],
            ),
            ("nor one that is too large", one, &[("old", 1, &["a", "b"]), ("new", 3, &["c"])], &["old"]),
            (
                "what is granted already",
                one,
                &[("old", 1, &["a"]), ("mid", 2, &["a", "b"]), ("new", 3, &["a"])],
                &["mid"],
            ),
            ("as old, by name", one, &[("b", 1, &["b"]), ("a", 1, &["a"])], &["b"]),
        ] {
            for turn in 0..routes.len() {
                let mut quotas = PatternQuotas::default();
                for (name, created, texts) in routes.iter().cycle().skip(turn).take(routes.len()) {
                    quotas.set(&meta(name, *created), Some(&sources(texts)));
                }
                quotas.settle(budget);
                let mut got: Vec<_> = routes.iter().map(|(name, ..)| *name).collect();
                got.retain(|name| !quotas.grants(&meta(name, 0).key));
                assert_eq!(got, refused, "{what}");
            }
        }
    }

    #[test]
    fn routes_whose_outcome_changes_are_returned() {
        let one = Source::parse("a").unwrap().cost();
        let mut quotas = PatternQuotas::default();
        let (old, new, other) =
            (meta("old", 1), meta("new", 2), ObjectKey::new(Kind::HttpRoute, "other", "x"));
        quotas.set(&new, Some(&sources(&["a"])));
        assert!(quotas.settle(one).is_empty());
        quotas.set(&old, Some(&sources(&["b"])));
        assert_eq!(quotas.settle(one), std::slice::from_ref(&new.key));
        quotas.set(&old, Some(&sources(&["b"])));
        assert!(quotas.dirty.is_empty(), "the same again");
        assert_eq!(quotas.settle(2 * one), std::slice::from_ref(&new.key), "the budget has changed");
        assert_eq!(quotas.settle(one), std::slice::from_ref(&new.key));
        quotas.remove(&other);
        assert!(quotas.grants(&other) && quotas.settle(one).is_empty());
        quotas.set(&old, None);
        assert_eq!(quotas.settle(one), std::slice::from_ref(&new.key), "no longer attached");
        assert!(quotas.grants(&new.key));
        quotas.remove(&new.key);
        assert!(quotas.settle(one).is_empty());
        assert!(quotas.namespaces.is_empty());
    }

    #[test]
    fn a_batch_of_routes_is_decided_in_one_pass_over_its_namespace() {
        const ROUTES: usize = 1000;
        let budget = Source::parse("a").unwrap().cost();
        let mut quotas = PatternQuotas::default();
        for number in 0..ROUTES {
            let created = i64::try_from(ROUTES - number).unwrap();
            quotas.set(&meta(&format!("r{number}"), created), Some(&sources(&[&format!("{number:04}")])));
        }
        assert_eq!(quotas.settle(budget).len(), ROUTES, "none of them fits");
        assert_eq!(quotas.namespaces["shop"].looks.get(), ROUTES);
        assert!(quotas.settle(budget).is_empty());
        assert_eq!(quotas.namespaces["shop"].looks.get(), ROUTES, "nothing has changed");
    }
}
