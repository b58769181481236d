//! A request of an HTTP/1 client that an HTTP/1 backend answers, or that we answer.

use std::{
    future::poll_fn,
    io::IoSlice,
    pin::{Pin, pin},
    task::{self, Poll},
    time::Duration,
};

use portcullis_routing::{self as routing, Answer, step::Spool};
use tokio::time::Sleep;

use super::{
    answer::{self, Form},
    attempts::{self, Attempted, Broken, End, note_cut},
    backend::Connection,
    buffer::Out,
    client::{Client, Next},
    framing::Framing,
    plan::{self, About, Checking, Origin},
    receive,
    relay::{Relay, Request, Time},
    upload::Upload,
};
use crate::{
    accept::Worker,
    body::{Held, Spooled},
    clock::Ticks,
    http::{
        answer::{self as own, Reply},
        attempt::Failure,
        context::Context,
        retry,
    },
    limits::{Limits, Silence},
};

/// How many bytes of an unwanted body are read, and for how long, so that the connection can carry another request.
const DISCARDED: usize = 1 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Answers without a backend.
pub(super) async fn answer(
    client: &mut Client,
    mut context: Box<Context>,
    reply: &Reply,
    asked: &About,
    body: Framing,
    limits: &Limits,
) -> Next {
    context.status = reply.status.as_u16();
    context.measure_reply(reply);
    let short = match body {
        Framing::Length(length) => length <= DISCARDED as u64,
        Framing::Chunked(_) | Framing::Done => true,
        Framing::Close => false,
    };
    let has_body = !body.is_done();
    let keep_alive = asked.keep_alive && short && !(has_body && asked.expects) && !context.conn.draining();
    let sent = send_reply(client, reply, asked, !keep_alive, limits).await;
    let bytes = if asked.head_only { 0 } else { reply.body.len() };
    context.finish(if sent { bytes } else { 0 }, !sent);
    if !sent || !keep_alive {
        return Next::Close;
    }
    match has_body {
        true => discard(client, body).await,
        false => Next::Request,
    }
}

/// Sends an answer of our own; returns whether the client took it.
async fn send_reply(client: &mut Client, reply: &Reply, asked: &About, close: bool, limits: &Limits) -> bool {
    let form = Form { http10: asked.http10, close, chunks: false };
    let mut out = Out::take();
    answer::write_own(reply, form, asked.head_only, &mut out.bytes);
    client.watch.set(Ticks::of(limits.idle));
    let taken = poll_fn(|cx| {
        client.watch.set_waker(cx.waker());
        while !out.is_sent() {
            match client.poll_write(cx, &[IoSlice::new(out.left())]) {
                Poll::Ready(Ok(n)) => {
                    out.sent(n);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending if client.watch.is_due() => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        client.poll_flush(cx).map(|flushed| flushed.is_ok())
    })
    .await;
    client.watch.lift();
    taken
}

/// Reads a body to its end, within limits.
async fn discard(client: &mut Client, mut body: Framing) -> Next {
    let mut left = DISCARDED;
    client.watch.set(Ticks::of(DISCARD_TIME));
    let ended = poll_fn(|cx| {
        client.watch.set_waker(cx.waker());
        loop {
            while !client.input.is_empty() && !body.is_done() {
                let Ok((n, _)) = body.next(client.input.bytes()) else { return Poll::Ready(false) };
                if n == 0 || n > left {
                    return Poll::Ready(false);
                }
                client.input.used(n);
                left -= n;
            }
            if body.is_done() {
                return Poll::Ready(true);
            }
            match client.poll_read(cx) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending if client.watch.is_due() => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    client.watch.lift();
    if ended { Next::Request } else { Next::Close }
}

/// Carries out the check that a decision waits for. Returns `None` if the client is gone.
pub(super) async fn check(
    worker: &Worker,
    client: &mut Client,
    context: &mut Context,
    Checking { cursor, request, .. }: &Checking,
) -> Option<routing::Outcome> {
    let outcome = {
        let mut check = pin!(worker.outward.checks.carry_out(cursor, request, context));
        poll_fn(|cx| {
            // Bytes that the client has sent and we have not read hide whether it has closed its side.
            match client.input.is_empty() && matches!(client.poll_gone(cx), Poll::Ready(true)) {
                true => Poll::Ready(None),
                false => check.as_mut().poll(cx).map(Some),
            }
        })
        .await
    };
    if outcome.is_none() {
        // As nginx logs a client that left.
        context.status = 499;
        context.finish(0, true);
    }
    outcome
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    /// What the backend gets.
    pub(super) head: Out,
    /// What the client sent, if another head may have to be written.
    pub(super) sent: Option<Box<[u8]>>,
    /// The length of the body, where the client sent it in chunks and it was received as a whole.
    pub(super) length: Option<u64>,
}

/// Carries a request to a backend and the answer to the client.
pub(super) async fn forward(
    worker: &Worker,
    client: &mut Client,
    context: Box<Context>,
    head: Head,
    mut asked: About,
    body: Framing,
    origin: Origin,
) -> Next {
    let bodiless = context.is_bodiless();
    // The body would be taken for the next request.
    asked.keep_alive &= !bodiless || body.is_done();
    let body = if bodiless { Framing::Done } else { body };
    let keeps = retry::keeps(asked.idempotent, &context);
    let has_body = !body.is_done();
    if context.held.is_some() {
        return Box::pin(forward_held(worker, client, context, head, asked, origin)).await;
    }
    if has_body
        && let Some(spool) = context.spool(has_body)
        && !receive::has_come(client, &body)
    {
        // Boxed, so that other requests do not pay for its size.
        let spooling = spool_and_forward(worker, client, context, head, asked, body, origin, spool);
        return Box::pin(spooling).await;
    }
    let upload = Upload::new(body, keeps, context.body_size(has_body));
    exchange(worker, client, context, head, asked, upload, origin).await
}

/// Receives the whole body, then carries the request to a backend.
#[allow(clippy::too_many_arguments, reason = "what is known of a request, and handed on as it is")]
async fn spool_and_forward(
    worker: &Worker,
    client: &mut Client,
    context: Box<Context>,
    mut head: Head,
    asked: About,
    body: Framing,
    origin: Origin,
    spool: Spool,
) -> Next {
    let is_chunked = matches!(body, Framing::Chunked(_));
    match receive::spool(worker, client, &context, spool, &asked, body).await {
        Ok(spooled) => {
            if is_chunked {
                receive::put_length(&mut head.head.bytes, spooled.len());
                head.length = Some(spooled.len());
            }
            let upload = Upload::of_spooled(spooled);
            exchange(worker, client, context, head, asked, upload, origin).await
        }
        Err(broken) => fail(worker, client, context, broken, (&asked, &origin)).await,
    }
}

/// Carries a request to a backend whose body was received for a check.
async fn forward_held(
    worker: &Worker,
    client: &mut Client,
    mut context: Box<Context>,
    mut head: Head,
    asked: About,
    origin: Origin,
) -> Next {
    let Held { bytes, has_length } = match context.held.take() {
        Some(held) => held,
        None => return Next::Close,
    };
    if !has_length {
        receive::put_length(&mut head.head.bytes, bytes.len() as u64);
        head.length = Some(bytes.len() as u64);
    }
    exchange(worker, client, context, head, asked, Upload::of_spooled(Spooled::of(bytes)), origin).await
}

/// Ends a request whose body could not be received.
pub(super) async fn fail(
    worker: &Worker,
    client: &mut Client,
    mut context: Box<Context>,
    broken: Broken,
    of: (&About, &Origin),
) -> Next {
    if broken == Broken::NoRoom {
        worker.shared.spools.count_refused();
    }
    let Some(failure) = broken.rejection() else {
        note_cut(&mut context, broken, 0);
        client.ended = true;
        return Next::Close;
    };
    reject(client, context, failure, of, true, &worker.limits).await
}

/// Makes attempts at backends, and passes an answer on.
async fn exchange(
    worker: &Worker,
    client: &mut Client,
    mut context: Box<Context>,
    head: Head,
    asked: About,
    upload: Upload,
    origin: Origin,
) -> Next {
    let limits = &worker.limits;
    let idempotent = asked.idempotent;
    let silence = Silence::of(context.own_timeouts(), &context.conn.limits);
    let Head { head, sent, length } = head;
    let mut side = Side { client, upload, sent, length, asked, origin, silence };
    let end = attempts::carry(worker, &mut context, head, idempotent, &mut side).await;
    if let Some(measured) = &mut context.measured {
        measured.received(side.upload.received());
    }
    match end {
        End::Answered { keep_alive, content } => {
            context.finish(content, false);
            if keep_alive { Next::Request } else { Next::Close }
        }
        End::Cut(broken, content) => {
            note_cut(&mut context, broken, content);
            // Closed without a lingering end, so that the client sees that the answer is not complete.
            side.client.ended = true;
            Next::Close
        }
        End::Failed(failure) => {
            let Side { client, upload, asked, origin, .. } = side;
            // The rest of the body would be taken for the next request.
            let close = !asked.keep_alive || !upload.is_received();
            reject(client, context, failure, (&asked, &origin), close, limits).await
        }
    }
}

/// The client's side of the exchange.
struct Side<'c> {
    client: &'c mut Client,
    upload: Upload,
    /// See [`Head`].
    sent: Option<Box<[u8]>>,
    length: Option<u64>,
    asked: About,
    origin: Origin,
    silence: Silence,
}

impl attempts::Client for Side<'_> {
    fn is_repeatable(&self) -> bool {
        self.upload.is_repeatable()
    }

    fn is_bodiless(&self) -> bool {
        self.upload.is_done()
    }

    fn poll_gone(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if !self.client.input.is_empty() {
            return Poll::Pending;
        }
        // Bytes that the client has sent and we have not read hide whether it has closed its side.
        match self.client.poll_gone(cx) {
            Poll::Ready(true) => Poll::Ready(()),
            Poll::Ready(false) | Poll::Pending => Poll::Pending,
        }
    }

    fn write_head(&self, context: &Context, head: &mut Out) -> bool {
        let is_written = self.sent.as_deref().is_some_and(|sent| plan::write_again(sent, context, head));
        if let Some(length) = self.length {
            receive::put_length(&mut head.bytes, length);
        }
        is_written
    }

    async fn attempt(
        &mut self,
        context: &mut Context,
        connection: &mut Connection,
        head: &mut Out,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Attempted {
        self.upload.rewind();
        let Self { client, upload, asked, origin, silence, .. } = self;
        let mut relay = Relay::new(
            Request { client, upload, head, asked, origin },
            context,
            connection,
            Time { silence: *silence, deadline },
        );
        let end = relay.run().await;
        let attempted = Attempted { end, answered: relay.has_answered(), content: relay.content };
        drop(relay);
        // After an answer, whatever the connection waits for next sets it anew.
        if end.is_err() {
            self.client.watch.lift();
        }
        attempted
    }
}

/// Tells the client why no backend answers.
async fn reject(
    client: &mut Client,
    mut context: Box<Context>,
    (rejection, why): Failure,
    (asked, origin): (&About, &Origin),
    close: bool,
    limits: &Limits,
) -> Next {
    let answer = Answer::reject(rejection, why);
    context.rejection = Some((rejection, why));
    let reply = own::reply(&answer, context.grpc, context.route.as_ref(), origin);
    context.status = reply.status.as_u16();
    context.measure_reply(&reply);
    let close = close || context.conn.draining();
    let sent = send_reply(client, &reply, asked, close, limits).await;
    let bytes = if asked.head_only || !sent { 0 } else { reply.body.len() };
    context.finish(bytes, !sent);
    if sent && !close { Next::Request } else { Next::Close }
}
