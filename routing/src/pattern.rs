//! Regular expressions of routes: anchored, matched in linear time, and with a bound on their size before they are
//! compiled.
//!
//! ```text
//! Source::parse    a text -> its syntax checked, and the most memory that it can take   size.rs
//! Source::compile  -> Pattern: one automaton, shared by all that match by it
//! ```
//!
//! The text is checked without being compiled. The caller makes sure that there is memory for it before compiling.

mod groups;
mod literal;
mod size;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use groups::{GroupPattern, GroupSource};
pub use literal::literal_start;
use regex_automata::{
    Anchored, Input,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson::{NFA, WhichCaptures, pikevm::PikeVM},
};
use regex_syntax::{
    Parser,
    ast::{self, Ast},
    hir::{Hir, Look},
};

/// Why a regular expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The text is longer than [`MAX_PATTERN`].
    #[error("the regular expression has {0} bytes; the limit is {MAX_PATTERN}")]
    TooLong(usize),
    /// Its compiled form is larger than this many bytes; repetitions of large classes cause that.
    #[error("the regular expression would need more than {0} bytes of memory when compiled")]
    TooLarge(usize),
    /// It is not a regular expression in RE2's syntax, which has no look-around and no back-references.
    #[error("not a regular expression: {0}")]
    Syntax(Box<str>),
}

impl InvalidPattern {
    /// Whether look-around is why it is refused.
    pub fn is_look_around(&self) -> bool {
        matches!(self, Self::Syntax(why) if **why == *ast::ErrorKind::UnsupportedLookAround.to_string())
    }
}

/// The longest regular expression, in bytes. It is the Gateway API's limit for header values.
pub const MAX_PATTERN: usize = 4096;

/// The most memory that a compiled regular expression may take, in bytes, without the caches of its searches.
pub const MAX_COMPILED: usize = 256 << 10;

/// The number of caches for searches with one regular expression, however many threads search with it.
const CACHES: usize = 4;

/// How much larger than the automaton a cache may grow, in bytes: it holds the states that searches have met.
pub(crate) const CACHE: usize = 8 << 10;

/// A regular expression that has to match a whole text. It is checked, but not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    text: Arc<str>,
    size: usize,
}

impl Source {
    /// Checks the syntax of a text and the size of its compiled form. Takes time proportional to the text's length.
    ///
    /// # Errors
    /// [`InvalidPattern`], with a message for the author of the text.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let size = size::of(&parsed(text)?);
        if size > MAX_COMPILED {
            return Err(InvalidPattern::TooLarge(MAX_COMPILED));
        }
        Ok(Self { text: text.into(), size })
    }

    /// The text as it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The most memory that its compiled form takes, in bytes, including the caches of its searches. It depends on
    /// nothing but the text.
    pub fn cost(&self) -> usize {
        self.size + CACHES * self.cache()
    }

    /// Compiles it.
    ///
    /// # Errors
    /// Where it names an unknown class of characters, or its compiled form turns out larger than estimated.
    pub fn compile(&self) -> Result<Pattern, InvalidPattern> {
        let whole = anchored(&self.text)?;
        let too_large = || InvalidPattern::TooLarge(self.size);
        // The builder needs up to three times the memory of the finished automaton.
        let building = 3 * self.size + (8 << 10);
        let config = NFA::config().which_captures(WhichCaptures::None).nfa_size_limit(Some(building));
        let built = NFA::compiler().configure(config).build_from_hir(&whole).map_err(|_| too_large())?;
        if built.memory_usage() > self.size {
            return Err(too_large());
        }
        let config = DFA::config()
            .cache_capacity(self.cache())
            .skip_cache_capacity_check(true)
            // With this, a search that meets a character outside ASCII ends undecided, and is repeated without the
            // automaton.
            .unicode_word_boundary(true);
        let automaton = DFA::builder().configure(config).build_from_nfa(built).map_err(|_| too_large())?;
        let caches = std::array::from_fn(|_| Slot::default());
        Ok(Pattern(Arc::new(Compiled { text: Arc::clone(&self.text), automaton, caches })))
    }

    fn cache(&self) -> usize {
        self.size + CACHE
    }
}

/// The syntax tree of a text as it is written.
fn parsed(text: &str) -> Result<Ast, InvalidPattern> {
    if text.len() > MAX_PATTERN {
        return Err(InvalidPattern::TooLong(text.len()));
    }
    let syntax = |error: ast::Error| InvalidPattern::Syntax(error.kind().to_string().into());
    ast::parse::Parser::new().parse(text).map_err(syntax)
}

/// What is wrong with a regular expression, in one line.
fn syntax_text(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    }
}

/// The syntax tree of a regular expression that has to match a whole text.
pub(crate) fn anchored(text: &str) -> Result<Hir, InvalidPattern> {
    let syntax = |error: regex_syntax::Error| InvalidPattern::Syntax(syntax_text(&error).into());
    let parsed = Parser::new().parse(text).map_err(syntax)?;
    Ok(Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]))
}

/// A compiled regular expression that has to match a whole text. A search takes time linear in the text's length.
/// Clones share the compiled form.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

/// A reference to a [`Pattern`] that does not keep it alive.
#[derive(Clone, Debug, Default)]
pub struct WeakPattern(Weak<Compiled>);

struct Compiled {
    text: Arc<str>,
    /// Its states are computed during searches and kept in a cache.
    automaton: DFA,
    /// Only a few, since their memory counts. A search takes one that is free, or waits for one.
    caches: [Slot; CACHES],
}

/// A cache for searches, on a processor cache line of its own. Otherwise threads that search at the same time would
/// wait for each other's cache lines.
#[derive(Default)]
#[repr(align(64))]
struct Slot(Mutex<Option<Box<Cache>>>);

impl Pattern {
    /// Parses and compiles a text.
    ///
    /// # Errors
    /// As [`Source::parse`] and [`Source::compile`].
    pub fn compile(text: &str) -> Result<Self, InvalidPattern> {
        Source::parse(text)?.compile()
    }

    /// The text that it was compiled from.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it matches the whole of a text.
    pub fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(Anchored::Yes);
        match self.0.search(&input) {
            Ok(is_match) => is_match,
            Err(Undecided) => self.0.search_without_automaton(&input),
        }
    }

    /// A reference that does not keep it alive.
    pub fn downgrade(&self) -> WeakPattern {
        WeakPattern(Arc::downgrade(&self.0))
    }

    /// Whether one is a clone of the other.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl WeakPattern {
    /// The pattern, if it is still in use.
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

/// The automaton cannot decide: the text has a character outside ASCII, whose word boundaries it does not know.
struct Undecided;

impl Compiled {
    fn search(&self, input: &Input<'_>) -> Result<bool, Undecided> {
        let search = |cache: &mut Cache| {
            self.automaton.try_search_fwd(cache, input).map(|found| found.is_some()).map_err(|_| Undecided)
        };
        let own = OWN_CACHE.with(|own| *own);
        for turn in 0..CACHES {
            if let Ok(mut cache) = self.caches[(own + turn) % CACHES].0.try_lock() {
                return search(cache.get_or_insert_with(|| Box::new(self.automaton.create_cache())));
            }
        }
        // Searches are short, so this wait is too. A search that panicked does no harm: the next one starts anew.
        let mut cache = self.caches[own].0.lock().unwrap_or_else(PoisonError::into_inner);
        search(cache.get_or_insert_with(|| Box::new(self.automaton.create_cache())))
    }

    fn search_without_automaton(&self, input: &Input<'_>) -> bool {
        let Ok(machine) = PikeVM::new_from_nfa(self.automaton.get_nfa().clone()) else { return false };
        machine.is_match(&mut machine.create_cache(), input.clone())
    }
}

thread_local! {
    /// The cache that a thread tries first. As long as there are few threads, each has its own.
    static OWN_CACHE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % CACHES
    };
}

#[cfg(test)]
mod tests;
