//! The entries of exact paths and prefixes, found by a request's path.

use std::ops::Range;

use matchit::Router;

/// Exact paths and prefixes, each with its entries.
///
/// One tree holds both. A path that is not in it as a whole is looked up by its first segments, and bisection finds by
/// how many of them. For that the tree also holds *marks*: the first segments of a prefix, at each depth at which
/// bisection has to go on to a greater one.
///
/// ```text
/// prefixes  /a  /a/b/c     depth 3     path  /a/b/x/y
/// marks     /a/b                         2   /a/b      found, covered by /a: try 3
///                                        3   /a/b/x    not found, so /a it is
/// ```
///
/// A prefix of n segments takes log2(n) marks at most, and a lookup so many walks along the path, whatever the path.
#[derive(Debug, Default)]
pub(super) struct Paths {
    tree: Router<Place>,
    prefixes: Vec<Prefix>,
    /// Segments of the prefix that has most of them.
    depth: usize,
    /// Bytes of the longest prefix.
    longest: usize,
    /// Bytes of the longest text of all.
    longest_text: usize,
}

/// Places of entries; four bytes each are plenty.
pub(super) type Places = Range<u32>;

/// The longest text in the tree, in bytes: what the Gateway API allows for a path. A tree is as deep as its longest text
/// may be, and is dropped by recursion.
pub(super) const MAX_TEXT: usize = 1024;

/// What one text leads to.
#[derive(Clone, Debug, Default)]
struct Place {
    exact: Places,
    /// The longest prefix that covers the text.
    prefix: Option<u32>,
}

/// The entries of one prefix.
#[derive(Clone, Debug)]
struct Prefix {
    entries: Places,
    /// The longest of the other prefixes that cover this one.
    shorter: Option<u32>,
}

impl Paths {
    /// Texts of 1 to [`MAX_TEXT`] bytes, each once among the exact paths and once among the prefixes.
    pub(super) fn new(exact: Vec<(&str, Places)>, mut prefixes: Vec<(&str, Places)>) -> Self {
        // What covers a text goes in before it.
        prefixes.sort_by_key(|(text, _)| text.len());
        let mut paths = Self {
            depth: prefixes.iter().map(|(text, _)| segments(text)).max().unwrap_or_default(),
            longest: prefixes.last().map_or(0, |(text, _)| text.len()),
            prefixes: Vec::with_capacity(prefixes.len()),
            ..Self::default()
        };
        for (number, (text, entries)) in (0..).zip(prefixes) {
            let shorter = paths.longest_prefix_of(text);
            paths.prefixes.push(Prefix { entries, shorter });
            paths.place(text).prefix = Some(number);
            bisect(paths.depth, |depth| match segments(text) {
                whole if depth < whole => {
                    let end = end_of_segment(text.as_bytes(), (0, 1), depth).unwrap_or(text.len());
                    paths.place(&text[..end]);
                    true
                }
                whole => depth == whole,
            });
        }
        for (text, entries) in exact {
            paths.place(text).exact = entries;
        }
        // A copy has no room to spare, and its nodes lie in the order of a walk.
        paths.tree = paths.tree.clone();
        paths
    }

    /// The entries of the exact path, and of the prefixes that cover the path, the longest first. Does not allocate.
    pub(super) fn find(&self, path: &str) -> (Places, impl Iterator<Item = &Places>) {
        let whole = if path.len() > self.longest_text { None } else { self.tree.at(path).ok() };
        let (exact, mut next) = match whole {
            Some(found) => (found.value.exact.clone(), found.value.prefix),
            None => (Places::default(), self.longest_prefix_of(path)),
        };
        let prefixes = std::iter::from_fn(move || {
            let prefix = &self.prefixes[next? as usize];
            next = prefix.shorter;
            Some(&prefix.entries)
        });
        (exact, prefixes)
    }

    fn longest_prefix_of(&self, path: &str) -> Option<u32> {
        // No segment that ends beyond the longest prefix is of use, however long the path is.
        let bytes = &path.as_bytes()[..path.len().min(self.longest + 1)];
        // Texts in the tree start with a slash, so segments are looked for behind it.
        let mut known = (0, 1);
        let mut prefix = None;
        bisect(self.depth, |depth| {
            let end = end_of_segment(bytes, known, depth).filter(|end| *end <= self.longest);
            let Some(end) = end else { return false };
            let Ok(found) = self.tree.at(&path[..end]) else { return false };
            known = (depth, end + 1);
            prefix = found.value.prefix;
            true
        });
        prefix
    }

    /// The place of a text, a new one if it has none.
    fn place(&mut self, text: &str) -> &mut Place {
        if self.tree.at(text).is_err() {
            let place = Place { exact: Places::default(), prefix: self.longest_prefix_of(text) };
            let literal = text.replace('{', "{{").replace('}', "}}");
            self.longest_text = self.longest_text.max(text.len());
            self.tree.insert(literal, place).expect("a text without parameters that is not there yet");
        }
        self.tree.at_mut(text).expect("it is there").value
    }
}

/// Finds a depth from 1 to `depth`: `reaches` says of one whether to go on to greater ones.
fn bisect(depth: usize, mut reaches: impl FnMut(usize) -> bool) {
    let (mut low, mut high) = (0, depth);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if reaches(middle) { low = middle } else { high = middle - 1 }
    }
}

fn segments(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'/').count()
}

/// Where so many segments end, seen from the segments that are known: their number, and where the next one begins.
fn end_of_segment(path: &[u8], (segments, mut begin): (usize, usize), wanted: usize) -> Option<usize> {
    let slash =
        |begin: usize| Some(path.get(begin..)?.iter().position(|byte| *byte == b'/').map(|at| begin + at));
    for _ in segments + 1..wanted {
        begin = slash(begin)?? + 1;
    }
    Some(slash(begin)?.unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client can make a lookup cost.
    #[test]
    fn bisection_finds_each_depth_in_few_steps() {
        for deepest in [1, 2, 3, 7, 8, 512, MAX_TEXT] {
            for depth in 0..=deepest {
                let (mut found, mut steps) = (0, 0);
                bisect(deepest, |there| {
                    steps += 1;
                    found = if there <= depth { there } else { found };
                    there <= depth
                });
                assert_eq!(found, depth, "of {deepest}");
                assert!(steps <= deepest.ilog2() + 1, "{steps} steps to {depth} of {deepest}");
            }
        }
    }
}
