//! Paths with look-around, and equivalent regular expressions without it, if there is one.
//!
//! Paths are anchored only at their start, so a look-ahead at the end of a path can be an ordinary match.
//!
//! ```text
//! /a(?=/|$)        /a(?:/|$)
//! /(?=api)(.*)     /(api.*)
//! /(?!api)(.*)     /((?:$|[^a]|a(?:$|[^p]|p(?:$|[^i]))).*)
//! /a(?![0-9])      /a(?:$|[^0-9])
//! ```

use std::collections::BTreeMap;

use portcullis_routing::{InvalidPattern, Location, pattern::Source};

/// The maximum number of characters of all words in a negative look-ahead.
const MAX_WORDS: usize = 64;
/// The maximum number of assertions in a path.
const MAX_ASSERTIONS: usize = 4;

/// What to write instead of a path whose regular expression is too large.
const SMALLER: &str =
    "smaller repetitions and classes in the path, for example [0-9] for \\d and [a-z0-9_] for \\w";
/// What to write instead of a path whose regular expression is too large with its capture groups.
pub(super) const WITH_SMALLER_GROUPS: &str = "a path with fewer groups, and with smaller repetitions and classes ([0-9] for \\d, [a-z0-9_] for \\w), or a rewrite-target \
     without $1 to $9";
/// What to write instead of regular expressions that are beyond a budget.
pub(super) const WITH_LESS_MEMORY: &str =
    "fewer regular expressions, or smaller repetitions and classes ([0-9] for \\d, [a-z0-9_] for \\w)";
const SHORTER: &str = "several shorter paths";
const SEPARATE: &str = "a separate longer path for the excluded requests, since longer paths are tried first";

/// Why a path is refused as a regular expression; `None` if it is not.
pub(super) fn refusal(path: &str) -> Option<InvalidPattern> {
    let pattern = Location::pattern_of(path)?;
    Source::parse(&pattern).and_then(|source| source.compile()).err()
}

/// What to write instead of a path that is refused.
pub(super) fn instead(path: &str, why: &InvalidPattern) -> String {
    match why {
        InvalidPattern::TooLong(_) => SHORTER.to_owned(),
        InvalidPattern::TooLarge(_) => SMALLER.to_owned(),
        InvalidPattern::Syntax(_) => match rewritten(path) {
            Some(rewritten) => format!("path: {rewritten}"),
            None => SEPARATE.to_owned(),
        },
    }
}

/// An equivalent path that is served; `None` if none is known.
pub(super) fn rewritten(path: &str) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..MAX_ASSERTIONS {
        let Some(assertion) = Assertion::first(&path) else { break };
        path = assertion.without()?;
    }
    (Assertion::first(&path).is_none() && refusal(&path).is_none()).then_some(path)
}

/// A look-ahead in a path.
struct Assertion<'p> {
    before: &'p str,
    is_negative: bool,
    inside: &'p str,
    after: &'p str,
}

impl<'p> Assertion<'p> {
    fn first(path: &'p str) -> Option<Self> {
        let bytes = path.as_bytes();
        let (mut at, mut in_class) = (0, false);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'\\' => at += 1,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'(' if !in_class => {
                    let rest = path.get(at..)?;
                    for (opening, is_negative) in [("(?=", false), ("(?!", true)] {
                        if let Some(inside) = rest.strip_prefix(opening) {
                            let end = closing(inside)?;
                            let (before, after) = (path.get(..at)?, inside.get(end + 1..)?);
                            return Some(Self { before, is_negative, inside: inside.get(..end)?, after });
                        }
                    }
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The path without the assertion.
    fn without(&self) -> Option<String> {
        let Self { before, is_negative, inside, after } = self;
        // Inside a group, the text after the group is unknown. A group inside the assertion has a number.
        if is_open(before) || has_group(inside) {
            return None;
        }
        let needs_more = matches!(*after, ".+" | "(.+)" | ".+$" | "(.+)$");
        let consumed = match is_negative {
            true => neither(inside, needs_more)?,
            false if inside.contains('|') => format!("(?:{inside})"),
            false => (*inside).to_owned(),
        };
        Some(match *after {
            "" => format!("{before}{consumed}"),
            ".*" | ".*$" | ".+" | ".+$" => format!("{before}{consumed}.*"),
            "(.*)" | "(.+)" => format!("{before}({consumed}.*)"),
            "(.*)$" | "(.+)$" => format!("{before}({consumed}.*)$"),
            _ => return None,
        })
    }
}

/// The end of the group that is open at the start of the text.
fn closing(inside: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let (mut at, mut depth, mut in_class) = (0, 0_usize, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'(' if !in_class => depth += 1,
            b')' if !in_class && depth == 0 => return Some(at),
            b')' if !in_class => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether a text ends within a group.
fn is_open(text: &str) -> bool {
    let plain = text.replace("\\\\", "").replace("\\(", "").replace("\\)", "");
    plain.matches('(').count() != plain.matches(')').count()
}

fn has_group(inside: &str) -> bool {
    inside.match_indices('(').any(|(at, _)| !inside.get(at..).is_some_and(|rest| rest.starts_with("(?:")))
}

/// A text that begins with none of these. `needs_more`: and is not empty.
fn neither(inside: &str, needs_more: bool) -> Option<String> {
    if let Some(class) = inside.strip_prefix('[').and_then(|text| text.strip_suffix(']'))
        && !class.contains(['[', ']', '\\'])
    {
        let others = match class.strip_prefix('^') {
            Some(others) => format!("[{others}]"),
            None => format!("[^{class}]"),
        };
        return Some(if needs_more { others } else { format!("(?:$|{others})") });
    }
    let mut beginnings = Beginnings { may_end: !needs_more, ..Beginnings::default() };
    let mut written = 0;
    for word in inside.split('|') {
        let (word, ends) = match word.strip_suffix('$') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let letters = letters(word)?;
        written += letters.len();
        if written > MAX_WORDS {
            return None;
        }
        beginnings.add(&letters, ends);
    }
    beginnings.others()
}

/// The characters of a text without special characters.
fn letters(text: &str) -> Option<Vec<char>> {
    let mut letters = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => letters.push(chars.next().filter(|c| ".-_/".contains(*c))?),
            c if c.is_ascii_alphanumeric() || "-_/~".contains(c) => letters.push(c.to_ascii_lowercase()),
            _ => return None,
        }
    }
    Some(letters)
}

/// A tree of the beginnings that a text must not have.
#[derive(Debug, Default)]
struct Beginnings {
    next: BTreeMap<char, Beginnings>,
    /// Whether a text may end here.
    may_end: bool,
    /// Whether a text that begins like this is excluded, whatever follows.
    is_forbidden: bool,
}

impl Beginnings {
    fn add(&mut self, letters: &[char], ends: bool) {
        let Some((first, rest)) = letters.split_first() else {
            match ends {
                true => self.may_end = false,
                false => self.is_forbidden = true,
            }
            return;
        };
        let next = self.next.entry(*first).or_insert_with(|| Self { may_end: true, ..Self::default() });
        next.add(rest, ends);
    }

    /// The texts with another beginning.
    fn others(&self) -> Option<String> {
        if self.is_forbidden {
            return None;
        }
        let escaped = |c: &char| if *c == '-' { "\\-".to_owned() } else { c.to_string() };
        let not: String = self.next.keys().map(escaped).collect();
        let mut ways = Vec::new();
        if self.may_end {
            ways.push("$".to_owned());
        }
        ways.push(if not.is_empty() { ".".to_owned() } else { format!("[^{not}]") });
        for (c, next) in &self.next {
            ways.extend(next.others().map(|others| format!("{}{others}", escaped(c))));
        }
        Some(match ways.as_slice() {
            [only] => only.clone(),
            ways => format!("(?:{})", ways.join("|")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ahead_is_written_without() {
        for (path, want) in [
            ("/a(?=/|$)", Some("/a(?:/|$)")),
            ("/(?=api)(.*)", Some("/(api.*)")),
            ("/(?!api)(.*)", Some("/((?:$|[^a]|a(?:$|[^p]|p(?:$|[^i]))).*)")),
            ("/(?!api)(.*)$", Some("/((?:$|[^a]|a(?:$|[^p]|p(?:$|[^i]))).*)$")),
            ("/(?!ab|ac).*", Some("/(?:$|[^a]|a(?:$|[^bc])).*")),
            ("/a(?![0-9])", Some("/a(?:$|[^0-9])")),
            ("/a(?!/)", Some("/a(?:$|[^/])")),
            ("/a(?!$)", Some("/a.")),
            ("/(?!a)(.+)", Some("/([^a].*)")),
            ("/(?!a$)(.*)", Some("/((?:$|[^a]|a.).*)")),
            ("/a/(?!b\\.c)", Some("/a/(?:$|[^b]|b(?:$|[^.]|.(?:$|[^c])))")),
            ("/(?!.*\\.php)(.*)", None),
            ("/(?!api)[^/]+", None),
            ("/(a(?!b))(.*)", None),
            ("/(?!(a|b))(.*)", None),
            ("/x(?<!y)", None),
            ("/(a|b)/\\1", None),
            ("/(?!", None),
            ("/(?!a", None),
        ] {
            assert_eq!(rewritten(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn the_rewritten_path_takes_the_same_requests() {
        // The results of PCRE.
        for (path, request, takes) in [
            ("/(?!api)(.*)", "/", true),
            ("/(?!api)(.*)", "/ap", true),
            ("/(?!api)(.*)", "/api", false),
            ("/(?!api)(.*)", "/APIS/x", false),
            ("/(?!api)(.*)", "/apx", true),
            ("/(?!api)(.*)", "/web/api", true),
            ("/(?!api|admin/)(.*)", "/admin", true),
            ("/(?!api|admin/)(.*)", "/admin/x", false),
            ("/(?!api|admin/)(.*)", "/adminx", true),
            ("/(?!api$)(.*)", "/api", false),
            ("/(?!api$)(.*)", "/api/", true),
            ("/a(?=/|$)", "/ab", false),
            ("/a(?=/|$)", "/a/b", true),
            ("/a(?=/|$)", "/a", true),
            ("/a(?!$)", "/a", false),
            ("/a(?!$)", "/ab", true),
            ("/v(?![0-9])", "/v1", false),
            ("/v(?![0-9])", "/vx", true),
            ("/(?!a)(.+)", "/", false),
        ] {
            let text = rewritten(path).unwrap();
            let source = Source::parse(&Location::pattern_of(&text).unwrap()).unwrap();
            let location = Location { text: text.as_str().into(), pattern: Some(source.compile().unwrap()) };
            assert_eq!(location.matches(request), takes, "{path} as {text} on {request}");
        }
    }
}
