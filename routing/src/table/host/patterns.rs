//! Many regular expressions, searched as one.

use std::{fmt, sync::Arc};

use regex_automata::{Input, meta};

use crate::{
    Location,
    pattern::{self, CACHE, MAX_COMPILED},
};

/// Finds the first of many regular expressions that fits a path, at the cost of one.
pub struct PatternSet(meta::Regex);

/// So many regular expressions are asked one by one.
const FEW: usize = 8;

/// Makes the set of these regular expressions, if they are many.
pub(super) type MakeSet<'m> = &'m mut dyn FnMut(Box<[Box<str>]>) -> Option<Arc<PatternSet>>;

impl PatternSet {
    /// None where they would take more memory together than a few of the largest may.
    pub fn new(patterns: &[Box<str>]) -> Option<Self> {
        let trees: Result<Vec<_>, _> = patterns.iter().map(|one| pattern::anchored(one)).collect();
        let config = meta::Config::new()
            .nfa_size_limit(Some(FEW * MAX_COMPILED))
            // For each worker as much as each of them may have, which is what was counted for them.
            .hybrid_cache_capacity((patterns.len() * CACHE).min(MAX_COMPILED))
            // Of no use where only the end of a match is asked for, and another as large.
            .which_captures(regex_automata::nfa::thompson::WhichCaptures::Implicit);
        meta::Builder::new().configure(config).build_many_from_hir(&trees.ok()?).ok().map(Self)
    }

    /// The set of these regular expressions; `None` where there are few.
    pub(super) fn of_many(patterns: impl Iterator<Item = Box<str>>, make: MakeSet<'_>) -> Option<Arc<Self>> {
        let patterns: Box<[_]> = patterns.collect();
        if patterns.len() > FEW { make(patterns) } else { None }
    }

    /// The same for locations.
    pub(super) fn of_locations<'l>(
        locations: impl Iterator<Item = &'l Location>,
        make: MakeSet<'_>,
    ) -> Option<Arc<Self>> {
        let text = |location: &Location| match &location.pattern {
            Some(pattern) => pattern.as_str().into(),
            None => format!("(?i:{})(?s:.*)", regex_syntax::escape(&location.text)).into(),
        };
        Self::of_many(locations.map(text), make)
    }

    /// The first that fits: of matches that begin at one place, a search prefers that of the first expression.
    pub(super) fn first_match(&self, path: &str) -> Option<usize> {
        self.0.search_half(&Input::new(path)).map(|found| found.pattern().as_usize())
    }
}

impl fmt::Debug for PatternSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternSet").finish_non_exhaustive()
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
            let texts = patterns.iter().map(|pattern| pattern.as_str().into());
            let set = PatternSet::of_many(texts, &mut |texts| PatternSet::new(&texts).map(Arc::new));
            assert_eq!(set.is_some(), want, "{} of {:?}", patterns.len(), patterns[0]);
        }
    }
}
