//! Regular expressions whose groups are read.

use std::{cell::Cell, fmt, sync::Arc};

use regex_automata::{Input, meta, util::captures::Captures};

use super::{InvalidPattern, MAX_COMPILED, size};
use crate::template::Groups;

/// A regular expression whose groups are read. It is checked, but not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSource {
    text: Arc<str>,
    pub(super) size: usize,
}

/// A regular expression that is searched for in a text, without regard to case, for the texts of its groups: nginx'
/// `rewrite "(?i)text"`.
pub struct GroupPattern {
    text: Arc<str>,
    regex: meta::Regex,
}

/// The most memory that the cache of a search takes, in bytes. Each thread has one, whatever it searches for.
const MAX_CACHE: usize = 1 << 20;
/// What a search by backtracking remembers at most, in bytes: the default of `regex_automata`, which searches in another way
/// where it would be more.
const MAX_VISITED: usize = 256 << 10;
/// The least bytes that a state of an automaton takes.
const STATE: usize = 24;

/// The groups of a match.
#[derive(Debug)]
pub struct Matched<'t> {
    text: &'t str,
    captures: Captures,
}

impl GroupSource {
    /// Checks the syntax of a text and the size of its compiled form. Takes time proportional to the text's length.
    ///
    /// # Errors
    /// [`InvalidPattern`], with a message for the author of the text.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let parsed = super::parsed(text)?;
        let estimate = size::with_groups(&parsed);
        // These have a little more beside their states, which grows with their number.
        let size = estimate.saturating_add(estimate / 8);
        let groups = 1 + text.bytes().filter(|byte| *byte == b'(').count();
        if size > MAX_COMPILED || cache(size, groups) > MAX_CACHE {
            return Err(InvalidPattern::TooLarge(MAX_COMPILED));
        }
        Ok(Self { text: text.into(), size })
    }

    /// The text as it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The most memory that its compiled form takes, in bytes. It depends on nothing but the text. Searches take none that
    /// stays with it.
    pub fn cost(&self) -> usize {
        self.size
    }

    /// Compiles it.
    ///
    /// # Errors
    /// Where it names an unknown class of characters, or its compiled form turns out larger than estimated.
    pub fn compile(&self) -> Result<GroupPattern, InvalidPattern> {
        let regex = self.build()?;
        if regex.memory_usage() > self.size {
            return Err(InvalidPattern::TooLarge(self.size));
        }
        Ok(GroupPattern { text: Arc::clone(&self.text), regex })
    }

    /// Compiles it without checking the size of the result.
    pub(super) fn build(&self) -> Result<meta::Regex, InvalidPattern> {
        // A search begins at the start of a path and ends in it: there is nothing to skip for a prefilter, and a one-pass
        // automaton would be used only where the regular expression begins with `^`. Both are several times as large as the
        // rest.
        let config = meta::Config::new()
            .nfa_size_limit(Some(MAX_COMPILED))
            .onepass(false)
            .auto_prefilter(false)
            .hybrid(false)
            .dfa(false);
        let syntax = regex_automata::util::syntax::Config::new().case_insensitive(true);
        let built = meta::Builder::new().configure(config).syntax(syntax).build(&self.text);
        built.map_err(|error| match error.syntax_error() {
            Some(error) => InvalidPattern::Syntax(super::syntax_text(error).into()),
            None => InvalidPattern::TooLarge(MAX_COMPILED),
        })
    }
}

/// The most memory that the cache of a search takes, in bytes.
fn cache(size: usize, groups: usize) -> usize {
    let states = size.saturating_sub(size::EMPTY) / STATE;
    // In longer texts, a search remembers the positions of all groups for each state.
    let positions = states.saturating_mul(2 * groups * 2 * size_of::<usize>());
    positions.saturating_add(MAX_VISITED)
}

thread_local! {
    /// The cache of this thread's searches. With one for each regular expression, clients could make them all grow.
    static CACHE: Cell<Option<Box<meta::Cache>>> = const { Cell::new(None) };
}

impl GroupPattern {
    /// Parses and compiles a text.
    ///
    /// # Errors
    /// As [`GroupSource::parse`] and [`GroupSource::compile`].
    pub fn compile(text: &str) -> Result<Self, InvalidPattern> {
        GroupSource::parse(text)?.compile()
    }

    /// The names of its groups.
    pub fn names(&self) -> Vec<&str> {
        self.regex.group_info().all_names().filter_map(|(_, _, name)| name).collect()
    }

    /// The first match in a text.
    pub fn find<'t>(&self, text: &'t str) -> Option<Matched<'t>> {
        let mut captures = self.regex.create_captures();
        let mut cache = match CACHE.take() {
            Some(mut cache) => {
                cache.reset(&self.regex);
                cache
            }
            None => Box::new(self.regex.create_cache()),
        };
        self.regex.search_captures_with(&mut cache, &Input::new(text), &mut captures);
        CACHE.set(Some(cache));
        captures.is_match().then_some(Matched { text, captures })
    }
}

impl Groups for Matched<'_> {
    fn number(&self, number: usize) -> Option<&str> {
        self.text.get(self.captures.get_group(number)?.range())
    }

    fn name(&self, name: &str) -> Option<&str> {
        self.text.get(self.captures.get_group_by_name(name)?.range())
    }
}

impl PartialEq for GroupPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for GroupPattern {}

impl fmt::Debug for GroupPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupPattern").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_first_match() {
        let pattern = GroupPattern::compile("/n/(?<who>[a-z]+)(/|$)(.*)").unwrap();
        assert_eq!(pattern.names(), ["who"]);
        let found = pattern.find("/N/Bob/x/y").unwrap();
        let numbers: Vec<_> = (1..=4).map(|number| found.number(number)).collect();
        assert_eq!(numbers, [Some("Bob"), Some("/"), Some("x/y"), None]);
        assert_eq!((found.name("who"), found.name("what")), (Some("Bob"), None));
        assert!(pattern.find("/n/1").is_none());
    }

    #[test]
    fn what_is_no_regular_expression_or_too_large_is_refused() {
        for (text, want) in [
            ("/a(b", "not a regular expression: unclosed group"),
            (
                "/(?=a)",
                "not a regular expression: look-around, including look-ahead and look-behind, is not supported",
            ),
            (
                r"/\pL{900}",
                "the regular expression would need more than 262144 bytes of memory when compiled",
            ),
        ] {
            assert_eq!(GroupPattern::compile(text).unwrap_err().to_string(), want, "{text}");
        }
    }
}
