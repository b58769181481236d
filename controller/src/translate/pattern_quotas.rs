//! The memory that the regular expressions of a namespace may take: those of its attached routes and of its Ingresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use portcullis_routing::{
    HostPattern,
    pattern::{GroupSource, Source},
};

use super::Reader;
use crate::{
    facts::Fact,
    ir::{Meta, ObjectKey},
};

/// The regular expressions that the attached routes and the Ingresses of each namespace need, and which of these objects
/// are within the namespace's budget: older objects take precedence, and a younger one may still fit where an older one
/// did not. An Ingress needs those of all of its hosts; it is within the budget with all of them or with none.
///
/// [`PatternQuotas::set`], [`PatternQuotas::set_host`] and [`PatternQuotas::remove`] only record.
/// [`PatternQuotas::settle`] decides once for all that was recorded, so that a batch of objects costs one pass over each
/// namespace, not one for each object.
#[derive(Debug, Default)]
pub struct PatternQuotas {
    namespaces: HashMap<Box<str>, Quota>,
    /// The Ingresses that need regular expressions at a host.
    hosts: HashMap<HostPattern, Box<[ObjectKey]>>,
    /// The namespaces that have changed since they were decided last.
    dirty: BTreeSet<Box<str>>,
    /// The budget by which all others were decided.
    budget: usize,
}

/// A regular expression that an object needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Whole(Source),
    /// Its groups are read.
    Groups(GroupSource),
}

/// The regular expressions that an Ingress needs at a host.
#[derive(Debug)]
pub struct HostNeeds {
    pub(super) created: i64,
    pub(super) ingress: ObjectKey,
    /// In the order of [`Need::key`], without what is beyond the limit for one object.
    pub(super) needs: Box<[Need]>,
}

/// A route, or an Ingress at one of its hosts.
type Part = (ObjectKey, Option<HostPattern>);

#[derive(Debug, Default)]
struct Quota {
    /// The oldest first; the hosts of an Ingress follow each other.
    needs: BTreeMap<(i64, Part), Box<[Need]>>,
    ages: HashMap<Part, i64>,
    /// How many parts need each text.
    texts: HashMap<(bool, Arc<str>), usize>,
    /// The cost of all texts, each counted once.
    cost: usize,
    refused: BTreeSet<ObjectKey>,
    /// How many parts have been looked at to decide.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

impl Need {
    /// Whether its groups are read, and its text.
    pub(super) fn key(&self) -> (bool, &Arc<str>) {
        match self {
            Self::Whole(source) => (false, source.text()),
            Self::Groups(source) => (true, source.text()),
        }
    }

    /// The most memory that its compiled form takes, in bytes.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Whole(source) => source.cost(),
            Self::Groups(source) => source.cost(),
        }
    }
}

/// Why the regular expressions of an object are not compiled.
pub(crate) fn over_budget(namespace: &str, budget: usize) -> String {
    format!(
        "the regular expressions of the attached routes and the Ingresses of namespace {namespace} would need more than {} MiB \
         of memory (the limit for a namespace), and older objects take precedence",
        budget >> 20
    )
}

impl PatternQuotas {
    /// Records which regular expressions a route needs: none where it is not attached.
    pub fn set(&mut self, route: &Meta, needs: Option<&[Source]>) {
        let needs = needs.into_iter().flatten().cloned().map(Need::Whole).collect();
        self.set_part(route.created, (route.key.clone(), None), needs);
    }

    /// Records that a route is gone.
    pub fn remove(&mut self, route: &ObjectKey) {
        self.remove_part(&(route.clone(), None));
    }

    /// Records which regular expressions the Ingresses of a host need there.
    pub fn set_host(&mut self, host: &HostPattern, all: Vec<HostNeeds>) {
        let now: Box<[_]> = all.iter().map(|needs| needs.ingress.clone()).collect();
        for ingress in self.hosts.remove(host).unwrap_or_default() {
            if !now.contains(&ingress) {
                self.remove_part(&(ingress, Some(host.clone())));
            }
        }
        for HostNeeds { created, ingress, needs } in all {
            self.set_part(created, (ingress, Some(host.clone())), needs);
        }
        if !now.is_empty() {
            self.hosts.insert(host.clone(), now);
        }
    }

    /// Decides anew for the namespaces that have changed, and for all of them where the budget has. Returns the objects
    /// whose outcome has changed.
    pub fn settle(&mut self, budget: usize) -> Vec<ObjectKey> {
        if std::mem::replace(&mut self.budget, budget) != budget {
            self.dirty.extend(self.namespaces.keys().cloned());
        }
        let mut changed = Vec::new();
        for namespace in std::mem::take(&mut self.dirty) {
            let Some(quota) = self.namespaces.get_mut(&namespace) else { continue };
            changed.extend(quota.settle(budget));
            if quota.needs.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
        changed
    }

    /// Whether the regular expressions of an object may be compiled, as decided last.
    pub fn grants(&self, object: &ObjectKey) -> bool {
        self.namespaces.get(&object.namespace).is_none_or(|quota| !quota.refused.contains(object))
    }

    /// The same of an Ingress that needs some, as a read.
    ///
    /// # Errors
    /// A sentence for the owner.
    pub(super) fn read(&self, reader: &Reader<'_>, ingress: &ObjectKey) -> Result<(), String> {
        reader.note(|| Fact::PatternsOf(ingress.clone()));
        if self.grants(ingress) { Ok(()) } else { Err(over_budget(&ingress.namespace, self.budget)) }
    }

    /// The regular expressions that an Ingress needs at a host.
    pub(super) fn of_host(&self, ingress: &ObjectKey, host: &HostPattern) -> &[Need] {
        let Some(quota) = self.namespaces.get(&ingress.namespace) else { return &[] };
        let part = (ingress.clone(), Some(host.clone()));
        let age = quota.ages.get(&part);
        age.and_then(|age| quota.needs.get(&(*age, part))).map_or(&[], |needs| needs)
    }

    fn set_part(&mut self, created: i64, part: Part, needs: Box<[Need]>) {
        if needs.is_empty() {
            return self.remove_part(&part);
        }
        let namespace = part.0.namespace.clone();
        if self.namespaces.entry(namespace.clone()).or_default().set(created, part, needs) {
            self.dirty.insert(namespace);
        }
    }

    fn remove_part(&mut self, part: &Part) {
        // Without a look: most clusters have none.
        if self.namespaces.is_empty() {
            return;
        }
        let namespace = &part.0.namespace;
        if self.namespaces.get_mut(namespace).is_some_and(|quota| quota.remove(part)) {
            self.dirty.insert(namespace.clone());
        }
    }
}

impl Quota {
    /// Returns whether anything has changed.
    fn set(&mut self, created: i64, part: Part, needs: Box<[Need]>) -> bool {
        let by_age = (created, part);
        if self.needs.get(&by_age) == Some(&needs) {
            return false;
        }
        let (_, part) = &by_age;
        self.remove(part);
        for need in &needs {
            let (has_groups, text) = need.key();
            let count = self.texts.entry((has_groups, Arc::clone(text))).or_default();
            *count += 1;
            if *count == 1 {
                self.cost += need.cost();
            }
        }
        self.ages.insert(part.clone(), created);
        self.needs.insert(by_age, needs);
        true
    }

    /// Returns whether anything has changed.
    fn remove(&mut self, part: &Part) -> bool {
        let Some(age) = self.ages.remove(part) else { return false };
        for need in self.needs.remove(&(age, part.clone())).iter().flatten() {
            let (has_groups, text) = need.key();
            let text = (has_groups, Arc::clone(text));
            let Some(count) = self.texts.get_mut(&text) else { continue };
            *count -= 1;
            if *count == 0 {
                self.texts.remove(&text);
                self.cost -= need.cost();
            }
        }
        true
    }

    /// Decides anew; returns the objects whose outcome has changed.
    fn settle(&mut self, budget: usize) -> Vec<ObjectKey> {
        let refused = if self.cost <= budget { BTreeSet::new() } else { self.refused_within(budget) };
        let changed = refused.symmetric_difference(&self.refused).cloned().collect();
        self.refused = refused;
        changed
    }

    fn refused_within(&self, budget: usize) -> BTreeSet<ObjectKey> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + self.needs.len());
        let (mut granted, mut used) = (HashSet::new(), 0);
        let mut refused = BTreeSet::new();
        let mut parts = self.needs.iter().peekable();
        while let Some(((_, (object, _)), needs)) = parts.next() {
            let mut more: Vec<_> = needs.iter().collect();
            while let Some((_, needs)) = parts.next_if(|((_, (next, _)), _)| next == object) {
                more.extend(needs);
            }
            more.retain(|need| !granted.contains(&need.key()));
            more.sort_unstable_by_key(|need| need.key());
            more.dedup_by_key(|need| need.key());
            let cost: usize = more.iter().map(|need| need.cost()).sum();
            if used + cost <= budget {
                used += cost;
                granted.extend(more.into_iter().map(Need::key));
            } else {
                refused.insert(object.clone());
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    fn at_host(ingress: &str, texts: &[&str]) -> HostNeeds {
        let ingress = ObjectKey::new(Kind::Ingress, "shop", ingress);
        HostNeeds { created: 1, ingress, needs: sources(texts).into_iter().map(Need::Whole).collect() }
    }

    #[test]
    fn an_ingress_is_decided_with_what_it_needs_at_all_of_its_hosts() {
        let one = Source::parse("a").unwrap().cost();
        let [first, second] = ["a.test", "b.test"].map(|host| HostPattern::parse(host).unwrap());
        let web = ObjectKey::new(Kind::Ingress, "shop", "web");
        let mut quotas = PatternQuotas::default();
        quotas.set_host(&first, vec![at_host("web", &["a"])]);
        quotas.set_host(&second, vec![at_host("web", &["a", "b"]), at_host("zoo", &["a"])]);
        assert!(quotas.settle(2 * one).is_empty(), "a text counts once");
        assert_eq!(quotas.settle(one), std::slice::from_ref(&web));
        assert!(!quotas.grants(&web) && quotas.grants(&at_host("zoo", &[]).ingress));
        assert_eq!((quotas.of_host(&web, &second).len(), quotas.of_host(&web, &first).len()), (2, 1));
        quotas.set_host(&second, vec![at_host("zoo", &["b"])]);
        let zoo = at_host("zoo", &[]).ingress;
        assert_eq!(quotas.settle(one), [web.clone(), zoo.clone()], "the budget goes to the other");
        quotas.set_host(&first, Vec::new());
        assert_eq!(quotas.settle(one), std::slice::from_ref(&zoo));
        quotas.set_host(&second, Vec::new());
        assert!(quotas.settle(one).is_empty() && quotas.namespaces.is_empty() && quotas.hosts.is_empty());
    }

    fn sources(texts: &[&str]) -> Vec<Source> {
        texts.iter().map(|text| Source::parse(text).unwrap()).collect()
    }

    fn meta(name: &str, created: i64) -> Meta {
        let key = ObjectKey::new(Kind::HttpRoute, "shop", name);
        Meta { key, uid: None, generation: 1, version: 0, created, warnings: Box::default() }
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
