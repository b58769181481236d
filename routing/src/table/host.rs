//! The rules of one hostname, in the form in which they are found: the cost of a look depends on the path, not
//! on how many rules there are.

use std::{cmp::Reverse, ops::Deref, sync::Arc};

use crate::{Entry, PathMatch, RequestHead, matching::decoded};

mod paths;
mod patterns;

use paths::{MAX_TEXT, Paths, Places};
use patterns::MakeSet;
pub use patterns::PatternSet;

/// The rules of one hostname, or of many that have the same ones.
///
/// The entries stand in one list, in the order of precedence; those of one path are neighbours. Beside the list
/// there is an index, unless the list is so short that a walk along it is as fast:
///
/// ```text
/// entries  | exact /b | exact /a, /a | regex | regex | /a/b | /a, /a | /c | method | every path |
/// index      by path    by path        as one set      by path, each with the next shorter one
/// ```
#[derive(Debug, Default)]
pub struct HostTable {
    entries: Box<[Entry]>,
    index: Option<Box<Index>>,
}

/// So many entries are walked along without an index, which would cost memory with each of thousands of hosts.
const WALKED: usize = 4;

#[derive(Debug, Default)]
struct Index {
    paths: Paths,
    /// Entries whose paths are too long for `paths`; few, if any.
    long_exact: Places,
    long_prefixes: Places,
    regexes: Places,
    patterns: Option<Arc<PatternSet>>,
    locations: Places,
    location_patterns: Option<Arc<PatternSet>>,
    grpc_methods: Places,
    every_path: Places,
}

/// The entries of one hostname in the order of a [`HostTable`], which is compiled from them: before that is done, they
/// can be compared with those of a table that exists.
#[derive(Debug)]
pub struct SortedEntries(Box<[Entry]>);

impl SortedEntries {
    /// Sorts the entries of one hostname.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| order(a).cmp(&order(b)));
        Self(entries.into_boxed_slice())
    }

    /// Whether their table has an index. One without is hardly larger than its entries.
    pub fn need_index(&self) -> bool {
        self.0.len() > WALKED
    }

    /// Brings them into the form in which they are found.
    pub fn compile(self) -> HostTable {
        self.compile_with(&mut |patterns| PatternSet::new(&patterns).map(Arc::new))
    }

    /// The same. `make` makes the set of many regular expressions, so that tables with the same ones can share it.
    pub fn compile_with(self, make: MakeSet<'_>) -> HostTable {
        let index = self.need_index().then(|| Box::new(Index::new(&self.0, make)));
        HostTable { entries: self.0, index }
    }
}

impl Deref for SortedEntries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.0
    }
}

impl HostTable {
    /// Brings the entries of one hostname into the form in which they are found.
    pub fn compile(entries: Vec<Entry>) -> Self {
        SortedEntries::new(entries).compile()
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
        PathMatch::Regex(_) | PathMatch::Location(_) => "",
    }
}

impl Index {
    fn new(entries: &[Entry], make: MakeSet<'_>) -> Self {
        let mut index = Self::default();
        let (mut exact, mut prefixes) = (Vec::new(), Vec::new());
        for group in groups(entries) {
            match &entries[group.start as usize].route_match.path {
                PathMatch::Exact(path) if path.len() > MAX_TEXT => extend(&mut index.long_exact, group),
                PathMatch::Exact(path) => exact.push((&**path, group)),
                PathMatch::Regex(_) => index.regexes = group,
                PathMatch::Location(_) => index.locations = group,
                PathMatch::Prefix(prefix) if prefix.is_empty() => index.every_path = group,
                PathMatch::Prefix(prefix) if prefix.len() > MAX_TEXT => {
                    extend(&mut index.long_prefixes, group)
                }
                PathMatch::Prefix(prefix) => prefixes.push((&**prefix, group)),
                PathMatch::GrpcMethod(_) => extend(&mut index.grpc_methods, group),
            }
        }
        index.paths = Paths::new(exact, prefixes);
        let regexes = entries.iter().filter_map(|entry| match &entry.route_match.path {
            PathMatch::Regex(regex) => Some(regex),
            _ => None,
        });
        index.patterns = PatternSet::of_many(regexes.map(|regex| regex.as_str().into()), make);
        let locations = entries.iter().filter_map(|entry| match &entry.route_match.path {
            PathMatch::Location(location) => Some(location),
            _ => None,
        });
        index.location_patterns = PatternSet::of_locations(locations, make);
        index
    }

    fn find<'e>(&self, entries: &'e [Entry], request: &RequestHead<'_>) -> Option<&'e Entry> {
        let path = request.path;
        let of = |places: &Places| &entries[places.start as usize..places.end as usize];
        let fits = |entry: &&Entry| entry.route_match.matches_beside_path(request);
        let matches = |entry: &&Entry| entry.route_match.matches(request);

        let (exact, mut prefixes) = self.paths.find(path);
        let exact = || of(&exact).iter().find(fits);
        let long_exact = || named(of(&self.long_exact), path).iter().find(fits);
        let regex = || {
            let first = self.patterns.as_ref().map_or(Some(0), |patterns| patterns.first_match(path))?;
            of(&self.regexes)[first..].iter().find(matches)
        };
        let location = || {
            let entries = of(&self.locations);
            let path = if entries.is_empty() { return None } else { decoded(path) };
            let first =
                self.location_patterns.as_ref().map_or(Some(0), |patterns| patterns.first_match(&path))?;
            entries[first..].iter().find(|entry| match &entry.route_match.path {
                PathMatch::Location(location) => location.matches_decoded(&path) && fits(entry),
                _ => false,
            })
        };
        let long_prefix = || of(&self.long_prefixes).iter().find(matches);
        let prefix = || prefixes.find_map(|places| of(places).iter().find(fits));
        let grpc_method = || {
            let (service, method) = path.strip_prefix('/')?.split_once('/')?;
            named(of(&self.grpc_methods), method).iter().find(fits).filter(|_| !service.is_empty())
        };
        let every_path = || of(&self.every_path).iter().find(matches);
        exact()
            .or_else(long_exact)
            .or_else(regex)
            .or_else(location)
            .or_else(long_prefix)
            .or_else(prefix)
            .or_else(grpc_method)
            .or_else(every_path)
    }
}

/// Those with this text as their path's, of entries of one kind of path in their order.
fn named<'e>(entries: &'e [Entry], name: &str) -> &'e [Entry] {
    let compared = |entry: &Entry| {
        let text = text(&entry.route_match.path);
        (Reverse(text.len()), text).cmp(&(Reverse(name.len()), name))
    };
    let start = entries.partition_point(|entry| compared(entry).is_lt());
    let end = entries.partition_point(|entry| compared(entry).is_le());
    &entries[start..end]
}

/// Groups of one kind are neighbours.
fn extend(all: &mut Places, group: Places) {
    let start = if all.end == 0 { group.start } else { all.start };
    *all = start..group.end;
}

/// The runs of entries that are looked up together: of one path, or all regular expressions.
fn groups(entries: &[Entry]) -> impl Iterator<Item = Places> {
    let together = |a: &Entry, b: &Entry| match (&a.route_match.path, &b.route_match.path) {
        (PathMatch::Regex(_), PathMatch::Regex(_)) | (PathMatch::Location(_), PathMatch::Location(_)) => true,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b) && text(a) == text(b),
    };
    entries.chunk_by(together).scan(0, |start, group| {
        let end = *start + u32::try_from(group.len()).unwrap_or(u32::MAX);
        Some(std::mem::replace(start, end)..end)
    })
}
