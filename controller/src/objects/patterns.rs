//! The regular expressions of one object: each text once, and within the limit for one object.

use std::{collections::HashMap, sync::Arc};

use portcullis_routing::{InvalidPattern, pattern::Source};

/// The most memory that the compiled regular expressions of one object may take, in bytes, including the caches of their
/// searches.
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
        "the regular expressions of this object would need more than {} MiB of memory (the limit for one object); use fewer, \
         or split the object",
        BUDGET >> 20
    )]
    OverBudget,
}

impl Patterns {
    /// Checks a text. One that has been added before adds no cost.
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
