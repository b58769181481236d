//! Regular expressions whose groups are read.

use std::fmt;

use regex_automata::{Input, meta, util::captures::Captures};

use super::{InvalidPattern, MAX_COMPILED, MAX_PATTERN};
use crate::template::Groups;

/// A regular expression that is searched for in a text, without regard to case, for the texts of its groups: nginx'
/// `rewrite "(?i)text"`.
pub struct GroupPattern {
    text: Box<str>,
    regex: meta::Regex,
}

/// The groups of a match.
#[derive(Debug)]
pub struct Matched<'t> {
    text: &'t str,
    captures: Captures,
}

impl GroupPattern {
    /// The most memory that one takes, in bytes.
    pub const COST: usize = 2 * MAX_COMPILED;

    /// Compiles a text.
    ///
    /// # Errors
    /// [`InvalidPattern`], with a message for the author of the text.
    pub fn compile(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > MAX_PATTERN {
            return Err(InvalidPattern::TooLong(text.len()));
        }
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
        let built = meta::Builder::new().configure(config).syntax(syntax).build(text);
        let regex = built.map_err(|error| match error.syntax_error() {
            Some(error) => InvalidPattern::Syntax(super::syntax_text(error).into()),
            None => InvalidPattern::TooLarge(MAX_COMPILED),
        })?;
        Ok(Self { text: text.into(), regex })
    }

    /// The names of its groups.
    pub fn names(&self) -> Vec<&str> {
        self.regex.group_info().all_names().filter_map(|(_, _, name)| name).collect()
    }

    /// The first match in a text.
    pub fn find<'t>(&self, text: &'t str) -> Option<Matched<'t>> {
        let mut captures = self.regex.create_captures();
        self.regex.search_captures(&Input::new(text), &mut captures);
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
