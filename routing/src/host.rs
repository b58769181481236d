//! Hostnames as listeners and routes name them, and the map that finds the most specific one for a host.

use std::{fmt, hash::BuildHasher, sync::Arc};

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

const SHARDS: usize = 64;
type Shard<T> = Vec<(HostPattern, T)>;

/// Values by hostname. A clone shares everything; a change copies one shard of 64.
#[derive(Clone, Debug)]
pub struct HostMap<T> {
    hasher: foldhash::fast::FixedState,
    shards: Vec<Arc<Shard<T>>>,
    any: Option<T>,
    len: usize,
}

impl<T: Clone> Default for HostMap<T> {
    fn default() -> Self {
        Self { hasher: foldhash::fast::FixedState::default(), shards: Vec::new(), any: None, len: 0 }
    }
}

impl<T: Clone> HostMap<T> {
    /// How many hostnames have a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no hostname has a value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of exactly this pattern.
    pub fn get(&self, pattern: &HostPattern) -> Option<&T> {
        match pattern {
            HostPattern::Any => self.any.as_ref(),
            _ => self.shard(pattern)?.iter().find(|(p, _)| p == pattern).map(|(_, v)| v),
        }
    }

    /// Sets the value of a pattern and returns the one before.
    pub fn insert(&mut self, pattern: HostPattern, value: T) -> Option<T> {
        if pattern == HostPattern::Any {
            let before = self.any.replace(value);
            self.len += usize::from(before.is_none());
            return before;
        }
        if self.shards.is_empty() {
            self.shards = vec![Arc::default(); SHARDS];
        }
        let index = self.index(&pattern);
        let shard = Arc::make_mut(&mut self.shards[index]);
        if let Some((_, slot)) = shard.iter_mut().find(|(p, _)| *p == pattern) {
            return Some(std::mem::replace(slot, value));
        }
        shard.push((pattern, value));
        self.len += 1;
        None
    }

    /// Removes a pattern and returns its value.
    pub fn remove(&mut self, pattern: &HostPattern) -> Option<T> {
        if *pattern == HostPattern::Any {
            let before = self.any.take();
            self.len -= usize::from(before.is_some());
            return before;
        }
        if self.shards.is_empty() {
            return None;
        }
        let index = self.index(pattern);
        let position = self.shards[index].iter().position(|(p, _)| p == pattern)?;
        self.len -= 1;
        Some(Arc::make_mut(&mut self.shards[index]).swap_remove(position).1)
    }

    /// Every pattern that covers `host` (lower case, no port), the most specific first.
    pub fn matches<'m>(&'m self, host: &str) -> impl Iterator<Item = (&'m HostPattern, &'m T)> + use<'m, T> {
        let mut found: Vec<_> = self.iter().filter(|(p, _)| p.matches(host)).collect();
        found.sort_by_key(|(p, _)| std::cmp::Reverse(p.specificity()));
        found.into_iter()
    }

    /// The most specific value that covers `host` (lower case, no port).
    pub fn most_specific(&self, host: &str) -> Option<&T> {
        self.matches(host).next().map(|(_, v)| v)
    }

    /// All patterns and values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&HostPattern, &T)> {
        let any = self.any.iter().map(|v| (&HostPattern::Any, v));
        any.chain(self.shards.iter().flat_map(|s| s.iter().map(|(p, v)| (p, v))))
    }

    fn shard(&self, pattern: &HostPattern) -> Option<&Shard<T>> {
        self.shards.get(self.index(pattern)).map(|s| &**s)
    }

    fn index(&self, pattern: &HostPattern) -> usize {
        (self.hasher.hash_one(pattern) as usize) % SHARDS
    }
}
