//! An HTTP/2 client's connection. For each of its streams a decision is made; then we answer it, or its carrier gets it.
//!
//! With `--carriers pingora`, pingora accepts the streams too ([`app::serve_http2`]).
//!
//! [`app::serve_http2`]: crate::app::serve_http2

mod hold;
mod session;
mod stream;
mod streams;

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{self, Poll},
};

use bytes::Bytes;
use h2::Reason;
use pingora_core::{
    apps::HttpServerApp as _,
    protocols::{Digest, http::ServerSession},
    server::ShutdownWatch,
};
use portcullis_routing::{Answer, Carrier, Cursor};
use tokio::task::yield_now;

use self::session::Session;
pub(crate) use self::{
    stream::Stream,
    streams::{OpenStream, Streams},
};
use crate::{
    accept::{Port, Worker},
    admission::Held,
    app,
    conn::ConnInfo,
    http::{context::Context, host::LastAuthority, request},
    http1, in_place,
    io::DownIo,
    limits::until,
    scope::{SCOPE, Scope},
};

/// Serves HTTP/2 until either side closes the connection, or it has been without a stream for too long.
pub(crate) async fn serve(
    worker: &Arc<Worker>,
    mut down: Box<DownIo>,
    conn: Arc<ConnInfo>,
    port: &Port,
    held: Arc<Held>,
) {
    down.begin_h2();
    let (streams, keepalive) = (Arc::new(Streams::new(held)), conn.limits.keepalive);
    let connection = Connection {
        worker: Arc::clone(worker),
        conn,
        streams: Arc::clone(&streams),
        digest: Arc::default(),
        shutdown: port.shutdown(),
    };
    let _over = streams.until_dropped();
    streams.serve(pin!(accept(Arc::new(connection), down, port)), keepalive).await;
}

/// What the tasks of a connection's streams share.
struct Connection {
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    streams: Arc<Streams>,
    /// pingora requires one. It is empty: `conn` describes the connection.
    digest: Arc<Digest>,
    shutdown: ShutdownWatch,
}

/// The number of streams that are accepted, and routed, before the worker's other connections are served.
const AT_ONCE: u32 = 16;

/// The turns of a connection among the others of its worker.
#[derive(Debug, Default)]
struct Turns {
    /// The streams that were accepted. Wraps around.
    begun: u32,
}

/// Accepts streams, and drives the connection meanwhile. Each stream has a task of its own.
async fn accept(connection: Arc<Connection>, down: Box<DownIo>, port: &Port) {
    let options = connection.worker.service.h2_options().unwrap_or_default();
    let Ok(mut h2) = options.handshake::<_, Bytes>(down).await else { return };
    let (mut draining, mut turns, mut is_polled) = (false, Turns::default(), false);
    let mut last = LastAuthority::default();
    loop {
        let accepted = poll_fn(|cx| {
            // This task is woken when draining begins. New streams are still accepted until the client has seen the GOAWAY.
            if (port.draining() || connection.conn.is_spent()) && !std::mem::replace(&mut draining, true) {
                h2.graceful_shutdown();
                is_polled = false;
            }
            // Before h2 gave out the last stream, it did all that could be done, and has arranged for this task to be woken.
            if std::mem::take(&mut is_polled)
                && connection.streams.are_all(turns.begun)
                && !connection.streams.is_closing()
            {
                return Poll::Pending;
            }
            let accepted = poll_stream(&mut h2, cx);
            if accepted.is_ready() || !connection.streams.is_closing() {
                return accepted;
            }
            // This is the last poll. The GOAWAY tells the client which of its requests it may send again.
            h2.abrupt_shutdown(Reason::NO_ERROR);
            poll_stream(&mut h2, cx)
        });
        let Some(stream) = accepted.await else { return };
        // Counted from here on: a connection with a new stream is no longer idle, and is not closed to make room.
        is_polled = turns
            .begin(|| {
                connection.conn.begin_request();
                connection.begin(stream, &mut last);
            })
            .await;
    }
}

/// Accepts a stream. Returns `None` if the connection has ended or failed. The stream is boxed at once, because the values that h2
/// returns are large and would be copied several times.
fn poll_stream(
    h2: &mut h2::server::Connection<Box<DownIo>, Bytes>,
    cx: &mut task::Context<'_>,
) -> Poll<Option<Box<Stream>>> {
    h2.poll_accept(cx).map(|accepted| {
        let (request, respond) = accepted?.ok()?;
        Some(in_place::boxed(|| Stream::new(request, respond)))
    })
}

impl Turns {
    /// Begins a stream. The client can have opened many streams at once. This stream is counted before other tasks run, so
    /// that the connection is not closed as idle in the meantime. Returns whether no other task has run.
    async fn begin(&mut self, begin: impl FnOnce()) -> bool {
        begin();
        self.begun = self.begun.wrapping_add(1);
        let yields = self.begun.is_multiple_of(AT_ONCE);
        if yields {
            yield_now().await;
        }
        !yields
    }
}

/// What was decided about a request, as [`request::decide`] returns it.
type Decided = Result<Option<Box<Cursor>>, Box<Answer>>;

impl Connection {
    /// Decides about a request, and has a task of its own carry it. What pingora carries needs a smaller task than the others.
    /// The stream is boxed, because each future that gets it would have room for it.
    fn begin(self: &Arc<Self>, mut stream: Box<Stream>, last: &mut LastAuthority) {
        let (connection, open) = (Arc::clone(self), self.streams.open());
        let mut context = in_place::boxed(|| Context::of(Arc::clone(&self.conn)));
        request::prepare(&mut stream.head, &mut context);
        let decided = request::decide(&self.worker.shared, &stream.head, last, &mut context);
        // Boxed, because tokio moves a future that it is given several times.
        if matches!(decided, Ok(None)) && context.carrier == Carrier::Pingora {
            tokio::spawn(in_place::pinned(|| async move {
                // Dropped after `open`: when no request is in flight, the connection is idle.
                let _in_flight = connection.worker.load.request();
                connection.hand_over(stream, context, open).await;
            }));
        } else {
            tokio::spawn(in_place::pinned(|| async move {
                let _in_flight = connection.worker.load.request();
                connection.carry(stream, context, decided, open).await;
            }));
        }
    }

    /// Carries a stream to its end.
    async fn carry(
        &self,
        mut stream: Box<Stream>,
        mut context: Box<Context>,
        mut decided: Decided,
        open: OpenStream,
    ) {
        while let Ok(Some(cursor)) = decided {
            // Boxed, so that streams without checks do not hold the memory.
            let Some(next) = Box::pin(self.check(*cursor, &mut stream, &mut context)).await else { return };
            decided = next;
        }
        match (decided, context.carrier) {
            (Err(answer), _) => http1::answer_stream(stream, context, &answer),
            (Ok(_), Carrier::Http1) => http1::serve_stream(&self.worker, stream, context).await,
            // Boxed, so that the other streams do not hold the memory that pingora takes.
            (Ok(_), Carrier::Pingora) => Box::pin(self.hand_over(stream, context, open)).await,
        }
    }

    /// Carries out a check and goes on with the decision. Returns `None` if the client has reset the stream meanwhile.
    async fn check(&self, cursor: Cursor, stream: &mut Stream, context: &mut Context) -> Option<Decided> {
        if let Some(most) = cursor.body() {
            let namespace = cursor.rule().map_or("", |rule| &rule.route.namespace);
            let held = until(context.deadline, hold::hold(&self.worker, stream, context, (namespace, most)));
            match held.await.unwrap_or(Err(Some(hold::TOO_SLOW))) {
                Ok(()) => {}
                Err(Some(failure)) => return Some(Err(Box::new(Answer::reject(failure.0, failure.1)))),
                Err(None) => {
                    context.status = 499;
                    return None;
                }
            }
        }
        let request = match request::for_check(&cursor, &stream.head, context) {
            Ok(request) => request,
            Err(answer) => return Some(Err(answer)),
        };
        let outcome = {
            let mut check = pin!(self.worker.outward.checks.carry_out(&cursor, &request, context));
            poll_fn(|cx| match stream.poll_reset(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => check.as_mut().poll(cx).map(Some),
            })
            .await
        };
        let Some(outcome) = outcome else {
            // As nginx logs a client that left.
            context.status = 499;
            return None;
        };
        Some(request::resume(&self.worker.shared, cursor, outcome, &stream.head, context))
    }

    /// Has pingora carry a stream for which the decision has been made.
    async fn hand_over(&self, stream: Box<Stream>, context: Box<Context>, open: OpenStream) {
        let scope = Scope::new(Arc::clone(&self.conn));
        scope.set_read();
        // The client of a gRPC call may wait for the backend before it sends more.
        let body_timeout = (!context.grpc).then_some(self.conn.limits.body);
        let (digest, keeps_headers) = (Arc::clone(&self.digest), context.measured.is_some());
        let session = Session::new(stream, digest, keeps_headers, body_timeout);
        let session = ServerSession::new_custom(Box::new(session));
        let carrying = self.worker.service.process_new_http(session, &self.shutdown);
        let carrying = SCOPE.scope(scope, app::carry_stream(carrying, &self.conn.limits, open));
        context.hand_over(carrying).await;
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// Otherwise the connection could be closed as idle while it waits for its turn.
    #[tokio::test]
    async fn a_stream_is_counted_before_other_connections_are_served() {
        let (mut turns, mut counted) = (Turns::default(), 0);
        for number in 1..=3 * AT_ONCE {
            let is_pending = {
                let mut begin = pin!(turns.begin(|| counted += 1));
                begin.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
            };
            assert_eq!(is_pending, number.is_multiple_of(AT_ONCE), "stream {number}: others have their turn");
            assert_eq!(counted, number, "stream {number} is counted before that");
        }
    }
}
