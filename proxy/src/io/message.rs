//! The body of one request on a connection that may carry more requests, and the bytes that followed it.

use std::io;

use tokio::io::ReadBuf;

use crate::http1::{Framing, Part};

/// The body of the request that is being carried, and the bytes of the connection that followed it.
#[derive(Debug)]
pub(crate) struct Message {
    body: Framing,
    beyond: Vec<u8>,
}

/// Bytes that are read beyond the body, so that a client that closes its connection is noticed.
pub(super) const MAX_BEYOND: usize = 16 << 10;

impl Message {
    /// A body of which `body` is still to come; `beyond` has been read already and follows it.
    pub(crate) fn new(body: Framing, beyond: Vec<u8>) -> Self {
        Self { body, beyond }
    }

    /// Whether the body has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.body.is_done()
    }

    /// The bytes read so far that follow the body.
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

    /// Moves bytes that followed the body to `to`: they belong to the tunnel that the connection has become.
    pub(super) fn take_beyond(&mut self, to: &mut ReadBuf<'_>) {
        let n = to.remaining().min(self.beyond.len());
        to.put_slice(&self.beyond[..n]);
        self.beyond.drain(..n);
    }

    /// Takes bytes that were read. Those of the body are moved to the front, without chunk extensions and trailers;
    /// returns how many they are.
    ///
    /// # Errors
    /// If the body is malformed.
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
            let mut buf = ReadBuf::new(&mut room);
            message.take_beyond(&mut buf);
            assert_eq!((buf.filled(), message.beyond()), (&b"GET "[..], &b"/next"[..]));
        }
    }
}
