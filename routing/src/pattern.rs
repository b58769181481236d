//! Regular expressions of routes: anchored, of linear cost, and bounded in size.

use regex::{Regex, RegexBuilder};

/// Why a regular expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The text is longer than [`MAX_PATTERN`].
    #[error("the regular expression has {0} bytes, more than {MAX_PATTERN}")]
    TooLong(usize),
    /// What it compiles to is larger than [`MAX_COMPILED`]; repetitions of large classes do that.
    #[error("the regular expression needs more than {MAX_COMPILED} bytes when compiled")]
    TooLarge,
    /// It is no regular expression of RE2's kind (no look-around, no back-references).
    #[error("not a regular expression: {0}")]
    Syntax(Box<str>),
}

/// The longest regular expression, in bytes; the Gateway API's own limit for header values.
pub const MAX_PATTERN: usize = 4096;

/// The most memory that a compiled regular expression takes, and the cache of its search too, in bytes.
pub const MAX_COMPILED: usize = 256 << 10;

/// Compiles a regular expression that has to fit a whole text. Its search takes time linear in the text.
///
/// # Errors
/// [`InvalidPattern`], in words for the one who wrote it.
pub fn compile(pattern: &str) -> Result<Regex, InvalidPattern> {
    if pattern.len() > MAX_PATTERN {
        return Err(InvalidPattern::TooLong(pattern.len()));
    }
    // By itself first: `a)|(?:b` would be one inside the group, and no longer be anchored.
    bounded(pattern)?;
    bounded(&format!("^(?:{pattern})$"))
}

/// The text that [`compile`] was given for this regular expression.
pub fn source(regex: &Regex) -> &str {
    let text = regex.as_str();
    text.strip_prefix("^(?:").and_then(|t| t.strip_suffix(")$")).unwrap_or(text)
}

fn bounded(pattern: &str) -> Result<Regex, InvalidPattern> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => InvalidPattern::TooLarge,
        // The last line says what is wrong; those before it draw an arrow to the place.
        error => InvalidPattern::Syntax(last_line(&error.to_string()).into()),
    })
}

fn last_line(message: &str) -> &str {
    let line = message.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_text() {
        for (pattern, text, want) in [
            ("a+", "aaa", true),
            ("a+", "aab", false),
            ("a+", "baa", false),
            ("a|b", "a", true),
            ("a|b", "ab", false),
            ("^a$", "a", true),
            ("(?i)abc", "ABC", true),
            ("", "", true),
            ("", "a", false),
            ("a", "a\n", false),
        ] {
            let compiled = compile(pattern).unwrap();
            assert_eq!(compiled.is_match(text), want, "{pattern} on {text:?}");
            assert_eq!(source(&compiled), pattern);
        }
    }

    #[test]
    fn a_pattern_is_refused_with_its_reason() {
        for (pattern, want) in [
            ("a)|(?:b", "not a regular expression: unopened group"),
            ("(a", "not a regular expression: unclosed group"),
            (
                "(?=a)",
                "not a regular expression: look-around, including look-ahead and look-behind, is not supported",
            ),
            ("(a)\\1", "not a regular expression: backreferences are not supported"),
            ("(?:\\w{100}){100}", "the regular expression needs more than 262144 bytes when compiled"),
            ("(?x) a # (", "not a regular expression: unclosed group"),
        ] {
            assert_eq!(compile(pattern).unwrap_err().to_string(), want, "{pattern}");
        }
        assert_eq!(compile(&"a".repeat(5000)).unwrap_err(), InvalidPattern::TooLong(5000));
    }

    #[test]
    fn a_hostile_pattern_takes_linear_time() {
        // A backtracking engine would need 2^5000 steps here.
        let pattern = compile("(a|a)*b").unwrap();
        assert!(!pattern.is_match(&"a".repeat(5000)));
    }
}
