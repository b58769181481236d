//! A small HTTP server (HTTP/1 and HTTP/2, TLS where it is given): what the echo backend and the admin port stand on.

use std::{
    collections::VecDeque, convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// Limit of time for a handshake and for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long [`Server::stop`] waits for what is in flight.
const STOP_CEILING: Duration = Duration::from_secs(5);
/// After this pause `accept` is tried again when it failed (no file descriptors left, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// Whatever ends a body early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The number of concurrent connections; one more closes the oldest.
    const MAX_CONNECTIONS: usize = 10_000;

    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// The connection that a request came in on.
#[derive(Debug)]
pub struct Peer {
    /// The client.
    pub remote: SocketAddr,
    /// TLS that ended here.
    pub tls: Option<TlsDescription>,
    /// Turns true (or loses its sender) when the server stops; for what outlives a request.
    pub stopping: watch::Receiver<bool>,
}

/// The result of a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsDescription {
    /// `TLSv1.3` and so on.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// The server name that the client sent.
    pub server_name: Option<String>,
    /// The protocol that was agreed upon.
    pub alpn: Option<String>,
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds and serves.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        handler: Arc<impl Handler>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(accept(listener, tls.map(TlsAcceptor::from), handler, stopping));
        Ok(Self { address, stop, task })
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets what is in flight end for up to five seconds, and cuts the rest.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A task that panicked has stopped too.
        let _ = self.task.await;
    }
}

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: Arc<impl Handler>,
    mut stopping: watch::Receiver<bool>,
) {
    let most = most_of(&handler);
    let (mut connections, mut ages) = (JoinSet::new(), VecDeque::<AbortHandle>::new());
    loop {
        tokio::select! {
            _ = stopped(&mut stopping) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    let full = connections.len() >= most;
                    // Frees the memory of connections that have ended.
                    if full || ages.len() > 2 * connections.len() + 16 {
                        ages.retain(|connection| !connection.is_finished());
                    }
                    if full && let Some(oldest) = ages.pop_front() {
                        oldest.abort();
                    }
                    let connection = connection(stream, remote, tls.clone(), handler.clone(), stopping.clone());
                    ages.push_back(connections.spawn(connection));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let _ = timeout(STOP_CEILING, async { while connections.join_next().await.is_some() {} }).await;
}

fn most_of<H: Handler>(_: &Arc<H>) -> usize {
    H::MAX_CONNECTIONS
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    handler: Arc<impl Handler>,
    stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return serve(stream, Peer { remote, tls: None, stopping }, handler).await;
    };
    match timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let tls = Some(TlsDescription::of(stream.get_ref().1));
            serve(stream, Peer { remote, tls, stopping }, handler).await;
        }
        Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    handler: Arc<impl Handler>,
) {
    let mut stopping = peer.stopping.clone();
    let peer = Arc::new(peer);
    let service = service_fn({
        let peer = peer.clone();
        move |request| {
            let answer = handler.clone().answer(request, peer.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let mut connection =
        std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(remote = %peer.remote, %error, "connection ended");
    }
}

/// Waits until the server stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error says that the server is gone, which is a stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

impl TlsDescription {
    fn of(session: &rustls::ServerConnection) -> Self {
        let version = session.protocol_version().and_then(|v| v.as_str()).unwrap_or_default();
        let cipher = session.negotiated_cipher_suite().and_then(|c| c.suite().as_str()).unwrap_or_default();
        Self {
            version: version.replace("TLSv1_", "TLSv1."),
            cipher: cipher.to_owned(),
            server_name: session.server_name().map(str::to_owned),
            alpn: session.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
        }
    }
}
