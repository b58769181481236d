//! Values by hostname, found for a host without allocating and in the order of specificity.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use hashbrown::HashTable;

use super::HostPattern;

/// Values by hostname.
///
/// A few hostnames (each Ingress host has a map of one) stand in a list. More are spread over shards by their
/// hash: a clone shares all shards, a change copies one; so the clone and the change together cost some
/// microseconds however many hostnames there are.
#[derive(Clone, Debug)]
pub struct HostMap<T> {
    hasher: foldhash::fast::RandomState,
    /// All hostnames except [`HostPattern::Any`] as long as there are no shards, the most specific first.
    few: Vec<(HostPattern, T)>,
    /// None, or a power of two; once there are some, they stay.
    shards: Vec<Arc<Shard<T>>>,
    any: Option<T>,
    len: usize,
    /// How many of the patterns are wildcards; without any, the suffixes of a host need no look.
    wildcards: usize,
}

type Shard<T> = HashTable<(HostPattern, T)>;

/// So many hostnames are compared one by one.
const FEW: usize = 4;
/// On average; a shard more is a pointer more to copy with each clone, a hostname more is two.
const PER_SHARD: usize = 32;
const MAX_SHARDS: usize = 256;
/// No hostname is longer (RFC 1035, 2.3.4), so no longer text is worth a look.
const MAX_NAME: usize = 253;

/// What a wildcard and an exact name with the same text differ by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exact,
    Wildcard,
    WildcardLabel,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        let (few, shards) = (Vec::new(), Vec::new());
        Self { hasher: Default::default(), few, shards, any: None, len: 0, wildcards: 0 }
    }
}

impl<T> HostMap<T> {
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
        match key(pattern) {
            None => self.any.as_ref(),
            Some((kind, name)) => self.find(kind, name).map(|(_, value)| value),
        }
    }

    /// Every pattern that covers `host` (lower case, no port), the most specific first, each found when it is
    /// asked for. Of a suffix's two wildcards, the one for one label comes first.
    pub fn matches<'m, 'h>(&'m self, host: &'h str) -> Matches<'m, 'h, T> {
        let next = if self.shards.is_empty() { Step::Few(0) } else { Step::Exact };
        Matches { map: self, host, next }
    }

    /// The most specific value that covers `host` (lower case, no port).
    pub fn most_specific(&self, host: &str) -> Option<&T> {
        self.matches(host).next().map(|(_, value)| value)
    }

    /// All patterns and values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&HostPattern, &T)> {
        let any = self.any.iter().map(|value| (&HostPattern::Any, value));
        let named = self.few.iter().chain(self.shards.iter().flat_map(|shard| shard.iter()));
        any.chain(named.map(|(pattern, value)| (pattern, value)))
    }

    fn find(&self, kind: Kind, name: &str) -> Option<&(HostPattern, T)> {
        let is_it = |(pattern, _): &(HostPattern, T)| key(pattern) == Some((kind, name));
        if self.shards.is_empty() {
            return self.few.iter().find(|entry| is_it(entry));
        }
        if name.len() > MAX_NAME {
            return None;
        }
        let hash = hash(&self.hasher, kind, name);
        self.shards[shard_of(hash, self.shards.len())].find(hash, is_it)
    }
}

impl<T: Clone> HostMap<T> {
    /// Sets the value of a pattern and returns the one before.
    pub fn insert(&mut self, pattern: HostPattern, value: T) -> Option<T> {
        let Some((kind, name)) = key(&pattern) else {
            let before = self.any.replace(value);
            self.len += usize::from(before.is_none());
            return before;
        };
        let is_wildcard = kind != Kind::Exact;
        if let Some((_, slot)) = self.find_mut(kind, name) {
            return Some(std::mem::replace(slot, value));
        }
        if self.shards.is_empty() && self.few.len() < FEW {
            // A vector's first step would be room for four, in each of thousands of maps.
            self.few.reserve_exact(1);
            let after = pattern.specificity();
            let place = self.few.partition_point(|(other, _)| other.specificity() > after);
            self.few.insert(place, (pattern, value));
        } else {
            self.grow();
            let Self { hasher, shards, .. } = self;
            let hash = rehash(hasher, &pattern);
            let index = shard_of(hash, shards.len());
            Arc::make_mut(&mut shards[index])
                .insert_unique(hash, (pattern, value), |(p, _)| rehash(hasher, p));
        }
        self.wildcards += usize::from(is_wildcard);
        self.len += 1;
        None
    }

    /// Removes a pattern and returns its value.
    pub fn remove(&mut self, pattern: &HostPattern) -> Option<T> {
        let Some((kind, name)) = key(pattern) else {
            let before = self.any.take()?;
            self.len -= 1;
            return Some(before);
        };
        // A look first: what is not there must not copy a shard.
        self.find(kind, name)?;
        let value = if self.shards.is_empty() {
            let place = self.few.iter().position(|(p, _)| p == pattern)?;
            self.few.remove(place).1
        } else {
            let hash = hash(&self.hasher, kind, name);
            let index = shard_of(hash, self.shards.len());
            let shard = Arc::make_mut(&mut self.shards[index]);
            let ((_, value), _) = shard.find_entry(hash, |(p, _)| p == pattern).ok()?.remove();
            value
        };
        self.wildcards -= usize::from(kind != Kind::Exact);
        self.len -= 1;
        Some(value)
    }

    fn find_mut(&mut self, kind: Kind, name: &str) -> Option<&mut (HostPattern, T)> {
        // As with `remove`.
        self.find(kind, name)?;
        let is_it = |(pattern, _): &(HostPattern, T)| key(pattern) == Some((kind, name));
        if self.shards.is_empty() {
            return self.few.iter_mut().find(|entry| is_it(entry));
        }
        let hash = hash(&self.hasher, kind, name);
        let index = shard_of(hash, self.shards.len());
        Arc::make_mut(&mut self.shards[index]).find_mut(hash, is_it)
    }

    /// Makes room in the shards for one hostname more.
    fn grow(&mut self) {
        let enough = (self.len / PER_SHARD + 1).next_power_of_two().min(MAX_SHARDS);
        if self.shards.len() >= enough {
            return;
        }
        let mut shards: Vec<Shard<T>> = (0..enough).map(|_| Shard::new()).collect();
        let few = std::mem::take(&mut self.few);
        for (pattern, value) in few.iter().chain(self.shards.iter().flat_map(|shard| shard.iter())) {
            let hash = rehash(&self.hasher, pattern);
            shards[shard_of(hash, enough)]
                .insert_unique(hash, (pattern.clone(), value.clone()), |(p, _)| rehash(&self.hasher, p));
        }
        self.shards = shards.into_iter().map(Arc::new).collect();
    }
}

/// The patterns of a map that cover a host; see [`HostMap::matches`].
#[derive(Debug)]
pub struct Matches<'m, 'h, T> {
    map: &'m HostMap<T>,
    host: &'h str,
    next: Step,
}

/// What is looked up next. The number of a wildcard is the index of the dot before the host's suffix.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The hostname at this index of [`HostMap::few`].
    Few(usize),
    Exact,
    WildcardLabel(usize),
    Wildcard(usize),
    Any,
    End,
}

impl<'m, T> Iterator for Matches<'m, '_, T> {
    type Item = (&'m HostPattern, &'m T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.next {
                Step::Few(place) => match self.map.few.get(place) {
                    Some((pattern, value)) => {
                        self.next = Step::Few(place + 1);
                        pattern.matches(self.host).then_some((pattern, value))
                    }
                    None => {
                        self.next = Step::Any;
                        None
                    }
                },
                Step::Exact => {
                    self.next = self.first_suffix();
                    self.named(Kind::Exact, self.host)
                }
                Step::WildcardLabel(dot) => {
                    self.next = Step::Wildcard(dot);
                    self.named(Kind::WildcardLabel, &self.host[dot + 1..])
                }
                Step::Wildcard(dot) => {
                    self.next = self.suffix_after(dot);
                    self.named(Kind::Wildcard, &self.host[dot + 1..])
                }
                Step::Any => {
                    self.next = Step::End;
                    return self.map.any.as_ref().map(|value| (&HostPattern::Any, value));
                }
                Step::End => return None,
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

impl<'m, T> Matches<'m, '_, T> {
    fn named(&self, kind: Kind, name: &str) -> Option<(&'m HostPattern, &'m T)> {
        self.map.find(kind, name).map(|(pattern, value)| (pattern, value))
    }

    fn first_suffix(&self) -> Step {
        if self.map.wildcards == 0 {
            return Step::Any;
        }
        match dot(self.host) {
            // Nothing stands before the dot, so no label does.
            Some(0) => self.suffix_after(0),
            Some(dot) => Step::WildcardLabel(dot),
            None => Step::Any,
        }
    }

    fn suffix_after(&self, dot: usize) -> Step {
        match self::dot(&self.host[dot + 1..]) {
            Some(next) => Step::Wildcard(dot + 1 + next),
            None => Step::Any,
        }
    }
}

/// Returns the index of the first dot. Labels are so short that `str::find` would take longer to start than this takes
/// in total.
fn dot(host: &str) -> Option<usize> {
    host.bytes().position(|byte| byte == b'.')
}

fn key(pattern: &HostPattern) -> Option<(Kind, &str)> {
    match pattern {
        HostPattern::Any => None,
        HostPattern::Exact(name) => Some((Kind::Exact, name)),
        HostPattern::Wildcard(suffix) => Some((Kind::Wildcard, suffix)),
        HostPattern::WildcardLabel(suffix) => Some((Kind::WildcardLabel, suffix)),
    }
}

fn hash(state: &foldhash::fast::RandomState, kind: Kind, name: &str) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(name.as_bytes());
    hasher.write_u8(kind as u8);
    hasher.finish()
}

fn rehash(state: &foldhash::fast::RandomState, pattern: &HostPattern) -> u64 {
    key(pattern).map_or(0, |(kind, name)| hash(state, kind, name))
}

/// By bits that the table of the shard does not look at: it takes the lowest and the highest seven.
fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 40) as usize & (shards - 1)
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_most_specific_pattern_comes_first() {
        let mut map = HostMap::default();
        for text in ["", "a.b.example", "*.b.example", "*.example"] {
            map.insert(HostPattern::parse(text).unwrap(), text);
        }
        map.insert(HostPattern::parse_ingress("*.b.example").unwrap(), "one label");
        for (host, want) in [
            ("a.b.example", &["a.b.example", "one label", "*.b.example", "*.example", ""][..]),
            ("x.b.example", &["one label", "*.b.example", "*.example", ""]),
            ("x.y.b.example", &["*.b.example", "*.example", ""]),
            ("b.example", &["*.example", ""]),
            ("example", &[""]),
            (".b.example", &["*.example", ""]),
            ("..b.example", &["*.b.example", "*.example", ""]),
            ("", &[""]),
            (".", &[""]),
        ] {
            let found: Vec<_> = map.matches(host).map(|(_, value)| *value).collect();
            assert_eq!(found, want, "{host}");
        }
        // After a removal, the other hostnames keep their order.
        map.remove(&HostPattern::parse("a.b.example").unwrap());
        let found: Vec<_> = map.matches("a.b.example").map(|(_, value)| *value).collect();
        assert_eq!(found, ["one label", "*.b.example", "*.example", ""]);
    }

    #[test]
    fn a_host_longer_than_any_name_still_has_its_short_suffixes() {
        let mut map = HostMap::default();
        map.insert(HostPattern::parse("*.example").unwrap(), ());
        assert!(map.most_specific(&format!("{}example", "a.".repeat(10_000))).is_some());
        assert!(map.most_specific(&format!("example{}", ".a".repeat(10_000))).is_none());
    }

    #[test]
    fn a_change_copies_one_shard() {
        let mut map = HostMap::default();
        for i in 0..10_000 {
            map.insert(HostPattern::parse(&format!("h{i}.example")).unwrap(), i);
        }
        let mut changed = map.clone();
        changed.insert(HostPattern::parse("h77.example").unwrap(), 0);
        let shared = map.shards.iter().zip(&changed.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, map.shards.len() - 1);
        assert_eq!(map.most_specific("h77.example"), Some(&77));
        assert_eq!(changed.most_specific("h77.example"), Some(&0));
        let before = changed.clone();
        assert_eq!(changed.remove(&HostPattern::parse("absent.example").unwrap()), None);
        assert!(changed.shards.iter().zip(&before.shards).all(|(a, b)| Arc::ptr_eq(a, b)));
    }

    #[derive(Clone, Debug)]
    enum Change {
        Insert(HostPattern, u8),
        Remove(HostPattern),
    }

    fn name() -> impl Strategy<Value = String> {
        "[ab](\\.[ab]){0,3}"
    }

    fn pattern() -> impl Strategy<Value = HostPattern> {
        prop_oneof![
            1 => Just(HostPattern::Any),
            4 => name().prop_map(|n| HostPattern::Exact(n.into())),
            3 => name().prop_map(|n| HostPattern::Wildcard(n.into())),
            3 => name().prop_map(|n| HostPattern::WildcardLabel(n.into())),
        ]
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => (pattern(), any::<u8>()).prop_map(|(p, v)| Change::Insert(p, v)),
            1 => pattern().prop_map(Change::Remove),
        ]
    }

    proptest! {
        #[test]
        fn lookup_is_filter_and_sort(
            changes in prop_oneof![
                prop::collection::vec(change(), 0..8),
                prop::collection::vec(change(), 8..120),
            ],
            hosts in prop::collection::vec("[ab.]{0,9}", 1..10),
        ) {
            let mut map = HostMap::default();
            let mut plain = BTreeMap::new();
            for change in changes {
                match change {
                    Change::Insert(p, v) => prop_assert_eq!(map.insert(p.clone(), v), plain.insert(p, v)),
                    Change::Remove(p) => prop_assert_eq!(map.remove(&p), plain.remove(&p)),
                }
                prop_assert_eq!(map.len(), plain.len());
            }
            for (pattern, value) in &plain {
                prop_assert_eq!(map.get(pattern), Some(value));
            }
            let mut all: Vec<_> = map.iter().collect();
            all.sort();
            prop_assert_eq!(all, plain.iter().collect::<Vec<_>>());
            for host in &hosts {
                let mut want: Vec<_> = plain.iter().filter(|(p, _)| p.matches(host)).collect();
                want.sort_by_key(|(p, _)| Reverse(p.specificity()));
                prop_assert_eq!(map.matches(host).collect::<Vec<_>>(), want, "{}", host);
            }
        }
    }
}
