//! The rules of one hostname, in the form in which they are found: the cost of a look depends on the path, not
//! on how many rules there are.

use std::{
    cmp::Reverse,
    hash::{BuildHasher, Hasher},
    ops::Range,
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{Entry, PathMatch, RequestHead};

/// The rules of one hostname.
///
/// The entries stand in one list, in the order of precedence; those of one path are neighbours. Beside the list
/// there is an index, unless the list is so short that a walk along it is as fast:
///
/// ```text
/// entries  | exact /b | exact /a, /a | regex | regex | /a/b | /a, /a | /c | method | every path |
/// index      by path    by path        in order        by path, each with the next shorter one
/// ```
#[derive(Debug, Default)]
pub struct HostTable {
    entries: Box<[Entry]>,
    index: Option<Box<Index>>,
}

/// So many entries are walked along without an index, which would cost memory with each of thousands of hosts.
const WALKED: usize = 4;

/// Places of entries; four bytes each are plenty.
type Places = Range<u32>;

#[derive(Debug)]
struct Index {
    hasher: RandomState,
    exact: HashTable<Places>,
    regexes: Places,
    /// Places in `prefixes`.
    by_prefix: HashTable<u32>,
    prefixes: Box<[Prefix]>,
    /// In bytes; no part of a path beyond it is looked at.
    longest_prefix: usize,
    grpc_methods: HashTable<Places>,
    every_path: Places,
}

/// The entries of one prefix.
#[derive(Clone, Debug)]
struct Prefix {
    entries: Places,
    /// The longest of the other prefixes that cover this one.
    shorter: Option<u32>,
}

impl HostTable {
    /// Brings the entries of one hostname into the form in which they are found.
    pub fn compile(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| order(a).cmp(&order(b)));
        let entries = entries.into_boxed_slice();
        let index = (entries.len() > WALKED).then(|| Box::new(Index::new(&entries)));
        Self { entries, index }
    }

    /// The entries; the first one that matches takes a request.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The first entry in the order of precedence that matches. Does not allocate.
    pub fn find(&self, request: &RequestHead<'_>) -> Option<&Entry> {
        match &self.index {
            None => self.entries.iter().find(|entry| entry.route_match.matches(request)),
            Some(index) => index.find(&self.entries, request),
        }
    }
}

/// The order of precedence, but with the entries of one path side by side. That changes nothing for a request:
/// of two paths of the same kind and length, it has one at most. Regular expressions stay as they are; two of
/// them may well fit.
fn order(entry: &Entry) -> impl Ord {
    let precedence = &entry.precedence;
    (
        Reverse((precedence.path_kind, precedence.path_len)),
        text(&entry.route_match.path),
        Reverse(precedence),
        // An HTTPRoute and a GRPCRoute may share age and name.
        &entry.rule.route,
    )
}

fn text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::GrpcMethod(text) => text,
        PathMatch::Regex(_) => "",
    }
}

impl Index {
    fn new(entries: &[Entry]) -> Self {
        let mut index = Self {
            hasher: RandomState::default(),
            exact: HashTable::new(),
            regexes: 0..0,
            by_prefix: HashTable::new(),
            prefixes: Box::default(),
            longest_prefix: 0,
            grpc_methods: HashTable::new(),
            every_path: 0..0,
        };
        let mut prefixes = Vec::new();
        for group in groups(entries) {
            match &entries[group.start as usize].route_match.path {
                PathMatch::Exact(path) => index.exact.insert_group(&index.hasher, path, group, entries),
                PathMatch::GrpcMethod(method) => {
                    index.grpc_methods.insert_group(&index.hasher, method, group, entries);
                }
                PathMatch::Regex(_) => index.regexes = group,
                PathMatch::Prefix(prefix) if prefix.is_empty() => index.every_path = group,
                PathMatch::Prefix(prefix) => {
                    index.longest_prefix = index.longest_prefix.max(prefix.len());
                    prefixes.push(Prefix { entries: group, shorter: None });
                }
            }
        }
        index.link(prefixes, entries);
        index
    }

    /// Takes the prefixes in, each with the next shorter one.
    fn link(&mut self, prefixes: Vec<Prefix>, entries: &[Entry]) {
        self.prefixes = prefixes.into();
        let name = |prefix: &Prefix| text(&entries[prefix.entries.start as usize].route_match.path);
        self.by_prefix = HashTable::with_capacity(self.prefixes.len());
        for (place, prefix) in (0..).zip(&self.prefixes) {
            let hash = hash_segments(&self.hasher, name(prefix));
            let hasher = &self.hasher;
            let prefixes = &self.prefixes;
            self.by_prefix
                .insert_unique(hash, place, |p| hash_segments(hasher, name(&prefixes[*p as usize])));
        }
        for place in 0..self.prefixes.len() {
            let parent = name(&self.prefixes[place]).rsplit_once('/').map_or("", |(parent, _)| parent);
            self.prefixes[place].shorter = self.longest_prefix_of(parent, entries);
        }
    }

    fn find<'e>(&self, entries: &'e [Entry], request: &RequestHead<'_>) -> Option<&'e Entry> {
        let path = request.path;
        let fits = |entry: &&Entry| entry.route_match.matches_beside_path(request);
        let of = |places: &Places| entries[places.start as usize..places.end as usize].iter();

        let exact = || of(self.exact.find_group(&self.hasher, path, entries)?).find(fits);
        let regex = || of(&self.regexes).find(|entry| entry.route_match.matches(request));
        let prefix = || {
            let mut next = self.longest_prefix_of(path, entries);
            std::iter::from_fn(|| {
                let prefix = &self.prefixes[next? as usize];
                next = prefix.shorter;
                Some(&prefix.entries)
            })
            .find_map(|places| of(places).find(fits))
        };
        let grpc_method = || {
            let (service, method) = path.strip_prefix('/')?.split_once('/')?;
            let places = self.grpc_methods.find_group(&self.hasher, method, entries)?;
            of(places).find(fits).filter(|_| !service.is_empty())
        };
        let every_path = || of(&self.every_path).find(|entry| entry.route_match.matches(request));
        exact().or_else(regex).or_else(prefix).or_else(grpc_method).or_else(every_path)
    }

    /// The longest prefix that covers the path: one walk along its segments, with one look at the end of each.
    fn longest_prefix_of(&self, path: &str, entries: &[Entry]) -> Option<u32> {
        let mut hasher = self.hasher.build_hasher();
        let mut longest = None;
        let mut end = 0;
        for segment in path.split('/') {
            end += segment.len();
            if end > self.longest_prefix {
                break;
            }
            hasher.write(segment.as_bytes());
            let covers = |p: &u32| {
                let first = self.prefixes[*p as usize].entries.start;
                text(&entries[first as usize].route_match.path) == &path[..end]
            };
            longest = self.by_prefix.find(hasher.finish(), covers).copied().or(longest);
            // The slash behind the segment.
            end += 1;
        }
        longest
    }
}

/// The runs of entries that are looked up together: of one path, or all regular expressions.
fn groups(entries: &[Entry]) -> impl Iterator<Item = Places> {
    let together = |a: &Entry, b: &Entry| match (&a.route_match.path, &b.route_match.path) {
        (PathMatch::Regex(_), PathMatch::Regex(_)) => true,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b) && text(a) == text(b),
    };
    entries.chunk_by(together).scan(0, |start, group| {
        let end = *start + u32::try_from(group.len()).unwrap_or(u32::MAX);
        Some(std::mem::replace(start, end)..end)
    })
}

/// Entries by the text of their path.
trait Groups {
    fn insert_group(&mut self, hasher: &RandomState, name: &str, group: Places, entries: &[Entry]);
    fn find_group(&self, hasher: &RandomState, name: &str, entries: &[Entry]) -> Option<&Places>;
}

impl Groups for HashTable<Places> {
    fn insert_group(&mut self, hasher: &RandomState, name: &str, group: Places, entries: &[Entry]) {
        let hash = |name: &str| hash_text(hasher, name);
        self.insert_unique(hash(name), group, |g| hash(text(&entries[g.start as usize].route_match.path)));
    }

    fn find_group(&self, hasher: &RandomState, name: &str, entries: &[Entry]) -> Option<&Places> {
        if self.is_empty() {
            return None;
        }
        let is_it = |g: &Places| text(&entries[g.start as usize].route_match.path) == name;
        self.find(hash_text(hasher, name), is_it)
    }
}

fn hash_text(state: &RandomState, text: &str) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// As [`Index::longest_prefix_of`] hashes the segments that it has walked along.
fn hash_segments(state: &RandomState, text: &str) -> u64 {
    let mut hasher = state.build_hasher();
    text.split('/').for_each(|segment| hasher.write(segment.as_bytes()));
    hasher.finish()
}
