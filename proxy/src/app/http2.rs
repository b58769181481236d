//! An HTTP/2 connection whose streams pingora accepts and carries (`--carriers pingora`).

use std::{
    pin::{Pin, pin},
    sync::Arc,
};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};
use tokio::sync::watch;

use super::{Client, carry};
use crate::{
    accept::{Port, Worker},
    admission::Held,
    conn::ConnInfo,
    http2::{OpenStream, Streams},
    io::DownIo,
    limits::Limits,
    scope::{SCOPE, Scope},
};

/// Serves HTTP/2 until either side ends it, or it has been without a stream for too long.
pub(crate) async fn serve(
    worker: &Arc<Worker>,
    mut down: Box<DownIo>,
    conn: Arc<ConnInfo>,
    port: &Port,
    held: Arc<Held>,
) {
    down.begin_h2();
    let (limits, streams) = (conn.limits, Arc::new(Streams::new(held)));
    let (leaving, shutdown) = watch::channel(false);
    let app = H2App { worker: Arc::clone(worker), conn, streams: Arc::clone(&streams), leaving };
    let _over = streams.until_dropped();
    let (app, mut stopping) = (Arc::new(app), port.shutdown());
    let serving = async {
        let stops = async {
            let _ = stopping.wait_for(|stops| *stops).await;
            app.leaving.send_replace(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = app.process_new(down, &shutdown) => {}
            () = stops => {}
        }
    };
    streams.serve(pin!(serving), limits.keepalive).await;
}

/// Has pingora carry a stream inside its [`SCOPE`].
pub(crate) async fn carry_stream<T>(
    carrying: impl Future<Output = Option<T>>,
    limits: &Limits,
    stream: OpenStream,
) -> Option<T> {
    carry(carrying, limits, Http2Client(stream)).await
}

/// One HTTP/2 connection. Pingora runs each stream as a task of its own.
struct H2App {
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    streams: Arc<Streams>,
    /// Pingora sends a GOAWAY once this is true: the port is closing, or the connection has had as many requests as it may.
    leaving: watch::Sender<bool>,
}

/// The client of a stream.
struct Http2Client(OpenStream);

impl Client for Http2Client {
    fn left(&self) -> bool {
        self.0.is_orphaned()
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
        let (in_flight, stream) = (self.worker.load.request(), self.streams.open());
        self.conn.begin_request();
        if self.conn.is_spent() {
            self.leaving.send_replace(true);
        }
        let request = self.worker.service.process_new_http(session, shutdown);
        Box::pin(SCOPE.scope(Scope::new(Arc::clone(&self.conn)), async move {
            let _in_flight = in_flight;
            carry_stream(request, &self.conn.limits, stream).await
        }))
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.worker.service.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.worker.service.server_options()
    }
}
