//! Hostnames as listeners and routes name them, and the map that finds the most specific one for a host.

use std::{fmt, sync::Arc};

mod map;
mod request;

pub use map::{HostMap, Matches};
pub use request::request_name;

/// A hostname that a listener or a route asks for.
///
/// Derived order is the order of specificity only within a variant; [`HostPattern::specificity`] is the one to
/// compare by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// `*.example.com` of the Gateway API: one label or more before the suffix. Holds `example.com`.
    Wildcard(Arc<str>),
    /// `*.example.com` of an Ingress: exactly one label before the suffix. Holds `example.com`.
    WildcardLabel(Arc<str>),
    /// One host, in lower case, without port and without a last dot.
    Exact(Arc<str>),
}

/// Why a text is no hostname.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a DNS name (lower case letters, digits, '-' and '.', optionally one leading '*.')")]
pub struct InvalidHost(pub String);

impl HostPattern {
    /// Reads a Gateway API hostname; the empty text is [`HostPattern::Any`].
    ///
    /// # Errors
    /// [`InvalidHost`] where the text is no DNS name (RFC 1123) after an optional `*.`.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() || text == "*" {
            return Ok(Self::Any);
        }
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            Some(suffix) if is_dns_name(suffix) => Ok(Self::Wildcard(suffix.into())),
            None if is_dns_name(&lower) => Ok(Self::Exact(lower.into())),
            _ => Err(InvalidHost(text.to_owned())),
        }
    }

    /// Reads an Ingress host: like [`HostPattern::parse`], but `*` stands for one label (Ingress v1, `host`).
    ///
    /// # Errors
    /// As [`HostPattern::parse`].
    pub fn parse_ingress(text: &str) -> Result<Self, InvalidHost> {
        Ok(match Self::parse(text)? {
            Self::Wildcard(suffix) => Self::WildcardLabel(suffix),
            other => other,
        })
    }

    /// Whether this pattern covers `host` (lower case, no port).
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => strip_suffix_labels(host, suffix).is_some(),
            Self::WildcardLabel(suffix) => {
                strip_suffix_labels(host, suffix).is_some_and(|label| !label.contains('.'))
            }
        }
    }

    /// The greatest wins: exact before wildcard before none, then the longer suffix, then one label before many.
    pub fn specificity(&self) -> (bool, usize, bool) {
        match self {
            Self::Any => (false, 0, false),
            Self::Wildcard(suffix) => (false, suffix.len(), false),
            Self::WildcardLabel(suffix) => (false, suffix.len(), true),
            Self::Exact(name) => (true, name.len(), false),
        }
    }

    /// Whether every host that `other` covers is covered by this pattern.
    pub fn covers(&self, other: &Self) -> bool {
        use HostPattern::{Any, Exact, Wildcard, WildcardLabel};
        match (self, other) {
            (Any, _) => true,
            (_, Any) => false,
            (pattern, Exact(name)) => pattern.matches(name),
            (Exact(_), _) => false,
            (Wildcard(a), Wildcard(b) | WildcardLabel(b)) => a == b || covers_suffix(a, b),
            (WildcardLabel(a), WildcardLabel(b)) => a == b,
            (WildcardLabel(_), Wildcard(_)) => false,
        }
    }

    /// Whether some host is covered by both patterns.
    pub fn intersects(&self, other: &Self) -> bool {
        use HostPattern::{Any, Exact, Wildcard, WildcardLabel};
        match (self, other) {
            (Any, _) | (_, Any) => true,
            (Exact(name), pattern) | (pattern, Exact(name)) => pattern.matches(name),
            (Wildcard(a), Wildcard(b)) => a == b || covers_suffix(a, b) || covers_suffix(b, a),
            (WildcardLabel(a), WildcardLabel(b)) => a == b,
            (WildcardLabel(one), Wildcard(many)) | (Wildcard(many), WildcardLabel(one)) => {
                one == many || covers_suffix(many, one)
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Wildcard(suffix) | Self::WildcardLabel(suffix) => write!(f, "*.{suffix}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// `foo` for `foo.example.com` and `example.com`.
fn strip_suffix_labels<'h>(host: &'h str, suffix: &str) -> Option<&'h str> {
    host.strip_suffix(suffix)?.strip_suffix('.').filter(|labels| !labels.is_empty())
}

fn covers_suffix(wide: &str, narrow: &str) -> bool {
    strip_suffix_labels(narrow, wide).is_some()
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes.len() <= 63
                && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
                && bytes[0] != b'-'
                && bytes[bytes.len() - 1] != b'-'
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_is_a_dns_name_after_an_optional_asterisk() {
        use HostPattern::{Any, Exact, Wildcard};
        let long = format!("{}.example", "a".repeat(64));
        for (text, want) in [
            ("", Some(Any)),
            ("*", Some(Any)),
            ("Example.COM", Some(Exact("example.com".into()))),
            ("localhost", Some(Exact("localhost".into()))),
            ("*.Example.com", Some(Wildcard("example.com".into()))),
            ("*.com", Some(Wildcard("com".into()))),
            ("10.0.0.1", Some(Exact("10.0.0.1".into()))),
            ("*.", None),
            ("*.*.example.com", None),
            ("a.*.example.com", None),
            ("*example.com", None),
            (".example.com", None),
            ("example.com.", None),
            ("a..b", None),
            ("-a.example", None),
            ("a-.example", None),
            ("a_b.example", None),
            ("example.com:80", None),
            ("b\u{fc}cher.example", None),
            (&long, None),
        ] {
            assert_eq!(HostPattern::parse(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn an_asterisk_takes_labels_as_its_api_says() {
        for (pattern, host, many, one) in [
            ("*.example.com", "a.example.com", true, true),
            ("*.example.com", "a.b.example.com", true, false),
            ("*.example.com", "example.com", false, false),
            ("*.example.com", "aexample.com", false, false),
            ("*.example.com", ".example.com", false, false),
            ("example.com", "example.com", true, true),
            ("example.com", "a.example.com", false, false),
            ("", "anything", true, true),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap().matches(host), many, "{pattern} on {host}");
            assert_eq!(
                HostPattern::parse_ingress(pattern).unwrap().matches(host),
                one,
                "{pattern} on {host}"
            );
        }
    }

    #[test]
    fn patterns_intersect_where_a_host_fits_both() {
        let (gateway, ingress) = (HostPattern::parse, HostPattern::parse_ingress);
        for (a, b, want) in [
            (gateway(""), gateway("a.example"), true),
            (gateway("a.example"), gateway("a.example"), true),
            (gateway("a.example"), gateway("b.example"), false),
            (gateway("*.example"), gateway("a.b.example"), true),
            (gateway("*.example"), gateway("*.b.example"), true),
            (gateway("*.example"), gateway("example"), false),
            (gateway("*.a.example"), gateway("*.b.example"), false),
            (ingress("*.example"), gateway("a.b.example"), false),
            (ingress("*.example"), gateway("*.b.example"), false),
            (ingress("*.b.example"), gateway("*.example"), true),
            (ingress("*.example"), gateway("*.example"), true),
            (ingress("*.example"), ingress("*.b.example"), false),
        ] {
            let (a, b) = (a.unwrap(), b.unwrap());
            assert_eq!(a.intersects(&b), want, "{a:?} and {b:?}");
            assert_eq!(b.intersects(&a), want, "{b:?} and {a:?}");
        }
    }
}
