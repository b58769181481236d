//! The pieces in which bytes come.

use crate::http1::framing::{Framing, Malformed, Part};

/// How bytes are torn: into pieces of these sizes, over and over.
pub(super) struct Sizes(Vec<usize>);

impl Sizes {
    /// Takes them from the front of the input: how many there are (none: the bytes come at once), and each of them.
    pub(super) fn take(data: &[u8]) -> (Self, &[u8]) {
        let Some((first, rest)) = data.split_first() else { return (Self(Vec::new()), data) };
        let (sizes, rest) = rest.split_at(rest.len().min(usize::from(first % 8)));
        (Self(sizes.iter().map(|size| usize::from(size % 64) + 1).collect()), rest)
    }

    /// Where each piece ends.
    pub(super) fn ends(&self, len: usize) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut at = 0;
        for size in self.0.iter().cycle() {
            if at + size >= len {
                break;
            }
            at += size;
            ends.push(at);
        }
        ends.push(len);
        ends
    }
}

/// A body that was read piece by piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) content: Vec<u8>,
    /// What goes on to the other side: content and its coding.
    pub(super) goes_on: Vec<u8>,
    /// So many bytes are the body's.
    pub(super) len: usize,
    /// Whether it has ended.
    pub(super) whole: bool,
}

/// Reads a body as the relays do.
///
/// # Errors
/// Where it is malformed.
pub(super) fn carry(mut framing: Framing, bytes: &[u8], sizes: &Sizes) -> Result<Carried, Malformed> {
    let mut carried = Carried::default();
    for end in sizes.ends(bytes.len()) {
        while !framing.is_done() && carried.len < end {
            let piece = &bytes[carried.len..end];
            let (n, part) = framing.next(piece)?;
            assert!((1..=piece.len()).contains(&n), "{n} of {} bytes", piece.len());
            let taken = &piece[..n];
            match part {
                Part::Content => {
                    carried.content.extend_from_slice(taken);
                    carried.goes_on.extend_from_slice(taken);
                }
                Part::Coding => carried.goes_on.extend_from_slice(taken),
                Part::Extension | Part::Trailer => {}
            }
            carried.len += n;
        }
    }
    carried.whole = framing.is_done();
    Ok(carried)
}
