//! Regular expressions of routes: each text is compiled once, and no namespace has more than its share of the memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_routing::{
    InvalidPattern, Pattern,
    pattern::{Source, WeakPattern},
};

use crate::ir::{Meta, ObjectKey};

/// The regular expressions that are in use, each once, whatever routes, listeners and hostnames it stands in.
#[derive(Debug, Default)]
pub struct PatternPool {
    by_text: Mutex<HashMap<Arc<str>, WeakPattern>>,
}

/// Below so many texts none is looked for that nobody uses any more.
const FEW: usize = 64;

impl PatternPool {
    /// The compiled form of a text.
    pub(super) fn pattern(&self, source: &Source) -> Result<Pattern, InvalidPattern> {
        // Each change is one insertion, so that a panic elsewhere leaves nothing half done.
        let mut by_text = self.by_text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = by_text.get(source.text()).and_then(WeakPattern::upgrade) {
            return Ok(found);
        }
        let made = source.compile()?;
        if by_text.len() >= FEW && by_text.len() == by_text.capacity() {
            by_text.retain(|_, pattern| pattern.upgrade().is_some());
        }
        by_text.insert(Arc::clone(source.text()), made.downgrade());
        Ok(made)
    }

    /// Forgets those that nobody uses any more.
    pub fn forget_unused(&self) {
        let mut by_text = self.by_text.lock().unwrap_or_else(PoisonError::into_inner);
        by_text.retain(|_, pattern| pattern.upgrade().is_some());
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        let by_text = self.by_text.lock().unwrap_or_else(PoisonError::into_inner);
        by_text.values().filter(|pattern| pattern.upgrade().is_some()).count()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the attached routes of each namespace want compiled, and which of them are within the namespace's budget: the
/// oldest first; a younger one may still fit where an older one did not.
#[derive(Debug, Default)]
pub struct PatternQuotas {
    namespaces: HashMap<Box<str>, Quota>,
}

#[derive(Debug, Default)]
struct Quota {
    /// The oldest first.
    routes: BTreeMap<(i64, ObjectKey), Box<[Source]>>,
    ages: HashMap<ObjectKey, i64>,
    /// How many routes want a text.
    texts: HashMap<Arc<str>, usize>,
    /// Of all texts, each once.
    cost: usize,
    refused: BTreeSet<ObjectKey>,
}

impl PatternQuotas {
    /// Takes up what a route wants compiled now: nothing where it is not attached or gone. Returns the routes whose
    /// outcome is another than before.
    pub fn set(&mut self, route: &Meta, wants: Option<&[Source]>, budget: usize) -> Vec<ObjectKey> {
        self.replace(
            &route.key,
            wants.filter(|wants| !wants.is_empty()).map(|wants| (route.created, wants)),
            budget,
        )
    }

    /// Takes up that a route is gone.
    pub fn remove(&mut self, route: &ObjectKey, budget: usize) -> Vec<ObjectKey> {
        self.replace(route, None, budget)
    }

    /// Whether the regular expressions of a route may be compiled.
    pub fn grants(&self, route: &ObjectKey) -> bool {
        self.namespaces.get(&route.namespace).is_none_or(|quota| !quota.refused.contains(route))
    }

    fn replace(
        &mut self,
        route: &ObjectKey,
        wants: Option<(i64, &[Source])>,
        budget: usize,
    ) -> Vec<ObjectKey> {
        if wants.is_none() && !self.namespaces.contains_key(&route.namespace) {
            return Vec::new();
        }
        let quota = self.namespaces.entry(route.namespace.clone()).or_default();
        let changed = quota.replace(route, wants, budget);
        if quota.routes.is_empty() {
            self.namespaces.remove(&route.namespace);
        }
        changed
    }
}

impl Quota {
    fn replace(
        &mut self,
        route: &ObjectKey,
        wants: Option<(i64, &[Source])>,
        budget: usize,
    ) -> Vec<ObjectKey> {
        let before = self.ages.remove(route).and_then(|age| self.routes.remove_entry(&(age, route.clone())));
        let is_same = match (&before, wants) {
            (Some(((before_age, _), before)), Some((age, wants))) => *before_age == age && **before == *wants,
            (None, None) => true,
            _ => false,
        };
        for source in before.iter().flat_map(|(_, sources)| sources.iter()) {
            self.leave(source);
        }
        if let Some((age, wants)) = wants {
            wants.iter().for_each(|source| self.enter(source));
            self.ages.insert(route.clone(), age);
            self.routes.insert((age, route.clone()), wants.into());
        }
        if is_same { Vec::new() } else { self.settle(budget) }
    }

    fn enter(&mut self, source: &Source) {
        let count = self.texts.entry(Arc::clone(source.text())).or_default();
        *count += 1;
        if *count == 1 {
            self.cost += source.cost();
        }
    }

    fn leave(&mut self, source: &Source) {
        let Some(count) = self.texts.get_mut(source.text()) else { return };
        *count -= 1;
        if *count == 0 {
            self.texts.remove(source.text());
            self.cost -= source.cost();
        }
    }

    /// Decides anew; returns the routes whose outcome is another.
    fn settle(&mut self, budget: usize) -> Vec<ObjectKey> {
        let refused = if self.cost <= budget { BTreeSet::new() } else { self.refused_within(budget) };
        let changed = refused.symmetric_difference(&self.refused).cloned().collect();
        self.refused = refused;
        changed
    }

    fn refused_within(&self, budget: usize) -> BTreeSet<ObjectKey> {
        let (mut granted, mut used) = (HashSet::new(), 0);
        let mut refused = BTreeSet::new();
        for ((_, route), sources) in &self.routes {
            let fresh = || sources.iter().filter(|source| !granted.contains(source.text()));
            let more: usize = fresh().map(Source::cost).sum();
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
        assert!(pool.by_text.lock().unwrap().len() < 4 * FEW);
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
                    quotas.set(&meta(name, *created), Some(&sources(texts)), budget);
                }
                let mut got: Vec<_> = routes.iter().map(|(name, ..)| *name).collect();
                got.retain(|name| !quotas.grants(&meta(name, 0).key));
                assert_eq!(got, refused, "{what}");
            }
        }
    }

    #[test]
    fn who_gets_another_outcome_is_named() {
        let one = Source::parse("a").unwrap().cost();
        let mut quotas = PatternQuotas::default();
        let (old, new, other) =
            (meta("old", 1), meta("new", 2), ObjectKey::new(Kind::HttpRoute, "other", "x"));
        assert!(quotas.set(&new, Some(&sources(&["a"])), one).is_empty());
        assert_eq!(quotas.set(&old, Some(&sources(&["b"])), one), std::slice::from_ref(&new.key));
        assert!(quotas.set(&old, Some(&sources(&["b"])), one).is_empty(), "the same again");
        assert!(quotas.grants(&other) && quotas.remove(&other, one).is_empty());
        assert_eq!(quotas.set(&old, None, one), std::slice::from_ref(&new.key), "no longer attached");
        assert!(quotas.grants(&new.key));
        assert!(quotas.remove(&new.key, one).is_empty());
        assert!(quotas.namespaces.is_empty());
    }
}
