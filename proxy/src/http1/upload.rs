//! The body of a request on its way from an HTTP/1 client to a backend, and what is kept of it for another attempt.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{
    client::Client,
    framing::{Framing, Part},
};
use crate::http::mirror::Copies;

/// So much of a body is kept for another attempt.
const KEPT: usize = 64 << 10;

/// The body of a request.
#[derive(Debug)]
pub(super) struct Upload {
    framing: Framing,
    /// So many bytes at the front of the client's input are the next to be sent; so many behind them go nowhere.
    ready: usize,
    skip: usize,
    /// What was sent, for another attempt; `None` where it was too much, or none is made.
    kept: Option<Vec<u8>>,
    /// How much of it this attempt has sent.
    resent: usize,
    /// Whether anything was sent that was not kept.
    lost: bool,
    /// Whether the end of it has been passed on to mirrors.
    mirrored: bool,
    begun: bool,
}

/// What went wrong on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientError {
    /// It is gone.
    Gone,
    /// Its body is malformed.
    Malformed,
}

impl Upload {
    /// A body that ends so. `keep`: another attempt may be made after it has been sent in part.
    pub(super) fn new(framing: Framing, keep: bool) -> Self {
        let kept = (keep || framing.is_done()).then(Vec::new);
        Self { framing, ready: 0, skip: 0, kept, resent: 0, lost: false, mirrored: false, begun: false }
    }

    /// Whether there is no body at all, or all of it has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.framing.is_done() && self.ready == 0 && self.skip == 0 && self.left_to_resend().is_empty()
    }

    /// Whether the client has sent any of it.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether all of it can be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.lost
    }

    /// Begins anew, for another attempt.
    pub(super) fn rewind(&mut self) {
        self.resent = 0;
    }

    fn left_to_resend(&self) -> &[u8] {
        self.kept.as_ref().map_or(&[], |kept| &kept[self.resent..])
    }

    /// Waits until there is something to be sent (`true`), or it has all been sent.
    pub(super) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        copies: &mut Option<Box<Copies>>,
    ) -> Poll<Result<bool, ClientError>> {
        loop {
            if self.ready > 0 || !self.left_to_resend().is_empty() {
                return Poll::Ready(Ok(true));
            }
            client.input.used(std::mem::take(&mut self.skip));
            if self.framing.is_done() {
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
            // All that came has been sent: the buffer is taken anew, and of the size that fits.
            client.input.give_back();
            match ready!(client.poll_read(cx)) {
                Ok(n) if n > 0 => {}
                Ok(_) | Err(_) => return Poll::Ready(Err(ClientError::Gone)),
            }
        }
    }

    /// Finds out what the bytes are that came.
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
                    if let Some(copies) = copies {
                        copies.body(Some(&Bytes::copy_from_slice(&rest[..n])), false);
                    }
                    self.ready += n;
                }
                Part::Coding => self.ready += n,
                // Nobody has said that it wants the trailers (RFC 9110, 6.5.1).
                Part::Extension | Part::Trailer => self.skip = n,
            }
        }
        Ok(())
    }

    /// What is to be sent next.
    pub(super) fn bytes<'b>(&'b self, client: &'b Client) -> &'b [u8] {
        match self.left_to_resend() {
            [] => &client.input.bytes()[..self.ready],
            kept => kept,
        }
    }

    /// So many of those bytes were sent.
    pub(super) fn sent(&mut self, n: usize, client: &mut Client) {
        if n == 0 {
            return;
        }
        if !self.left_to_resend().is_empty() {
            self.resent += n;
            return;
        }
        match &mut self.kept {
            Some(kept) if kept.len() + n <= KEPT => {
                kept.extend_from_slice(&client.input.bytes()[..n]);
                self.resent = kept.len();
            }
            kept => {
                *kept = None;
                self.lost = true;
            }
        }
        client.input.used(n);
        self.ready -= n;
    }
}

impl From<ClientError> for io::ErrorKind {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Gone => Self::ConnectionAborted,
            ClientError::Malformed => Self::InvalidData,
        }
    }
}
