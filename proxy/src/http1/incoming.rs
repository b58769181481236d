//! What comes from a backend: read into a lent buffer, and handed on from its front.

use std::task::{Context, Poll};

use super::{
    attempts::Broken,
    backend::Connection,
    buffer::{Buffer, Size},
};
use crate::http::retry::Fate;

/// Bytes of an answer's head.
const MAX_HEAD: usize = 128 << 10;
/// So many informational answers may come before the final one.
const MAX_INTERIM: u32 = 32;

/// Bytes from a backend: so many at the front go to the client next, so many behind them nowhere.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    buffer: Buffer,
    size: Size,
    pub(super) ready: usize,
    pub(super) skip: usize,
    /// Whether anything has come.
    begun: bool,
    interim: u32,
}

/// What a look at the bytes came to.
pub(super) const MALFORMED: Broken = Broken::Invalid("the backend's answer is malformed");

impl Incoming {
    /// All that has come and was not used.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// What goes to the client next.
    pub(super) fn next(&self) -> &[u8] {
        &self.buffer.bytes()[..self.ready]
    }

    /// So much of it went.
    pub(super) fn passed(&mut self, n: usize) {
        self.buffer.used(n);
        self.ready -= n;
    }

    /// Drops what goes nowhere; nothing is ready before it any more.
    pub(super) fn drop_skipped(&mut self) {
        self.buffer.used(std::mem::take(&mut self.skip));
    }

    /// A head of so many bytes was read.
    pub(super) fn used(&mut self, n: usize) {
        self.buffer.used(n);
    }

    /// Reads more; `false` where the backend has ended the connection cleanly. `head_sent`: it has got the whole head of
    /// the request.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        backend: &mut Connection,
        head_sent: bool,
    ) -> Poll<Result<bool, Broken>> {
        if self.buffer.is_lent() {
            self.buffer.make_room();
        } else {
            self.buffer = Buffer::take(self.size);
        }
        let room = self.buffer.room();
        let len = room.len();
        match backend.poll_read(cx, room) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(n)) => {
                self.buffer.filled(n);
                self.begun = true;
                if n == len {
                    self.size = self.size.next();
                }
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(self.broken(head_sent))),
            Poll::Pending => {
                self.buffer.give_back();
                Poll::Pending
            }
        }
    }

    /// What is known of a request whose backend's connection has ended.
    pub(super) fn broken(&self, head_sent: bool) -> Broken {
        Broken::Backend(match (self.begun, head_sent) {
            (false, false) => Fate::NotProcessed,
            (false, true) => Fate::NotAnswered,
            (true, _) => Fate::Unknown,
        })
    }

    /// Whether more of a head may come.
    ///
    /// # Errors
    /// Where it is too large.
    pub(super) fn head_goes_on(&self) -> Result<(), Broken> {
        match self.bytes().len() > MAX_HEAD {
            true => Err(Broken::Invalid("the backend's answer has too large a head")),
            false => Ok(()),
        }
    }

    /// Looks at an answer's status: whether it is an informational one.
    ///
    /// # Errors
    /// Where it is one too many, or of a switch that nobody asked for.
    pub(super) fn is_interim(&mut self, status: u16) -> Result<bool, Broken> {
        match status {
            101 => Err(Broken::Invalid("the backend switched protocols unasked")),
            100..200 if self.interim == MAX_INTERIM => {
                Err(Broken::Invalid("the backend sends informational answers without end"))
            }
            100..200 => {
                self.interim += 1;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
