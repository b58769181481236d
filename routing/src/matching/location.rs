//! Paths of Ingresses on hosts whose paths are regular expressions.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::Pattern;

/// A path that matches from the start, regardless of case, and to any end: nginx' `location ~* "^text"`.
///
/// It is matched with the decoded path, as in nginx.
#[derive(Clone, Debug)]
pub struct Location<P = Pattern> {
    /// The path as the Ingress has it, or the form that ingress-nginx makes of it.
    pub text: Box<str>,
    /// The regular expression; `None` if the text has no special characters.
    pub pattern: Option<P>,
}

impl<P> Location<P> {
    /// The same with its regular expression compiled.
    ///
    /// # Errors
    /// That of `compile`.
    pub fn compiled<Q, E>(&self, compile: &mut impl FnMut(&P) -> Result<Q, E>) -> Result<Location<Q>, E> {
        let pattern = self.pattern.as_ref().map(compile).transpose()?;
        Ok(Location { text: self.text.clone(), pattern })
    }
}

impl Location {
    /// Returns the text of the regular expression that a [`Pattern`] for this location has to be compiled from; `None` if
    /// none is needed.
    pub fn pattern_of(text: &str) -> Option<String> {
        let is_special =
            text.contains(['\\', '^', '$', '.', '[', ']', '|', '(', ')', '?', '*', '+', '{', '}']);
        is_special.then(|| format!("(?i)(?:{text})(?s:.*)"))
    }

    /// Whether a path in the form of Ingresses fits.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_decoded(&decoded(path))
    }

    /// Whether a path that is [`decoded`] fits.
    pub(crate) fn matches_decoded(&self, path: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(path),
            None => path
                .as_bytes()
                .get(..self.text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(self.text.as_bytes())),
        }
    }
}

/// A path without percent-encoding. What is not UTF-8 then is replaced.
pub(crate) fn decoded(path: &str) -> Cow<'_, str> {
    match path.contains('%') {
        true => percent_decode_str(path).decode_utf8_lossy(),
        false => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_matches_from_the_start_whatever_the_case_and_the_end() {
        for (text, path, want) in [
            ("/foo", "/foo", true),
            ("/foo", "/FOObar", true),
            ("/foo", "/fo", false),
            ("/foo", "/x/foo", false),
            ("/ä", "/%C3%A4/b", true),
            ("/a b", "/a%20b", true),
            ("/a.c", "/abcd", true),
            ("/users/[a-z]+/posts", "/users/Bob/postsx", true),
            ("/users/[a-z]+/posts", "/users/1/posts", false),
            ("/a(/|$)(.*)", "/a", true),
            ("/a(/|$)(.*)", "/ab", false),
            ("/a|/b", "/bc", true),
            ("/n/(?<who>[a-z]+)/", "/n/bob/x\ny", true),
        ] {
            let pattern = Location::pattern_of(text).map(|pattern| Pattern::compile(&pattern).unwrap());
            assert_eq!(Location { text: text.into(), pattern }.matches(path), want, "{text} {path}");
        }
    }
}
