//! One attempt: the request to the backend and its answer to the client, both directions at a time.

mod receive;
mod splice;

use std::{
    future::poll_fn,
    io::IoSlice,
    pin::Pin,
    task::{Context as Task, Poll},
};

use tokio::time::Sleep;

use self::receive::Answering;
use super::{
    attempts::{Broken, Done, Sending},
    backend::Connection,
    buffer::Out,
    client::Client,
    incoming::Incoming,
    plan::{About, Origin},
    upload::{ClientError, Upload},
};
use crate::{
    http::context::Context,
    limits::{Silence, Waits},
    stall::CoarseStall,
};

/// A request and its client.
pub(super) struct Request<'r> {
    pub(super) client: &'r mut Client,
    /// Its body.
    pub(super) upload: &'r mut Upload,
    /// The head that the backend gets.
    pub(super) head: &'r mut Out,
    pub(super) asked: &'r About,
    pub(super) origin: &'r Origin,
}

/// Limits of time for an attempt.
pub(super) struct Time {
    /// How long no byte may move in either direction.
    pub(super) silence: Silence,
    /// When the attempt is given up.
    pub(super) deadline: Option<Pin<Box<Sleep>>>,
}

/// One attempt.
pub(super) struct Relay<'r> {
    client: &'r mut Client,
    upload: &'r mut Upload,
    head: &'r mut Out,
    asked: &'r About,
    origin: &'r Origin,
    context: &'r mut Context,
    backend: &'r mut Connection,
    /// Bytes of ours for the client, written before the next bytes from the backend.
    out: Out,
    incoming: Incoming,
    /// The body of the answer, once its head has come.
    answer: Option<Answering>,
    sending: Sending,
    /// Whether it is checked that the client is still there.
    watching: bool,
    /// Whether the request waits for the client to send more of its body.
    waits_for_client: bool,
    stall: CoarseStall,
    /// Whether bytes have moved that `stall` does not know of.
    has_moved: bool,
    silence: Silence,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes of the body that the client was sent.
    pub(super) content: usize,
}

impl<'r> Relay<'r> {
    pub(super) fn new(
        request: Request<'r>,
        context: &'r mut Context,
        backend: &'r mut Connection,
        time: Time,
    ) -> Self {
        let Request { client, upload, head, asked, origin } = request;
        let stall = CoarseStall::new(time.silence.backend_reads);
        let incoming =
            if backend.sends_large && client.is_plain() { Incoming::of_head() } else { Incoming::default() };
        Self {
            client,
            upload,
            head,
            asked,
            origin,
            context,
            backend,
            out: Out::take(),
            incoming,
            answer: None,
            sending: Sending::On,
            watching: true,
            waits_for_client: false,
            stall,
            has_moved: true,
            silence: time.silence,
            deadline: time.deadline,
            content: 0,
        }
    }

    /// Carries the attempt to its end.
    pub(super) async fn run(&mut self) -> Result<Done, Broken> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Whether the head of the final answer has come.
    pub(super) fn has_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Does what can be done without waiting.
    fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
        let sent = self.poll_send(cx)?;
        if let Poll::Ready(()) = self.poll_receive(cx)? {
            // The backend keeps its connection only if it gets the rest of the request.
            let whole = self.sending == Sending::Done && sent.is_ready();
            let waits = self.sending == Sending::On && self.persists() && !self.comes_no_body();
            if whole || !waits {
                return Poll::Ready(Ok(self.done()));
            }
        }
        self.poll_limits(cx)
    }

    /// Whether the client waited for a 100 to send its body, and has got the final answer instead.
    fn comes_no_body(&self) -> bool {
        self.asked.expects && !self.upload.has_begun()
    }

    fn persists(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.persists)
    }

    fn done(&mut self) -> Done {
        let whole = self.sending == Sending::Done;
        let Some(answer) = &self.answer else { return Done { reuse: None, keep_alive: false } };
        // Bytes after the answer belong to no request: the connection cannot be used again.
        let clean = whole && answer.persists && self.incoming.is_empty();
        Done { reuse: clean.then_some(answer.keep_alive), keep_alive: whole && !answer.close }
    }

    /// Ready when a limit of time has passed, or the client is gone.
    fn poll_limits(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(Broken::Late));
        }
        // A client that has sent its whole request may leave while the backend works on it.
        if self.watching
            && self.sending != Sending::On
            && self.answer.is_none()
            && self.client.input.is_empty()
        {
            match self.client.poll_gone(cx) {
                Poll::Ready(true) => return Poll::Ready(Err(Broken::ClientGone)),
                Poll::Ready(false) => self.watching = false,
                Poll::Pending => {}
            }
        }
        let (limit, has_moved) = (self.silence.of_waiting(self.waits()), std::mem::take(&mut self.has_moved));
        let watch = &self.client.watch;
        self.stall.set_limit(limit, watch);
        if has_moved && self.stall.moved_and_waits(watch, cx.waker()) {
            return Poll::Pending;
        }
        while let Poll::Ready(stalled) = self.stall.poll_look(cx, watch) {
            if stalled {
                let client = self.waits_for_client && self.sending == Sending::On;
                return Poll::Ready(Err(Broken::Stalled { client }));
            }
            if self.client.left() {
                return Poll::Ready(Err(Broken::ClientGone));
            }
        }
        Poll::Pending
    }

    /// What the attempt waits for.
    fn waits(&self) -> Waits {
        match self.sending {
            Sending::On if self.waits_for_client => Waits::Body,
            Sending::On => Waits::BackendReads,
            _ if self.has_bytes() || self.is_splicing() => Waits::Client,
            _ => Waits::BackendWrites,
        }
    }

    /// Whether there is anything for the client.
    fn has_bytes(&self) -> bool {
        self.incoming.ready > 0
            || !self.out.is_sent()
            || self.answer.as_ref().is_some_and(Answering::has_output)
    }

    /// Notes that bytes have moved.
    fn moved(&mut self) {
        self.has_moved = true;
    }

    /// Sends the request: its head together with the body's first bytes, then the rest of the body.
    fn poll_send(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        while self.sending == Sending::On {
            let more = self.upload.poll_ready(cx, self.client, &mut self.context.mirrors);
            self.waits_for_client = more.is_pending();
            let body = match more {
                Poll::Ready(Ok(more)) => more,
                Poll::Ready(Err(ClientError::Gone)) => return Err(Broken::ClientGone),
                Poll::Ready(Err(ClientError::Malformed)) => return Err(Broken::ClientMalformed),
                Poll::Ready(Err(ClientError::TooLarge)) => return Err(Broken::TooLarge),
                Poll::Ready(Err(ClientError::Lost)) => return Err(Broken::NoRoom),
                Poll::Pending if self.head.is_sent() => {
                    // The backend gets what is buffered before we wait for the client.
                    let _ = self.backend.poll_flush(cx);
                    return Ok(Poll::Pending);
                }
                Poll::Pending => false,
            };
            if self.head.is_sent() && !body {
                match self.backend.poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.sending = Sending::Done,
                    Poll::Ready(Err(_)) => self.sending = Sending::Broken,
                    Poll::Pending => return Ok(Poll::Pending),
                }
                self.client.input.give_back();
                continue;
            }
            let body = if body { self.upload.bytes(self.client) } else { &[] };
            let written = match (self.head.left(), body) {
                ([], body) => self.backend.poll_write(cx, &[IoSlice::new(body)]),
                (head, []) => self.backend.poll_write(cx, &[IoSlice::new(head)]),
                (head, body) => self.backend.poll_write(cx, &[IoSlice::new(head), IoSlice::new(body)]),
            };
            match written {
                Poll::Ready(Ok(n)) => {
                    let beyond = self.head.sent(n);
                    self.upload.sent(beyond, self.client);
                    self.moved();
                }
                // The backend may have answered before it stopped reading.
                Poll::Ready(Err(_)) => self.sending = Sending::Broken,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }
}
