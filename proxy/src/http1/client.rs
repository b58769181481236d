//! A client's connection of HTTP/1: its bytes, and its requests one after the other.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Instant,
};

use super::{
    buffer::{Buffer, Size},
    exchange, handover,
    plan::{self, Begun, Outcome, Plan},
};
use crate::{
    accept::{Port, Worker},
    admission::{Admitted, Held},
    clock::{Ticks, Watch},
    conn::ConnInfo,
    http::access_log,
    io::{Transport, linger},
    limits::Limits,
    refusal::Refusal,
};

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    transport: Transport,
    /// What was read and belongs to no request yet, or to the one that is being answered.
    pub(super) input: Buffer,
    size: Size,
    pub(super) watch: Watch,
    /// Whether the client has ended its side, or the connection is broken.
    pub(super) ended: bool,
    /// Whether anything was sent on it.
    wrote: bool,
    admitted: Option<Admitted>,
}

/// What comes behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another one may.
    Request,
    /// The end, once the client has what was sent.
    Close,
}

/// How long a connection that had no request yet may have to send one while its listener closes: whoever has been
/// answered once knows that a connection may end, and asks again; a first request may be on its way.
const FRESH_WHILE_DRAINING: Duration = Duration::from_secs(1);

/// Serves HTTP/1 until either side ends it. `early` is what was read before it was known what is spoken.
pub(crate) async fn serve(
    worker: &Worker,
    transport: Transport,
    early: &[u8],
    conn: Arc<ConnInfo>,
    port: &Port,
    admitted: Admitted,
) {
    let held = Arc::clone(admitted.held());
    let mut client = Client::new(transport, early, admitted);
    let mut fresh = true;
    loop {
        if client.input.is_empty() && !client.request_begins(port, fresh, &worker.limits).await {
            return client.close_idle().await;
        }
        let next = {
            let _in_flight = worker.load.request();
            held.begin();
            // Boxed, so that an idle connection does not keep the room.
            let next = Box::pin(serve_one(worker, &mut client, &conn, port)).await;
            held.end(Instant::now());
            next
        };
        if next == Next::Close {
            return;
        }
        client.skip_blank();
        client.input.give_back();
        fresh = false;
    }
}

/// Reads a request and answers it.
async fn serve_one(worker: &Worker, client: &mut Client, conn: &Arc<ConnInfo>, port: &Port) -> Next {
    let plan = match client.read_request(worker, conn).await {
        Ok(Some(plan)) => plan,
        Ok(None) => return Next::Close,
        Err(refusal) => {
            let reason = refusal.reason();
            conn.load.answered(reason.status);
            access_log::refused(conn, &reason);
            let _ = client.write_all(refusal.answer()).await;
            return Next::Close;
        }
    };
    let Plan { context, outcome, asked, body, origin } = plan;
    match outcome {
        Outcome::Answer(reply) => {
            exchange::answer(client, context, &reply, &asked, body, &worker.limits).await
        }
        Outcome::Forward(head) => exchange::forward(worker, client, context, head, asked, body, origin).await,
        Outcome::Handover(head) => handover::carry(worker, client, context, head, body, port).await,
    }
}

impl Client {
    fn new(transport: Transport, early: &[u8], admitted: Admitted) -> Self {
        let input = if early.is_empty() { Buffer::default() } else { Buffer::of(early) };
        Self {
            transport,
            input,
            size: Size::default(),
            watch: Watch::new(),
            ended: false,
            wrote: false,
            admitted: Some(admitted),
        }
    }

    /// Waits for a request. False: there will be none.
    async fn request_begins(&mut self, port: &Port, fresh: bool, limits: &Limits) -> bool {
        self.watch.set(Ticks::of(limits.keepalive));
        let mut draining = false;
        let begins = poll_fn(|cx| {
            self.watch.set_waker(cx.waker());
            loop {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                    Poll::Ready(Ok(_)) => {
                        self.skip_blank();
                        if !self.input.is_empty() {
                            return Poll::Ready(true);
                        }
                    }
                    Poll::Pending => break,
                }
            }
            if port.draining() && !std::mem::replace(&mut draining, true) {
                if !fresh {
                    return Poll::Ready(false);
                }
                self.watch.set(Ticks::of(FRESH_WHILE_DRAINING));
            }
            if self.watch.is_due() { Poll::Ready(false) } else { Poll::Pending }
        })
        .await;
        self.watch.lift();
        begins
    }

    /// Empty lines may stand before a request (RFC 9112, 2.2), and do not begin one.
    fn skip_blank(&mut self) {
        let blank = self.input.bytes().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.input.used(blank);
    }

    /// Reads the head of a request, and finds out what becomes of it. `None`: the client is gone.
    async fn read_request(&mut self, worker: &Worker, conn: &Arc<ConnInfo>) -> Result<Option<Plan>, Refusal> {
        let limit = worker.limits.head_bytes;
        // Nearly every head is there at once.
        let mut seen = 0;
        loop {
            let bytes = self.input.bytes();
            if seen == 0 || plan::may_be_whole(bytes, seen) || bytes.len() > limit {
                match plan::begin(&worker.shared, conn, bytes, limit)? {
                    Begun::Plan(plan, len) => {
                        self.watch.lift();
                        self.input.used(len);
                        return Ok(Some(*plan));
                    }
                    Begun::More => {}
                }
            }
            if seen == 0 {
                self.watch.set(Ticks::of(worker.limits.head_time));
            }
            seen = self.input.bytes().len();
            self.input.make_room();
            let read = poll_fn(|cx| {
                self.watch.set_waker(cx.waker());
                match self.poll_read(cx) {
                    Poll::Pending if self.watch.is_due() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    read => read,
                }
            });
            match read.await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(Refusal::TooSlow),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads more input. A buffer is taken when there is something to be read, and one that was filled is followed by a
    /// larger one. No bytes: the client has ended its side.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.input.is_lent() {
            self.input = Buffer::take(self.size);
        }
        let mut buf = ReadBuf::new(self.input.room());
        let room = buf.remaining();
        debug_assert!(room > 0, "whoever reads has made room");
        let read = Pin::new(&mut self.transport).poll_read(cx, &mut buf);
        let n = buf.filled().len();
        if read.is_pending() {
            self.input.give_back();
        }
        ready!(read).inspect_err(|_| self.ended = true)?;
        self.ended |= n == 0;
        self.size = match n == room {
            true => self.size.next(),
            false if n < room / 4 => Size::default(),
            false => self.size,
        };
        self.input.filled(n);
        Poll::Ready(Ok(n))
    }

    /// Writes as much of these as the client takes.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match bufs {
            [one] => Pin::new(&mut self.transport).poll_write(cx, one),
            several => Pin::new(&mut self.transport).poll_write_vectored(cx, several),
        };
        let n = ready!(written).inspect_err(|_| self.ended = true)?;
        self.wrote = true;
        Poll::Ready(if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(n) })
    }

    /// Sends what was written and is still here.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            transport => Pin::new(transport).poll_flush(cx),
        }
    }

    /// Ready when something has come, or the client is gone (`true`), so that nobody waits for it any more.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(tcp) = self.transport.tcp() else { return Poll::Ready(true) };
        loop {
            if ready!(tcp.poll_read_ready(cx)).is_err() {
                return Poll::Ready(true);
            }
            let mut byte = [0];
            match tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
                Poll::Ready(Ok(n)) => return Poll::Ready(n == 0),
                Poll::Ready(Err(_)) => return Poll::Ready(true),
                // What the runtime knew was out of date.
                Poll::Pending => {}
            }
        }
    }

    /// Whether the client has ended the connection, though there be bytes of it that were not read.
    pub(super) fn left(&self) -> bool {
        self.transport.left()
    }

    /// Sends bytes, as long as the client takes them.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(bytes)])).await?;
            bytes = &bytes[n..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Takes the bytes' way out, for somebody else to carry a request; [`Self::put_back`] brings it back.
    pub(super) fn take_out(&mut self) -> (Transport, Option<Admitted>) {
        (std::mem::replace(&mut self.transport, Transport::Gone), self.admitted.take())
    }

    pub(super) fn put_back(&mut self, transport: Transport, admitted: Option<Admitted>) {
        (self.transport, self.admitted, self.wrote) = (transport, admitted, true);
    }

    /// Ends a connection between two requests.
    async fn close_idle(mut self) {
        let _ = self.transport.shutdown().await;
        self.ended = true;
    }

    fn is_asked_to_go(&self) -> bool {
        self.admitted.as_ref().map(Admitted::held).is_some_and(|held: &Arc<Held>| held.goes())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut transport = std::mem::replace(&mut self.transport, Transport::Gone);
        if self.is_asked_to_go() {
            // To make room, at once; where it can be said without waiting, it is said.
            let _ = Pin::new(&mut transport).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        } else if self.wrote && !self.ended && !matches!(transport, Transport::Gone) {
            linger::close(transport, Default::default(), self.admitted.take());
        }
    }
}
