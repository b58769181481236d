//! Many regular expressions, searched as one.

use std::fmt;

use regex_automata::{Input, meta};

use crate::{
    Location,
    pattern::{self, CACHE, MAX_COMPILED},
};

/// Tells the first of many regular expressions that fits a path, at the cost of one.
pub(super) struct Patterns(meta::Regex);

/// So many regular expressions are asked one by one.
const FEW: usize = 8;

impl Patterns {
    /// None where there are few, or where they would take more memory together than a few of the largest may.
    pub(super) fn new(patterns: &[&str]) -> Option<Self> {
        if patterns.len() <= FEW {
            return None;
        }
        let trees: Result<Vec<_>, _> = patterns.iter().map(|one| pattern::anchored(one)).collect();
        let config = meta::Config::new()
            .nfa_size_limit(Some(FEW * MAX_COMPILED))
            // For each worker as much as each of them may have, which is what was counted for them.
            .hybrid_cache_capacity((patterns.len() * CACHE).min(MAX_COMPILED))
            // Of no use where only the end of a match is asked for, and another as large.
            .which_captures(regex_automata::nfa::thompson::WhichCaptures::Implicit);
        meta::Builder::new().configure(config).build_many_from_hir(&trees.ok()?).ok().map(Self)
    }

    /// The same for locations.
    pub(super) fn of_locations<'l>(locations: impl Iterator<Item = &'l Location>) -> Option<Self> {
        let texts: Vec<_> = locations
            .map(|location| match &location.pattern {
                Some(pattern) => pattern.as_str().to_owned(),
                None => format!("(?i:{})(?s:.*)", regex_syntax::escape(&location.text)),
            })
            .collect();
        Self::new(&texts.iter().map(String::as_str).collect::<Vec<_>>())
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
    use crate::Pattern;

    #[test]
    fn there_is_one_search_for_many_that_are_not_large() {
        let patterns = |count: usize, text: &dyn Fn(usize) -> String| -> Vec<_> {
            (0..count).map(|i| Pattern::compile(&text(i)).unwrap()).collect()
        };
        let few = patterns(FEW, &|i| format!("/{i}/.*"));
        let many = patterns(100, &|i| format!("/{i}/.*"));
        let commented = patterns(100, &|i| format!("(?x) /{i}/.* # all of it"));
        let large = patterns(100, &|i| format!("/{i}/\\pL{{9}}"));
        for (patterns, want) in [(few, false), (many, true), (commented, true), (large, false)] {
            let patterns: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
            assert_eq!(Patterns::new(&patterns).is_some(), want, "{} of {:?}", patterns.len(), patterns[0]);
        }
    }
}
