//! An HTTP/1 connection of a client, whose requests are served one after the other.

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
    exchange::{self, Head},
    handover,
    last_host::LastHost,
    plan::{self, Arriving, Checking, Outcome, Plan},
    receive,
};
use crate::{
    accept::{Port, Worker},
    admission::{Admitted, Held},
    clock::{Ticks, Watch},
    conn::ConnInfo,
    http::access_log,
    in_place,
    io::{Transport, linger, pipe::Pipe},
    limits::Limits,
    refusal::Refusal,
};

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    transport: Transport,
    /// Bytes that were read: the rest of the current request, and the requests after it.
    pub(super) input: Buffer,
    size: Size,
    last_host: LastHost,
    pub(super) watch: Watch,
    /// Whether the client has closed its side, or the connection is broken.
    pub(super) ended: bool,
    /// Whether anything was sent on it.
    wrote: bool,
    admitted: Option<Admitted>,
}

/// What follows a request on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request may come.
    Request,
    /// The connection is closed, once the client has received what was sent.
    Close,
}

/// How long a new connection may wait for its first request while its listener drains: that request may be on its way. A
/// client that was answered before knows that idle connections may be closed, and sends its request again.
const FRESH_WHILE_DRAINING: Duration = Duration::from_secs(1);

/// Serves HTTP/1 on a connection until either side closes it. `early` is what was read to detect the protocol.
///
/// Not an `async fn`: that would keep room for the arguments beside the client that is made of them, and `early` for as long
/// as the connection lives.
pub(crate) fn serve<'p>(
    worker: &'p Worker,
    transport: Transport,
    early: Vec<u8>,
    conn: Arc<ConnInfo>,
    port: &'p Port,
    admitted: Admitted,
) -> impl Future<Output = ()> + use<'p> {
    let held = Arc::clone(admitted.held());
    serve_client(worker, Client::new(transport, &early, admitted), held, conn, port)
}

async fn serve_client(
    worker: &Worker,
    mut client: Client,
    held: Arc<Held>,
    conn: Arc<ConnInfo>,
    port: &Port,
) {
    let mut fresh = true;
    loop {
        if client.input.is_empty() && !client.request_begins(port, fresh, &conn.limits).await {
            return Box::pin(client.close_idle()).await;
        }
        if !fresh {
            client.last_host.begin();
        }
        let next = {
            let _in_flight = worker.load.request();
            held.begin();
            conn.begin_request();
            // Boxed, so that an idle connection does not hold the memory.
            let next = in_place::pinned(|| serve_one(worker, &mut client, &conn, port)).await;
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
    let Plan { mut context, mut outcome, asked, mut body, mut origin } = plan;
    while let Outcome::Check(checking) = outcome {
        if let Some(most) = checking.cursor.body() {
            let namespace = checking.cursor.rule().map_or("", |rule| &rule.route.namespace);
            let holding = receive::hold(worker, client, &mut context, (namespace, most), &asked, &mut body);
            if let Err(broken) = Box::pin(holding).await {
                return exchange::fail(worker, client, context, broken, (&asked, &origin)).await;
            }
        }
        // Boxed, so that requests without checks do not pay for its size.
        match Box::pin(exchange::check(worker, client, &mut context, &checking)).await {
            Some(checked) => {
                let Checking { cursor, head, .. } = *checking;
                (outcome, origin) = plan::resume(&worker.shared, &head, *cursor, checked, &mut context);
            }
            None => return Next::Close,
        }
    }
    match outcome {
        Outcome::Answer(reply) => {
            exchange::answer(client, context, &reply, &asked, body, &worker.limits).await
        }
        Outcome::Forward(head, sent) => {
            let head = Head { head, sent, length: None };
            exchange::forward(worker, client, context, head, asked, body, origin).await
        }
        Outcome::Handover(head) => handover::carry(worker, client, context, head, body, port).await,
        // Not reached: every check has been carried out.
        Outcome::Check(_) => Next::Close,
    }
}

impl Client {
    fn new(transport: Transport, early: &[u8], admitted: Admitted) -> Self {
        let input = if early.is_empty() { Buffer::default() } else { Buffer::of(early) };
        Self {
            transport,
            input,
            size: Size::default(),
            last_host: LastHost::default(),
            watch: Watch::new(),
            ended: false,
            wrote: false,
            admitted: Some(admitted),
        }
    }

    /// Waits for the first byte of a request. `false`: none will come.
    async fn request_begins(&mut self, port: &Port, fresh: bool, limits: &Limits) -> bool {
        let (mut draining, mut has_looked, mut waits) = (false, false, false);
        let begins = poll_fn(|cx| {
            loop {
                // At first there is usually nothing to read, so no buffer is taken for it.
                if !std::mem::replace(&mut has_looked, true)
                    && self.transport.poll_readable(cx, false).is_pending()
                {
                    break;
                }
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
            let begins_to_wait = !std::mem::replace(&mut waits, true);
            if begins_to_wait {
                self.watch.begin(Ticks::of(limits.keepalive), cx.waker());
            }
            if port.draining() && !std::mem::replace(&mut draining, true) {
                if !fresh {
                    return Poll::Ready(false);
                }
                self.watch.set(Ticks::of(FRESH_WHILE_DRAINING));
            }
            match !begins_to_wait && self.watch.look(cx.waker()) {
                true => Poll::Ready(false),
                false => Poll::Pending,
            }
        })
        .await;
        // A request that has begun sets it anew, or lifts it once its head is whole.
        if !begins {
            self.watch.lift();
        }
        begins
    }

    /// Skips empty lines, which may precede a request (RFC 9112, 2.2).
    fn skip_blank(&mut self) {
        let blank = self.input.bytes().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.input.used(blank);
    }

    /// Reads the head of a request and decides about it. `None`: the client is gone.
    async fn read_request(&mut self, worker: &Worker, conn: &Arc<ConnInfo>) -> Result<Option<Plan>, Refusal> {
        let limit = conn.limits.head_bytes;
        // Nearly every head comes in one read.
        let mut arriving = Arriving::default();
        loop {
            let (bytes, new) = (self.input.bytes(), arriving.is_new());
            if (arriving.may_be_read(bytes) || bytes.len() > limit)
                && let Some((plan, len)) =
                    plan::begin(&worker.shared, conn, bytes, limit, &mut self.last_host)?
            {
                self.watch.lift();
                self.input.used(len);
                return Ok(Some(plan));
            }
            if new {
                self.watch.set(Ticks::of(conn.limits.head_time));
            }
            let read = poll_fn(|cx| {
                self.watch.set_waker(cx.waker());
                self.input.make_room();
                match self.poll_read(cx) {
                    Poll::Pending if self.watch.is_due() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Poll::Pending => {
                        // Whoever sends heads that never end gets no more memory than they fill.
                        self.input.shrink();
                        Poll::Pending
                    }
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

    /// Reads more input and returns how many bytes came; 0 where the client has closed its side. The buffer is given back
    /// if nothing came, and the size of the next one follows how much did.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.input.is_lent() {
            self.input = Buffer::take(self.size);
        }
        let mut buf = ReadBuf::new(self.input.room());
        let room = buf.remaining();
        debug_assert!(room > 0, "the caller has made room");
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

    /// Writes as much of `bufs` as the client accepts; returns how many bytes that is, never 0.
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

    /// Whether its bytes are not encrypted.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.transport, Transport::Plain(_))
    }

    /// Writes as much of what is in the pipe as the client accepts; returns how many bytes that is. The connection must not be
    /// encrypted.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let Transport::Plain(socket) = &mut self.transport else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let n = ready!(socket.poll_drain(cx, pipe)).inspect_err(|_| self.ended = true)?;
        self.wrote = true;
        Poll::Ready(Ok(n))
    }

    /// Sends what TLS has buffered.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            transport => Pin::new(transport).poll_flush(cx),
        }
    }

    /// Ready with `true` when the client has closed its side, and with `false` when it has sent more bytes.
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
                // The runtime's readiness was out of date.
                Poll::Pending => {}
            }
        }
    }

    /// Whether the client has closed the connection, even if there are bytes that were not read. Asks the kernel.
    pub(super) fn left(&self) -> bool {
        self.transport.left()
    }

    /// Sends all of `bytes`. There is no limit of time here.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(bytes)])).await?;
            bytes = &bytes[n..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Lends the transport to another carrier for one request; [`Self::put_back`] ends that.
    pub(super) fn take_out(&mut self) -> (Transport, Option<Admitted>) {
        (std::mem::replace(&mut self.transport, Transport::Gone), self.admitted.take())
    }

    pub(super) fn put_back(&mut self, transport: Transport, admitted: Option<Admitted>) {
        (self.transport, self.admitted, self.wrote) = (transport, admitted, true);
    }

    /// Closes the connection between two requests.
    async fn close_idle(&mut self) {
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
            // Closed at once to make room for others, with TLS's close_notify if that needs no waiting.
            let _ = Pin::new(&mut transport).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        } else if self.wrote && !self.ended && !matches!(transport, Transport::Gone) {
            linger::close(transport, Default::default(), self.admitted.take());
        }
    }
}
