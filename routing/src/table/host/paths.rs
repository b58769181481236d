//! Finds the entries of exact paths and prefixes by a request's path.

use std::{iter, ops::Range};

use matchit::Router;

mod filter;

use filter::Filter;

/// Exact paths and prefixes, each with its entries.
///
/// One tree holds the texts of both. A lookup searches the tree for the longest text in it that is the whole path or
/// its first segments. A filter of hashes finds the length of that text beforehand, in one pass along the path.
///
/// ```text
/// prefixes    /a   /a/b/c
/// path        /a/b/x/y
/// texts       /a   /a/b   /a/b/x   /a/b/x/y
/// filter      yes  no     no       no          so the tree is searched for /a
/// ```
///
/// So a path that has a rule needs one search of the tree, and a path that has none needs no search. Where the filter
/// wrongly says yes, the tree does not have the text, and the lookup tries the next shorter text.
#[derive(Debug, Default)]
pub(super) struct Paths {
    tree: Router<Place>,
    filter: Filter,
    /// The prefixes, by their number.
    prefixes: Vec<Prefix>,
    /// The length of the longest prefix, in bytes.
    longest: usize,
    /// The length of the longest exact path or prefix, in bytes.
    longest_text: usize,
}

/// A range of entries. Four bytes for each end are enough.
pub(super) type Places = Range<u32>;

/// The maximum length of a text in the tree, in bytes, which is the Gateway API's limit for a path. The tree is dropped
/// by recursion, which can be as deep as the longest text is long.
pub(super) const MAX_TEXT: usize = 1024;

/// The entries that one text leads to.
#[derive(Clone, Debug)]
struct Place {
    exact: Places,
    /// The longest prefix that covers the text. A copy, so that a lookup finds the prefix's entries without reading
    /// [`Paths::prefixes`].
    prefix: Prefix,
}

/// The entries of one prefix.
#[derive(Clone, Debug)]
struct Prefix {
    entries: Places,
    /// The number of the longest of the other prefixes that cover this one, or [`NONE`].
    shorter: u32,
}

/// Stands for the absence of a prefix's number. An `Option` would take four more bytes in each node of the tree.
const NONE: u32 = u32::MAX;

impl Prefix {
    /// Stands for the absence of a prefix that covers a text.
    const ABSENT: Self = Self { entries: 0..0, shorter: NONE };
}

impl Paths {
    /// Builds the tree and the filter. The texts have 1 to [`MAX_TEXT`] bytes and begin with a slash; each stands at
    /// most once among the exact paths and once among the prefixes. The prefixes stand in the order of their entries,
    /// longer ones before shorter ones.
    pub(super) fn new(exact: Vec<(&str, Places)>, prefixes: Vec<(&str, Places)>) -> Self {
        let longest_of =
            |texts: &[(&str, Places)]| texts.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
        let longest = longest_of(&prefixes);
        let mut paths = Self {
            tree: Router::new(),
            filter: Filter::with_room_for(exact.len() + prefixes.len()),
            prefixes: Vec::with_capacity(prefixes.len()),
            longest,
            longest_text: longest.max(longest_of(&exact)),
        };
        // From the shortest to the longest, so that a prefix is inserted before the texts that it covers.
        for (text, entries) in prefixes.into_iter().rev() {
            let prefix = Prefix { entries, shorter: paths.number(&paths.covering(text)) };
            paths.prefixes.push(prefix.clone());
            paths.insert(text, Place { exact: Places::default(), prefix });
        }
        for (text, entries) in exact {
            match paths.tree.at_mut(text) {
                Ok(found) => found.value.exact = entries,
                Err(_) => {
                    let prefix = paths.covering(text);
                    paths.insert(text, Place { exact: entries, prefix });
                }
            }
        }
        // The copy has no spare capacity, and its nodes lie in memory in the order in which a search reads them.
        paths.tree = paths.tree.clone();
        paths
    }

    /// Returns the entries of the exact path, and those of the prefixes that cover the path, the longest first. Does
    /// not allocate.
    pub(super) fn find(&self, path: &str) -> (Places, impl Iterator<Item = &Places>) {
        let (exact, longest) = match self.longest_text_of(path) {
            Some((place, len)) if len == path.len() => (place.exact.clone(), &place.prefix),
            Some((place, _)) => (Places::default(), &place.prefix),
            None => (Places::default(), &Prefix::ABSENT),
        };
        let shorter = |prefix: &&Prefix| self.prefixes.get(prefix.shorter as usize);
        (exact, iter::successors(Some(longest), shorter).map(|prefix| &prefix.entries))
    }

    /// Returns the place of the longest text that is the path or its first segments, and the length of that text.
    ///
    /// The prefix in that place is the longest prefix that covers the path, because a longer one would be a longer
    /// text.
    fn longest_text_of(&self, path: &str) -> Option<(&Place, usize)> {
        // If the path is longer than all texts, only a prefix can cover it, so segments beyond the longest prefix are
        // not read.
        let (read, whole) = match path.len() <= self.longest_text {
            true => (path.as_bytes(), true),
            false => (&path.as_bytes()[..path.len().min(self.longest + 1)], false),
        };
        let mut below = usize::MAX;
        loop {
            let len = self.filter.longest(read, whole, below)?;
            if let Ok(found) = self.tree.at(&path[..len]) {
                return Some((found.value, len));
            }
            below = len;
        }
    }

    fn covering(&self, text: &str) -> Prefix {
        self.longest_text_of(text).map_or(Prefix::ABSENT, |(place, _)| place.prefix.clone())
    }

    /// Returns the number of a prefix, or [`NONE`]. Prefixes are numbered from the last entries to the first.
    fn number(&self, prefix: &Prefix) -> u32 {
        let number = self.prefixes.binary_search_by(|other| prefix.entries.start.cmp(&other.entries.start));
        number.ok().and_then(|number| u32::try_from(number).ok()).unwrap_or(NONE)
    }

    fn insert(&mut self, text: &str, place: Place) {
        self.filter.add(text);
        let literal = text.replace('{', "{{").replace('}', "}}");
        self.tree.insert(literal, place).expect("the text has no parameters and is not in the tree yet");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Wrong answers of the filter change only the time that a lookup takes, not its result. The filter first gives
        /// random wrong answers, and then answers every question with yes.
        #[test]
        fn a_filter_that_says_yes_too_often_changes_nothing(
            exact in prop::collection::btree_set("(/[ab]{0,2}){1,4}", 0..12),
            prefixes in prop::collection::btree_set("(/[ab]{0,2}){0,3}/[ab]{1,2}", 0..12),
            requests in prop::collection::vec("(/[ab]{0,2}){1,6}|[ab/*]{0,3}", 1..12),
            wrong in any::<u64>(),
        ) {
            let (exact, prefixes) = numbered(&exact, &prefixes);
            let mut paths = Paths::new(exact.clone(), prefixes.clone());
            for wrong in [0, wrong, u64::MAX] {
                paths.filter.also_says_yes(wrong);
                for path in &requests {
                    let (found, covering) = paths.find(path);
                    let is_it = |(text, _): &&(&str, Places)| text == path;
                    let want = exact.iter().find(is_it).map(|(_, places)| places.clone());
                    prop_assert_eq!(found, want.unwrap_or_default(), "{}", path);
                    let covers = |(text, _): &&(&str, Places)| {
                        path.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    };
                    let want = prefixes.iter().filter(covers).map(|(_, places)| places);
                    let covering = covering.filter(|places| !places.is_empty());
                    prop_assert_eq!(covering.collect::<Vec<_>>(), want.collect::<Vec<_>>(), "{}", path);
                }
            }
        }
    }

    type Texts<'t> = Vec<(&'t str, Places)>;

    /// Gives each text an entry of its own, in the order of entries.
    fn numbered<'t>(exact: &'t BTreeSet<String>, prefixes: &'t BTreeSet<String>) -> (Texts<'t>, Texts<'t>) {
        let mut prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
        prefixes.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let mut places = (0..).map(|place| place..place + 1);
        let exact = exact.iter().map(String::as_str).zip(&mut places).collect();
        (exact, prefixes.into_iter().zip(&mut places).collect())
    }
}
