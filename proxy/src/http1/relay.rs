//! One attempt: the request to the backend and its answer to the client, both directions at a time.

use std::{
    future::poll_fn,
    io::IoSlice,
    pin::Pin,
    task::{Context as Task, Poll},
    time::Duration,
};

use portcullis_routing::Headers;
use tokio::time::Sleep;

use super::{
    answer::Form,
    attempts::{Broken, Done, Sending},
    backend::Connection,
    buffer::Out,
    client::Client,
    fields::{Room, put},
    framing::{Framing, Part},
    incoming::{Incoming, MALFORMED},
    plan::{About, Origin},
    upload::{ClientError, Upload},
};
use crate::{
    clock::Ticks,
    http::{context::Context, retry},
    stall::LOOKS,
};

/// A request, and who sends it.
pub(super) struct Request<'r> {
    pub(super) client: &'r mut Client,
    /// Its body.
    pub(super) upload: &'r mut Upload,
    /// Its head for the backend.
    pub(super) head: &'r mut Out,
    pub(super) asked: &'r About,
    pub(super) origin: &'r Origin,
}

/// How long an attempt may take.
pub(super) struct Time {
    /// Without a byte in any direction.
    pub(super) idle: Duration,
    /// In all.
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
    /// What is to be written to the client before what came from the backend.
    out: Out,
    incoming: Incoming,
    /// The body of the answer, once its head has come.
    answer: Option<Answering>,
    sending: Sending,
    /// Whether the client is looked at for having gone.
    watching: bool,
    /// Whether the request waits for more of its body from the client.
    waits_for_client: bool,
    silence: Silence,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes of the body that the client was sent.
    pub(super) content: usize,
}

/// An answer whose head has come.
#[derive(Debug)]
struct Answering {
    framing: Framing,
    /// Whether the backend's connection may be used again.
    persists: bool,
    keep_alive: Option<Duration>,
    form: Form,
    /// Whether the coding of a body in chunks ends here.
    bare: bool,
    /// Whether a chunk of ours has been written.
    in_chunks: bool,
}

/// How long nothing has moved.
#[derive(Debug)]
struct Silence {
    /// A part of the limit.
    step: Ticks,
    /// How many of them have passed.
    quiet: u32,
}

impl<'r> Relay<'r> {
    pub(super) fn new(
        request: Request<'r>,
        context: &'r mut Context,
        backend: &'r mut Connection,
        time: Time,
    ) -> Self {
        let Request { client, upload, head, asked, origin } = request;
        Self {
            client,
            upload,
            head,
            asked,
            origin,
            context,
            backend,
            out: Out::take(),
            incoming: Incoming::default(),
            answer: None,
            sending: Sending::On,
            watching: true,
            waits_for_client: false,
            silence: Silence { step: Ticks::of(time.idle / LOOKS), quiet: 0 },
            deadline: time.deadline,
            content: 0,
        }
    }

    /// Carries the attempt to its end.
    pub(super) async fn run(&mut self) -> Result<Done, Broken> {
        self.moved();
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Whether the client has got anything of the final answer.
    pub(super) fn has_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Carries the attempt on.
    fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
        let sent = self.poll_send(cx)?;
        if let Poll::Ready(()) = self.poll_receive(cx)? {
            // What is still to be sent belongs to the request, and is awaited by the backend.
            let whole = self.sending == Sending::Done && sent.is_ready();
            let waits = self.sending == Sending::On && self.persists() && !self.comes_no_body();
            if whole || !waits {
                return Poll::Ready(Ok(self.done()));
            }
        }
        self.poll_limits(cx)
    }

    /// Whether the client waited for a word before it would send the body, and has the final one.
    fn comes_no_body(&self) -> bool {
        self.asked.expects && !self.upload.has_begun()
    }

    fn persists(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.persists)
    }

    fn done(&mut self) -> Done {
        let whole = self.sending == Sending::Done;
        let Some(answer) = &self.answer else { return Done { reuse: None, keep_alive: false } };
        // What a backend sends beyond its answer is nobody's.
        let clean = whole && answer.persists && self.incoming.is_empty();
        Done { reuse: clean.then_some(answer.keep_alive), keep_alive: whole && !answer.form.close }
    }

    /// Ready where time is up, or the client gone.
    fn poll_limits(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(Broken::Late));
        }
        // Who has sent all of the request is looked at while the backend thinks.
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
        self.client.watch.set_waker(cx.waker());
        while self.client.watch.is_due() {
            self.silence.quiet += 1;
            if self.silence.quiet > LOOKS {
                let client = self.waits_for_client && self.sending == Sending::On;
                return Poll::Ready(Err(Broken::Stalled { client }));
            }
            if self.client.left() {
                return Poll::Ready(Err(Broken::ClientGone));
            }
            self.client.watch.set(self.silence.step);
        }
        Poll::Pending
    }

    /// Something has moved.
    fn moved(&mut self) {
        self.silence.quiet = 0;
        self.client.watch.set(self.silence.step);
    }

    /// Sends the request: its head, with what is there of the body, and then the rest of it.
    fn poll_send(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        while self.sending == Sending::On {
            let more = self.upload.poll_ready(cx, self.client, &mut self.context.mirrors);
            self.waits_for_client = more.is_pending();
            let body = match more {
                Poll::Ready(Ok(more)) => more,
                Poll::Ready(Err(ClientError::Gone)) => return Err(Broken::ClientGone),
                Poll::Ready(Err(ClientError::Malformed)) => return Err(Broken::ClientMalformed),
                Poll::Pending if self.head.is_sent() => {
                    // The backend gets what is ready before the client is waited for.
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
                // It may have said why.
                Poll::Ready(Err(_)) => self.sending = Sending::Broken,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Receives the answer, and passes it on.
    fn poll_receive(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        loop {
            // What is there goes first, so one buffer is what an answer holds at most.
            if self.poll_pass(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.answer.as_ref().is_some_and(|answer| answer.framing.is_done()) {
                return match self.client.poll_flush(cx) {
                    Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
                    Poll::Ready(Err(_)) => Err(Broken::ClientGone),
                    Poll::Pending => Ok(Poll::Pending),
                };
            }
            let more = match self.answer {
                Some(_) => self.advance()?,
                None => !self.incoming.is_empty() && self.read_head()?,
            };
            if more {
                continue;
            }
            if self.poll_read(cx)?.is_pending() {
                // The client gets what is ready before the backend is waited for.
                if let Poll::Ready(Err(_)) = self.client.poll_flush(cx) {
                    return Err(Broken::ClientGone);
                }
                return Ok(Poll::Pending);
            }
        }
    }

    /// Passes on to the client what is there for it.
    fn poll_pass(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        while self.incoming.ready > 0 || !self.out.is_sent() {
            let body = self.incoming.next();
            let written = match (self.out.left(), body) {
                (out, []) => self.client.poll_write(cx, &[IoSlice::new(out)]),
                ([], body) => self.client.poll_write(cx, &[IoSlice::new(body)]),
                (out, body) => self.client.poll_write(cx, &[IoSlice::new(out), IoSlice::new(body)]),
            };
            let n = match written {
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(_)) => return Err(Broken::ClientGone),
                Poll::Pending => return Ok(Poll::Pending),
            };
            let beyond = self.out.sent(n);
            self.incoming.passed(beyond);
            self.moved();
        }
        self.out.clear();
        self.incoming.drop_skipped();
        Ok(Poll::Ready(()))
    }

    /// Reads more from the backend.
    fn poll_read(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        match self.incoming.poll_read(cx, self.backend, self.head.is_sent())? {
            Poll::Ready(true) => self.moved(),
            Poll::Ready(false) => self.ended()?,
            Poll::Pending => return Ok(Poll::Pending),
        }
        Ok(Poll::Ready(()))
    }

    /// The backend has ended its connection.
    fn ended(&mut self) -> Result<(), Broken> {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.framing == Framing::Close) else {
            return Err(self.incoming.broken(self.head.is_sent()));
        };
        answer.framing = Framing::Done;
        if answer.form.chunks {
            let last: &[u8] = if answer.in_chunks { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" };
            self.out.bytes.extend_from_slice(last);
        }
        Ok(())
    }

    /// Finds out what the bytes of the body are that came; whether anything follows from them.
    fn advance(&mut self) -> Result<bool, Broken> {
        let (Some(answer), incoming) = (&mut self.answer, &mut self.incoming) else { return Ok(false) };
        while !answer.framing.is_done() && incoming.skip == 0 {
            let (n, part) =
                answer.framing.next(&incoming.bytes()[incoming.ready..]).map_err(|_| MALFORMED)?;
            match part {
                _ if n == 0 => break,
                Part::Content => {
                    self.content += n;
                    incoming.ready += n;
                    if answer.form.chunks {
                        let before: &[u8] = if answer.in_chunks { b"\r\n" } else { b"" };
                        put(&mut self.out.bytes, &[before, format!("{n:x}\r\n").as_bytes()]);
                        answer.in_chunks = true;
                        break;
                    }
                }
                Part::Coding if !answer.bare => incoming.ready += n,
                Part::Coding | Part::Extension | Part::Trailer => incoming.skip = n,
            }
        }
        Ok(incoming.ready > 0 || incoming.skip > 0 || answer.framing.is_done())
    }

    /// Reads the head of an answer, if all of it is there.
    fn read_head(&mut self) -> Result<bool, Broken> {
        let mut room = Room::new();
        let Some(head) = room.read_answer(self.incoming.bytes()).map_err(Broken::Invalid)? else {
            return self.incoming.head_goes_on().map(|()| false);
        };
        let (len, status) = (head.len, head.status);
        if status < 200 {
            if !self.asked.http10 {
                let form = Form { http10: false, close: false, chunks: false };
                head.write(form, None, self.origin, &mut self.out.bytes);
            }
            self.incoming.is_interim(status)?;
            self.context.attempts.interim = true;
            self.incoming.used(len);
            return Ok(true);
        }
        let framing = head.body(self.asked.head_only).map_err(Broken::Invalid)?;
        if retry::on_status(head.status, self.upload.is_repeatable(), self.context) {
            return Err(Broken::Retry);
        }
        self.context.status = head.status;
        let unbounded = framing == Framing::Close;
        let bare = self.asked.http10 && matches!(framing, Framing::Chunked(_));
        let form = Form {
            http10: self.asked.http10,
            close: !self.asked.keep_alive
                || bare
                || (unbounded && self.asked.http10)
                || self.sending == Sending::Broken
                || (self.sending == Sending::On && (!head.persists() || self.comes_no_body()))
                || self.context.conn.draining(),
            chunks: unbounded && !self.asked.http10,
        };
        let (persists, keep_alive) =
            (head.persists() && !unbounded, head.keep_alive().map(Duration::from_secs));
        let origin: &dyn Headers = self.origin;
        head.write(form, self.context.route.as_ref(), origin, &mut self.out.bytes);
        self.incoming.used(len);
        self.answer = Some(Answering { framing, persists, keep_alive, form, bare, in_chunks: false });
        // From here on no 504 can be said any more; what is late is cut.
        Ok(true)
    }
}
