//! Policies and their targets: which policy holds, and which ones are in conflict. Any kind of policy, whatever it
//! says.
//!
//! Of several policies of one kind, the one that names a section of a target (a port of a Service, a listener of a
//! Gateway) holds there before those for the whole target. Of those that name the same, the oldest holds, then the
//! first by namespace and name; the others are in conflict.
//!
//! A kind of policy becomes a unit of translation that keeps [`Policies`] up to date. A unit that asks for the policy
//! of a target notes [`Fact::PoliciesOn`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Reader;
use crate::{facts::Fact, ir::ObjectKey, kinds::Kind};

/// A policy, without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub key: ObjectKey,
    pub created: i64,
    pub targets: Vec<TargetRef>,
}

/// What a policy is for (`targetRefs[]`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetRef {
    pub target: ObjectKey,
    /// `sectionName`; `None` is the whole target.
    pub section: Option<Box<str>>,
}

/// A target for which another policy of the same kind holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict<'p> {
    pub target: &'p TargetRef,
    /// The policy that holds.
    pub with: &'p ObjectKey,
}

/// All policies, by their targets.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    known: HashMap<ObjectKey, Known>,
    /// By target and kind of policy: the policies for each section, the oldest first.
    on: BTreeMap<(ObjectKey, Kind), Sections>,
    /// The targets whose policies have changed.
    changed: BTreeSet<ObjectKey>,
}

#[derive(Clone, Debug)]
struct Known {
    created: i64,
    targets: BTreeSet<TargetRef>,
}

type Sections = BTreeMap<Option<Box<str>>, BTreeSet<(i64, ObjectKey)>>;

impl Policies {
    /// Adds or replaces a policy.
    pub fn set(&mut self, policy: Policy) {
        let Policy { key, created, targets } = policy;
        let targets: BTreeSet<_> = targets.into_iter().collect();
        if self.known.get(&key).is_some_and(|known| known.created == created && known.targets == targets) {
            return;
        }
        self.remove(&key);
        for TargetRef { target, section } in &targets {
            let sections = self.on.entry((target.clone(), key.kind)).or_default();
            sections.entry(section.clone()).or_default().insert((created, key.clone()));
            self.changed.insert(target.clone());
        }
        self.known.insert(key, Known { created, targets });
    }

    /// Marks the targets of a policy as changed, because its content has changed.
    pub fn touch(&mut self, key: &ObjectKey) {
        let targets = self.known.get(key).into_iter().flat_map(|known| &known.targets);
        self.changed.extend(targets.map(|of| of.target.clone()));
    }

    /// The policies of a kind that name a target, with the section that each names.
    pub fn on(
        &self,
        kind: Kind,
        target: &ObjectKey,
    ) -> impl Iterator<Item = (&Option<Box<str>>, &ObjectKey)> {
        let sections = self.on.get(&(target.clone(), kind)).into_iter().flatten();
        sections.flat_map(|(section, policies)| policies.iter().map(move |(_, key)| (section, key)))
    }

    /// Forgets a policy.
    pub fn remove(&mut self, key: &ObjectKey) {
        let Some(Known { created, targets }) = self.known.remove(key) else { return };
        let age = (created, key.clone());
        for TargetRef { target, section } in targets {
            let on = (target, key.kind);
            if let Some(sections) = self.on.get_mut(&on) {
                if let Some(policies) = sections.get_mut(&section) {
                    policies.remove(&age);
                }
                sections.retain(|_, policies| !policies.is_empty());
                if sections.is_empty() {
                    self.on.remove(&on);
                }
            }
            self.changed.insert(on.0);
        }
    }

    /// The policy of a kind that holds for a section of a target; `section` is `None` for what is in no section.
    pub fn holding(&self, kind: Kind, target: &ObjectKey, section: Option<&str>) -> Option<&ObjectKey> {
        let sections = self.on.get(&(target.clone(), kind))?;
        let oldest = |section: &Option<Box<str>>| sections.get(section)?.first().map(|(_, key)| key);
        let of_section = section.and_then(|section| oldest(&Some(section.into())));
        of_section.or_else(|| oldest(&None))
    }

    /// The same for a unit of translation: it becomes stale when the policies of the target change.
    pub fn holding_for(
        &self,
        reader: &Reader<'_>,
        kind: Kind,
        target: &ObjectKey,
        section: Option<&str>,
    ) -> Option<&ObjectKey> {
        reader.note(|| Fact::PoliciesOn(target.clone()));
        self.holding(kind, target, section)
    }

    /// The targets of a policy for which another one holds that names the same; none if it is not in conflict.
    pub fn conflicts<'p>(&'p self, key: &ObjectKey) -> impl Iterator<Item = Conflict<'p>> + use<'p> {
        let targets = self.known.get_key_value(key).into_iter();
        let targets = targets.flat_map(|(key, known)| known.targets.iter().map(move |target| (key, target)));
        targets.filter_map(move |(key, target)| {
            let policies = self.on.get(&(target.target.clone(), key.kind))?.get(&target.section)?;
            let (_, with) = policies.first().filter(|(_, first)| first != key)?;
            Some(Conflict { target, with })
        })
    }

    /// The facts that have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.changed).into_iter().map(Fact::PoliciesOn).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind::BackendTlsPolicy;
    // There is one kind of policy alone: another kind stands for a second one.
    const OTHER: Kind = Kind::ConfigMap;

    fn service(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Service, "shop", name)
    }

    /// `web` is a Service, `web:http` its section.
    fn target(text: &str) -> TargetRef {
        let (name, section) = text.split_once(':').map_or((text, None), |(name, s)| (name, Some(s.into())));
        TargetRef { target: service(name), section }
    }

    fn policy(kind: Kind, name: &str, created: i64, targets: &[&str]) -> Policy {
        let targets = targets.iter().map(|text| target(text)).collect();
        Policy { key: ObjectKey::new(kind, "shop", name), created, targets }
    }

    fn all(policies: &[Policy]) -> Policies {
        let mut all = Policies::default();
        policies.iter().for_each(|policy| all.set(policy.clone()));
        all
    }

    #[test]
    fn the_most_specific_section_holds_then_the_oldest_then_the_first_by_name() {
        let whole = || policy(KIND, "whole", 1, &["web"]);
        let http = |name, created| policy(KIND, name, created, &["web:http"]);
        for (what, policies, asked, want) in [
            ("none", vec![], "web:http", None),
            ("the whole target", vec![whole()], "web:http", Some("whole")),
            ("a section, though younger", vec![whole(), http("http", 2)], "web:http", Some("http")),
            ("another section", vec![whole(), http("http", 2)], "web:admin", Some("whole")),
            ("what is in no section", vec![whole(), http("http", 0)], "web", Some("whole")),
            ("a section alone says nothing of the rest", vec![http("http", 2)], "web", None),
            ("the oldest", vec![http("a", 3), http("b", 2)], "web:http", Some("b")),
            ("as old, by name", vec![http("b", 2), http("a", 2)], "web:http", Some("a")),
            ("another target", vec![whole()], "api", None),
            ("another kind", vec![policy(OTHER, "other", 0, &["web"]), whole()], "web", Some("whole")),
        ] {
            let TargetRef { target, section } = target(asked);
            let policies = all(&policies);
            let found = policies.holding(KIND, &target, section.as_deref());
            assert_eq!(found.map(|key| &*key.name), want, "{what}");
        }
    }

    #[test]
    fn policies_that_name_the_same_are_in_conflict() {
        let policies = all(&[
            policy(KIND, "old", 1, &["web", "api"]),
            policy(KIND, "young", 2, &["web", "web:http", "db"]),
            policy(KIND, "youngest", 3, &["web:http", "db", "db"]),
            policy(OTHER, "other", 4, &["web"]),
        ]);
        for (kind, name, want) in [
            (KIND, "old", &[][..]),
            (KIND, "young", &[("web", "old")]),
            (KIND, "youngest", &[("db", "young"), ("web:http", "young")]),
            (OTHER, "other", &[]),
            (KIND, "missing", &[]),
        ] {
            let key = ObjectKey::new(kind, "shop", name);
            let conflicts = policies.conflicts(&key);
            let conflicts: Vec<_> = conflicts.map(|c| (c.target.clone(), &*c.with.name)).collect();
            let want: Vec<_> = want.iter().map(|(text, with)| (target(text), *with)).collect();
            assert_eq!(conflicts, want, "{name}");
        }
    }

    #[test]
    fn a_change_concerns_the_targets_from_before_and_from_now() {
        let on = |name| Fact::PoliciesOn(service(name));
        let mut policies = all(&[policy(KIND, "a", 1, &["web:http"])]);
        assert_eq!(policies.take_changed(), [on("web")]);
        policies.set(policy(KIND, "a", 1, &["web:http"]));
        assert!(policies.take_changed().is_empty(), "the same again");
        policies.set(policy(KIND, "a", 1, &["api"]));
        assert_eq!(policies.take_changed(), [on("api"), on("web")]);
        policies.touch(&policy(KIND, "a", 1, &[]).key);
        assert_eq!(policies.take_changed(), [on("api")]);
        let (snapshot, settings) = Default::default();
        let reader = Reader::new(&snapshot, &settings, None).noting();
        assert!(policies.holding_for(&reader, KIND, &service("db"), None).is_none());
        assert_eq!(reader.take_noted(), [on("db")]);
        policies.remove(&policy(KIND, "a", 1, &[]).key);
        assert_eq!(policies.take_changed(), [on("api")]);
        assert!(policies.known.is_empty() && policies.on.is_empty());
    }

    proptest! {
        #[test]
        fn what_holds_is_what_a_look_at_each_finds(
            edits in prop::collection::vec(
                (
                    "[a-d]",
                    any::<bool>(),
                    0..3i64,
                    prop::collection::vec(prop::sample::select(vec!["x", "x:1", "x:2", "y", "y:1"]), 0..4),
                    any::<bool>(),
                ),
                0..20,
            )
        ) {
            let (mut policies, mut plain) = (Policies::default(), BTreeMap::new());
            for (name, is_other, created, targets, is_gone) in edits {
                let policy = policy(if is_other { OTHER } else { KIND }, &name, created, &targets);
                if is_gone {
                    policies.remove(&policy.key);
                    plain.remove(&policy.key);
                } else {
                    policies.set(policy.clone());
                    plain.insert(policy.key.clone(), policy);
                }
            }
            let oldest = |kind: Kind, asked: &TargetRef| {
                let named = plain.values().filter(|p| p.key.kind == kind && p.targets.contains(asked));
                named.min_by_key(|policy| (policy.created, &policy.key)).map(|policy| &policy.key)
            };
            for asked in ["x", "x:1", "x:2", "x:3", "y", "y:1", "z"].map(target) {
                for kind in [KIND, OTHER] {
                    let whole = TargetRef { section: None, ..asked.clone() };
                    let want = oldest(kind, &asked).or_else(|| oldest(kind, &whole));
                    prop_assert_eq!(policies.holding(kind, &asked.target, asked.section.as_deref()), want);
                }
            }
            for policy in plain.values() {
                let targets: BTreeSet<_> = policy.targets.iter().collect();
                let lost = targets.into_iter().filter_map(|target| {
                    let with = oldest(policy.key.kind, target).filter(|first| **first != policy.key)?;
                    Some(Conflict { target, with })
                });
                prop_assert!(policies.conflicts(&policy.key).eq(lost));
            }
        }
    }
}
