//! A connection of HTTP/2: its streams, and the time without one.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::http::{
        ServerSession,
        v2::server::{H2Options, HttpSession},
    },
    server::ShutdownWatch,
};
use portcullis_routing::Carrier;
use tokio::time::{Instant, sleep_until};

use super::{Client, carry};
use crate::{
    Carriers,
    accept::{Port, Worker},
    admission::Held,
    conn::{ConnInfo, SCOPE, Scope},
    http::{context::Context, request},
    http1,
    io::DownIo,
    stall::{Stall, poll_timer},
};

/// Serves HTTP/2 until either side ends it, or it has been without a stream for too long.
pub(crate) async fn serve(
    worker: &Worker,
    mut down: Box<DownIo>,
    conn: Arc<ConnInfo>,
    port: &Port,
    held: Arc<Held>,
) {
    down.begin_h2();
    let (limits, streams) = (worker.limits, Arc::new(Streams::new(held)));
    let app = H2App { worker: worker.clone(), conn, streams: Arc::clone(&streams) };
    let _over = ConnectionOver(Arc::clone(&streams));
    let (app, shutdown) = (Arc::new(app), port.shutdown());
    let serving = async { drop(app.process_new(down, &shutdown).await) };
    streams.serve(serving, limits.keepalive).await;
}

/// How many streams an HTTP/2 connection has, and since when it has had none.
struct Streams {
    held: Arc<Held>,
    /// Whether the connection has ended, and its streams are without a client.
    over: AtomicBool,
}

/// Says that the connection has ended.
struct ConnectionOver(Arc<Streams>);

impl Drop for ConnectionOver {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// One stream.
struct OpenStream(Arc<Streams>);

impl Streams {
    fn new(held: Arc<Held>) -> Self {
        Self { held, over: AtomicBool::new(false) }
    }

    fn open(self: &Arc<Self>) -> OpenStream {
        self.held.begin();
        OpenStream(Arc::clone(self))
    }

    /// When it will have been idle for that long, as far as can be said now.
    fn ends_at(&self, limit: Duration) -> Instant {
        self.held.idle_since().unwrap_or_else(Instant::now) + limit
    }

    /// Carries a connection until it ends, or is idle for too long.
    async fn serve(&self, connection: impl Future<Output = ()>, limit: Duration) {
        let mut connection = pin!(connection);
        let mut timer = pin!(sleep_until(self.ends_at(limit)));
        let (mut runs, mut leaving) = (false, false);
        poll_fn(|cx| {
            // A stream that was accepted in the last turn has been counted by now, as its task has run.
            if std::mem::take(&mut leaving) && self.ends_at(limit) <= Instant::now() {
                return Poll::Ready(());
            }
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // It wakes this task when it goes off, however often the connection is polled meanwhile.
            if runs && !timer.is_elapsed() {
                return Poll::Pending;
            }
            runs = true;
            loop {
                ready!(poll_timer(timer.as_mut(), cx));
                let end = self.ends_at(limit);
                if end <= Instant::now() {
                    leaving = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                timer.as_mut().reset(end);
            }
        })
        .await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.held.end(Instant::now());
    }
}

/// One HTTP/2 connection. Pingora runs each stream as a task of its own.
struct H2App {
    worker: Worker,
    conn: Arc<ConnInfo>,
    streams: Arc<Streams>,
}

impl H2App {
    /// Decides about a stream.
    fn decide(&self, session: &mut HttpSession) -> Box<Context> {
        let mut context = Box::new(Context::of(Arc::clone(&self.conn)));
        request::prepare(session.req_header_mut(), &mut context);
        let decided = request::decide(&self.worker.shared, session.req_header(), &mut context);
        if decided.is_err() {
            context.carrier = Carrier::Pingora;
        }
        context.decided = Some(decided);
        context
    }
}

/// The client of a stream.
struct Http2Client(OpenStream);

impl Client for Http2Client {
    fn left(&self) -> bool {
        self.0.0.over.load(Ordering::Relaxed)
    }

    fn woke(&mut self) -> bool {
        false
    }
}

#[async_trait]
impl HttpServerApp for H2App {
    /// As `async_trait` would have it, but that the session, which is large, is not held by this future too.
    fn process_new_http<'s, 'w, 'f>(
        self: &'s Arc<Self>,
        session: ServerSession,
        shutdown: &'w ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'f>>
    where
        's: 'f,
        'w: 'f,
    {
        let (in_flight, client) = (self.worker.load.request(), Http2Client(self.streams.open()));
        let scope = Scope::new(Arc::clone(&self.conn));
        let session = match (session, self.worker.shared.options.carriers) {
            (ServerSession::H2(mut session), Carriers::All) => {
                let context = self.decide(&mut session);
                if context.carrier == Carrier::Http1 {
                    let serving = http1::serve_stream(&self.worker, session, context);
                    return Box::pin(async move {
                        // In this order: what is no longer in flight is idle.
                        let (_in_flight, _client) = (in_flight, client);
                        serving.await;
                        None
                    });
                }
                scope.set_decided(context);
                ServerSession::H2(session)
            }
            (session, _) => session,
        };
        let request = self.worker.service.process_new_http(session, shutdown);
        Box::pin(SCOPE.scope(scope, async move {
            let _in_flight = in_flight;
            carry(request, &mut Stall::default(), &self.worker.limits, client).await
        }))
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.worker.service.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.worker.service.server_options()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_it_has_been_without_a_stream_for_too_long() {
        let limit = Duration::from_secs(60);
        let (streams, begin) = (Arc::new(Streams::new(Arc::new(Held::new()))), Instant::now());
        let connection = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            // Two at a time, longer than the limit.
            let (one, other) = (streams.open(), streams.open());
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(one);
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(other);
            std::future::pending().await
        };
        streams.serve(connection, limit).await;
        assert_eq!(begin.elapsed().as_secs(), 50 + 100 + 100 + 60);
        let (streams, begin) = (Arc::new(Streams::new(Arc::new(Held::new()))), Instant::now());
        streams.serve(std::future::pending(), limit).await;
        assert_eq!(begin.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_accepted_in_the_last_moment_is_served() {
        let limit = Duration::from_secs(60);
        let (streams, begin) = (Arc::new(Streams::new(Arc::new(Held::new()))), Instant::now());
        let connection = async {
            tokio::time::sleep(limit).await;
            let streams = Arc::clone(&streams);
            // As pingora does it: the stream's own task counts it.
            tokio::spawn(async move {
                let _open = streams.open();
                tokio::time::sleep(Duration::from_secs(100)).await;
            });
            std::future::pending().await
        };
        streams.serve(connection, limit).await;
        assert_eq!(begin.elapsed().as_secs(), 60 + 100 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_busy_at_first_ends_too() {
        let (limit, begin) = (Duration::from_secs(60), Instant::now());
        let mut first = true;
        // All that the runtime lets a task do in one turn.
        let busy = poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                while let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) {
                    budget.made_progress();
                }
            }
            Poll::Pending
        });
        let served =
            tokio::spawn(
                async move { Arc::new(Streams::new(Arc::new(Held::new()))).serve(busy, limit).await },
            );
        tokio::time::timeout(limit * 2, served).await.expect("it ends").unwrap();
        assert_eq!(begin.elapsed().as_secs(), 60);
    }
}
