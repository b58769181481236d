//! Many regular expressions, searched as one.

use std::fmt;

use regex_automata::{Input, meta};

use crate::pattern::MAX_COMPILED;

/// Tells the first of many regular expressions that fits a path, at the cost of one.
pub(super) struct Patterns(meta::Regex);

/// So many regular expressions are asked one by one.
const FEW: usize = 8;

impl Patterns {
    /// Texts of regular expressions that fit a whole text or nothing of it. None where there are few, or where they
    /// would take more memory together than a few of the largest may.
    pub(super) fn new(texts: &[&str]) -> Option<Self> {
        if texts.len() <= FEW {
            return None;
        }
        let config = meta::Config::new()
            .nfa_size_limit(Some(FEW * MAX_COMPILED))
            .hybrid_cache_capacity(MAX_COMPILED)
            // Of no use where only the end of a match is asked for, and another as large.
            .which_captures(regex_automata::nfa::thompson::WhichCaptures::Implicit);
        meta::Builder::new().configure(config).build_many(texts).ok().map(Self)
    }

    /// The first that fits: of matches that begin at one place, a search prefers that of the first expression.
    pub(super) fn first_match(&self, path: &str) -> Option<usize> {
        self.0.search_half(&Input::new(path)).map(|found| found.pattern().as_usize())
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_search_for_many_that_are_not_large() {
        let few: Vec<_> = (0..FEW).map(|i| format!("^(?:/{i}/.*)$")).collect();
        let many: Vec<_> = (0..100).map(|i| format!("^(?:/{i}/.*)$")).collect();
        let large: Vec<_> = (0..100).map(|i| format!("^(?:/{i}/\\pL{{50}})$")).collect();
        for (texts, want) in [(few, false), (many, true), (large, false)] {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            assert_eq!(Patterns::new(&texts).is_some(), want, "{} of {:?}", texts.len(), texts[0]);
        }
    }
}
