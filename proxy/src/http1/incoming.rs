//! Bytes from a backend: read into a lent buffer, and passed on from its front.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{
    attempts::Broken,
    backend::Connection,
    buffer::{Buffer, Size},
};
use crate::http::retry::Fate;

/// The most bytes of an answer's head.
const MAX_HEAD: usize = 128 << 10;
/// The most informational answers before the final one.
const MAX_INTERIM: u32 = 32;

/// Bytes that were read from a backend.
#[derive(Debug)]
pub(super) struct Incoming {
    buffer: Buffer,
    size: Size,
    /// Bytes at the front that go to the client next.
    pub(super) ready: usize,
    /// Bytes after those that are dropped.
    pub(super) skip: usize,
    /// Whether anything has come.
    begun: bool,
    /// Whether the socket's readiness has been checked once.
    has_looked: bool,
    interim: u32,
}

/// How an attempt ends whose answer has a malformed body.
pub(super) const MALFORMED: Broken = Broken::Invalid("the backend's response is malformed");

impl Default for Incoming {
    fn default() -> Self {
        // Much larger than most heads, so that one system call reads the head and the first part of the body. The buffer is kept
        // only while the client has not taken what is in it.
        Self {
            buffer: Buffer::default(),
            size: Size::Large,
            ready: 0,
            skip: 0,
            begun: false,
            has_looked: false,
            interim: 0,
        }
    }
}

impl Incoming {
    /// For an answer whose body probably does not come to user space: what is read is little more than its head.
    pub(super) fn of_head() -> Self {
        Self { size: Size::Small, ..Self::default() }
    }

    /// The bytes that were read and not used yet.
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

    /// Notes that `n` bytes of it were passed on.
    pub(super) fn passed(&mut self, n: usize) {
        self.buffer.used(n);
        self.ready -= n;
    }

    /// Takes out the first `n` bytes, which are ready to be passed on.
    pub(super) fn take_front(&mut self, n: usize) -> Bytes {
        self.ready -= n;
        self.buffer.take_front(n)
    }

    /// Drops the bytes to skip, once nothing is ready before them.
    pub(super) fn drop_skipped(&mut self) {
        self.buffer.used(std::mem::take(&mut self.skip));
    }

    /// Removes the `n` bytes of a head that was read.
    pub(super) fn used(&mut self, n: usize) {
        self.buffer.used(n);
    }

    /// Notes the length of the body that begins here; a part of it may have been read already.
    pub(super) fn expect(&mut self, body: u64) {
        let left = usize::try_from(body).unwrap_or(usize::MAX).saturating_sub(self.bytes().len());
        self.size = Size::of(left);
    }

    /// Reads more; `false` where the backend has closed the connection cleanly. `head_sent`: whether the whole head of the
    /// request was sent to it.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        backend: &mut Connection,
        head_sent: bool,
    ) -> Poll<Result<bool, Broken>> {
        // Just after the request was sent there is usually nothing to read, so no buffer is taken for it.
        if !std::mem::replace(&mut self.has_looked, true) && backend.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        // If everything read so far was passed on, the next read takes a buffer of the current size.
        self.buffer.give_back();
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

    /// What a closed connection means for the request.
    pub(super) fn broken(&self, head_sent: bool) -> Broken {
        Broken::Backend(match (self.begun, head_sent) {
            (false, false) => Fate::NotProcessed,
            (false, true) => Fate::NotAnswered,
            (true, _) => Fate::Unknown,
        })
    }

    /// Checks that a head that is not whole yet may go on.
    ///
    /// # Errors
    /// If it is too large already.
    pub(super) fn head_goes_on(&self) -> Result<(), Broken> {
        match self.bytes().len() > MAX_HEAD {
            true => Err(Broken::Invalid("the backend's response has too large a head")),
            false => Ok(()),
        }
    }

    /// Counts an informational answer.
    ///
    /// # Errors
    /// If it is one too many, or switches protocols though nobody asked for that.
    pub(super) fn count_interim(&mut self, status: u16) -> Result<(), Broken> {
        self.interim += 1;
        match status {
            101 => Err(Broken::Invalid("the backend switched protocols without being asked to")),
            _ if self.interim > MAX_INTERIM => {
                Err(Broken::Invalid("the backend sends too many informational responses"))
            }
            _ => Ok(()),
        }
    }
}
