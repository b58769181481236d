//! One port on one worker thread: takes connections in, finds out what is spoken, and can tell them all to go.

mod proxy_protocol;

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use pingora_core::server::ShutdownWatch;
use portcullis_routing::{Port as Served, PortKey, Protocol};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tracing::{debug, warn};

use crate::{
    Carriers,
    admission::{Admitted, Count, Held, Limit},
    app::{self, Service},
    conn::{ConnInfo, TlsInfo},
    http::{access_log, forwarded, mirror::Mirrors},
    http1, http2,
    io::{DownIo, Socket, Transport},
    limits::Limits,
    shared::{Load, Shared},
    stream::{self, Incoming},
    tls::{Accepted, HandshakeError, TlsConfigs},
    upstream::Dialler,
};

/// What connections need of their worker thread. They share one, so that none of them counts references that other threads
/// count, too.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) load: Arc<Load>,
    pub(crate) service: Service,
    pub(crate) tls: Arc<TlsConfigs>,
    pub(crate) limits: Limits,
    pub(crate) outward: Arc<Outward>,
}

/// What requests need on their way out.
#[derive(Debug)]
pub(crate) struct Outward {
    pub(crate) dialler: Dialler,
    pub(crate) mirrors: Mirrors,
}

/// A port, from its first bind to the end of its last connection.
#[derive(Debug)]
pub(crate) struct Port {
    key: PortKey,
    draining: Arc<AtomicBool>,
    cut: AtomicBool,
    /// Pingora's side of `draining`. One for each worker thread: pingora looks at it in each request.
    told: watch::Sender<bool>,
    held: Mutex<HashMap<u64, Arc<Held>>>,
    next: AtomicU64,
    /// Connections of all worker threads.
    count: Arc<Count>,
    /// Whether a listener passes TLS through, as of this publication of the port.
    passes: Mutex<(Weak<Served>, bool)>,
}

/// A connection's place in [`Port::held`].
struct Registered<'p> {
    port: &'p Port,
    id: u64,
}

impl Port {
    /// `count` is shared with the same port on other worker threads.
    pub(crate) fn new(key: PortKey, count: Arc<Count>) -> Arc<Self> {
        Arc::new(Self {
            key,
            draining: Arc::default(),
            cut: AtomicBool::new(false),
            told: watch::Sender::new(false),
            held: Mutex::default(),
            next: AtomicU64::new(0),
            count,
            passes: Mutex::default(),
        })
    }

    pub(crate) fn key(&self) -> PortKey {
        self.key
    }

    pub(crate) fn count(&self) -> &Arc<Count> {
        &self.count
    }

    pub(crate) fn each_held(&self, mut look: impl FnMut(&Arc<Held>)) {
        self.held().values().for_each(&mut look);
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn shutdown(&self) -> ShutdownWatch {
        self.told.subscribe()
    }

    /// Tells the connections to go: idle ones at once, the others with what they are doing.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.told.send_replace(true);
        self.wake();
    }

    /// Ends the connections, whatever they are doing.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// Whether a listener of the port passes TLS through. There may be thousands, so they are looked at once for each
    /// publication.
    fn passes_through(&self, served: &Arc<Served>) -> bool {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        if passes.0.as_ptr() != Arc::as_ptr(served) {
            *passes = (Arc::downgrade(served), stream::passes_through(served));
        }
        passes.1
    }

    fn wake(&self) {
        // A set rather than a signal that connections wait for: waiting would cost each request something, and
        // this is needed once in a port's life.
        self.held().values().for_each(|held| held.wake());
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a connection until it ends, is cut, or is idle after it was asked to close.
    pub(crate) async fn hold(&self, held: Arc<Held>, connection: impl Future<Output = ()>) {
        // Declared in this order so that a closing connection stays registered until its place is free. Otherwise another
        // connection would be asked to close, too.
        let mut registered = None;
        let mut connection = pin!(connection);
        poll_fn(|cx| {
            registered.get_or_insert_with(|| {
                held.set_waker(cx.waker());
                self.register(Arc::clone(&held))
            });
            if self.cut.load(Ordering::Relaxed) || connection.as_mut().poll(cx).is_ready() || held.goes() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    fn register(&self, held: Arc<Held>) -> Registered<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.held().insert(id, held);
        Registered { port: self, id }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.port.held().remove(&self.id);
    }
}

/// Takes connections in until `stop`, and then those that the kernel has already.
pub(crate) async fn accept(
    listener: TcpListener,
    port: Arc<Port>,
    worker: Arc<Worker>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut stopping = false;
    let mut pause = Pause::default();
    loop {
        let accepted = poll_fn(|cx| {
            stopping = stopping || stop.as_mut().poll(cx).is_ready();
            match listener.poll_accept(cx) {
                Poll::Pending if stopping => Poll::Ready(None),
                accepted => accepted.map(Some),
            }
        });
        match accepted.await {
            None => return,
            Some(Ok((tcp, peer))) => {
                pause = Pause::default();
                match worker.shared.admission.enter(&port, &worker.load).await {
                    Ok(admitted) => {
                        let (port, worker) = (Arc::clone(&port), Arc::clone(&worker));
                        tokio::spawn(connection(tcp, peer, port, worker, admitted));
                    }
                    Err(limit) => debug!(port = %port.key, %peer, ?limit, "connection refused"),
                }
            }
            Some(Err(_)) if stopping => return,
            Some(Err(error)) => pause.after(&error, port.key).await,
        }
    }
}

/// How long to wait after an error of accept: it says that this process or machine has run out of something.
#[derive(Default)]
struct Pause {
    errors: u32,
}

impl Pause {
    async fn after(&mut self, error: &io::Error, port: PortKey) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        // The connection's own, not ours.
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        if self.errors == 0 {
            warn!(%port, %error, "no connection can be accepted");
        }
        self.errors = (self.errors + 1).min(7);
        tokio::time::sleep(Duration::from_millis(10 << self.errors)).await;
    }
}

async fn connection(
    tcp: TcpStream,
    peer: SocketAddr,
    port: Arc<Port>,
    worker: Arc<Worker>,
    admitted: Admitted,
) {
    let held = Arc::clone(admitted.held());
    let serving = async {
        if let Err(error) = serve(admitted, tcp, peer, &port, &worker).await {
            debug!(port = %port.key, %peer, %error, "connection refused");
        }
    };
    port.hold(held, serving).await;
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Proxy(#[from] proxy_protocol::ProxyHeaderError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("too many connections ({0:?})")]
    TooMany(Limit),
}

async fn serve(
    // First, and so dropped after the socket.
    mut admitted: Admitted,
    mut tcp: TcpStream,
    peer: SocketAddr,
    port: &Port,
    worker: &Arc<Worker>,
) -> Result<(), ConnectionError> {
    let (peer, local) = addresses(&mut tcp, peer, worker).await?;
    // The address of a trusted proxy stands for many clients.
    let is_trusted = crate::ranges::hold(&worker.shared.live.load().trusted, peer.ip());
    if !is_trusted {
        admitted.belongs_to(peer.ip()).await.map_err(ConnectionError::TooMany)?;
    }
    let held = Arc::clone(admitted.held());
    // Asked anew for each connection: a port may change its protocol without being bound again.
    let table = worker.shared.table.load();
    let Some(served) = table.ports.get(&port.key) else {
        // Removed in the moment in which the client came.
        return Ok(());
    };
    let (protocol, client_port, offset) = (served.protocol, served.for_clients(), served.offset);
    let from = stream::Client { peer, port: client_port };
    let info = |tls: Option<TlsInfo>| {
        let (client, client_port_text) = (forwarded::address(peer.ip()), forwarded::port(client_port));
        let scheme = if tls.is_some() { "https" } else { "http" };
        ConnInfo {
            port: port.key,
            client_port,
            offset,
            peer,
            forwarded: forwarded::of_connection(&client, &client_port_text, scheme),
            client,
            client_port_text,
            local,
            tls,
            draining: Arc::clone(&port.draining),
            load: Arc::clone(&worker.load),
        }
    };
    // Boxed: a task keeps the room of the largest thing that it ever waits for, and a handshake is large and short.
    let (info, down, h2) = match protocol {
        Protocol::Tls => {
            let passes = port.passes_through(served);
            drop(table);
            let handshake = Box::pin(worker.tls.accept(tcp, port.key, passes, &worker.shared));
            match handshake.await.inspect_err(|error| tell(error, from, worker))? {
                Accepted::Http(stream, tls) => {
                    let (info, h2) = (info(Some(tls)), stream.get_ref().1.alpn_protocol() == Some(b"h2"));
                    let down = down_io(Transport::Tls(stream), &info, worker, admitted);
                    (info, down, h2)
                }
                Accepted::Stream(incoming) => {
                    Box::pin(stream::carry(worker, *incoming, from, admitted)).await;
                    return Ok(());
                }
            }
        }
        Protocol::Http => {
            drop(table);
            let (info, socket) = (info(None), Socket::new(tcp, worker.limits.idle));
            let mut down = down_io(Transport::Plain(socket), &info, worker, admitted);
            let Some(h2) = app::speaks_h2(&mut down, port, worker.limits).await else { return Ok(()) };
            (info, down, h2)
        }
        Protocol::Tcp => {
            let incoming = Incoming::plain(tcp, served);
            drop(table);
            Box::pin(stream::carry(worker, incoming, from, admitted)).await;
            return Ok(());
        }
        // A port of TCP does not speak it.
        Protocol::Udp => return Ok(()),
    };
    let conn = Arc::new(info);
    match (h2, worker.shared.options.carriers) {
        (true, Carriers::Pingora) => app::serve_http2(worker, down, conn, port, held).await,
        (true, Carriers::All) => http2::serve(worker, down, conn, port, held).await,
        (false, Carriers::Pingora) => app::serve_http1(worker, down, conn, port, &held).await,
        (false, Carriers::All) => {
            let (transport, Some(admitted), early) = down.into_parts() else { return Ok(()) };
            http1::serve(worker, transport, &early, conn, port, admitted).await;
        }
    }
    Ok(())
}

/// Counts a failed handshake, and logs it unless the client closed the connection.
fn tell(error: &HandshakeError, from: stream::Client, worker: &Worker) {
    let reason = error.reason();
    worker.shared.failed_handshakes[reason].fetch_add(1, Ordering::Relaxed);
    if reason != HandshakeError::CLOSED {
        access_log::handshake_failed(from.peer.ip(), from.port, &error.to_string());
    }
}

/// The client and where it connected to: what the socket says, or the load balancer in front.
async fn addresses(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    worker: &Worker,
) -> Result<(SocketAddr, SocketAddr), ConnectionError> {
    let local = tcp.local_addr()?;
    if !crate::ranges::hold(&worker.shared.live.load().proxy_protocol, peer.ip()) {
        return Ok((peer, local));
    }
    // Boxed, so that connections that bring none do not pay for its size.
    let limit = worker.shared.options.header_timeout;
    let header = Box::pin(tokio::time::timeout(limit, proxy_protocol::read(tcp))).await;
    let header = header.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
    Ok(header.unwrap_or((peer, local)))
}

fn down_io(transport: Transport, info: &ConnInfo, worker: &Worker, admitted: Admitted) -> Box<DownIo> {
    Box::new(DownIo::new(transport, info, worker.limits, admitted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admission, ConnectionLimits};

    fn held(
        port: &Arc<Port>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let port = Arc::clone(port);
        tokio::spawn(async move { port.hold(Arc::new(Held::new()), connection).await })
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_only() {
        let port = Port::new(PortKey::tcp(80), Arc::default());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let other = held(&port, async move { drop(gone.await) });
        let broken = held(&port, async { panic!("a request that is none") });
        assert!(broken.await.unwrap_err().is_panic());
        assert!(!port.is_empty() && !other.is_finished());
        go.send(()).unwrap();
        other.await.unwrap();
        assert!(port.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn another_makes_room_where_a_request_comes_before_its_connection_goes() {
        let limits = ConnectionLimits { process: 2, port: 2, client: None, descriptors: 2 };
        let (admission, load) = (Admission::new(limits), Arc::<Load>::default());
        let port = admission.port(PortKey::tcp(80));
        let mut tasks = Vec::new();
        for busy_when_asked in [true, false] {
            let admitted = admission.enter(&port, &load).await.unwrap();
            let (of_port, held, mut polled) = (Arc::clone(&port), Arc::clone(admitted.held()), false);
            tasks.push(tokio::spawn(async move {
                let connection = poll_fn(|_| {
                    if std::mem::replace(&mut polled, true) && busy_when_asked {
                        admitted.held().begin();
                    }
                    Poll::Pending
                });
                of_port.hold(held, connection).await;
            }));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(admission.enter(&port, &load).await.is_ok());
        assert_eq!(tasks.iter().map(|task| task.is_finished()).collect::<Vec<_>>(), [false, true]);
    }

    #[tokio::test]
    async fn a_drain_wakes_every_connection_and_a_cut_ends_it() {
        let port = Port::new(PortKey::tcp(80), Arc::default());
        let told = Arc::new(AtomicU64::new(0));
        let connections: Vec<_> = (0..3)
            .map(|_| {
                let (watched, told) = (Arc::clone(&port), Arc::clone(&told));
                held(
                    &port,
                    poll_fn(move |_| {
                        told.fetch_add(u64::from(watched.draining()), Ordering::Relaxed);
                        Poll::Pending
                    }),
                )
            })
            .collect();
        tokio::task::yield_now().await;
        port.drain();
        tokio::task::yield_now().await;
        assert_eq!(told.load(Ordering::Relaxed), 3);
        assert!(*port.shutdown().borrow());
        port.cut();
        for connection in connections {
            connection.await.unwrap();
        }
        assert!(port.is_empty());
    }
}
