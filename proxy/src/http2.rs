//! An HTTP/2 client's connection. For each of its streams a decision is made; then we answer it, or its carrier gets it.
//!
//! The connection's own task carries its streams. That costs less than a task for each of them, and the answers that come at the
//! same time are sent together.
//!
//! With `--carriers pingora`, pingora accepts the streams too ([`app::serve_http2`]).
//!
//! [`app::serve_http2`]: crate::app::serve_http2

mod accepting;
mod carried;
mod driver;
mod hold;
mod session;
mod stream;
mod streams;
mod wakes;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use pingora_core::{
    apps::HttpServerApp as _,
    protocols::{Digest, http::ServerSession},
    server::ShutdownWatch,
};
use portcullis_routing::{Answer, Carrier, Cursor};

use self::{accepting::Accepting, carried::Carried, driver::Driver, session::Session};
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
        worker,
        conn,
        streams: Arc::clone(&streams),
        digest: Arc::default(),
        shutdown: port.shutdown(),
    };
    streams.serve(pin!(carry(&connection, down, port)), keepalive).await;
}

/// What the streams of a connection share.
struct Connection<'w> {
    worker: &'w Worker,
    conn: Arc<ConnInfo>,
    streams: Arc<Streams>,
    /// pingora requires one. It is empty: `conn` describes the connection.
    digest: Arc<Digest>,
    shutdown: ShutdownWatch,
}

/// Accepts streams and carries them until the connection has ended, and each of its streams with it.
async fn carry(connection: &Connection<'_>, down: Box<DownIo>, port: &Port) {
    let over = connection.streams.until_dropped();
    let options = connection.worker.service.h2_options().unwrap_or_default();
    let Ok(mut h2) = options.handshake(down).await else { return };
    let (mut driver, mut accepting) = (Driver::new(), Accepting::new(connection, port));
    poll_fn(|cx| {
        if accepting.must_tell() {
            driver.wake_h2();
        }
        driver.poll(cx, |cx, carried| accepting.poll(&mut h2, cx, carried))
    })
    .await;
    // The requests that are still being carried fail, since their client is gone.
    drop((h2, over));
    poll_fn(|cx| driver.poll_rest(cx)).await;
}

/// What was decided about a request, as [`request::decide`] returns it.
type Decided = Result<Option<Box<Cursor>>, Box<Answer>>;

impl<'c> Connection<'c> {
    /// Decides about a request, and begins to carry it. What pingora carries needs a smaller future than the others.
    /// The stream is boxed, because each future that gets it would have room for it.
    fn begin(&'c self, mut stream: Box<Stream>, last: &mut LastAuthority, carried: &mut Carried<'c>) {
        let open = self.streams.open();
        let mut context = in_place::boxed(|| Context::of(Arc::clone(&self.conn)));
        request::prepare(&mut stream.head, &mut context);
        let decided = request::decide(&self.worker.shared, &stream.head, last, &mut context);
        if matches!(decided, Ok(None)) && context.carrier == Carrier::Pingora {
            carried.begin(|| async move {
                // Dropped after `open`: when no request is in flight, the connection is idle.
                let _in_flight = self.worker.load.request();
                self.hand_over(stream, context, open).await;
            });
        } else {
            carried.begin(|| async move {
                let _in_flight = self.worker.load.request();
                self.carry(stream, context, decided, open).await;
            });
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
            (Ok(_), Carrier::Http1) => http1::serve_stream(self.worker, stream, context).await,
            // Boxed, so that the other streams do not hold the memory that pingora takes.
            (Ok(_), Carrier::Pingora) => Box::pin(self.hand_over(stream, context, open)).await,
        }
    }

    /// Carries out a check and goes on with the decision. Returns `None` if the client has reset the stream meanwhile.
    async fn check(&self, cursor: Cursor, stream: &mut Stream, context: &mut Context) -> Option<Decided> {
        if let Some(most) = cursor.body() {
            let namespace = cursor.rule().map_or("", |rule| &rule.route.namespace);
            let held = until(context.deadline, hold::hold(self.worker, stream, context, (namespace, most)));
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
