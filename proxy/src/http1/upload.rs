//! The body of a request on its way from an HTTP/1 client to a backend.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{
    client::Client,
    framing::{Framing, Part},
    replay::Replay,
};
use crate::{
    body::{Allowance, Spooled},
    http::mirror::Copies,
};

/// The body of a request. Its bytes stay in the client's input buffer until they are sent.
#[derive(Debug)]
pub(super) struct Upload {
    framing: Framing,
    /// Bytes at the front of the client's input that are sent next.
    ready: usize,
    /// Bytes after those that are dropped.
    skip: usize,
    replay: Replay,
    allowed: Allowance,
    /// The body, if it has been received as a whole.
    spooled: Option<Box<Spooled>>,
    /// Whether mirrors have been told that the body has ended.
    mirrored: bool,
    begun: bool,
}

/// What went wrong on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientError {
    /// It has closed its connection.
    Gone,
    /// Its body is malformed.
    Malformed,
    /// Its body is larger than the route permits.
    TooLarge,
    /// Its body was spooled and cannot be read again.
    Lost,
}

impl Upload {
    /// A body with this framing. `keep`: another attempt may be made after a part of it has been sent. `most`: the largest
    /// size of it, in bytes.
    pub(super) fn new(framing: Framing, keep: bool, most: Option<u64>) -> Self {
        let replay = Replay::new(keep || framing.is_done());
        let allowed = Allowance::of(most);
        Self { framing, ready: 0, skip: 0, replay, allowed, spooled: None, mirrored: false, begun: false }
    }

    /// A body that has been received.
    pub(super) fn of_spooled(spooled: Spooled) -> Self {
        Self { spooled: Some(Box::new(spooled)), begun: true, ..Self::new(Framing::Done, true, None) }
    }

    /// Whether nothing of a body is left to be sent.
    pub(super) fn is_done(&self) -> bool {
        self.is_received()
            && self.replay.left().is_empty()
            && self.spooled.as_ref().is_none_or(|spooled| spooled.has_ended())
    }

    /// Whether nothing of it is left on the client's connection.
    pub(super) fn is_received(&self) -> bool {
        self.framing.is_done() && self.ready == 0 && self.skip == 0
    }

    /// The number of bytes of it that have been received.
    pub(super) fn received(&self) -> u64 {
        self.spooled.as_ref().map_or_else(|| self.allowed.taken(), |spooled| spooled.len())
    }

    /// Whether the client has sent any of it.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
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
        }
    }

    /// Ready with `true` when [`Self::bytes`] has bytes to send, and with `false` when all of the body has been sent.
    ///
    /// # Errors
    /// If the client is gone, or its body is malformed or too large.
    pub(super) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        copies: &mut Option<Box<Copies>>,
    ) -> Poll<Result<bool, ClientError>> {
        loop {
            if self.ready > 0 || !self.replay.left().is_empty() {
                return Poll::Ready(Ok(true));
            }
            client.input.used(std::mem::take(&mut self.skip));
            if self.framing.is_done() {
                if let Some(spooled) = &mut self.spooled
                    && ready!(spooled.poll_piece(cx)).map_err(|_| ClientError::Lost)?
                {
                    if let Some((copies, piece)) = copies.as_mut().zip(spooled.for_mirrors()) {
                        copies.body(Some(&piece), false);
                    }
                    return Poll::Ready(Ok(true));
                }
                if let Some(copies) = copies.as_mut().filter(|_| !std::mem::replace(&mut self.mirrored, true))
                {
                    copies.body(None, true);
                }
                return Poll::Ready(Ok(false));
            }
            self.advance(client, copies)?;
            if self.ready > 0 || self.skip > 0 || self.framing.is_done() {
                continue;
            }
            // All that was read has been sent: the next read takes a buffer of the size that fits by now.
            client.input.give_back();
            match ready!(client.poll_read(cx)) {
                Ok(n) if n > 0 => {}
                Ok(_) | Err(_) => return Poll::Ready(Err(ClientError::Gone)),
            }
        }
    }

    /// Sorts the bytes that were read into those to send and those to drop.
    fn advance(&mut self, client: &mut Client, copies: &mut Option<Box<Copies>>) -> Result<(), ClientError> {
        let bytes = client.input.bytes();
        while !self.framing.is_done() && self.skip == 0 {
            let rest = &bytes[self.ready..];
            let (n, part) = self.framing.next(rest).map_err(|_| ClientError::Malformed)?;
            match part {
                _ if n == 0 => break,
                _ => self.begun = true,
            }
            match part {
                Part::Content => {
                    self.allowed.take(n).map_err(|_| ClientError::TooLarge)?;
                    if let Some(copies) = copies {
                        copies.body(Some(&Bytes::copy_from_slice(&rest[..n])), false);
                    }
                    self.ready += n;
                }
                Part::Coding => self.ready += n,
                // The backend has not said that it accepts trailers (RFC 9110, 6.5.1).
                Part::Extension | Part::Trailer => self.skip = n,
            }
        }
        Ok(())
    }

    /// What is sent next.
    pub(super) fn bytes<'b>(&'b self, client: &'b Client) -> &'b [u8] {
        match (self.replay.left(), &self.spooled) {
            ([], Some(spooled)) => spooled.piece(),
            ([], None) => &client.input.bytes()[..self.ready],
            (kept, _) => kept,
        }
    }

    /// Notes that `n` of those bytes were sent.
    pub(super) fn sent(&mut self, n: usize, client: &mut Client) {
        if n == 0 {
            return;
        }
        if !self.replay.left().is_empty() {
            self.replay.resent(n);
            return;
        }
        if let Some(spooled) = &mut self.spooled {
            return spooled.sent(n);
        }
        self.replay.keep(&[client.input.bytes()], n);
        client.input.used(n);
        self.ready -= n;
    }
}
