//! One attempt: the request to the backend and its answer to the client, both directions at a time.

mod receive;

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use tokio::time::Sleep;

use self::receive::Answering;
use super::Side;
use crate::{
    http::context::Context,
    http1::{
        attempts::{Broken, Done, Sending},
        backend::Connection,
        buffer::Out,
        incoming::Incoming,
    },
    limits::Waits,
    stall::CoarseStall,
};

/// One attempt.
pub(super) struct Relay<'r> {
    side: &'r mut Side,
    context: &'r mut Context,
    backend: &'r mut Connection,
    head: &'r mut Out,
    deadline: Option<Pin<Box<Sleep>>>,
    incoming: Incoming,
    answer: Option<Answering>,
    sending: Sending,
    waits_for_client: bool,
    stall: CoarseStall,
    /// Whether bytes have moved that `stall` does not know of.
    has_moved: bool,
    content: usize,
}

impl<'r> Relay<'r> {
    pub(super) fn new(
        side: &'r mut Side,
        context: &'r mut Context,
        backend: &'r mut Connection,
        head: &'r mut Out,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        let stall = CoarseStall::begin(side.silence.backend_reads, &side.watch);
        Self {
            side,
            context,
            backend,
            head,
            deadline,
            incoming: Incoming::default(),
            answer: None,
            sending: Sending::On,
            waits_for_client: false,
            stall,
            has_moved: false,
            content: 0,
        }
    }

    /// Whether the client has got an answer, in part or whole, and how many bytes of its content.
    pub(super) fn passed_on(&self) -> (bool, usize) {
        (self.answer.is_some(), self.content)
    }

    pub(super) fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
        self.poll_send(cx)?;
        if self.poll_receive(cx)?.is_ready() {
            let persists = self.answer.as_ref().is_some_and(|answer| answer.persists);
            if self.sending != Sending::On || !persists || self.comes_no_body() {
                return Poll::Ready(Ok(self.done()));
            }
        }
        self.poll_limits(cx)
    }

    /// Whether the client waited for a 100 to send its body, and has got the final answer instead.
    fn comes_no_body(&self) -> bool {
        self.side.expects && !self.side.upload.has_begun()
    }

    fn done(&mut self) -> Done {
        let whole = self.sending == Sending::Done;
        let Some(answer) = &self.answer else { return Done { reuse: None, keep_alive: true } };
        let clean = whole && answer.persists && self.incoming.is_empty();
        Done { reuse: clean.then_some(answer.keep_alive), keep_alive: true }
    }

    fn poll_limits(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(Broken::Late));
        }
        let ended = self.answer.as_ref().is_some_and(|answer| answer.ended);
        if !ended && self.side.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Broken::ClientGone));
        }
        if std::mem::take(&mut self.has_moved) {
            self.stall.moved(&self.side.watch);
        }
        self.stall.set_limit(self.side.silence.of_waiting(self.waits()), &self.side.watch);
        while let Poll::Ready(stalled) = self.stall.poll_look(cx, &self.side.watch) {
            if stalled {
                let client = self.waits_for_client && self.sending == Sending::On;
                return Poll::Ready(Err(Broken::Stalled { client }));
            }
        }
        Poll::Pending
    }

    /// What the attempt waits for.
    fn waits(&self) -> Waits {
        match self.sending {
            Sending::On if self.waits_for_client => Waits::Body,
            Sending::On => Waits::BackendReads,
            _ if self.ready() > 0 => Waits::Client,
            _ => Waits::BackendWrites,
        }
    }

    fn moved(&mut self) {
        self.has_moved = true;
    }

    /// Sends the request: its head together with the body's first bytes, then the rest of the body.
    fn poll_send(&mut self, cx: &mut Task<'_>) -> Result<(), Broken> {
        while self.sending == Sending::On {
            if !self.side.upload.has_bytes() && !self.side.upload.ended {
                let read = self.poll_body(cx)?;
                self.waits_for_client = read.is_pending();
                match read {
                    // An empty chunk would end the body.
                    Poll::Ready(Some(bytes)) if bytes.is_empty() => continue,
                    Poll::Ready(Some(bytes)) => self.side.upload.put(bytes)?,
                    Poll::Ready(None) => {
                        if let Some(copies) = &mut self.context.mirrors {
                            copies.body(None, true);
                        }
                        self.side.upload.end();
                    }
                    Poll::Pending => {}
                }
            }
            let [before, bytes] = self.side.upload.slices();
            let slices = [self.head.left(), before, bytes].map(IoSlice::new);
            if slices.iter().all(|slice| slice.is_empty()) {
                if self.backend.poll_flush(cx).is_pending() || !self.side.upload.ended {
                    return Ok(());
                }
                self.sending = Sending::Done;
                return Ok(());
            }
            match self.backend.poll_write(cx, &slices) {
                Poll::Ready(Ok(n)) => {
                    let beyond = self.head.sent(n);
                    self.side.upload.sent(beyond);
                    self.moved();
                }
                // The backend may have answered before it stopped reading.
                Poll::Ready(Err(_)) => self.sending = Sending::Broken,
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// The next part of the body, or `None` at its end.
    fn poll_body(&mut self, cx: &mut Task<'_>) -> Result<Poll<Option<Bytes>>, Broken> {
        let copies = &mut self.context.mirrors;
        let Some(spooled) = &mut self.side.upload.spooled else {
            return match self.side.stream.poll_body(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    if let Some(copies) = copies {
                        copies.body(Some(&bytes), false);
                    }
                    Ok(Poll::Ready(Some(bytes)))
                }
                Poll::Ready(Some(Err(_))) => Err(Broken::ClientGone),
                Poll::Ready(None) => Ok(Poll::Ready(None)),
                Poll::Pending => Ok(Poll::Pending),
            };
        };
        match spooled.poll_piece(cx) {
            Poll::Ready(Ok(true)) => {
                if let Some((copies, piece)) = copies.as_mut().zip(spooled.for_mirrors()) {
                    copies.body(Some(&piece), false);
                }
                Ok(Poll::Ready(Some(spooled.take_piece())))
            }
            Poll::Ready(Ok(false)) => Ok(Poll::Ready(None)),
            Poll::Ready(Err(_)) => Err(Broken::NoRoom),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}
