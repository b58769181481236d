//! The body of a request that comes in frames of HTTP/2, on its way to an HTTP/1 backend, and what is kept of it for another
//! attempt.

use bytes::Bytes;

use super::fields::put;

/// So much of a body is kept for another attempt.
const KEPT: usize = 64 << 10;

/// The body of the request, as an HTTP/1 backend gets it.
#[derive(Debug)]
pub(super) struct Frames {
    chunked: bool,
    /// Whether the client has sent all of it.
    pub(super) ended: bool,
    /// What comes before the bytes: the end of one chunk and the size of the next.
    before: Vec<u8>,
    /// So much of `before` and `bytes` was sent.
    sent: usize,
    bytes: Bytes,
    /// Whether a chunk was begun.
    in_chunks: bool,
    /// What was sent, for another attempt; `None` where it was too much, or none is made.
    kept: Option<Vec<u8>>,
    resent: usize,
    /// Whether anything was sent that was not kept.
    lost: bool,
}

impl Frames {
    /// A body, or none; `chunked` where it has no length. `keep`: another attempt may be made.
    pub(super) fn new(bodiless: bool, chunked: bool, keep: bool) -> Self {
        Self {
            chunked,
            ended: bodiless,
            before: Vec::new(),
            sent: 0,
            bytes: Bytes::new(),
            in_chunks: false,
            kept: (keep || bodiless).then(Vec::new),
            resent: 0,
            lost: false,
        }
    }

    /// What is to be sent next.
    pub(super) fn slices(&self) -> [&[u8]; 2] {
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.len() > self.resent) {
            return [&kept[self.resent..], &[]];
        }
        let in_before = self.sent.min(self.before.len());
        [&self.before[in_before..], &self.bytes[self.sent - in_before..]]
    }

    /// Whether anything is to be sent.
    pub(super) fn has_bytes(&self) -> bool {
        self.slices().iter().any(|slice| !slice.is_empty())
    }

    /// More of the body has come.
    pub(super) fn put(&mut self, bytes: Bytes) {
        (self.sent, self.bytes) = (0, bytes);
        self.before.clear();
        if self.chunked {
            let before: &[u8] = if self.in_chunks { b"\r\n" } else { b"" };
            put(&mut self.before, &[before, format!("{:x}\r\n", self.bytes.len()).as_bytes()]);
            self.in_chunks = true;
        }
    }

    /// All of it has come.
    pub(super) fn end(&mut self) {
        (self.ended, self.sent, self.bytes) = (true, 0, Bytes::new());
        self.before.clear();
        if self.chunked {
            let last: &[u8] = if self.in_chunks { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" };
            self.before.extend_from_slice(last);
        }
    }

    /// So much was sent.
    pub(super) fn sent(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        if self.kept.as_ref().is_some_and(|kept| kept.len() > self.resent) {
            self.resent += n;
            return;
        }
        match &mut self.kept {
            Some(kept) if kept.len() + n <= KEPT => {
                let in_before = self.sent.min(self.before.len());
                let both = self.before[in_before..].iter().chain(&self.bytes[self.sent - in_before..]);
                kept.extend(both.take(n));
                self.resent = kept.len();
            }
            kept => {
                *kept = None;
                self.lost = true;
            }
        }
        self.sent += n;
    }

    /// Whether all of it can be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.lost
    }

    /// Begins anew, for another attempt.
    pub(super) fn rewind(&mut self) {
        self.resent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_put_in_chunks_and_sent_again_as_it_was() {
        for step in 1..12 {
            let mut frames = Frames::new(false, true, true);
            let mut wire = Vec::new();
            let drain = |frames: &mut Frames, wire: &mut Vec<u8>| {
                while frames.has_bytes() {
                    let next: Vec<u8> = frames.slices().concat().into_iter().take(step).collect();
                    frames.sent(next.len());
                    wire.extend(next);
                }
            };
            for bytes in ["abc", "0123456789"] {
                frames.put(Bytes::from_static(bytes.as_bytes()));
                drain(&mut frames, &mut wire);
            }
            frames.end();
            drain(&mut frames, &mut wire);
            assert_eq!(wire, b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n", "{step}");
            frames.rewind();
            wire.clear();
            drain(&mut frames, &mut wire);
            assert_eq!(wire, b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n", "{step}");
            assert!(frames.is_repeatable() && frames.ended);
        }
    }
}
