//! A connection of an HTTP/2 client. Each of its streams is decided about, and then answered by us or given to its carrier.
//!
//! With `--carriers pingora`, pingora accepts the streams too ([`app::serve_http2`]).
//!
//! [`app::serve_http2`]: crate::app::serve_http2

mod session;
mod stream;
mod streams;

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use h2::Reason;
use pingora_core::{
    apps::HttpServerApp as _,
    protocols::{Digest, http::ServerSession},
    server::ShutdownWatch,
};
use portcullis_routing::Carrier;

use self::session::Session;
pub(crate) use self::{
    stream::Stream,
    streams::{OpenStream, Streams},
};
use crate::{
    accept::{Port, Worker},
    admission::Held,
    app,
    conn::{ConnInfo, SCOPE, Scope},
    http::{context::Context, request},
    http1,
    io::DownIo,
};

/// Serves HTTP/2 until either side closes the connection, or it has been without a stream for too long.
pub(crate) async fn serve(
    worker: &Worker,
    mut down: Box<DownIo>,
    conn: Arc<ConnInfo>,
    port: &Port,
    held: Arc<Held>,
) {
    down.begin_h2();
    let streams = Arc::new(Streams::new(held));
    let connection = Connection {
        worker: worker.clone(),
        conn,
        streams: Arc::clone(&streams),
        digest: Arc::default(),
        shutdown: port.shutdown(),
    };
    let _over = streams.until_dropped();
    streams.serve(accept(Arc::new(connection), down, port), worker.limits.keepalive).await;
}

/// What the tasks of a connection's streams share.
struct Connection {
    worker: Worker,
    conn: Arc<ConnInfo>,
    streams: Arc<Streams>,
    /// pingora asks for one; ours says nothing, since the connection is described by `conn`.
    digest: Arc<Digest>,
    shutdown: ShutdownWatch,
}

/// Accepts streams, and drives the connection meanwhile. Each stream has a task of its own.
async fn accept(connection: Arc<Connection>, down: Box<DownIo>, port: &Port) {
    let options = connection.worker.service.h2_options().unwrap_or_default();
    let Ok(mut h2) = options.handshake::<_, Bytes>(down).await else { return };
    let mut draining = false;
    loop {
        let accepted = poll_fn(|cx| {
            // Polled for the last time: the client reads in the GOAWAY which of its requests it may send again.
            if connection.streams.is_closing() {
                h2.abrupt_shutdown(Reason::NO_ERROR);
            }
            // This task is woken when draining begins. New streams are still accepted until the client has seen the GOAWAY.
            if port.draining() && !std::mem::replace(&mut draining, true) {
                h2.graceful_shutdown();
            }
            h2.poll_accept(cx)
        });
        let Some(Ok((request, respond))) = accepted.await else { return };
        let connection = Arc::clone(&connection);
        tokio::spawn(async move {
            // Dropped in the reverse order: what is no longer in flight is idle.
            let _in_flight = connection.worker.load.request();
            let open = connection.streams.open();
            connection.carry(Stream::new(request, respond), open).await;
        });
    }
}

impl Connection {
    /// Carries a stream to its end.
    async fn carry(&self, mut stream: Stream, open: OpenStream) {
        let mut context = Box::new(Context::of(Arc::clone(&self.conn)));
        request::prepare(&mut stream.head, &mut context);
        let decided = request::decide(&self.worker.shared, &stream.head, &mut context);
        match (decided, context.carrier) {
            (Err(answer), _) => http1::answer_stream(stream, context, &answer),
            (Ok(()), Carrier::Http1) => http1::serve_stream(&self.worker, stream, context).await,
            // Boxed, so that the other streams do not hold the memory that pingora takes.
            (Ok(()), Carrier::Pingora) => Box::pin(self.hand_over(stream, context, open)).await,
        }
    }

    /// Has pingora carry a stream that was decided about.
    async fn hand_over(&self, stream: Stream, mut context: Box<Context>, open: OpenStream) {
        context.decided = Some(Ok(()));
        let scope = Scope::new(Arc::clone(&self.conn));
        scope.set_decided(context);
        let session = Session::new(stream, Arc::clone(&self.digest));
        let session = ServerSession::new_custom(Box::new(session));
        let carrying = self.worker.service.process_new_http(session, &self.shutdown);
        SCOPE.scope(scope, app::carry_stream(carrying, &self.worker.limits, open)).await;
    }
}
