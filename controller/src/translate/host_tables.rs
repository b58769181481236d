//! Shares the host tables of a route that is at many listeners with many hostnames.

use std::{
    hash::BuildHasher,
    ptr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use foldhash::fast::RandomState;
use portcullis_routing::{Entry, HostTable, SortedEntries};

use super::patterns::PatternSetPool;

/// The host tables in use, each once: places with the same entries have the same table. A route may be at 64 listeners
/// with 16 hostnames each; its rules are compiled once for all of them.
///
/// Entries are the same if they are of the same rules and matches by identity, so that a look costs no more than the
/// entries are many. Tables without an index are not looked up: sharing them would save less than it takes.
#[derive(Debug, Default)]
pub struct HostTablePool {
    inner: Mutex<Inner>,
    sets: PatternSetPool,
}

#[derive(Debug, Default)]
struct Inner {
    hasher: RandomState,
    tables: hashbrown::HashTable<Known>,
}

#[derive(Debug)]
struct Known {
    hash: u64,
    table: Weak<HostTable>,
}

impl HostTablePool {
    /// A table of these entries that is not looked up. Tables with many regular expressions share what is compiled of them
    /// together.
    pub(super) fn new_table(&self, entries: Vec<Entry>) -> Arc<HostTable> {
        self.compiled(SortedEntries::new(entries))
    }

    fn compiled(&self, entries: SortedEntries) -> Arc<HostTable> {
        Arc::new(entries.compile_with(&mut |texts| self.sets.set(texts)))
    }

    /// The table of these entries.
    pub fn table(&self, entries: Vec<Entry>) -> Arc<HostTable> {
        let entries = SortedEntries::new(entries);
        if !entries.need_index() {
            return self.compiled(entries);
        }
        // Each change is a single insertion, so a poisoned lock guards a map that is whole.
        let Inner { hasher, tables } = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hasher.hash_one(entries.iter().map(identity).collect::<Vec<_>>());
        let mut known = tables
            .iter_hash(hash)
            .filter(|known| known.hash == hash)
            .filter_map(|known| known.table.upgrade());
        if let Some(found) = known.find(|table| is_same(table.entries(), &entries)) {
            return found;
        }
        let made = self.compiled(entries);
        if tables.len() == tables.capacity() {
            tables.retain(|known| known.table.strong_count() > 0);
        }
        tables.insert_unique(hash, Known { hash, table: Arc::downgrade(&made) }, |known| known.hash);
        made
    }

    /// Forgets those that are no longer used.
    pub fn forget_unused(&self) {
        self.sets.forget_unused();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.tables.retain(|known| known.table.strong_count() > 0);
    }
}

/// What an entry is known by: the addresses of its match and its rule.
fn identity(entry: &Entry) -> (usize, usize) {
    (Arc::as_ptr(&entry.route_match).addr(), Arc::as_ptr(&entry.rule).addr())
}

fn is_same(there: &[Entry], wanted: &[Entry]) -> bool {
    let is_one = |(there, wanted): (&Entry, &Entry)| {
        ptr::eq(&*there.route_match, &*wanted.route_match)
            && ptr::eq(&*there.rule, &*wanted.rule)
            && there.precedence == wanted.precedence
    };
    there.len() == wanted.len() && there.iter().zip(wanted).all(is_one)
}

#[cfg(test)]
mod tests {
    use portcullis_routing::{Backends, PathMatch, Precedence, RouteId, RouteKind, RouteMatch, Rule, Steps};

    use super::*;
    use crate::translate::{
        Pools, Settings, full,
        testing::{CLASS, snapshot},
    };

    #[test]
    fn the_same_entries_have_one_table_and_others_have_their_own() {
        let pool = HostTablePool::default();
        let (all, like_them) = (entries(6), entries(6));
        let table = pool.table(all.clone());
        let reversed: Vec<_> = all.iter().rev().cloned().collect();
        assert!(Arc::ptr_eq(&pool.table(reversed), &table), "in another order");
        let other_rule = |entry: &Entry| Entry { rule: Arc::clone(&like_them[0].rule), ..entry.clone() };
        let other_match =
            |entry: &Entry| Entry { route_match: Arc::clone(&like_them[0].route_match), ..entry.clone() };
        let older = |entry: &Entry| Entry { precedence: precedence(&entry.route_match, -1), ..entry.clone() };
        let with = |first: Entry| std::iter::once(first).chain(all[1..].iter().cloned()).collect::<Vec<_>>();
        for (other, why) in [
            (all[1..].to_vec(), "one less"),
            (with(other_rule(&all[0])), "another rule"),
            (with(other_match(&all[0])), "another match"),
            (with(older(&all[0])), "another precedence"),
        ] {
            assert!(!Arc::ptr_eq(&pool.table(other), &table), "{why}");
        }
    }

    #[test]
    fn a_table_is_forgotten_with_its_last_use() {
        let pool = HostTablePool::default();
        let known = || pool.inner.lock().unwrap().tables.len();
        let used = pool.table(entries(6));
        drop(pool.table(entries(6)));
        pool.table(entries(2));
        assert_eq!(known(), 2, "small ones are not looked up");
        pool.forget_unused();
        assert_eq!(known(), 1);
        // Between two calls, too, there are no more than a few times those in use.
        (0..1000).for_each(|_| drop(pool.table(entries(6))));
        assert!(known() < 50, "{}", known());
        drop(used);
    }

    #[test]
    fn a_host_and_its_aliases_share_the_set_of_their_regular_expressions() {
        let paths = (0..10).map(|number| {
            format!(
                "{{ path: '/{number}/[a-z]+', pathType: ImplementationSpecific, \
                 backend: {{ service: {{ name: web, port: {{ number: 80 }} }} }} }}"
            )
        });
        let paths = paths.collect::<Vec<_>>().join(", ");
        let objects = format!(
            "{CLASS}
kind: Ingress
metadata:
  namespace: shop
  name: web
  annotations:
    nginx.ingress.kubernetes.io/use-regex: 'true'
    nginx.ingress.kubernetes.io/server-alias: b.test,c.test
spec: {{ ingressClassName: portcullis, rules: [{{ host: a.test, http: {{ paths: [{paths}] }} }}] }}
"
        );
        let pools = Pools::default();
        let translation = full(&snapshot(&objects), &Settings::default(), None, &pools);
        assert_eq!(pools.host_tables.sets.uses(), [3], "{}", translation.table);
        drop(translation);
        pools.host_tables.forget_unused();
        assert!(pools.host_tables.sets.uses().is_empty());
    }

    fn entries(count: usize) -> Vec<Entry> {
        (0..count).map(entry).collect()
    }

    fn entry(number: usize) -> Entry {
        let route_match = RouteMatch {
            path: PathMatch::Prefix(format!("/{number}").into()),
            method: None,
            headers: Box::default(),
            query: Box::default(),
        };
        let rule = Rule {
            route: Arc::new(RouteId { kind: RouteKind::Http, namespace: "n".into(), name: "r".into() }),
            index: number,
            name: None,
            steps: Steps::default(),
            backends: Backends::default(),
            timeouts: None,
            retry: None,
            labels: None,
        };
        let precedence = precedence(&route_match, 0);
        Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }
    }

    fn precedence(route_match: &RouteMatch, age: i64) -> Precedence {
        Precedence::of(route_match, age, "n/r".into(), (0, 0))
    }
}
