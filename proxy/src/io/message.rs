//! One request out of a connection that has more: its body, and what came behind it, which is nobody's here.

use std::io;

use crate::http1::{Framing, Part};

/// The body of the request that is being carried, and what came behind it.
#[derive(Debug)]
pub(crate) struct Message {
    body: Framing,
    beyond: Vec<u8>,
}

/// So much is read ahead, to notice a client that goes.
pub(super) const MAX_BEYOND: usize = 16 << 10;

impl Message {
    /// A body of which so much is still to come.
    pub(crate) fn new(body: Framing, beyond: Vec<u8>) -> Self {
        Self { body, beyond }
    }

    /// Whether the body has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.body.is_done()
    }

    /// What came behind it.
    pub(crate) fn beyond(&self) -> &[u8] {
        &self.beyond
    }

    /// Whether more may be read ahead.
    pub(super) fn has_room(&self) -> bool {
        self.beyond.len() < MAX_BEYOND
    }

    /// Keeps what was read ahead.
    pub(super) fn put_beyond(&mut self, bytes: &[u8]) {
        self.beyond.extend_from_slice(bytes);
    }

    /// Hands out what came behind the body, where it belongs to a tunnel; how many bytes.
    pub(super) fn take_beyond(&mut self, to: &mut [u8]) -> usize {
        let n = to.len().min(self.beyond.len());
        to[..n].copy_from_slice(&self.beyond[..n]);
        self.beyond.drain(..n);
        n
    }

    /// Takes bytes that came: those of the body are moved to the front, in plain form; how many those are.
    ///
    /// # Errors
    /// Where they are none of a body.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && !self.body.is_done() {
            let (n, part) = self.body.next(&bytes[at..]).map_err(|_| io::ErrorKind::InvalidData)?;
            if matches!(part, Part::Content | Part::Coding) {
                bytes.copy_within(at..at + n, kept);
                kept += n;
            }
            at += n;
        }
        self.beyond.extend_from_slice(&bytes[at..]);
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_taken_and_what_follows_is_left() {
        let wire = b"3;x\r\nabc\r\n0\r\nX: 1\r\n\r\nGET /next";
        for step in 1..wire.len() {
            let (mut message, mut got) =
                (Message::new(Framing::Chunked(Default::default()), Vec::new()), Vec::new());
            for chunk in wire.chunks(step) {
                let mut bytes = chunk.to_vec();
                let kept = message.take(&mut bytes).unwrap();
                got.extend_from_slice(&bytes[..kept]);
            }
            assert_eq!(
                (&*got, message.beyond()),
                (&b"3\r\nabc\r\n0\r\n\r\n"[..], &b"GET /next"[..]),
                "{step}"
            );
            assert!(message.is_over());
            let mut room = [0; 4];
            assert_eq!((message.take_beyond(&mut room), &room), (4, b"GET "));
        }
    }
}
