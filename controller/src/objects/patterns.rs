//! The regular expressions of one object: each text once, and no more than an object may have.

use std::{collections::HashMap, sync::Arc};

use portcullis_routing::{InvalidPattern, pattern::Source};

/// The most memory that the regular expressions of one object take once they are compiled, in bytes, with the caches of
/// their searches.
const BUDGET: usize = 16 << 20;

/// The regular expressions of an object, in the order in which they were read.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    known: HashMap<Arc<str>, usize>,
    sources: Vec<Source>,
    cost: usize,
}

/// Why a regular expression is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Invalid(#[from] InvalidPattern),
    #[error(
        "with it the regular expressions of this object need more than {} MiB when compiled; use fewer, or split the object",
        BUDGET >> 20
    )]
    OverBudget,
}

impl Patterns {
    /// Checks a text; one that was read before costs nothing more.
    pub(crate) fn add(&mut self, text: &str) -> Result<Source, Refused> {
        if let Some(place) = self.known.get(text) {
            return Ok(self.sources[*place].clone());
        }
        let source = Source::parse(text)?;
        let cost = self.cost + source.cost();
        if cost > BUDGET {
            return Err(Refused::OverBudget);
        }
        self.cost = cost;
        self.known.insert(Arc::clone(source.text()), self.sources.len());
        self.sources.push(source.clone());
        Ok(source)
    }

    /// All of them.
    pub(crate) fn take(&mut self) -> Box<[Source]> {
        std::mem::take(self).sources.into()
    }
}
