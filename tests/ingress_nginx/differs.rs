//! The list of cases that differ.
//!
//! `differs.yaml` has a line for each: `todo` is not served yet; `intended` differs on purpose, for a reason that a
//! document gives. A case that differs and is not on the list fails, and so does one on the list that is equal.

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
            assert!(ids.contains(id.as_str()), "{FILE} names {id}, which is no case");
            entry.check();
            assert!(out.insert(id.clone(), entry).is_none(), "{FILE} names {id} twice");
        }
        Self(out)
    }

    /// What is wrong with an outcome, given the list.
    pub fn objection(&self, id: &str, differs: bool) -> Option<&'static str> {
        match (self.0.contains_key(id), differs) {
            (true, false) => Some("is equal to what was recorded: remove it from tests/ingress-nginx/differs.yaml"),
            (false, true) => Some("differs from what was recorded"),
            _ => None,
        }
    }

    /// Writes the list anew: of the cases that were played, those that differ.
    pub fn update(&self, all: &[Recorded], played: &BTreeMap<String, bool>) {
        let mut text = HEAD.to_owned() + "cases:\n";
        let mut family = "";
        for recorded in all {
            let id = &recorded.case.id;
            let known = self.0.get(id);
            if !played.get(id).copied().unwrap_or(known.is_some()) {
                continue;
            }
            if recorded.family != family {
                family = &recorded.family;
                text += &format!("  # {family}\n");
            }
            text += &line(id, known);
        }
        std::fs::write(folder().join(FILE), text).unwrap();
    }
}

impl Entry {
    fn check(&self) {
        if self.kind == Kind::Intended {
            let page = self.docs.split('#').next().unwrap_or_default();
            let exists = Path::new(env!("CARGO_MANIFEST_DIR")).join(page).is_file();
            assert!(!self.reason.is_empty(), "{FILE}: {} differs on purpose, and has no reason", self.id);
            assert!(!page.is_empty() && exists, "{FILE}: {}: there is no page {:?}", self.id, self.docs);
        }
    }
}

fn line(id: &str, known: Option<&Entry>) -> String {
    match known {
        Some(entry) if entry.kind == Kind::Intended => {
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            let (reason, docs) = (quoted(&entry.reason), quoted(&entry.docs));
            format!("  - {{id: {id}, kind: intended, reason: {reason}, docs: {docs}}}\n")
        }
        _ => format!("  - {{id: {id}, kind: todo}}\n"),
    }
}
