//! The list of cases that differ.
//!
//! `differs.yaml` has a line for each: `todo` is not served yet; `intended` differs on purpose, for a reason that a
//! document gives; `random` is equal or not as chance has it. A case that differs and is not on the list fails, and so
//! does one on the list that is equal.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;

use crate::case::{Recorded, folder, yaml};

const FILE: &str = "differs.yaml";
const HEAD: &str = "\
# The cases that differ from what was recorded. README.md says how this list is kept.
#   kind: todo      not served yet
#   kind: intended  on purpose, with the `reason`, and with the section of `docs` that says it to users
#   kind: random    equal or not as chance has it, for a `reason` that should go
";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    kind: Kind,
    #[serde(default)]
    reason: String,
    /// `docs/page.md#section`.
    #[serde(default)]
    docs: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Todo,
    Intended,
    Random,
}

/// Entries by the case's name.
#[derive(Debug)]
pub struct Differs(BTreeMap<String, Entry>);

impl Differs {
    /// Reads the list.
    ///
    /// # Panics
    /// Where it names a case that does not exist, or an intended difference without its reason.
    pub fn load(all: &[Recorded]) -> Self {
        let entries: Vec<Entry> = serde_json::from_value(yaml(FILE)["cases"].take()).unwrap();
        let ids: BTreeSet<_> = all.iter().map(|recorded| recorded.case.id.as_str()).collect();
        let mut out = BTreeMap::new();
        for entry in entries {
            let id = entry.id.clone();
            assert!(ids.contains(id.as_str()), "{FILE} names {id}, which is not a case");
            entry.check();
            assert!(out.insert(id.clone(), entry).is_none(), "{FILE} names {id} twice");
        }
        Self(out)
    }

    /// What is wrong with an outcome, given the list.
    pub fn objection(&self, id: &str, differs: bool) -> Option<&'static str> {
        match (self.0.get(id).map(|entry| entry.kind), differs) {
            (Some(Kind::Random), _) | (Some(_), true) | (None, false) => None,
            (Some(_), false) => {
                Some("is equal to what was recorded: remove it from tests/ingress-nginx/differs.yaml")
            }
            (None, true) => Some("differs from what was recorded"),
        }
    }

    /// Writes the list anew: of the cases that were played, those that differ. What is random stays until it is removed by
    /// hand.
    pub fn update(&self, all: &[Recorded], played: &BTreeMap<String, bool>) {
        let mut text = HEAD.to_owned() + "cases:\n";
        let mut family = "";
        for recorded in all {
            let id = &recorded.case.id;
            let known = self.0.get(id);
            let random = known.is_some_and(|entry| entry.kind == Kind::Random);
            if !random && !played.get(id).copied().unwrap_or(known.is_some()) {
                continue;
            }
            if recorded.family != family {
                family = &recorded.family;
                text += &format!("  # {family}\n");
            }
            text += &known.map_or_else(|| format!("  - {{id: {id}, kind: todo}}\n"), Entry::line);
        }
        std::fs::write(folder().join(FILE), text).unwrap();
    }
}

impl Entry {
    fn check(&self) {
        if self.kind != Kind::Todo {
            assert!(!self.reason.is_empty(), "{FILE}: {} has no reason", self.id);
        }
        if self.kind == Kind::Intended {
            let page = self.docs.split('#').next().unwrap_or_default();
            let exists = Path::new(env!("CARGO_MANIFEST_DIR")).join(page).is_file();
            assert!(!page.is_empty() && exists, "{FILE}: {}: there is no page {:?}", self.id, self.docs);
        }
    }

    fn line(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (id, reason, docs) = (&self.id, quoted(&self.reason), quoted(&self.docs));
        match self.kind {
            Kind::Todo => format!("  - {{id: {id}, kind: todo}}\n"),
            Kind::Intended => format!("  - {{id: {id}, kind: intended, reason: {reason}, docs: {docs}}}\n"),
            Kind::Random => format!("  - {{id: {id}, kind: random, reason: {reason}}}\n"),
        }
    }
}
