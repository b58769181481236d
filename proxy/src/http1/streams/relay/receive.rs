//! The answer of a backend on its way to an HTTP/2 client.

use std::{
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::Relay;
use crate::{
    body::{Coder, Pacer},
    http::{headers::answer_len, pages, retry},
    http1::{
        attempts::Broken,
        coded,
        fields::Room,
        framing::{Framing, Part},
        incoming::MALFORMED,
        streams::head,
    },
};

const INVALID_HEADERS: Broken =
    Broken::Invalid("the backend's response has headers that HTTP/2 does not allow");

/// The answer that is being passed on.
#[derive(Debug)]
pub(super) struct Answering {
    framing: Framing,
    pub(super) persists: bool,
    pub(super) keep_alive: Option<Duration>,
    /// The lines of the trailer section.
    trailers: Vec<u8>,
    /// Whether END_STREAM was sent.
    pub(super) ended: bool,
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
    /// The number of bytes that can be sent to the client.
    pub(super) fn ready(&self) -> usize {
        match self.answer.as_ref().and_then(|answer| answer.coder.as_ref()) {
            Some(coder) => coder.output().len(),
            None => self.incoming.ready,
        }
    }

    /// Receives the answer and passes it on.
    pub(super) fn poll_receive(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
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
        let trailers = head::trailers(&answer.trailers);
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
        let mut headers = head::answer_headers(&head, self.context, &self.side.stream.head.headers)
            .ok_or(INVALID_HEADERS)?;
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
