//! One port on one worker thread: takes connections in, finds out what is spoken, and can tell them all to go.

mod proxy_protocol;

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use pingora_core::server::ShutdownWatch;
use portcullis_routing::Protocol;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tracing::{debug, warn};

use crate::{
    app::{self, Service},
    conn::ConnInfo,
    http::forwarded,
    io::{DownIo, Limits, Socket, Transport},
    shared::{Connection, Load, Shared},
    tls::TlsConfigs,
};

/// What connections need of their worker thread.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) load: Arc<Load>,
    pub(crate) service: Service,
    pub(crate) tls: Arc<TlsConfigs>,
    pub(crate) limits: Limits,
}

/// A port, from its first bind to the end of its last connection.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    draining: Arc<AtomicBool>,
    cut: AtomicBool,
    /// Pingora's side of `draining`. One for each worker thread: pingora looks at it in each request.
    told: watch::Sender<bool>,
    wakers: Mutex<HashMap<u64, Waker>>,
    next: AtomicU64,
}

/// A connection's place in [`Port::wakers`].
struct Registered<'p> {
    port: &'p Port,
    id: u64,
}

impl Port {
    pub(crate) fn new(number: u16) -> Arc<Self> {
        Arc::new(Self {
            number,
            draining: Arc::default(),
            cut: AtomicBool::new(false),
            told: watch::Sender::new(false),
            wakers: Mutex::default(),
            next: AtomicU64::new(0),
        })
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
        self.wakers().is_empty()
    }

    fn wake(&self) {
        // A set rather than a signal that connections wait for: waiting would cost each request something, and
        // this is needed once in a port's life.
        self.wakers().values().for_each(Waker::wake_by_ref);
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what a connection does, until it ends or is cut.
    async fn hold(&self, connection: impl Future<Output = ()>) {
        let mut connection = pin!(connection);
        let mut registered = None;
        poll_fn(|cx| {
            // A task's waker is the same for all of its life.
            registered.get_or_insert_with(|| self.register(cx.waker().clone()));
            match self.cut.load(Ordering::Relaxed) {
                true => Poll::Ready(()),
                false => connection.as_mut().poll(cx),
            }
        })
        .await;
    }

    fn register(&self, waker: Waker) -> Registered<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.wakers().insert(id, waker);
        Registered { port: self, id }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.port.wakers().remove(&self.id);
    }
}

/// Takes connections in until `stop`, and then those that the kernel has already.
pub(crate) async fn accept(
    listener: TcpListener,
    port: Arc<Port>,
    worker: Worker,
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
                let counted = worker.load.connection();
                tokio::spawn(connection(tcp, peer, Arc::clone(&port), worker.clone(), counted));
            }
            Some(Err(_)) if stopping => return,
            Some(Err(error)) => pause.after(&error, port.number).await,
        }
    }
}

/// How long to wait after an error of accept: it says that this process or machine has run out of something.
#[derive(Default)]
struct Pause {
    errors: u32,
}

impl Pause {
    async fn after(&mut self, error: &io::Error, port: u16) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        // The connection's own, not ours.
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        if self.errors == 0 {
            warn!(port, %error, "no connection can be accepted");
        }
        self.errors = (self.errors + 1).min(7);
        tokio::time::sleep(Duration::from_millis(10 << self.errors)).await;
    }
}

async fn connection(tcp: TcpStream, peer: SocketAddr, port: Arc<Port>, worker: Worker, counted: Connection) {
    let serving = async {
        if let Err(error) = serve(tcp, peer, &port, &worker, counted).await {
            debug!(port = port.number, %peer, %error, "connection refused");
        }
    };
    port.hold(serving).await;
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Proxy(#[from] proxy_protocol::ProxyHeaderError),
    #[error(transparent)]
    Handshake(#[from] crate::tls::HandshakeError),
}

async fn serve(
    mut tcp: TcpStream,
    peer: SocketAddr,
    port: &Port,
    worker: &Worker,
    counted: Connection,
) -> Result<(), ConnectionError> {
    let (peer, local) = addresses(&mut tcp, peer, worker).await?;
    // Asked anew for each connection: a port may change its protocol without being bound again.
    let table = worker.shared.table.load();
    let Some(served) = table.ports.get(&port.number) else {
        // Removed in the moment in which the client came.
        return Ok(());
    };
    let protocol = served.protocol;
    let mut info = ConnInfo {
        port: port.number,
        client_port: served.for_clients(),
        offset: served.offset,
        peer,
        client: forwarded::address(peer.ip()),
        client_port_text: forwarded::port(served.for_clients()),
        local,
        tls: None,
        draining: Arc::clone(&port.draining),
        load: Arc::clone(&worker.load),
    };
    drop(table);
    let socket = Socket::new(tcp, worker.limits.idle);
    let (down, h2) = match protocol {
        Protocol::Https => {
            // Boxed: a task keeps the room of the largest thing that it ever waits for, and this is large and short.
            let handshake = Box::pin(worker.tls.accept(socket, port.number, &worker.shared));
            let (stream, tls) = handshake.await?;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            info.tls = Some(tls);
            (down_io(Transport::Tls(stream), &info, worker, counted), h2)
        }
        Protocol::Http => {
            let mut down = down_io(Transport::Plain(socket), &info, worker, counted);
            let Some(h2) = app::speaks_h2(&mut down, port, worker.limits).await else { return Ok(()) };
            (down, h2)
        }
    };
    let conn = Arc::new(info);
    if h2 {
        app::serve_http2(&worker.service, down, conn, port, &worker.load, worker.limits).await;
    } else {
        app::serve_http1(&worker.service, down, conn, port, &worker.load, worker.limits).await;
    }
    Ok(())
}

/// The client and where it connected to: what the socket says, or the load balancer in front.
async fn addresses(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    worker: &Worker,
) -> Result<(SocketAddr, SocketAddr), ConnectionError> {
    let options = &worker.shared.options;
    let local = tcp.local_addr()?;
    if options.proxy_protocol.is_empty() || !crate::ranges::hold(&options.proxy_protocol, peer.ip()) {
        return Ok((peer, local));
    }
    // Boxed, so that connections that bring none do not pay for its size.
    let header = Box::pin(tokio::time::timeout(options.header_timeout, proxy_protocol::read(tcp))).await;
    let header = header.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
    Ok(header.unwrap_or((peer, local)))
}

fn down_io(transport: Transport, info: &ConnInfo, worker: &Worker, counted: Connection) -> Box<DownIo> {
    Box::new(DownIo::new(transport, info, worker.limits, counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(
        port: &Arc<Port>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let port = Arc::clone(port);
        tokio::spawn(async move { port.hold(connection).await })
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_only() {
        let port = Port::new(80);
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let other = held(&port, async move { drop(gone.await) });
        let broken = held(&port, async { panic!("a request that is none") });
        assert!(broken.await.unwrap_err().is_panic());
        assert!(!port.is_empty() && !other.is_finished());
        go.send(()).unwrap();
        other.await.unwrap();
        assert!(port.is_empty());
    }

    #[tokio::test]
    async fn a_drain_wakes_every_connection_and_a_cut_ends_it() {
        let port = Port::new(80);
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
