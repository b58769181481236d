//! How many cases are equal, by family.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What came of the cases that were played.
#[derive(Debug, Default)]
pub struct Report {
    outcomes: Mutex<BTreeMap<String, Outcome>>,
    /// Cases that were played several times, and how often.
    again: Mutex<BTreeMap<String, u32>>,
}

#[derive(Debug)]
struct Outcome {
    family: String,
    equal: bool,
    equal_but_headers: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    cases: u32,
    equal: u32,
    equal_but_headers: u32,
}

impl Report {
    pub fn note(&self, id: &str, family: &str, equal: bool, equal_but_headers: bool) {
        let outcome = Outcome { family: family.into(), equal, equal_but_headers };
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(id.into(), outcome);
    }

    pub fn again(&self, id: &str, plays: u32) {
        self.again.lock().unwrap_or_else(PoisonError::into_inner).insert(id.into(), plays);
    }

    /// Whether each case differs.
    pub fn differing(&self) -> BTreeMap<String, bool> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.iter().map(|(id, outcome)| (id.clone(), !outcome.equal)).collect()
    }

    /// The table that ends a run; empty where nothing was played.
    pub fn table(&self) -> String {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut families, mut all) = (BTreeMap::<_, Counts>::new(), Counts::default());
        for outcome in outcomes.values() {
            families.entry(outcome.family.as_str()).or_default().add(outcome);
            all.add(outcome);
        }
        if outcomes.is_empty() {
            return String::new();
        }
        let mut out = format!("{:16} {:>6} {:>6} {:>15}\n", "family", "cases", "equal", "but for headers");
        for (family, counts) in families.into_iter().chain([("all", all)]) {
            let Counts { cases, equal, equal_but_headers } = counts;
            out += &format!("{family:16} {cases:6} {equal:6} {equal_but_headers:15}\n");
        }
        for (id, plays) in self.again.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            out += &format!("{id} was played {plays} times\n");
        }
        out
    }
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        self.equal += u32::from(outcome.equal);
        self.equal_but_headers += u32::from(outcome.equal_but_headers);
    }
}
