//! A stream of an HTTP/2 client whose request goes to an HTTP/1 backend or is answered by us.

mod head;
mod spool;

use std::{
    future::poll_fn,
    io::IoSlice,
    pin::Pin,
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::{Method, StatusCode, header};
use portcullis_routing::{Answer, Rejection};
use tokio::time::Sleep;

use self::head::{answer_headers, trailers};
use super::{
    attempts::{self, Attempted, Broken, Done, End, Sending, note_cut},
    backend::Connection,
    buffer::Out,
    coded,
    fields::Room,
    frames::Frames,
    framing::{Framing, Part},
    incoming::{Incoming, MALFORMED},
    request,
};
use crate::{
    accept::Worker,
    body::{Coder, Pacer},
    clock::Watch,
    http::{answer as own, attempt::Failure, context::Context, headers::answer_len, pages, retry},
    http2::Stream,
    limits::{Silence, Waits},
    stall::CoarseStall,
};

/// Serves a request that the table has sent to an HTTP/1 backend.
pub(crate) async fn serve(worker: &Worker, stream: Box<Stream>, mut context: Box<Context>) {
    if context.is_copied_as_sent() {
        context.sent = Some(Box::new(stream.head.clone()));
    }
    let bodiless = stream.is_bodiless();
    if !bodiless && context.spool(true).is_some() {
        // Boxed, so that other requests do not pay for its size.
        return Box::pin(spool::serve(worker, stream, context)).await;
    }
    let head = &stream.head;
    let idempotent = retry::is_idempotent(&head.method);
    let bodiless = bodiless || context.is_bodiless();
    let chunked = !bodiless && !head.headers.contains_key(header::CONTENT_LENGTH);
    let mut out = Out::take();
    request::write_h2(head, &context, chunked, &mut out.bytes);
    let keeps = retry::keeps(idempotent, &context);
    let upload = Frames::new(bodiless, chunked, keeps, context.body_size(!bodiless));
    exchange(worker, stream, context, out, upload, chunked).await;
}

/// Makes attempts at backends, and passes an answer on. `chunked`: the body is sent without a length.
async fn exchange(
    worker: &Worker,
    stream: Box<Stream>,
    mut context: Box<Context>,
    head: Out,
    upload: Frames,
    chunked: bool,
) {
    let idempotent = retry::is_idempotent(&stream.head.method);
    let expects = !upload.ended && stream.head.headers.contains_key(header::EXPECT);
    let silence = Silence::of(context.own_timeouts(), &context.conn.limits);
    let mut side = Side { stream, upload, chunked, expects, watch: Watch::new(), silence };
    let end = attempts::carry(worker, &mut context, head, idempotent, &mut side).await;
    if let Some(measured) = &mut context.measured {
        measured.received(side.upload.received());
    }
    match end {
        End::Answered { content, .. } => context.finish(content, false),
        End::Cut(broken, content) => {
            note_cut(&mut context, broken, content);
            side.stream.reset(Reason::INTERNAL_ERROR);
        }
        End::Failed(failure) => reject(side.stream, context, failure),
    }
}

/// Tells the client why no backend answers.
fn reject(stream: Box<Stream>, context: Box<Context>, (rejection, why): Failure) {
    // 408 speaks of the whole connection; the client of one slow stream gets another status.
    let rejection = if rejection == Rejection::HeaderTimeout { Rejection::Timeout } else { rejection };
    answer(stream, context, &Answer::reject(rejection, why));
}

/// Answers without a backend.
pub(crate) fn answer(mut stream: Box<Stream>, mut context: Box<Context>, answer: &Answer) {
    context.rejection = answer.rejection;
    let reply = own::reply(answer, context.grpc, context.route.as_ref(), &stream.head.headers);
    context.status = reply.status.as_u16();
    context.measure_reply(&reply);
    let bare = stream.head.method == Method::HEAD || reply.body.is_empty();
    let sent = send_reply(&mut stream, &reply, bare);
    context.finish(if bare { 0 } else { reply.body.len() }, sent.is_err());
}

/// Sends an answer of our own. `bare`: without its body.
///
/// # Errors
/// If the client is gone.
fn send_reply(stream: &mut Stream, reply: &own::Reply, bare: bool) -> Result<(), h2::Error> {
    let headers = reply.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
    stream.send_head(reply.status, headers.collect(), bare)?;
    match stream.content().filter(|_| !bare) {
        Some(content) => content.send_data(Bytes::copy_from_slice(&reply.body), true),
        None => Ok(()),
    }
}

/// The client's side of a stream.
struct Side {
    stream: Box<Stream>,
    upload: Frames,
    /// Whether the body has no length.
    chunked: bool,
    /// Whether the client waits for a 100 before it sends the body.
    expects: bool,
    watch: Watch,
    silence: Silence,
}

impl attempts::Client for Side {
    fn is_repeatable(&self) -> bool {
        self.upload.is_repeatable()
    }

    fn is_bodiless(&self) -> bool {
        self.upload.ended && !self.upload.has_bytes()
    }

    fn poll_gone(&mut self, cx: &mut Task<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(drop)
    }

    fn write_head(&self, context: &Context, head: &mut Out) -> bool {
        head.clear();
        request::write_h2(&self.stream.head, context, self.chunked, &mut head.bytes);
        true
    }

    async fn attempt(
        &mut self,
        context: &mut Context,
        connection: &mut Connection,
        head: &mut Out,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Attempted {
        self.upload.rewind();
        let stall = CoarseStall::begin(self.silence.backend_reads, &self.watch);
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
            has_moved: false,
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
    /// Whether bytes have moved that `stall` does not know of.
    has_moved: bool,
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
    /// The pace at which the body is sent.
    pacer: Option<Box<Pacer>>,
    /// The coder of the body, if it is compressed.
    coder: Option<Box<Coder>>,
}

impl Answering {
    /// Whether all of the body has come, and was compressed if it has a coder.
    fn has_ended(&self) -> bool {
        self.framing.is_done() && self.coder.as_ref().is_none_or(|coder| coder.has_ended())
    }
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done, Broken>> {
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

    /// The number of bytes that can be sent to the client.
    fn ready(&self) -> usize {
        match self.answer.as_ref().and_then(|answer| answer.coder.as_ref()) {
            Some(coder) => coder.output().len(),
            None => self.incoming.ready,
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

    /// Receives the answer and passes it on.
    fn poll_receive(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        loop {
            if self.poll_pass(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.answer.as_ref().is_some_and(Answering::has_ended) {
                self.end_stream()?;
                return Ok(Poll::Ready(()));
            }
            if self.coder().is_some_and(Coder::ends_turn) {
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            let more = match self.answer {
                Some(_) => self.advance()?,
                None => !self.incoming.is_empty() && self.read_head()?,
            };
            if !more && self.poll_read(cx)?.is_pending() {
                // As long as the backend sends nothing, the coder must not hold back anything.
                let flushed = self.coder().map_or(Ok(0), coded::flush)?;
                if flushed == 0 {
                    return Ok(Poll::Pending);
                }
                self.content += flushed;
            }
        }
    }

    /// Passes on to the client what is ready for it, as far as its window is open.
    fn poll_pass(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        while self.ready() > 0 {
            let mut wanted = self.ready();
            let (Some(content), Some(answer)) = (self.side.stream.content(), &mut self.answer) else {
                return Err(Broken::ClientGone);
            };
            let whole = answer.has_ended() && self.incoming.skip == 0 && answer.trailers.is_empty();
            let all = wanted;
            if let Some(pacer) = &mut answer.pacer {
                match pacer.poll_room(cx, wanted) {
                    Poll::Ready(room) => wanted = room,
                    Poll::Pending => {
                        // The window of the connection is for the other streams meanwhile.
                        content.reserve_capacity(0);
                        return Ok(Poll::Pending);
                    }
                }
            }
            // h2 gets only what the window has room for: what it buffers is beyond our limits of memory and time.
            content.reserve_capacity(wanted);
            let room = match content.capacity() {
                0 => match content.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(_) => return Err(Broken::ClientGone),
                    Poll::Pending => return Ok(Poll::Pending),
                },
                room => room,
            };
            let n = room.min(wanted);
            if n == 0 {
                continue;
            }
            if let Some(pacer) = &mut answer.pacer {
                pacer.sent(n);
            }
            let end = whole && n == all;
            let bytes = match &mut answer.coder {
                Some(coder) => coder.take(n),
                None => self.incoming.take_front(n),
            };
            content.send_data(bytes, end).map_err(|_| Broken::ClientGone)?;
            answer.ended = end;
            self.moved();
        }
        self.incoming.drop_skipped();
        Ok(Poll::Ready(()))
    }

    /// Ends the stream, with trailers if there are any.
    fn end_stream(&mut self) -> Result<(), Broken> {
        let (Some(content), Some(answer)) = (self.side.stream.content(), &mut self.answer) else {
            return Ok(());
        };
        if std::mem::replace(&mut answer.ended, true) {
            return Ok(());
        }
        let trailers = trailers(&answer.trailers);
        let sent = match trailers.is_empty() {
            true => content.send_data(Bytes::new(), true),
            false => content.send_trailers(trailers),
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

    fn coder(&mut self) -> Option<&mut Coder> {
        self.answer.as_mut()?.coder.as_deref_mut()
    }

    fn advance(&mut self) -> Result<bool, Broken> {
        if let Some(Answering { framing, trailers, coder: Some(coder), .. }) = &mut self.answer {
            let lines = |lines: &[u8]| trailers.extend_from_slice(lines);
            let more = coded::advance(coder, framing, &mut self.incoming, lines)?;
            self.content += coder.output().len();
            return Ok(more);
        }
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
        let status = StatusCode::from_u16(head.status).map_err(|_| INVALID_HEADERS)?;
        let len = head.len;
        if status.is_informational() {
            let headers = head::headers(&head);
            self.incoming.count_interim(status.as_u16())?;
            self.context.attempts.interim = true;
            // It is left out if HTTP/2 cannot express it. That the client has gone is noticed elsewhere.
            if let Some(headers) = headers {
                let _ = self.side.stream.inform(status, headers);
            }
            self.incoming.used(len);
            return Ok(true);
        }
        let to_head = self.side.stream.head.method == Method::HEAD;
        let framing = head.body(to_head).map_err(Broken::Invalid)?;
        let idempotent = retry::is_idempotent(&self.side.stream.head.method);
        if retry::on_status(head.status, idempotent, self.side.upload.is_repeatable(), self.context) {
            return Err(Broken::Retry);
        }
        if pages::replace_answer(head.status, self.side.upload.is_repeatable(), self.context) {
            return Err(Broken::Page);
        }
        self.context.status = head.status;
        let mut headers =
            answer_headers(&head, self.context, &self.side.stream.head.headers).ok_or(INVALID_HEADERS)?;
        if let Some(measured) = &mut self.context.measured {
            measured.answered(answer_len(&headers));
        }
        let (persists, keep_alive) =
            (head.persists() && framing != Framing::Close, head.keep_alive().map(Duration::from_secs));
        let bare = framing.is_done();
        let coder = self.context.compress(status.as_u16(), !bare, &mut headers);
        self.side.stream.send_head(status, headers, bare).map_err(|_| Broken::ClientGone)?;
        self.incoming.used(len);
        if let Framing::Length(length) = framing {
            self.incoming.expect(length);
        }
        let (trailers, pacer) = (Vec::new(), self.context.pacer());
        self.answer = Some(Answering { framing, persists, keep_alive, trailers, ended: bare, pacer, coder });
        Ok(true)
    }
}

const INVALID_HEADERS: Broken =
    Broken::Invalid("the backend's response has headers that HTTP/2 does not allow");
