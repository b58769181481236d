//! The body of a request on its way from the DATA frames of an HTTP/2 client to an HTTP/1 backend.

use bytes::Bytes;

use super::{framing::ChunkWriter, replay::Replay};
use crate::body::{Allowance, Spooled, TooLarge};

/// The body of a request, as an HTTP/1 backend gets it.
#[derive(Debug)]
pub(super) struct Frames {
    /// `None` where the body has a length, and goes without chunks.
    chunks: Option<ChunkWriter>,
    /// Whether the client has sent all of it.
    pub(super) ended: bool,
    /// What is sent before `bytes`: the end of one chunk and the size of the next.
    before: Vec<u8>,
    /// How much of `before` and `bytes` was sent.
    sent: usize,
    bytes: Bytes,
    allowed: Allowance,
    replay: Replay,
    /// The body, if it has been received as a whole.
    pub(super) spooled: Option<Box<Spooled>>,
}

impl Frames {
    /// A body that is still to come, unless the request is `bodiless`; `chunked` where it has no length. `keep`: another
    /// attempt may be made after a part of it has been sent. `most`: the largest size of it, in bytes.
    pub(super) fn new(bodiless: bool, chunked: bool, keep: bool, most: Option<u64>) -> Self {
        Self {
            chunks: chunked.then(ChunkWriter::default),
            ended: bodiless,
            before: Vec::new(),
            sent: 0,
            bytes: Bytes::new(),
            allowed: Allowance::of(most),
            replay: Replay::new(keep || bodiless),
            spooled: None,
        }
    }

    /// A body that has been received.
    pub(super) fn of_spooled(spooled: Spooled) -> Self {
        Self { spooled: Some(Box::new(spooled)), ..Self::new(false, false, false, None) }
    }

    /// What is sent next.
    pub(super) fn slices(&self) -> [&[u8]; 2] {
        match self.replay.left() {
            [] => self.unsent(),
            kept => [kept, &[]],
        }
    }

    /// What was never sent.
    fn unsent(&self) -> [&[u8]; 2] {
        let in_before = self.sent.min(self.before.len());
        [&self.before[in_before..], &self.bytes[self.sent - in_before..]]
    }

    /// Whether there are bytes to send.
    pub(super) fn has_bytes(&self) -> bool {
        self.slices().iter().any(|slice| !slice.is_empty())
    }

    /// The number of bytes of it that have been received.
    pub(super) fn received(&self) -> u64 {
        self.spooled.as_ref().map_or_else(|| self.allowed.taken(), |spooled| spooled.len())
    }

    /// Whether the client has sent any of it.
    pub(super) fn has_begun(&self) -> bool {
        self.ended || self.spooled.is_some() || !self.bytes.is_empty()
    }

    /// Takes the content of a DATA frame, once what came before it has been sent.
    ///
    /// # Errors
    /// If the body is too large with it.
    pub(super) fn put(&mut self, bytes: Bytes) -> Result<(), TooLarge> {
        self.allowed.take(bytes.len())?;
        (self.sent, self.bytes) = (0, bytes);
        self.before.clear();
        if let Some(chunks) = &mut self.chunks {
            chunks.begin(self.bytes.len(), &mut self.before);
        }
        Ok(())
    }

    /// Notes that the client has sent all of the body.
    pub(super) fn end(&mut self) {
        (self.ended, self.sent, self.bytes) = (true, 0, Bytes::new());
        self.before.clear();
        if let Some(chunks) = &mut self.chunks {
            chunks.end(&mut self.before);
        }
    }

    /// Notes that `n` bytes of [`Self::slices`] were sent.
    pub(super) fn sent(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        if !self.replay.left().is_empty() {
            self.replay.resent(n);
            return;
        }
        if self.spooled.is_some() {
            self.sent += n;
            return;
        }
        let in_before = self.sent.min(self.before.len());
        self.replay.keep(&[&self.before[in_before..], &self.bytes[self.sent - in_before..]], n);
        self.sent += n;
    }

    /// Whether all that was sent of it can be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.replay.is_whole()
    }

    /// Begins another attempt.
    pub(super) fn rewind(&mut self) {
        self.replay.rewind();
        if let Some(spooled) = &mut self.spooled {
            spooled.rewind();
            (self.ended, self.sent, self.bytes) = (false, 0, Bytes::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_put_in_chunks_and_sent_again_as_it_was() {
        for step in 1..12 {
            let mut frames = Frames::new(false, true, true, None);
            let mut wire = Vec::new();
            let drain = |frames: &mut Frames, wire: &mut Vec<u8>| {
                while frames.has_bytes() {
                    let next: Vec<u8> = frames.slices().concat().into_iter().take(step).collect();
                    frames.sent(next.len());
                    wire.extend(next);
                }
            };
            for bytes in ["abc", "0123456789"] {
                frames.put(Bytes::from_static(bytes.as_bytes())).unwrap();
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
