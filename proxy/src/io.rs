//! A client's connection as pingora takes it: reads with a limit of time and size for heads, writes put together.
//!
//! Between requests the connection is with [`crate::app`], which asks [`DownIo::poll_readable`]; pingora has it only
//! from a request's first byte to the end of its response.

mod head;
pub(crate) mod linger;
mod message;
mod opened;
mod out;
#[cfg(test)]
pub(crate) mod pair;
pub(crate) mod pipe;
pub(crate) mod read;
mod socket;
mod traits;
mod transport;
pub(crate) mod write;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use pingora_core::protocols::{SocketDigest, l4::socket::SocketAddr, tls::SslDigest};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Sleep,
};

use self::{
    head::{Head, HeadScan},
    opened::Opened,
    out::Out,
    transport::Gathering,
};
pub(crate) use self::{message::Message, socket::Socket, transport::Transport};
use crate::{
    admission::Admitted,
    conn::ConnInfo,
    limits::Limits,
    refusal::Refusal,
    scope::{Cut, SCOPE, Scope},
};

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Read at once while it is not known what is spoken; most heads fit.
const FIRST_READ: usize = 2048;

/// A client's connection.
pub(crate) struct DownIo {
    transport: Transport,
    /// Read before it was known what is spoken; handed out first.
    early: Vec<u8>,
    early_read: usize,
    out: Out,
    reading: Reading,
    /// Ends the reading of a head; there is one only where a head did not come in one piece.
    head_timer: Option<Pin<Box<Sleep>>>,
    limits: Limits,
    h2: bool,
    /// Whether the runtime may believe wrongly that there is something to read: it does of a new socket, and after a
    /// read that filled its buffer.
    stale: bool,
    ended: bool,
    wrote: bool,
    /// Whether the request has been answered, in part or whole.
    answered: bool,
    /// Whether h2 has been told that records are sent which are still here; they are before the next read.
    owes_flush: bool,
    socket: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    admitted: Option<Admitted>,
    /// The only request that may be read, on a connection that is lent for one request.
    message: Option<Box<Message>>,
}

/// What is being read; the limits depend on it.
#[derive(Debug)]
enum Reading {
    /// The head of an HTTP/1 request.
    Head(HeadScan),
    /// The preface of an HTTP/2 connection, and how many bytes of it are still to come.
    Preface(usize),
    /// The frames that follow it.
    Frames(Opened),
    /// Anything else.
    Rest,
}

impl DownIo {
    pub(crate) fn new(transport: Transport, conn: &ConnInfo, limits: Limits, admitted: Admitted) -> Self {
        Self::with(transport, conn, limits, Some(admitted))
    }

    /// A connection that is lent for one request: `early` is the part of the request that has been read, `message` what
    /// is known of the rest.
    pub(crate) fn of_message(
        transport: Transport,
        conn: &ConnInfo,
        limits: Limits,
        admitted: Option<Admitted>,
        early: Vec<u8>,
        message: Message,
    ) -> Self {
        let mut down = Self::with(transport, conn, limits, admitted);
        (down.early, down.message) = (early, Some(Box::new(message)));
        down
    }

    fn with(transport: Transport, conn: &ConnInfo, limits: Limits, admitted: Option<Admitted>) -> Self {
        let socket = SocketDigest::from_raw_fd(transport.raw_fd());
        // Known from accept: nobody has to ask the kernel again.
        let _ = socket.peer_addr.set(Some(SocketAddr::Inet(conn.peer)));
        let _ = socket.local_addr.set(Some(SocketAddr::Inet(conn.local)));
        let tls =
            conn.tls.as_ref().map(|tls| Arc::new(SslDigest::new("", tls.version, None, None, Vec::new())));
        Self {
            transport,
            early: Vec::new(),
            early_read: 0,
            out: Out::default(),
            reading: Reading::Rest,
            head_timer: None,
            limits,
            h2: false,
            stale: true,
            ended: false,
            wrote: false,
            answered: false,
            owes_flush: false,
            socket: Arc::new(socket),
            tls,
            admitted,
            message: None,
        }
    }

    /// Takes the connection apart and returns it to the owner that lent it for one request.
    pub(crate) fn into_message(mut self: Box<Self>) -> (Transport, Option<Admitted>, Option<Box<Message>>) {
        self.ended = true;
        let transport = std::mem::replace(&mut self.transport, Transport::Gone);
        (transport, self.admitted.take(), self.message.take())
    }

    /// Takes a connection apart after its protocol was detected. The last part is what was read to detect it.
    pub(crate) fn into_parts(mut self: Box<Self>) -> (Transport, Option<Admitted>, Vec<u8>) {
        self.ended = true;
        let transport = std::mem::replace(&mut self.transport, Transport::Gone);
        (transport, self.admitted.take(), std::mem::take(&mut self.early))
    }

    /// Ready when a request begins, or the client is gone; takes nothing out.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.early_read < self.early.len() {
            return Poll::Ready(Ok(()));
        }
        let readable = self.transport.poll_readable(cx, self.stale);
        self.stale &= readable.is_ready();
        readable
    }

    /// The next bytes are the head of an HTTP/1 request.
    pub(crate) fn begin_request(&mut self) {
        self.reading = Reading::Head(HeadScan::default());
        self.head_timer = None;
        self.answered = false;
    }

    /// Whether the client has ended the connection, or its side of it, though there be bytes of it that were not read.
    pub(crate) fn left(socket: &SocketDigest) -> bool {
        transport::left(socket)
    }

    /// By which [`Self::left`] knows the connection.
    pub(crate) fn socket(&self) -> Arc<SocketDigest> {
        Arc::clone(&self.socket)
    }

    /// What follows is HTTP/2, from its preface on.
    pub(crate) fn begin_h2(&mut self) {
        self.h2 = true;
        self.reading = Reading::Preface(PREFACE.len());
        self.head_timer = None;
    }

    /// Whether the client speaks HTTP/2 without having been asked (RFC 9113, 3.3). Waits for as many bytes as it
    /// takes to tell: a request of HTTP/1 differs in its first letters.
    ///
    /// # Errors
    /// Where the client is gone, or takes longer than a head may.
    pub(crate) async fn sniff_h2(&mut self) -> io::Result<bool> {
        let limit = tokio::time::sleep(self.limits.head_time);
        tokio::pin!(limit);
        self.early = Vec::with_capacity(FIRST_READ);
        loop {
            let read = tokio::io::AsyncReadExt::read_buf(&mut self.transport, &mut self.early);
            let n = tokio::select! {
                biased;
                n = read => n?,
                () = &mut limit => return Err(io::ErrorKind::TimedOut.into()),
            };
            let seen = self.early.len().min(PREFACE.len());
            if n == 0 || self.early[..seen] != PREFACE[..seen] {
                self.ended = n == 0;
                return Ok(false);
            }
            if seen == PREFACE.len() {
                return Ok(true);
            }
        }
    }

    /// Ends a connection between two requests.
    pub(crate) async fn close(mut self: Box<Self>) {
        self.ended = true;
        let _ = AsyncWriteExt::shutdown(&mut *self).await;
    }

    fn poll_early(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = &self.early[self.early_read..];
        if left.is_empty() {
            return false;
        }
        let n = left.len().min(buf.remaining());
        buf.put_slice(&left[..n]);
        self.early_read += n;
        if self.early_read == self.early.len() {
            (self.early, self.early_read) = (Vec::new(), 0);
        }
        true
    }

    /// Reads what belongs to the one request that may be read.
    fn poll_message(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(message) = &mut self.message else {
            // h2 reads until nothing is left.
            if self.h2 && self.transport.lacks_bytes(cx) {
                return Poll::Pending;
            }
            return Pin::new(&mut self.transport).poll_read(cx, buf);
        };
        if SCOPE.try_with(Scope::is_tunnel).unwrap_or_default() {
            // From here on all bytes are the tunnel's.
            if message.beyond().is_empty() {
                return Pin::new(&mut self.transport).poll_read(cx, buf);
            }
            message.take_beyond(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            if message.is_over() {
                // What comes now is another request, or the end.
                if !message.has_room() {
                    return Poll::Pending;
                }
                let mut room = [0; 1024];
                let mut ahead = ReadBuf::new(&mut room);
                ready!(Pin::new(&mut self.transport).poll_read(cx, &mut ahead))?;
                if ahead.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                message.put_beyond(ahead.filled());
                continue;
            }
            ready!(Pin::new(&mut self.transport).poll_read(cx, buf))?;
            let came = &mut buf.filled_mut()[before..];
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let kept = message.take(came)?;
            buf.set_filled(before + kept);
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Holds what came in against the limits.
    fn received(&mut self, data: &[u8]) -> io::Result<()> {
        let next = match &mut self.reading {
            Reading::Rest => return Ok(()),
            Reading::Frames(opened) => {
                if let (count @ 1.., Some(admitted)) = (opened.count(data), &self.admitted) {
                    admitted.held().streams_opened(count);
                }
                return Ok(());
            }
            Reading::Preface(left) => {
                let (preface, frames) = data.split_at(data.len().min(*left));
                *left -= preface.len();
                if *left > 0 {
                    return Ok(());
                }
                (self.reading, self.head_timer) = (Reading::Frames(Opened::default()), None);
                return self.received(frames);
            }
            Reading::Head(head) => head.feed(data, self.limits.head_bytes),
        };
        match next {
            Head::Begun => {}
            Head::Whole => (self.reading, self.head_timer) = (Reading::Rest, None),
            Head::Refused(refusal) => return Err(self.refuse(refusal, io::ErrorKind::InvalidData)),
        }
        Ok(())
    }

    fn poll_head_timer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.reading, Reading::Rest | Reading::Frames(_)) {
            return Poll::Pending;
        }
        let limit = self.limits.head_time;
        let timer = self.head_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(match &self.reading {
            Reading::Head(head) if head.bytes() > 0 => self.refuse(Refusal::TooSlow, io::ErrorKind::TimedOut),
            _ => io::ErrorKind::TimedOut.into(),
        }))
    }

    /// Pingora answers no read error: the answer is left here for its `shutdown` to send.
    fn refuse(&mut self, refusal: Refusal, kind: io::ErrorKind) -> io::Error {
        self.answer(refusal.answer());
        // There is none where it is not known yet what is spoken.
        let _ = SCOPE.try_with(|scope| scope.refuse(refusal.reason()));
        kind.into()
    }

    fn answer(&mut self, answer: &[u8]) {
        self.out.replace(answer);
        self.wrote |= !answer.is_empty();
    }

    /// What is written before the request has a context is pingora's answer to a head that it cannot read, under its own
    /// name: ours takes its place.
    fn answers_unread(&mut self) -> bool {
        let unread = !self.h2 && SCOPE.try_with(|scope| !scope.is_read()).unwrap_or_default();
        if unread {
            let _ = self.refuse(Refusal::Unreadable, io::ErrorKind::InvalidData);
        }
        unread
    }

    /// Whether records wait to be sent together with those that follow ([`Gathering`]).
    fn gathers(&mut self) -> bool {
        match &mut self.transport {
            Transport::Tls(tls) if self.h2 => Gathering(tls).holds_records(),
            _ => false,
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.out.poll_flush(&mut self.transport, cx))?;
        Pin::new(&mut self.transport).poll_flush(cx)
    }
}

const STALLED: &[u8] = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

impl AsyncRead for DownIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.owes_flush {
            match this.poll_out(cx) {
                Poll::Ready(sent) => {
                    this.owes_flush = false;
                    sent?;
                }
                // The client does not take more. What it sends is read all the same: it may be what it waits for.
                Poll::Pending => {}
            }
        }
        if !this.poll_early(buf) {
            match this.poll_message(cx, buf) {
                Poll::Ready(Ok(())) => {
                    this.ended |= buf.filled().len() == before && buf.remaining() > 0;
                    this.stale = buf.remaining() == 0;
                }
                Poll::Ready(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    this.stale = false;
                    // Nothing more is to be had from the client: what is held back for it need not wait, for the
                    // rest of the body may take its time.
                    if let Poll::Ready(Err(error)) = this.poll_out(cx) {
                        return Poll::Ready(Err(error));
                    }
                    return this.poll_head_timer(cx);
                }
            }
        }
        Poll::Ready(this.received(&buf.filled()[before..]))
    }
}

impl AsyncWrite for DownIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.answers_unread() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        (this.wrote, this.answered) = (true, true);
        match &mut this.transport {
            Transport::Tls(tls) if this.h2 => this.out.poll_write(&mut Gathering(tls), cx, bufs),
            // h2 gathers its small frames itself.
            plain if this.h2 => Pin::new(plain).poll_write_vectored(cx, bufs),
            transport => this.out.poll_write(transport, cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gathers() {
            if !std::mem::replace(&mut this.owes_flush, true) {
                // h2 is polled again, after the streams that have something to send by now.
                cx.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(()));
        }
        this.poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

impl Drop for DownIo {
    fn drop(&mut self) {
        if self.admitted.as_ref().is_some_and(|admitted| admitted.held().goes()) {
            // Closed at once to make room; what can be sent without waiting is sent.
            let cx = &mut Context::from_waker(Waker::noop());
            if self.poll_out(cx).is_ready() {
                let _ = Pin::new(&mut self.transport).poll_shutdown(cx);
            }
            return;
        }
        let transport = std::mem::replace(&mut self.transport, Transport::Gone);
        let stalled = matches!(SCOPE.try_with(Scope::cut), Ok(Some(Cut::Stalled)));
        if stalled && !self.h2 && !self.answered {
            self.answer(STALLED);
        }
        if self.wrote && !self.ended {
            linger::close(transport, std::mem::take(&mut self.out), self.admitted.take());
        }
    }
}
