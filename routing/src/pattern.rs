//! Regular expressions of routes: anchored, of linear cost, and known in size before they are compiled.
//!
//! ```text
//! Source::parse    a text -> its syntax is right, and what it costs at most         size.rs
//! Source::compile  -> Pattern: one automaton, shared by everyone who matches by it
//! ```
//!
//! What an owner writes is checked without being compiled; whoever compiles has asked before whether there is room for it.

mod size;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use regex_automata::{
    Anchored, Input,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson::{NFA, WhichCaptures, pikevm::PikeVM},
};
use regex_syntax::{
    Parser, ast,
    hir::{Hir, Look},
};

/// Why a regular expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The text is longer than [`MAX_PATTERN`].
    #[error("the regular expression has {0} bytes, more than {MAX_PATTERN}")]
    TooLong(usize),
    /// What it compiles to is larger than this; repetitions of large classes do that.
    #[error("the regular expression needs more than {0} bytes when compiled")]
    TooLarge(usize),
    /// It is no regular expression of RE2's kind (no look-around, no back-references).
    #[error("not a regular expression: {0}")]
    Syntax(Box<str>),
}

/// The longest regular expression, in bytes; the Gateway API's own limit for header values.
pub const MAX_PATTERN: usize = 4096;

/// The most memory that a compiled regular expression takes without the caches of its searches, in bytes.
pub const MAX_COMPILED: usize = 256 << 10;

/// The caches that are kept for searches of one regular expression, however many threads search by it.
const CACHES: usize = 4;

/// What a cache may hold beyond the size of the automaton: its states, as searches find them.
pub(crate) const CACHE: usize = 8 << 10;

/// A regular expression that has to fit a whole text, checked and not compiled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    text: Arc<str>,
    size: usize,
}

impl Source {
    /// Checks the syntax of a text and its size. Costs time in proportion to the text.
    ///
    /// # Errors
    /// [`InvalidPattern`], in words for the one who wrote it.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > MAX_PATTERN {
            return Err(InvalidPattern::TooLong(text.len()));
        }
        let syntax = |error: ast::Error| InvalidPattern::Syntax(error.kind().to_string().into());
        let parsed = ast::parse::Parser::new().parse(text).map_err(syntax)?;
        let size = size::of(&parsed);
        if size > MAX_COMPILED {
            return Err(InvalidPattern::TooLarge(MAX_COMPILED));
        }
        Ok(Self { text: text.into(), size })
    }

    /// The text as it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The most memory that it takes once it is compiled, in bytes, with the caches of its searches. A function of the
    /// text alone.
    pub fn cost(&self) -> usize {
        self.size + CACHES * self.cache()
    }

    /// Compiles it.
    ///
    /// # Errors
    /// Where a class of characters is not known, or it takes more memory than its text let expect.
    pub fn compile(&self) -> Result<Pattern, InvalidPattern> {
        let whole = anchored(&self.text)?;
        let too_large = || InvalidPattern::TooLarge(self.size);
        // While it is built it takes up to three times of what it takes in the end.
        let building = 3 * self.size + (8 << 10);
        let config = NFA::config().which_captures(WhichCaptures::None).nfa_size_limit(Some(building));
        let built = NFA::compiler().configure(config).build_from_hir(&whole).map_err(|_| too_large())?;
        if built.memory_usage() > self.size {
            return Err(too_large());
        }
        let config = DFA::config()
            .cache_capacity(self.cache())
            .skip_cache_capacity_check(true)
            // A search that meets other than ASCII ends without an answer then, and is done again without automaton.
            .unicode_word_boundary(true);
        let automaton = DFA::builder().configure(config).build_from_nfa(built).map_err(|_| too_large())?;
        let caches = std::array::from_fn(|_| Mutex::default());
        Ok(Pattern(Arc::new(Compiled { text: Arc::clone(&self.text), automaton, caches })))
    }

    fn cache(&self) -> usize {
        self.size + CACHE
    }
}

/// The syntax tree of a regular expression that has to fit a whole text.
pub(crate) fn anchored(text: &str) -> Result<Hir, InvalidPattern> {
    let syntax = |error: regex_syntax::Error| {
        let text = match &error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        };
        InvalidPattern::Syntax(text.into())
    };
    let parsed = Parser::new().parse(text).map_err(syntax)?;
    Ok(Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]))
}

/// A compiled regular expression that has to fit a whole text. Its search takes time linear in the text. A clone shares
/// it.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

/// A [`Pattern`] as long as somebody else has it.
#[derive(Clone, Debug, Default)]
pub struct WeakPattern(Weak<Compiled>);

struct Compiled {
    text: Arc<str>,
    /// Made as searches go along, in a cache.
    automaton: DFA,
    /// Few, since what they hold is counted; a search takes one that nobody else has, or waits for one.
    caches: [Mutex<Option<Box<Cache>>>; CACHES],
}

impl Pattern {
    /// Compiles a text at once.
    ///
    /// # Errors
    /// As [`Source::parse`] and [`Source::compile`].
    pub fn compile(text: &str) -> Result<Self, InvalidPattern> {
        Source::parse(text)?.compile()
    }

    /// The text that it was compiled of.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it fits the whole of a text.
    pub fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(Anchored::Yes);
        match self.0.search(&input) {
            Ok(is_match) => is_match,
            Err(Undecided) => self.0.search_without_automaton(&input),
        }
    }

    /// The same, without keeping it.
    pub fn downgrade(&self) -> WeakPattern {
        WeakPattern(Arc::downgrade(&self.0))
    }

    /// Whether one is a clone of the other.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl WeakPattern {
    /// The pattern, where somebody has it.
    pub fn upgrade(&self) -> Option<Pattern> {
        self.0.upgrade().map(Pattern)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.as_str()).finish()
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("text", &self.text).finish_non_exhaustive()
    }
}

/// The automaton cannot tell: the text has a character whose word boundaries are not ASCII's.
struct Undecided;

impl Compiled {
    fn search(&self, input: &Input<'_>) -> Result<bool, Undecided> {
        let search = |cache: &mut Cache| {
            self.automaton.try_search_fwd(cache, input).map(|found| found.is_some()).map_err(|_| Undecided)
        };
        let own = OWN_CACHE.with(|own| *own);
        for turn in 0..CACHES {
            if let Ok(mut cache) = self.caches[(own + turn) % CACHES].try_lock() {
                return search(cache.get_or_insert_with(|| Box::new(self.automaton.create_cache())));
            }
        }
        // A search is short. One that panicked leaves a cache that the next one begins anew.
        let mut cache = self.caches[own].lock().unwrap_or_else(PoisonError::into_inner);
        search(cache.get_or_insert_with(|| Box::new(self.automaton.create_cache())))
    }

    fn search_without_automaton(&self, input: &Input<'_>) -> bool {
        let Ok(machine) = PikeVM::new_from_nfa(self.automaton.get_nfa().clone()) else { return false };
        machine.is_match(&mut machine.create_cache(), input.clone())
    }
}

thread_local! {
    /// Which cache a thread tries first: one that no other thread does, where there are few threads.
    static OWN_CACHE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % CACHES
    };
}

#[cfg(test)]
mod tests;
