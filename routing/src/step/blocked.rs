//! Requests that are rejected because of a header (`block-user-agents`, `block-referers`), and keys of nginx's `map` for
//! its values.

use std::{fmt, ops::ControlFlow};

use http::HeaderName;

use crate::{Headers, InvalidPattern, Pattern, pattern::Source};

/// Values of a header with which a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedValues {
    header: HeaderName,
    values: MapKeys,
}

/// Texts, and regular expressions for texts, as keys of nginx's `map`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapKeys(Box<[MapKey]>);

#[derive(Clone, Debug)]
enum MapKey {
    /// The whole text, ignoring case.
    Exact(Box<str>),
    /// A regular expression that can match anywhere in the text.
    Search(Pattern),
}

/// The maximum memory of the regular expressions of one list, in bytes.
const BUDGET: usize = 4 << 20;

/// Why a list of values cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapKey {
    #[error("{0:?}: {1}")]
    Pattern(Box<str>, InvalidPattern),
    #[error("the regular expressions need more than {BUDGET} bytes of memory together")]
    TooLarge,
}

impl MapKeys {
    /// Reads keys: `~` begins a regular expression, `~*` one that ignores case; any other key is a whole text.
    ///
    /// # Errors
    /// [`InvalidMapKey`], for the first invalid key.
    pub fn parse<'e>(entries: impl Iterator<Item = &'e str>) -> Result<Self, InvalidMapKey> {
        let mut left = BUDGET;
        entries.map(|entry| key(unquoted(entry), &mut left)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys matches this text.
    pub fn hold(&self, text: &str) -> bool {
        self.0.iter().any(|key| match key {
            MapKey::Exact(key) => key.eq_ignore_ascii_case(text),
            MapKey::Search(pattern) => pattern.is_match(text),
        })
    }
}

impl BlockedValues {
    /// Requests with these values of a header.
    pub fn new(header: HeaderName, values: MapKeys) -> Self {
        Self { header, values }
    }

    /// Whether a request with these headers is rejected.
    pub fn refuses(&self, headers: &dyn Headers) -> bool {
        // A value that is not UTF-8 must not get past the list, nor one of several lines, which nginx joins.
        let mut lines = Vec::new();
        headers.each(&self.header, &mut |line| {
            lines.push(String::from_utf8_lossy(line));
            ControlFlow::Continue(())
        });
        match &lines[..] {
            [] => self.values.hold(""),
            [line] => self.values.hold(line),
            lines => lines.iter().any(|line| self.values.hold(line)) || self.values.hold(&lines.join(", ")),
        }
    }
}

/// nginx removes quotation marks, which a value with spaces requires.
fn unquoted(entry: &str) -> &str {
    let inside = |quote: char| entry.strip_prefix(quote).and_then(|entry| entry.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(entry)
}

fn key(entry: &str, left: &mut usize) -> Result<MapKey, InvalidMapKey> {
    let (pattern, flags) = match (entry.strip_prefix("~*"), entry.strip_prefix('~')) {
        (Some(pattern), _) => (pattern, "i"),
        (None, Some(pattern)) => (pattern, "-i"),
        (None, None) => return Ok(MapKey::Exact(entry.into())),
    };
    let invalid = |why| InvalidMapKey::Pattern(entry.into(), why);
    // Parsed separately first, so that an unbalanced parenthesis cannot end the group around it.
    Source::parse(pattern).map_err(invalid)?;
    let source = Source::parse(&format!("(?s:.*)(?{flags}:{pattern})(?s:.*)")).map_err(invalid)?;
    *left = left.checked_sub(source.cost()).ok_or(InvalidMapKey::TooLarge)?;
    Ok(MapKey::Search(source.compile().map_err(invalid)?))
}

impl PartialEq for MapKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Search(a), Self::Search(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Eq for MapKey {}

impl fmt::Display for BlockedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}", self.header)?;
        self.values.0.iter().try_for_each(|value| match value {
            MapKey::Exact(text) => write!(f, " {text:?}"),
            MapKey::Search(pattern) => write!(f, " ~{:?}", pattern.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    fn refuses(entries: &[&str], sent: Option<&[u8]>) -> bool {
        let values = BlockedValues::new(header::USER_AGENT, MapKeys::parse(entries.iter().copied()).unwrap());
        let sent = sent.map(|sent| (header::USER_AGENT, HeaderValue::from_bytes(sent).unwrap()));
        values.refuses(&sent.into_iter().collect::<HeaderMap>())
    }

    #[test]
    fn values_are_those_of_nginx() {
        for (entry, sent, want) in [
            ("BadBot", Some(&b"badbot"[..]), true),
            ("BadBot", Some(b"BadBot/1.0"), false),
            ("\"Bad Bot\"", Some(b"bad bot"), true),
            ("~Bad", Some(b"A Bad Bot"), true),
            ("~Bad", Some(b"a bad bot"), false),
            ("~*Bad", Some(b"a bad bot"), true),
            ("~*^bad", Some(b"a bad bot"), false),
            ("~*bot$", Some(b"a bad bot"), true),
            ("~*bad|worse", Some(b"the worse one"), true),
            ("~*bad", Some(b"\xffbad\xfe"), true),
            ("~^$", None, true),
            ("~*bad", None, false),
        ] {
            assert_eq!(refuses(&[entry], sent), want, "{entry}: {sent:?}");
        }
        assert!(refuses(&["a", "~*bad"], Some(b"bad")));
        assert!(!refuses(&[], Some(b"bad")));
    }

    /// A second line must not hide the first, nor the other way round.
    #[test]
    fn each_line_and_all_of_them_together_are_compared() {
        let refuses = |entry, lines: [&'static str; 2]| {
            let values = BlockedValues::new(header::USER_AGENT, MapKeys::parse([entry].into_iter()).unwrap());
            let lines = lines.map(|line| (header::USER_AGENT, HeaderValue::from_static(line)));
            values.refuses(&lines.into_iter().collect::<HeaderMap>())
        };
        assert!(refuses("BadBot", ["ok", "BadBot"]) && refuses("BadBot", ["BadBot", "ok"]));
        assert!(refuses("ok, fine", ["ok", "fine"]) && refuses("~*ok.*fine", ["ok", "fine"]));
        assert!(!refuses("BadBot", ["ok", "fine"]));
    }

    #[test]
    fn what_cannot_be_compiled_or_is_too_large_is_refused() {
        let parse = |entries: &[&str]| MapKeys::parse(entries.iter().copied()).err();
        for entry in ["~*(", "~a)|(b", "~(?=a)", "~a{1000000}"] {
            assert!(matches!(parse(&[entry]), Some(InvalidMapKey::Pattern(..))), "{entry}");
        }
        let many: Vec<_> = (0..1000).map(|i| format!("~*{i}[a-z]{{100}}")).collect();
        let many: Vec<_> = many.iter().map(|entry| &**entry).collect();
        assert_eq!(parse(&many), Some(InvalidMapKey::TooLarge));
    }
}
