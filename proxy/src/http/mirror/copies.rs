//! What the mirrors of one request have still to send of its body: bounded in chunks for each mirror, in bytes for a
//! namespace and for the process ([`super::Budget`]). A mirror that is further behind is given up: its task ends, and what
//! it held is free at once.

use bytes::Bytes;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::AbortHandle,
};

use super::budget::{Account, Lease, Lost};

/// Chunks (of 64 KiB at most) that a mirror may be behind.
pub(super) const CHUNKS: usize = 16;
/// A chunk below this, as frames of HTTP/2 are, is copied: it may be a part of a larger buffer, which it would keep.
const MIN_SHARED: usize = 16 << 10;

/// A part of the body.
#[derive(Debug)]
pub(super) enum Part {
    /// Bytes, and what they take of the budget.
    Chunk(Bytes, Lease),
    End,
}

/// The mirrors of one request, and how far they are.
#[derive(Debug)]
pub(crate) struct Copies {
    copies: Vec<Copy>,
    /// Bytes of the body that were copied, and that this attempt has seen; another attempt sees the first again.
    copied: usize,
    seen: usize,
}

/// One mirror.
#[derive(Debug)]
pub(super) struct Copy {
    parts: mpsc::Sender<Part>,
    task: AbortHandle,
    account: Account,
    /// Whether all of the body was passed on.
    whole: bool,
}

impl Copies {
    /// The copies that were begun.
    pub(super) fn new(copies: Vec<Copy>) -> Self {
        Self { copies, copied: 0, seen: 0 }
    }

    /// A new attempt begins; it reads the body from its first byte again.
    pub(crate) fn rewind(&mut self) {
        self.seen = 0;
    }

    /// Passes on what was read of the body.
    pub(crate) fn body(&mut self, chunk: Option<&Bytes>, end: bool) {
        if let Some(chunk) = chunk {
            let begin = self.seen;
            self.seen += chunk.len();
            if self.seen > self.copied {
                let chunk = chunk.slice(self.copied - begin..);
                let chunk = if chunk.len() < MIN_SHARED { Bytes::copy_from_slice(&chunk) } else { chunk };
                self.copies.retain_mut(|copy| copy.take(chunk.clone()));
                self.copied = self.seen;
            }
        }
        if end {
            self.copies.drain(..).for_each(Copy::end);
        }
    }
}

impl Copy {
    pub(super) fn new(parts: mpsc::Sender<Part>, task: AbortHandle, account: Account) -> Self {
        Self { parts, task, account, whole: false }
    }

    /// There is no more of the body.
    pub(super) fn end(mut self) {
        self.whole = self.pass_on(Part::End);
    }

    /// False: the mirror is given up.
    fn take(&mut self, chunk: Bytes) -> bool {
        let Some(lease) = self.account.lease(chunk.len()) else {
            self.account.count(Lost::Memory);
            return false;
        };
        self.pass_on(Part::Chunk(chunk, lease))
    }

    fn pass_on(&self, part: Part) -> bool {
        let passed = self.parts.try_send(part);
        // Where it is closed the mirror's task has ended, and counted that.
        if let Err(TrySendError::Full(_)) = passed {
            self.account.count(Lost::Behind);
        }
        passed.is_ok()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.whole {
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::mirror::budget::Budget;

    fn copies(budget: &Arc<Budget>) -> (Copies, mpsc::Receiver<Part>, AbortHandle) {
        let (sender, parts) = mpsc::channel(CHUNKS);
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let copy = Copy::new(sender, task.clone(), budget.account("shop"));
        (Copies::new(vec![copy]), parts, task)
    }

    #[tokio::test]
    async fn a_body_is_copied_once_whatever_attempts_read_of_it() {
        let budget = Budget::new(1 << 20);
        let (mut copies, mut parts, _) = copies(&budget);
        copies.body(Some(&Bytes::from_static(b"abc")), false);
        copies.rewind();
        copies.body(Some(&Bytes::from_static(b"ab")), false);
        copies.body(Some(&Bytes::from_static(b"cde")), false);
        copies.body(None, true);
        let mut got = Vec::new();
        while let Ok(part) = parts.try_recv() {
            match part {
                Part::Chunk(chunk, _) => got.extend_from_slice(&chunk),
                Part::End => got.push(b'.'),
            }
        }
        assert_eq!(got, b"abcde.");
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn a_mirror_that_is_too_far_behind_is_given_up_and_its_task_ends() {
        let budget = Budget::new(1 << 20);
        let (mut copies, parts, task) = copies(&budget);
        for _ in 0..=CHUNKS {
            copies.body(Some(&Bytes::from_static(b"x")), false);
        }
        assert!(copies.copies.is_empty());
        assert_eq!((budget.held(), budget.lost(Lost::Behind)), (CHUNKS, 1));
        tokio::task::yield_now().await;
        assert!(task.is_finished());
        drop(parts);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn mirrors_to_one_namespace_hold_no_more_than_their_part() {
        let budget = Budget::new(64 << 10);
        let chunk = Bytes::from(vec![b'x'; 8 << 10]);
        // A quarter of the whole.
        let (mut copies, parts, _) = copies(&budget);
        for _ in 0..3 {
            copies.body(Some(&chunk), false);
        }
        assert_eq!((budget.held(), budget.lost(Lost::Memory)), (16 << 10, 1));
        assert!(budget.account("media").lease(16 << 10).is_some());
        drop(parts);
        assert_eq!(budget.held(), 0);
    }
}
