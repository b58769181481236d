//! The answer of an attempt: received from the backend, and passed on to the client.

use std::{
    io::IoSlice,
    task::{Context as Task, Poll},
    time::Duration,
};

use http::{HeaderValue, header::TRANSFER_ENCODING};
use portcullis_routing::{Headers, HeadersMut};

use super::{Relay, splice};
use crate::{
    body::{Coder, Pacer},
    http::{pages, retry},
    http1::{
        answer::Form,
        attempts::{Broken, Sending},
        coded,
        fields::Room,
        framing::{ChunkWriter, Framing, Part},
        incoming::MALFORMED,
        lines::Lines,
    },
    io::pipe::Pipe,
};

/// The most bytes of a body that are copied to send them together with a head.
const SHORT: usize = 2 << 10;

/// An answer whose head has come.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) framing: Framing,
    /// Whether the backend's connection may be used again.
    pub(super) persists: bool,
    pub(super) keep_alive: Option<Duration>,
    /// Whether the client's connection is closed after the answer.
    pub(super) close: bool,
    /// Whether the chunked coding of the backend is removed, because the client speaks HTTP/1.0.
    pub(super) bare: bool,
    /// The chunks that the body is put in, where it has no length of its own.
    pub(super) chunks: Option<ChunkWriter>,
    /// The pace at which the body is sent.
    pub(super) pacer: Option<Box<Pacer>>,
    /// The coder of the body, if it is compressed. The body is in chunks then.
    pub(super) coder: Option<Box<Coder>>,
    /// A piece of the body that does not come to user space.
    pub(super) pipe: Option<Pipe>,
}

impl Answering {
    /// Whether all of the body has come, was compressed if it has a coder, and has left the pipe.
    pub(super) fn has_ended(&self) -> bool {
        self.framing.is_done()
            && self.pipe.is_none()
            && self.coder.as_ref().is_none_or(|coder| coder.has_ended())
    }

    /// Whether output of the coder waits for the client.
    pub(super) fn has_output(&self) -> bool {
        self.coder.as_ref().is_some_and(|coder| !coder.output().is_empty())
    }
}

impl Relay<'_> {
    /// Receives the answer and passes it on.
    pub(super) fn poll_receive(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        loop {
            // Nothing is read before the client has taken what was read: an answer holds one buffer at most.
            if self.poll_pass(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.answer.as_ref().is_some_and(Answering::has_ended) {
                return match self.client.poll_flush(cx) {
                    Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
                    Poll::Ready(Err(_)) => Err(Broken::ClientGone),
                    Poll::Pending => Ok(Poll::Pending),
                };
            }
            match self.poll_splice(cx)? {
                Some(Poll::Ready(())) => continue,
                Some(Poll::Pending) => return Ok(Poll::Pending),
                None => {}
            }
            if self.coder().is_some_and(|(coder, _)| coder.ends_turn()) {
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            let more = match self.answer {
                Some(_) => self.advance()?,
                None => {
                    let read = !self.incoming.is_empty() && self.read_head()?;
                    // The part of the body that came with the head is sent with it, by one system call.
                    if read && let Err(broken) = self.advance() {
                        // The client has got nothing of this answer, and can still be told.
                        self.answer = None;
                        self.out.clear();
                        return Err(broken);
                    }
                    read
                }
            };
            if more {
                continue;
            }
            if self.poll_read(cx)?.is_pending() {
                // As long as the backend sends nothing, the coder must not hold back anything.
                if self.flush_coder()? {
                    continue;
                }
                // The client gets what is buffered before we wait for the backend.
                if let Poll::Ready(Err(_)) = self.client.poll_flush(cx) {
                    return Err(Broken::ClientGone);
                }
                return Ok(Poll::Pending);
            }
        }
    }

    /// Copies a short body behind the head that it is sent with: one piece costs less to send than two.
    fn join_short(&mut self) {
        let is_plain = |answer: &Answering| answer.pacer.is_none() && answer.coder.is_none();
        let body = self.incoming.next();
        if !self.out.is_sent()
            && (1..=SHORT).contains(&body.len())
            && self.answer.as_ref().is_some_and(is_plain)
        {
            let len = body.len();
            self.out.bytes.extend_from_slice(body);
            self.incoming.passed(len);
        }
    }

    /// Passes on to the client what is ready for it.
    fn poll_pass(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        self.join_short();
        while self.has_bytes() {
            let (pacer, coder) = match &mut self.answer {
                Some(answer) => (answer.pacer.as_mut(), answer.coder.as_ref()),
                None => (None, None),
            };
            let mut body = coder.map_or_else(|| self.incoming.next(), |coder| coder.output());
            if let Some(pacer) = pacer {
                match pacer.poll_room(cx, body.len()) {
                    Poll::Ready(room) => body = &body[..room.min(body.len())],
                    // The head does not wait.
                    Poll::Pending if !self.out.is_sent() => body = &[],
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
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
            match self.coder() {
                Some((coder, _)) => coder.sent(beyond),
                None => self.incoming.passed(beyond),
            }
            if let Some(pacer) = self.answer.as_mut().and_then(|answer| answer.pacer.as_mut()) {
                pacer.sent(beyond);
            }
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

    /// Handles the end of the backend's connection: the end of an answer without a length, an error elsewhere.
    pub(super) fn ended(&mut self) -> Result<(), Broken> {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.framing == Framing::Close) else {
            return Err(self.incoming.broken(self.head.is_sent()));
        };
        answer.framing = Framing::Done;
        if let Some(chunks) = answer.chunks.as_mut().filter(|_| answer.coder.is_none()) {
            chunks.end(&mut self.out.bytes);
        }
        Ok(())
    }

    /// Sorts the bytes of the body into those to pass on and those to drop; returns whether there were any.
    fn advance(&mut self) -> Result<bool, Broken> {
        if let Some(Answering { framing, coder: Some(coder), chunks: Some(chunks), .. }) = &mut self.answer {
            let more = coded::advance(coder, framing, &mut self.incoming, |_| ())?;
            self.content += coded::chunk(coder, chunks, &mut self.out.bytes);
            return Ok(more);
        }
        let (Some(answer), incoming) = (&mut self.answer, &mut self.incoming) else { return Ok(false) };
        while !answer.framing.is_done() && incoming.skip == 0 {
            let (n, part) =
                answer.framing.next(&incoming.bytes()[incoming.ready..]).map_err(|_| MALFORMED)?;
            match part {
                _ if n == 0 => break,
                Part::Content => {
                    self.content += n;
                    incoming.ready += n;
                    if let Some(chunks) = &mut answer.chunks {
                        chunks.begin(n, &mut self.out.bytes);
                        break;
                    }
                }
                Part::Coding if !answer.bare => incoming.ready += n,
                Part::Coding | Part::Extension | Part::Trailer => incoming.skip = n,
            }
        }
        Ok(incoming.ready > 0 || incoming.skip > 0 || answer.framing.is_done())
    }

    /// The coder of the answer's body, and what puts its output in chunks.
    fn coder(&mut self) -> Option<(&mut Coder, &mut ChunkWriter)> {
        let Answering { coder, chunks, .. } = self.answer.as_mut()?;
        coder.as_deref_mut().zip(chunks.as_mut())
    }

    /// Brings out what the coder holds back; returns whether there is anything.
    fn flush_coder(&mut self) -> Result<bool, Broken> {
        let Some(Answering { coder: Some(coder), chunks: Some(chunks), .. }) = &mut self.answer else {
            return Ok(false);
        };
        let flushed = coded::flush(coder)? > 0;
        if flushed {
            self.content += coded::chunk(coder, chunks, &mut self.out.bytes);
        }
        Ok(flushed)
    }

    /// Changes the head that was written from `begin` on if the answer is compressed; returns the coder of its body.
    fn compress(&mut self, status: u16, has_body: bool, begin: usize) -> Option<Box<Coder>> {
        if !self.context.may_compress() {
            return None;
        }
        let mut lines = Lines::open(&mut self.out.bytes, begin);
        // Clients of HTTP/1.0 do not understand chunks.
        let coder = self.context.compress(status, has_body && !self.asked.http10, &mut lines);
        if coder.is_some() {
            lines.set(&TRANSFER_ENCODING, &HeaderValue::from_static("chunked"));
        }
        lines.close();
        coder
    }

    /// Reads the head of an answer, if it is complete; returns whether it was.
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
            self.incoming.count_interim(status)?;
            self.context.attempts.interim = true;
            self.incoming.used(len);
            return Ok(true);
        }
        let framing = head.body(self.asked.head_only).map_err(Broken::Invalid)?;
        let (idempotent, repeatable) = (self.asked.idempotent, self.upload.is_repeatable());
        if retry::on_status(head.status, idempotent, repeatable, self.context) {
            return Err(Broken::Retry);
        }
        if pages::replace_answer(head.status, repeatable, self.context) {
            return Err(Broken::Page);
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
        let (origin, begin): (&dyn Headers, _) = (self.origin, self.out.bytes.len());
        head.write(form, self.context.route.as_ref(), origin, &mut self.out.bytes);
        if let Some(measured) = &mut self.context.measured {
            measured.answered(self.out.bytes.len() - begin);
        }
        self.incoming.used(len);
        if let Framing::Length(length) = framing {
            self.incoming.expect(length);
        }
        self.backend.sends_large = splice::is_large(&framing);
        // From here on it is too late for a 504; an answer that is late is cut.
        let coder = self.compress(status, !framing.is_done(), begin);
        let chunks = (form.chunks || coder.is_some()).then(ChunkWriter::default);
        let (close, pacer) = (form.close, self.context.pacer());
        self.answer =
            Some(Answering { framing, persists, keep_alive, close, bare, chunks, pacer, coder, pipe: None });
        Ok(true)
    }
}
