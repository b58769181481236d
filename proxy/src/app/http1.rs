//! A connection of HTTP/1: one request after the other.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream},
    protocols::{SocketDigest, http::ServerSession},
    server::ShutdownWatch,
};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Client, Service, carry};
use crate::{
    accept::{Port, Worker},
    admission::Held,
    conn::ConnInfo,
    http::{access_log, context::Context},
    io::DownIo,
    limits::Limits,
    scope::{SCOPE, Scope},
    stall::poll_timer,
};

/// Waits for the first bytes of a connection without TLS; whether they are HTTP/2's. `None`: there will be none.
pub(crate) async fn speaks_h2(down: &mut DownIo, port: &Port, limit: Limits) -> Option<bool> {
    let mut idle = Idle::new(port, limit);
    match idle.request_begins(down).await {
        true => down.sniff_h2().await.ok(),
        false => None,
    }
}

/// Serves HTTP/1 until either side ends it.
pub(crate) async fn serve(worker: &Worker, down: Box<DownIo>, conn: Arc<ConnInfo>, port: &Port, held: &Held) {
    let Worker { service, load, .. } = worker;
    let (limits, counted) = (conn.limits, Arc::clone(&conn));
    let requests = async {
        let shutdown = port.shutdown();
        let (mut idle, socket) = (Idle::new(port, limits), down.socket());
        let (mut down, mut settings) = (down, None::<HttpPersistentSettings>);
        loop {
            if !idle.request_begins(&mut down).await {
                return down.close().await;
            }
            let _in_flight = load.request();
            held.begin();
            counted.begin_request();
            SCOPE.with(Scope::begin);
            down.begin_request();
            let answer = answer(service, down, settings.take(), &shutdown, limits.body);
            let client = Http1Client { socket: &socket, idle: &mut idle };
            let answered = carry(answer, &limits, client).await;
            SCOPE.with(tell_refused);
            let Some(reused) = answered else { return };
            let (stream, kept) = reused.consume();
            let Ok(same) = stream.into_any().downcast::<DownIo>() else { return };
            (down, settings) = (same, kept);
            idle.fresh = false;
            idle.begin = Instant::now();
            held.end(idle.begin);
        }
    };
    SCOPE.scope(Scope::new(conn), requests).await;
}

/// Carries one request that was decided about. Returns the connection if it may carry another request.
pub(crate) async fn serve_one(
    worker: &Worker,
    down: Box<DownIo>,
    context: Box<Context>,
    port: &Port,
) -> Option<Box<DownIo>> {
    let scope = Scope::new(Arc::clone(&context.conn));
    scope.set_read();
    let (shutdown, socket, limits) = (port.shutdown(), down.socket(), context.conn.limits);
    let request = async {
        let answer = answer(&worker.service, down, None, &shutdown, limits.body);
        let reused = carry(answer, &limits, Lent(&socket)).await?;
        reused.consume().0.into_any().downcast::<DownIo>().ok()
    };
    context.hand_over(SCOPE.scope(scope, request)).await
}

/// The client of a request whose connection is lent.
struct Lent<'c>(&'c SocketDigest);

impl Client for Lent<'_> {
    fn left(&self) -> bool {
        DownIo::left(self.0)
    }

    fn woke(&mut self) -> bool {
        false
    }
}

/// A request that was refused has no context to tell of it.
fn tell_refused(scope: &Scope) {
    if let Some(refused) = scope.take_refused() {
        scope.conn.load.answered(refused.status);
        access_log::refused(&scope.conn, &refused);
    }
}

/// One request. Not `async`: the session, which is large, would have its place in the connection's task for good,
/// while it lives in pingora's future.
fn answer<'s>(
    service: &'s Service,
    down: Box<DownIo>,
    settings: Option<HttpPersistentSettings>,
    shutdown: &'s ShutdownWatch,
    read_limit: Duration,
) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 's>> {
    // Pipelining stays off: bytes that pingora has read ahead would wait here for bytes of the client's.
    let mut session = ServerSession::new_http1(down);
    session.set_read_timeout(Some(read_limit));
    match settings {
        Some(settings) => settings.apply_to_session(&mut session),
        // Without a limit of pingora's: ours are the connection's own.
        None => session.set_keepalive(Some(0)),
    }
    service.process_new_http(session, shutdown)
}

/// The client of a request.
struct Http1Client<'c, 'p> {
    socket: &'c SocketDigest,
    idle: &'c mut Idle<'p>,
}

impl Client for Http1Client<'_, '_> {
    fn left(&self) -> bool {
        DownIo::left(self.socket)
    }

    fn woke(&mut self) -> bool {
        self.idle.went_off()
    }
}

/// The time between two requests.
struct Idle<'p> {
    port: &'p Port,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer wakes this task when it goes off.
    runs: bool,
    limit: Limits,
    /// When it began.
    begin: Instant,
    /// Whether no request has come yet.
    fresh: bool,
}

impl<'p> Idle<'p> {
    fn new(port: &'p Port, limit: Limits) -> Self {
        Self { port, timer: None, runs: false, limit, begin: Instant::now(), fresh: true }
    }

    /// Whether the timer went off and nobody has seen it.
    fn went_off(&mut self) -> bool {
        let off = self.runs && self.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
        self.runs &= !off;
        off
    }

    /// Waits for a request. False: there will be none, and nothing was taken from the connection.
    async fn request_begins(&mut self, down: &mut DownIo) -> bool {
        let (begin, mut first) = (self.begin, true);
        poll_fn(|cx| {
            if let Poll::Ready(result) = down.poll_readable(cx) {
                return Poll::Ready(result.is_ok());
            }
            // The timer of the time before runs on and wakes this task, unless it went off meanwhile.
            let runs = self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed());
            self.runs = true;
            if std::mem::replace(&mut first, false) && runs && !self.port.draining() {
                return Poll::Pending;
            }
            let mut limit = self.limit.keepalive;
            if self.port.draining() {
                // Whoever has been answered once knows that a connection may end, and asks again. Whoever has just
                // connected may not, and its first request may be on its way.
                if !self.fresh {
                    return Poll::Ready(false);
                }
                limit = limit.min(FRESH_WHILE_DRAINING);
            }
            let until = begin + limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            // It is left to run while requests are answered, and set anew only when it goes off.
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            loop {
                ready!(poll_timer(timer.as_mut(), cx));
                if Instant::now() >= until {
                    return Poll::Ready(false);
                }
                timer.as_mut().reset(until);
            }
        })
        .await
    }
}

const FRESH_WHILE_DRAINING: Duration = Duration::from_secs(1);
