//! The text that every match of a regular expression starts with, also of an expression that cannot be compiled here.

use regex_syntax::ast::{AssertionKind, Ast};

use super::parsed;

/// The characters with a meaning of their own. A literal ends before them.
const SPECIAL: &str = "\\^$.[]|()?*+{}";

/// The ASCII characters that every match of a regular expression starts with, whatever their case.
///
/// An expression that cannot be parsed is read as PCRE reads it, since it may be valid there. The result is empty if
/// nothing is certain.
pub fn literal_start(text: &str) -> String {
    let is_start = |ast: &&Ast| match ast {
        Ast::Assertion(assertion) => {
            matches!(assertion.kind, AssertionKind::StartLine | AssertionKind::StartText)
        }
        _ => false,
    };
    let literal = |ast: &Ast| match ast {
        Ast::Literal(literal) => Some(literal.c).filter(char::is_ascii),
        _ => None,
    };
    match &parsed(text) {
        Ok(Ast::Concat(concat)) => concat.asts.iter().skip_while(is_start).map_while(literal).collect(),
        Ok(ast) => literal(ast).into_iter().collect(),
        Err(_) => start_of_unparsed(text),
    }
}

pub(super) fn start_of_unparsed(text: &str) -> String {
    let (start, rest) = literals(text.strip_prefix('^').unwrap_or(text));
    if may_have_alternatives(rest) { String::new() } else { start }
}

/// The literals at the start of a text, and the rest.
fn literals(text: &str) -> (String, &str) {
    let mut start = String::new();
    let mut rest = text;
    loop {
        let mut chars = rest.chars();
        let literal = match (chars.next(), chars.clone().next()) {
            (Some('\\'), Some(escaped)) if escaped.is_ascii_punctuation() => {
                chars.next();
                Some(escaped)
            }
            (Some(c), _) if c.is_ascii() && !SPECIAL.contains(c) => Some(c),
            _ => None,
        };
        let Some(literal) = literal else { break };
        start.push(literal);
        rest = chars.as_str();
    }
    if rest.starts_with(['?', '*', '{']) {
        // The last literal may be followed by a repetition of zero times.
        start.pop();
    }
    (start, rest)
}

/// Whether a text may have a `|` outside of groups. Where it has one, and something in it is not understood, the answer is
/// yes.
fn may_have_alternatives(text: &str) -> bool {
    text.contains('|') && has_alternatives(text) != Some(false)
}

/// Whether a text has a `|` outside of groups; `None` if something in it is not understood.
fn has_alternatives(text: &str) -> Option<bool> {
    let mut depth = 0_usize;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(escaped(chars.next()?)?),
            '[' => chars = after_class(chars.as_str())?.chars(),
            '(' => {
                chars = after_opening(chars.as_str())?.chars();
                depth += 1;
            }
            ')' => depth = depth.checked_sub(1)?,
            '|' if depth == 0 => return Some(true),
            _ => {}
        }
    }
    (depth == 0).then_some(false)
}

/// A character after a backslash. `\Q` quotes what follows, and `\c` takes the next character.
fn escaped(c: char) -> Option<char> {
    Some(c).filter(|c| !matches!(c, 'Q' | 'c'))
}

/// What follows a class of characters. `text` begins after its bracket.
fn after_class(text: &str) -> Option<&str> {
    let text = text.strip_prefix('^').unwrap_or(text);
    let mut chars = text.strip_prefix(']').unwrap_or(text).chars();
    loop {
        match chars.next()? {
            '\\' => drop(escaped(chars.next()?)?),
            // Of a class of POSIX, or a nested one.
            '[' => return None,
            ']' => return Some(chars.as_str()),
            _ => {}
        }
    }
}

/// What follows the opening of a group. `text` begins after its parenthesis. Comments, callouts, verbs and flags are not
/// understood.
fn after_opening(text: &str) -> Option<&str> {
    if text.starts_with('*') {
        return None;
    }
    let Some(kind) = text.strip_prefix('?') else { return Some(text) };
    kind.strip_prefix([':', '=', '!', '<', '>', 'P', '\'', '|'])
}
