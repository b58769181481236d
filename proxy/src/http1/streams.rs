//! One stream of an HTTP/2 client whose request goes to an HTTP/1 backend. pingora has accepted it and checked its head.

mod head;

use std::{
    future::{Future as _, poll_fn},
    io::IoSlice,
    pin::{Pin, pin},
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{Method, header};
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_http::ResponseHeader;
use portcullis_routing::{Answer, Rejection};
use tokio::time::Sleep;

use self::head::{answer_head, trailers};
use super::{
    attempts::{self, Attempted, Broken, Done, End, Sending, note_cut},
    backend::Connection,
    buffer::Out,
    fields::Room,
    frames::Frames,
    framing::{Framing, Part},
    incoming::{Incoming, MALFORMED},
    request,
};
use crate::{
    accept::Worker,
    clock::Watch,
    http::{answer as own, context::Context, retry},
    stall::CoarseStall,
};

/// Serves a request that the table has sent to an HTTP/1 backend.
pub(crate) async fn serve(worker: &Worker, session: HttpSession, mut context: Box<Context>) {
    let head = session.req_header();
    let (to_head, idempotent) = (head.method == Method::HEAD, retry::is_idempotent(&head.method));
    let bodiless = session.is_body_empty();
    let chunked = !bodiless && !head.headers.contains_key(header::CONTENT_LENGTH);
    let mut out = Out::take();
    request::write_h2(head, &context, chunked, &mut out.bytes);
    let keeps = idempotent || context.rule().is_some_and(|rule| rule.retry.is_some());
    let upload = Frames::new(bodiless, chunked, keeps);
    let mut side = Side { session, upload, stream: None, watch: Watch::new(), idle: worker.limits.idle };
    let end = attempts::carry(worker, &mut context, out, idempotent, &mut side).await;
    match end {
        End::Answered { content, .. } => context.finish(content, false),
        End::Cut(broken, content) => {
            note_cut(&mut context, broken, content);
            side.reset();
        }
        End::Failed(failure) => {
            // 408 speaks of the whole connection; the client of one slow stream gets another status.
            let (rejection, why) = match failure {
                (Rejection::HeaderTimeout, why) => (Rejection::Timeout, why),
                failure => failure,
            };
            context.rejection = Some((rejection, why));
            let answer = Answer::reject(rejection, why);
            let headers = &side.session.req_header().headers;
            let reply = own::reply(&answer, context.grpc, context.route.as_ref(), headers);
            context.status = reply.status.as_u16();
            let bytes = if to_head { 0 } else { reply.body.len() };
            let sent = side.send_reply(&reply, to_head);
            context.finish(bytes, sent.is_none());
        }
    }
}

/// The client's side of a stream.
struct Side {
    session: HttpSession,
    upload: Frames,
    /// Takes the answer's body, once its head has been sent.
    stream: Option<SendStream<Bytes>>,
    watch: Watch,
    idle: Duration,
}

impl Side {
    /// Sends an answer of our own; `None` if the client is gone. `bare`: without its body.
    fn send_reply(&mut self, reply: &own::Reply, bare: bool) -> Option<()> {
        let mut head = ResponseHeader::build_no_case(reply.status, Some(reply.headers.len() + 1)).ok()?;
        for (name, value) in &reply.headers {
            head.append_header(name, value.clone()).ok()?;
        }
        let bare = bare || reply.body.is_empty();
        self.session.write_response_header(Box::new(head), bare).ok()?;
        if !bare {
            let body = Bytes::copy_from_slice(reply.body.as_bytes());
            self.session.take_response_body_writer()?.send_data(body, true).ok()?;
        }
        Some(())
    }

    /// Resets the stream, whose answer is not complete.
    fn reset(&mut self) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            None => self.session.shutdown(),
        }
    }

    /// Ready when the client has reset the stream, or closed its connection.
    fn poll_gone(&mut self, cx: &mut Task<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => pin!(self.session.idle()).poll(cx).map(drop),
        }
    }
}

impl attempts::Client for Side {
    fn is_repeatable(&self) -> bool {
        self.upload.is_repeatable()
    }

    fn is_bodiless(&self) -> bool {
        self.upload.ended && !self.upload.has_bytes()
    }

    async fn attempt(
        &mut self,
        context: &mut Context,
        connection: &mut Connection,
        head: &mut Out,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Attempted {
        self.upload.rewind();
        let stall = CoarseStall::begin(self.idle, &self.watch);
        let mut relay = Relay {
            side: self,
            context,
            backend: connection,
            head,
            deadline,
            incoming: Incoming::default(),
            answer: None,
            sending: Sending::On,
            waits_for_client: false,
            stall,
            content: 0,
        };
        let end = poll_fn(|cx| relay.poll(cx)).await;
        let (answered, content) = (relay.answer.is_some(), relay.content);
        self.watch.lift();
        Attempted { end, answered, content }
    }
}

/// One attempt.
struct Relay<'r> {
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
    content: usize,
}

#[derive(Debug)]
struct Answering {
    framing: Framing,
    persists: bool,
    keep_alive: Option<Duration>,
    /// The lines of the trailer section.
    trailers: Vec<u8>,
    /// Whether END_STREAM was sent.
    ended: bool,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
        self.poll_send(cx)?;
        if self.poll_receive(cx)?.is_ready() {
            let persists = self.answer.as_ref().is_some_and(|answer| answer.persists);
            if self.sending != Sending::On || !persists {
                return Poll::Ready(Ok(self.done()));
            }
        }
        self.poll_limits(cx)
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
        if !ended && self.side.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Broken::ClientGone));
        }
        while let Poll::Ready(stalled) = self.stall.poll_look(cx, &self.side.watch) {
            if stalled {
                let client = self.waits_for_client && self.sending == Sending::On;
                return Poll::Ready(Err(Broken::Stalled { client }));
            }
        }
        Poll::Pending
    }

    fn moved(&mut self) {
        self.stall.moved(&self.side.watch);
    }

    /// Sends the request: its head together with the body's first bytes, then the rest of the body.
    fn poll_send(&mut self, cx: &mut Task<'_>) -> Result<(), Broken> {
        while self.sending == Sending::On {
            if !self.side.upload.has_bytes() && !self.side.upload.ended {
                let read = self.side.session.poll_read_body_bytes(cx);
                self.waits_for_client = read.is_pending();
                match read {
                    // An empty chunk would end the body.
                    Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => continue,
                    Poll::Ready(Some(Ok(bytes))) => {
                        if let Some(copies) = &mut self.context.mirrors {
                            copies.body(Some(&bytes), false);
                        }
                        self.side.upload.put(bytes);
                    }
                    Poll::Ready(Some(Err(_))) => return Err(Broken::ClientGone),
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

    /// Receives the answer and passes it on.
    fn poll_receive(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        loop {
            if self.poll_pass(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.answer.as_ref().is_some_and(|answer| answer.framing.is_done()) {
                self.end_stream()?;
                return Ok(Poll::Ready(()));
            }
            let more = match self.answer {
                Some(_) => self.advance()?,
                None => !self.incoming.is_empty() && self.read_head()?,
            };
            if !more && self.poll_read(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
        }
    }

    /// Passes on to the client what is ready for it, as far as its window is open.
    fn poll_pass(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        while self.incoming.ready > 0 {
            let (Some(stream), Some(answer)) = (&mut self.side.stream, &mut self.answer) else {
                return Err(Broken::ClientGone);
            };
            let whole = answer.framing.is_done() && self.incoming.skip == 0 && answer.trailers.is_empty();
            // h2 gets only what the window has room for: what it buffers is beyond our limits of memory and time.
            stream.reserve_capacity(self.incoming.ready);
            let room = match stream.capacity() {
                0 => match stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(_) => return Err(Broken::ClientGone),
                    Poll::Pending => return Ok(Poll::Pending),
                },
                room => room,
            };
            let n = room.min(self.incoming.ready);
            if n == 0 {
                continue;
            }
            let end = whole && n == self.incoming.ready;
            let bytes = Bytes::copy_from_slice(&self.incoming.next()[..n]);
            stream.send_data(bytes, end).map_err(|_| Broken::ClientGone)?;
            answer.ended = end;
            self.incoming.passed(n);
            self.moved();
        }
        self.incoming.drop_skipped();
        Ok(Poll::Ready(()))
    }

    /// Ends the stream, with trailers if there are any.
    fn end_stream(&mut self) -> Result<(), Broken> {
        let (Some(stream), Some(answer)) = (&mut self.side.stream, &mut self.answer) else { return Ok(()) };
        if std::mem::replace(&mut answer.ended, true) {
            return Ok(());
        }
        let trailers = trailers(&answer.trailers);
        let sent = match trailers.is_empty() {
            true => stream.send_data(Bytes::new(), true),
            false => stream.send_trailers(trailers),
        };
        sent.map_err(|_| Broken::ClientGone)
    }

    fn poll_read(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        match self.incoming.poll_read(cx, self.backend, self.head.is_sent())? {
            Poll::Ready(true) => self.moved(),
            Poll::Ready(false) => match &mut self.answer {
                Some(answer) if answer.framing == Framing::Close => answer.framing = Framing::Done,
                _ => return Err(self.incoming.broken(self.head.is_sent())),
            },
            Poll::Pending => return Ok(Poll::Pending),
        }
        Ok(Poll::Ready(()))
    }

    fn advance(&mut self) -> Result<bool, Broken> {
        let (Some(answer), incoming) = (&mut self.answer, &mut self.incoming) else { return Ok(false) };
        while !answer.framing.is_done() && incoming.skip == 0 {
            let rest = &incoming.bytes()[incoming.ready..];
            let (n, part) = answer.framing.next(rest).map_err(|_| MALFORMED)?;
            match part {
                _ if n == 0 => break,
                Part::Content => {
                    self.content += n;
                    incoming.ready += n;
                }
                Part::Trailer => {
                    answer.trailers.extend_from_slice(&rest[..n]);
                    incoming.skip = n;
                }
                Part::Coding | Part::Extension => incoming.skip = n,
            }
        }
        Ok(incoming.ready > 0 || incoming.skip > 0 || answer.framing.is_done())
    }

    fn read_head(&mut self) -> Result<bool, Broken> {
        let mut room = Room::new();
        let Some(head) = room.read_answer(self.incoming.bytes()).map_err(Broken::Invalid)? else {
            return self.incoming.head_goes_on().map(|()| false);
        };
        let (len, status) = (head.len, head.status);
        if status < 200 {
            self.incoming.count_interim(status)?;
            self.context.attempts.interim = true;
            self.incoming.used(len);
            return Ok(true);
        }
        let to_head = self.side.session.req_header().method == Method::HEAD;
        let framing = head.body(to_head).map_err(Broken::Invalid)?;
        if retry::on_status(head.status, self.side.upload.is_repeatable(), self.context) {
            return Err(Broken::Retry);
        }
        self.context.status = head.status;
        let answer = answer_head(&head, self.context, &self.side.session).ok_or(INVALID_HEADERS)?;
        let (persists, keep_alive) =
            (head.persists() && framing != Framing::Close, head.keep_alive().map(Duration::from_secs));
        let bare = framing.is_done();
        self.side.session.write_response_header(Box::new(answer), bare).map_err(|_| Broken::ClientGone)?;
        self.side.stream = self.side.session.take_response_body_writer();
        self.incoming.used(len);
        self.answer = Some(Answering { framing, persists, keep_alive, trailers: Vec::new(), ended: bare });
        Ok(true)
    }
}

const INVALID_HEADERS: Broken =
    Broken::Invalid("the backend's answer has headers that HTTP/2 does not allow");
