//! Carries a connection through its requests: HTTP/1 one after the other, HTTP/2 by its streams.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Poll, ready},
};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};
use pingora_proxy::HttpProxy;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    accept::Port,
    conn::{ConnInfo, SCOPE, Scope},
    http::HttpService,
    io::{DownIo, Limits},
    shared::Load,
};

/// What serves the requests of one worker thread.
pub(crate) type Service = Arc<HttpProxy<HttpService>>;

/// Waits for the first bytes of a connection without TLS; whether they are HTTP/2's. `None`: there will be none.
pub(crate) async fn speaks_h2(down: &mut DownIo, port: &Port, limit: Limits) -> Option<bool> {
    let mut idle = Idle { port, timer: None, limit, fresh: true };
    match idle.request_begins(down).await {
        true => down.sniff_h2().await.ok(),
        false => None,
    }
}

/// Serves HTTP/1 until either side ends it.
pub(crate) async fn serve_http1(
    service: &Service,
    down: Box<DownIo>,
    conn: Arc<ConnInfo>,
    port: &Port,
    load: &Arc<Load>,
    limits: Limits,
) {
    let requests = async {
        let shutdown = port.shutdown();
        let mut idle = Idle { port, timer: None, limit: limits, fresh: true };
        let (mut down, mut settings) = (down, None::<HttpPersistentSettings>);
        loop {
            if !idle.request_begins(&mut down).await {
                return down.close().await;
            }
            let _in_flight = load.request();
            SCOPE.with(|scope| scope.set_deadline(None));
            down.begin_request();
            let answered = until_deadline(answer(service, down, settings.take(), &shutdown), told).await;
            let Some(reused) = answered else { return };
            let (stream, kept) = reused.consume();
            let Ok(same) = stream.into_any().downcast::<DownIo>() else { return };
            (down, settings) = (same, kept);
            idle.fresh = false;
        }
    };
    SCOPE.scope(Scope::new(conn), requests).await;
}

/// One request. Not `async`: the session, which is large, would have its place in the connection's task for good,
/// while it lives in pingora's future.
fn answer<'s>(
    service: &'s Service,
    down: Box<DownIo>,
    settings: Option<HttpPersistentSettings>,
    shutdown: &'s ShutdownWatch,
) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 's>> {
    // Pipelining stays off: bytes that pingora has read ahead would wait here for bytes of the client's.
    let mut session = ServerSession::new_http1(down);
    match settings {
        Some(settings) => settings.apply_to_session(&mut session),
        // Without a limit of pingora's: ours are the connection's own.
        None => session.set_keepalive(Some(0)),
    }
    service.process_new_http(session, shutdown)
}

/// Serves HTTP/2 until either side ends it.
pub(crate) async fn serve_http2(
    service: &Service,
    mut down: Box<DownIo>,
    conn: Arc<ConnInfo>,
    port: &Port,
    load: &Arc<Load>,
) {
    down.begin_h2();
    let app = H2App { service: Arc::clone(service), conn, load: Arc::clone(load) };
    let shutdown = port.shutdown();
    Arc::new(app).process_new(down, &shutdown).await;
}

/// The time between two requests.
struct Idle<'p> {
    port: &'p Port,
    timer: Option<Pin<Box<Sleep>>>,
    limit: Limits,
    /// Whether no request has come yet.
    fresh: bool,
}

impl Idle<'_> {
    /// Waits for a request. False: there will be none, and nothing was taken from the connection.
    async fn request_begins(&mut self, down: &mut DownIo) -> bool {
        let (begin, mut first) = (Instant::now(), true);
        poll_fn(|cx| {
            if let Poll::Ready(result) = down.poll_readable(cx) {
                return Poll::Ready(result.is_ok());
            }
            // The timer of the time before runs on and wakes this task, unless it went off meanwhile.
            let runs = self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed());
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
                ready!(timer.as_mut().poll(cx));
                if Instant::now() >= until {
                    return Poll::Ready(false);
                }
                timer.as_mut().reset(until);
            }
        })
        .await
    }
}

const FRESH_WHILE_DRAINING: std::time::Duration = std::time::Duration::from_secs(1);

/// What the request has set ([`Scope::set_deadline`]).
fn told() -> Option<Instant> {
    SCOPE.with(Scope::deadline)
}

/// Carries out the request, no longer than it says itself.
async fn until_deadline<T>(
    request: impl Future<Output = Option<T>>,
    deadline: impl Fn() -> Option<Instant>,
) -> Option<T> {
    let mut request = pin!(request);
    let mut cut = pin!(None::<Sleep>);
    poll_fn(|cx| {
        if let Poll::Ready(done) = request.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        let Some(deadline) = deadline() else { return Poll::Pending };
        if cut.is_none() {
            cut.set(Some(sleep_until(deadline)));
        }
        let mut timer = cut.as_mut().as_pin_mut().expect("set above");
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.poll(cx).map(|()| None)
    })
    .await
}

/// One HTTP/2 connection. Pingora runs each stream as a task of its own.
struct H2App {
    service: Service,
    conn: Arc<ConnInfo>,
    load: Arc<Load>,
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
        let in_flight = self.load.request();
        let request = self.service.process_new_http(session, shutdown);
        Box::pin(SCOPE.scope(Scope::new(Arc::clone(&self.conn)), async move {
            let _in_flight = in_flight;
            until_deadline(request, told).await
        }))
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.service.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.service.server_options()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_cut_at_the_deadline_that_it_sets() {
        let (begin, deadline) = (Instant::now(), Cell::new(None));
        let request = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            deadline.set(Some(begin + Duration::from_secs(30)));
            std::future::pending::<Option<()>>().await
        };
        let answer = until_deadline(request, || deadline.get()).await;
        assert_eq!((answer, begin.elapsed().as_secs()), (None, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_can_be_moved_and_lifted() {
        let (begin, deadline) = (Instant::now(), Cell::new(None));
        let request = async {
            let set = |s| deadline.set(Some(begin + Duration::from_secs(s)));
            set(10);
            tokio::time::sleep(Duration::from_secs(5)).await;
            set(100);
            tokio::time::sleep(Duration::from_secs(50)).await;
            deadline.set(None);
            tokio::time::sleep(Duration::from_secs(500)).await;
            Some("answer")
        };
        let answer = until_deadline(request, || deadline.get()).await;
        assert_eq!(answer, Some("answer"));
    }
}
