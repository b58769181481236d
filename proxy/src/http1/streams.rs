//! A request of an HTTP/2 client that an HTTP/1 backend answers: one stream. pingora has accepted it, and checked its head.

use std::{
    future::{Future as _, poll_fn},
    io::IoSlice,
    pin::{Pin, pin},
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_http::ResponseHeader;
use portcullis_routing::{Answer, Rejection};
use tokio::time::Sleep;

use super::{
    answer::{AnswerHead, Room, bears_on_answers},
    attempts::{self, Attempted, Broken, Done, End, note_cut},
    backend::Connection,
    buffer::{Buffer, Out, Size},
    fields::{put, unfolded},
    framing::{Framing, Part},
    name::{Kind, kind},
    request,
};
use crate::{
    accept::Worker,
    clock::{Ticks, Watch},
    http::{
        answer as own,
        context::Context,
        retry::{self, Fate},
    },
    stall::LOOKS,
};

/// So much of a body is kept for another attempt.
const KEPT: usize = 64 << 10;
/// Bytes of an answer's head.
const MAX_HEAD: usize = 128 << 10;
const MAX_INTERIM: u32 = 32;

/// Carries a request that was decided about.
pub(crate) async fn serve(worker: &Worker, session: HttpSession, mut context: Box<Context>) {
    let head = session.req_header();
    let method = head.method.clone();
    let bodiless = session.is_body_empty();
    let chunked = !bodiless && !head.headers.contains_key(header::CONTENT_LENGTH);
    let mut out = Out::take();
    request::write_h2(head, &context, chunked, &mut out.bytes);
    let keeps = retry::is_idempotent(&method) || context.rule().is_some_and(|rule| rule.retry.is_some());
    let upload = Upload::new(bodiless, chunked, keeps);
    let mut side = Side { session, upload, stream: None, watch: Watch::new(), idle: worker.limits.idle };
    let end = attempts::carry(worker, &mut context, out, &method, &mut side).await;
    match end {
        End::Answered { content, .. } => context.finish(content, false),
        End::Cut(broken, content) => {
            note_cut(&mut context, broken, content);
            side.reset();
        }
        End::No(no) => {
            // An HTTP/2 client is not told that it was too slow by a status that means its whole connection.
            let (rejection, why) = match no {
                (Rejection::HeaderTimeout, why) => (Rejection::Timeout, why),
                no => no,
            };
            context.rejection = Some((rejection, why));
            let answer = Answer::reject(rejection, why);
            let headers = &side.session.req_header().headers;
            let reply = own::reply(&answer, context.grpc, context.route.as_ref(), headers);
            context.status = reply.status.as_u16();
            let bytes = if method == Method::HEAD { 0 } else { reply.body.len() };
            let told = side.say(&reply, method == Method::HEAD);
            context.finish(bytes, told.is_none());
        }
    }
}

/// The client's side of a stream.
struct Side {
    session: HttpSession,
    upload: Upload,
    /// Where the answer's body goes, once its head has been sent.
    stream: Option<SendStream<Bytes>>,
    watch: Watch,
    idle: Duration,
}

/// The body of the request, as an HTTP/1 backend gets it.
#[derive(Debug)]
struct Upload {
    chunked: bool,
    /// Whether the client has sent all of it.
    ended: bool,
    /// What comes before the bytes: the end of one chunk and the size of the next.
    before: Vec<u8>,
    /// So much of `before` and `bytes` was sent.
    sent: usize,
    bytes: Bytes,
    /// Whether a chunk was begun.
    in_chunks: bool,
    /// What was sent, for another attempt; `None` where it was too much, or none is made.
    kept: Option<Vec<u8>>,
    resent: usize,
    lost: bool,
}

impl Upload {
    fn new(bodiless: bool, chunked: bool, keep: bool) -> Self {
        Self {
            chunked,
            ended: bodiless,
            before: Vec::new(),
            sent: 0,
            bytes: Bytes::new(),
            in_chunks: false,
            kept: (keep || bodiless).then(Vec::new),
            resent: 0,
            lost: false,
        }
    }

    /// What is to be sent next.
    fn slices(&self) -> [&[u8]; 2] {
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.len() > self.resent) {
            return [&kept[self.resent..], &[]];
        }
        let in_before = self.sent.min(self.before.len());
        [&self.before[in_before..], &self.bytes[self.sent - in_before..]]
    }

    fn has_bytes(&self) -> bool {
        self.slices().iter().any(|slice| !slice.is_empty())
    }

    /// More of the body has come.
    fn put(&mut self, bytes: Bytes) {
        (self.sent, self.bytes) = (0, bytes);
        self.before.clear();
        if self.chunked {
            let before: &[u8] = if self.in_chunks { b"\r\n" } else { b"" };
            put(&mut self.before, &[before, format!("{:x}\r\n", self.bytes.len()).as_bytes()]);
            self.in_chunks = true;
        }
    }

    /// All of it has come.
    fn end(&mut self) {
        (self.ended, self.sent, self.bytes) = (true, 0, Bytes::new());
        self.before.clear();
        if self.chunked {
            let last: &[u8] = if self.in_chunks { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" };
            self.before.extend_from_slice(last);
        }
    }

    fn sent(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        if self.kept.as_ref().is_some_and(|kept| kept.len() > self.resent) {
            self.resent += n;
            return;
        }
        match &mut self.kept {
            Some(kept) if kept.len() + n <= KEPT => {
                let in_before = self.sent.min(self.before.len());
                let both = self.before[in_before..].iter().chain(&self.bytes[self.sent - in_before..]);
                kept.extend(both.take(n));
                self.resent = kept.len();
            }
            kept => {
                *kept = None;
                self.lost = true;
            }
        }
        self.sent += n;
    }
}

impl Side {
    /// Sends an answer of our own; `None` where the client is gone.
    fn say(&mut self, reply: &own::Reply, bare: bool) -> Option<()> {
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

    /// Ends the stream, where its answer is not whole.
    fn reset(&mut self) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            None => self.session.shutdown(),
        }
    }

    /// Ready when the client has given up the stream.
    fn poll_gone(&mut self, cx: &mut Task<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => pin!(self.session.idle()).poll(cx).map(drop),
        }
    }
}

impl attempts::Client for Side {
    fn is_repeatable(&self) -> bool {
        !self.upload.lost
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
        self.upload.resent = 0;
        let step = Ticks::of(self.idle / LOOKS);
        let mut relay = Relay {
            side: self,
            context,
            backend: connection,
            head,
            deadline,
            input: Buffer::default(),
            size: Size::default(),
            ready: 0,
            skip: 0,
            answer: None,
            begun: false,
            interim: 0,
            sending: Sending::On,
            waits_for_client: false,
            step,
            quiet: 0,
            content: 0,
        };
        relay.moved();
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
    /// What came from the backend; so many bytes at its front go to the client next, so many behind them nowhere.
    input: Buffer,
    size: Size,
    ready: usize,
    skip: usize,
    answer: Option<Answering>,
    begun: bool,
    interim: u32,
    sending: Sending,
    waits_for_client: bool,
    step: Ticks,
    quiet: u32,
    content: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    On,
    Done,
    Broken,
}

#[derive(Debug)]
struct Answering {
    framing: Framing,
    persists: bool,
    keep_alive: Option<Duration>,
    /// Lines of the trailer section.
    trailers: Vec<u8>,
    /// Whether the end of the stream was sent.
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
        let clean = whole && answer.persists && self.input.is_empty();
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
        self.side.watch.set_waker(cx.waker());
        while self.side.watch.is_due() {
            self.quiet += 1;
            if self.quiet > LOOKS {
                let client = self.waits_for_client && self.sending == Sending::On;
                return Poll::Ready(Err(Broken::Stalled { client }));
            }
            self.side.watch.set(self.step);
        }
        Poll::Pending
    }

    fn moved(&mut self) {
        self.quiet = 0;
        self.side.watch.set(self.step);
    }

    /// Sends the request: its head, with what is there of the body, and then the rest of it.
    fn poll_send(&mut self, cx: &mut Task<'_>) -> Result<(), Broken> {
        while self.sending == Sending::On {
            if !self.side.upload.has_bytes() && !self.side.upload.ended {
                let read = self.side.session.poll_read_body_bytes(cx);
                self.waits_for_client = read.is_pending();
                match read {
                    // An empty frame is no chunk.
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
                // It may have said why.
                Poll::Ready(Err(_)) => self.sending = Sending::Broken,
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Receives the answer, and passes it on.
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
                None => !self.input.is_empty() && self.read_head()?,
            };
            if !more && self.poll_read(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
        }
    }

    /// Passes on what is there for the client, as far as its window is open.
    fn poll_pass(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        while self.ready > 0 {
            let (Some(stream), Some(answer)) = (&mut self.side.stream, &mut self.answer) else {
                return Err(Broken::ClientGone);
            };
            let whole = answer.framing.is_done() && self.skip == 0 && answer.trailers.is_empty();
            // Nothing is handed over that no window is open for: what waits there is out of sight.
            stream.reserve_capacity(self.ready);
            let room = match stream.capacity() {
                0 => match stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(_) => return Err(Broken::ClientGone),
                    Poll::Pending => return Ok(Poll::Pending),
                },
                room => room,
            };
            let n = room.min(self.ready);
            if n == 0 {
                continue;
            }
            let end = whole && n == self.ready;
            let bytes = Bytes::copy_from_slice(&self.input.bytes()[..n]);
            stream.send_data(bytes, end).map_err(|_| Broken::ClientGone)?;
            answer.ended = end;
            self.input.used(n);
            self.ready -= n;
            self.moved();
        }
        self.input.used(std::mem::take(&mut self.skip));
        Ok(Poll::Ready(()))
    }

    /// Ends the stream behind its last data.
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
        match self.input.is_lent() {
            true => self.input.make_room(),
            false => self.input = Buffer::take(self.size),
        }
        let room = self.input.room();
        let len = room.len();
        match self.backend.poll_read(cx, room) {
            Poll::Ready(Ok(n)) if n > 0 => {
                self.input.filled(n);
                self.begun = true;
                if n == len {
                    self.size = self.size.next();
                }
                self.moved();
                Ok(Poll::Ready(()))
            }
            Poll::Ready(end) => match &mut self.answer {
                Some(answer) if answer.framing == Framing::Close && end.is_ok() => {
                    answer.framing = Framing::Done;
                    Ok(Poll::Ready(()))
                }
                _ => Err(Broken::Backend(match (self.begun, self.head.is_sent()) {
                    (false, false) => Fate::NotProcessed,
                    (false, true) => Fate::NotAnswered,
                    (true, _) => Fate::Unknown,
                })),
            },
            Poll::Pending => {
                self.input.give_back();
                Ok(Poll::Pending)
            }
        }
    }

    fn advance(&mut self) -> Result<bool, Broken> {
        let Some(answer) = &mut self.answer else { return Ok(false) };
        let bytes = self.input.bytes();
        while !answer.framing.is_done() && self.skip == 0 {
            let rest = &bytes[self.ready..];
            let malformed = |_| Broken::Invalid("the backend's answer is malformed");
            let (n, part) = answer.framing.next(rest).map_err(malformed)?;
            match part {
                _ if n == 0 => break,
                Part::Content => {
                    self.content += n;
                    self.ready += n;
                }
                Part::Trailer => {
                    answer.trailers.extend_from_slice(&rest[..n]);
                    self.skip = n;
                }
                Part::Coding | Part::Extension => self.skip = n,
            }
        }
        Ok(self.ready > 0 || self.skip > 0 || answer.framing.is_done())
    }

    fn read_head(&mut self) -> Result<bool, Broken> {
        let mut room = Room::new();
        let Some(head) = room.read(self.input.bytes()).map_err(Broken::Invalid)? else {
            return match self.input.bytes().len() > MAX_HEAD {
                true => Err(Broken::Invalid("the backend's answer has too large a head")),
                false => Ok(false),
            };
        };
        let len = head.len;
        match head.status {
            101 => return Err(Broken::Invalid("the backend switched protocols unasked")),
            100..200 => {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(Broken::Invalid("the backend sends informational answers without end"));
                }
                self.context.attempts.interim = true;
                self.input.used(len);
                return Ok(true);
            }
            _ => {}
        }
        let to_head = self.side.session.req_header().method == Method::HEAD;
        let framing = head.body(to_head).map_err(Broken::Invalid)?;
        if retry::on_status(head.status, !self.side.upload.lost, self.context) {
            return Err(Broken::Retry);
        }
        self.context.status = head.status;
        let answer = answer_head(&head, self.context, &self.side.session).ok_or(INVALID_HEADERS)?;
        let (persists, keep_alive) =
            (head.persists() && framing != Framing::Close, head.keep_alive().map(Duration::from_secs));
        let bare = framing.is_done();
        self.side.session.write_response_header(Box::new(answer), bare).map_err(|_| Broken::ClientGone)?;
        self.side.stream = self.side.session.take_response_body_writer();
        self.input.used(len);
        self.answer = Some(Answering { framing, persists, keep_alive, trailers: Vec::new(), ended: bare });
        Ok(true)
    }
}

const INVALID_HEADERS: Broken = Broken::Invalid("the backend's answer has headers that HTTP/2 has not");

/// The head of an answer as an HTTP/2 client gets it.
fn answer_head(
    head: &AnswerHead<'_, '_>,
    context: &Context,
    session: &HttpSession,
) -> Option<ResponseHeader> {
    let mut answer = ResponseHeader::build_no_case(head.status, Some(12)).ok()?;
    // One allocation for all values.
    let bytes = Bytes::copy_from_slice(head.bytes());
    for header in head.passed() {
        let value = match header.value.contains(&b'\n') {
            true => HeaderValue::from_bytes(&unfolded(header.value)),
            false => HeaderValue::from_maybe_shared(bytes.slice(head.place(header.value))),
        };
        answer.append_header(HeaderName::from_bytes(header.name.as_bytes()).ok()?, value.ok()?).ok()?;
    }
    if let Some(length) = head.length() {
        answer.insert_header(header::CONTENT_LENGTH, HeaderValue::from(length)).ok()?;
    }
    if let Some(route) = context.route.as_ref().filter(|route| bears_on_answers(route)) {
        route.edit_answer(&session.req_header().headers, &mut crate::http::headers::Response(&mut answer));
    }
    Some(answer)
}

/// The fields of a trailer section, but for those that cannot stand there (RFC 9110, 6.5.1).
fn trailers(lines: &[u8]) -> HeaderMap {
    let fields = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let may_stand = matches!(kind(name), Kind::Other | Kind::Date | Kind::Origin | Kind::RequestId);
        let (name, value) = (HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        may_stand.then_some((name, value))
    });
    let mut trailers = HeaderMap::new();
    fields.for_each(|(name, value)| {
        trailers.append(name, value);
    });
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_put_in_chunks_and_sent_again_as_it_was() {
        for step in 1..12 {
            let mut upload = Upload::new(false, true, true);
            let mut wire = Vec::new();
            let drain = |upload: &mut Upload, wire: &mut Vec<u8>| {
                while upload.has_bytes() {
                    let next: Vec<u8> = upload.slices().concat().into_iter().take(step).collect();
                    upload.sent(next.len());
                    wire.extend(next);
                }
            };
            for bytes in ["abc", "0123456789"] {
                upload.put(Bytes::from_static(bytes.as_bytes()));
                drain(&mut upload, &mut wire);
            }
            upload.end();
            drain(&mut upload, &mut wire);
            assert_eq!(wire, b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n", "{step}");
            (upload.resent, wire) = (0, Vec::new());
            drain(&mut upload, &mut wire);
            assert_eq!(wire, b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n", "{step}");
            assert!(!upload.lost && upload.ended);
        }
    }

    #[test]
    fn trailers_frame_nothing() {
        let got = trailers(
            b"X-Sum: 1\r\nContent-Length: 5\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Sum:2\r\n",
        );
        assert_eq!(got.len(), 2);
        assert_eq!(got.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
