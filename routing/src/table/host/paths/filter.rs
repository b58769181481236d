//! Tells that a text is not in a tree of paths, without a search of the tree.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

/// A Bloom filter: it says yes for each text that was added, and no for nearly all others.
///
/// The hash of a text chooses one word and a few bits in it, so a question reads one word. The hash is computed segment
/// by segment, so that one pass along a path yields the hashes of the path's first one, two, three, ... segments. The
/// hash has a random seed, so that no client can choose paths for which the filter wrongly says yes.
#[derive(Debug, Default)]
pub(super) struct Filter {
    words: Box<[u64]>,
    seed: RandomState,
}

/// The average number of texts for each word. With 16 bits for each text, the filter wrongly says yes for about one in
/// 150 other texts.
const TEXTS_PER_WORD: usize = 4;
/// The number of bits that a text sets; fewer if some coincide.
const BITS: u32 = 3;

impl Filter {
    pub(super) fn with_room_for(texts: usize) -> Self {
        Self { words: vec![0; texts.div_ceil(TEXTS_PER_WORD)].into(), seed: RandomState::default() }
    }

    pub(super) fn add(&mut self, text: &str) {
        let mut hasher = self.seed.build_hasher();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (segment, after) = rest.split_at(segment_len(rest));
            hasher.write(segment);
            rest = after;
        }
        let (word, bits) = place_of(hasher.finish(), self.words.len());
        self.words[word] |= bits;
    }

    /// Returns the length of the longest text that the tree may have, among the path's beginnings that are shorter than
    /// `below` and end where a segment ends: before one of the path's slashes or, if the path is `whole`, at its end.
    pub(super) fn longest(&self, path: &[u8], whole: bool, below: usize) -> Option<usize> {
        let mut hasher = self.seed.build_hasher();
        let (mut longest, mut begin) = (None, 0);
        while begin < path.len() {
            let end = begin + segment_len(&path[begin..]);
            if end >= below || (end == path.len() && !whole) {
                break;
            }
            hasher.write(&path[begin..end]);
            if self.may_have(hasher.finish()) {
                longest = Some(end);
            }
            begin = end;
        }
        longest
    }

    /// Makes the filter also say yes wrongly, by setting these bits in each word.
    #[cfg(test)]
    pub(super) fn also_says_yes(&mut self, bits: u64) {
        self.words.iter_mut().for_each(|word| *word |= bits);
    }

    fn may_have(&self, hash: u64) -> bool {
        let (word, bits) = place_of(hash, self.words.len());
        self.words.get(word).is_some_and(|word| word & bits == bits)
    }
}

/// Returns the index of a hash's word, from the upper half of the hash, and its bits in that word, from the lowest
/// bits.
fn place_of(hash: u64, words: usize) -> (usize, u64) {
    let word = ((hash >> 32) * words as u64) >> 32;
    let bits = (0..BITS).fold(0, |bits, i| bits | 1 << (hash >> (6 * i) & 63));
    (word as usize, bits)
}

/// Returns the length of the first segment in bytes, including the slash that it begins with.
fn segment_len(path: &[u8]) -> usize {
    path[1..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_was_added_is_found_by_any_path_that_it_begins() {
        let texts = ["/", "/a", "/a/", "/a/b", "//", "/a//b/", &"/x".repeat(512)];
        let mut filter = Filter::with_room_for(texts.len());
        texts.iter().for_each(|text| filter.add(text));
        for text in texts {
            let whole = filter.longest(text.as_bytes(), true, usize::MAX);
            assert_eq!(whole, Some(text.len()), "{text}");
            let path = format!("{text}/");
            let begun = filter.longest(path.as_bytes(), false, text.len() + 1);
            assert_eq!(begun, Some(text.len()), "{path}");
        }
    }

    #[test]
    fn of_other_texts_it_nearly_always_says_no() {
        let mut filter = Filter::with_room_for(1000);
        (0..1000).for_each(|i| filter.add(&format!("/there/{i}")));
        let absent = |i: &u32| filter.longest(format!("/absent-{i}").as_bytes(), true, usize::MAX).is_some();
        let wrong = (0..10_000).filter(absent).count();
        assert!(wrong < 500, "{wrong} of 10,000");
    }
}
