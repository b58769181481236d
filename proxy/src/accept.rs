//! Accepts the connections of a port on one worker thread, and finds out which protocol each of them speaks.

mod port;

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use portcullis_routing::{PortKey, Protocol};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

pub(crate) use self::port::Port;
use crate::{
    Carriers,
    admission::{Admitted, Held, Limit},
    app::{self, Service},
    conn::{ConnInfo, Requests, TlsInfo},
    http::{access_log, check::Checks, forwarded, mirror::Mirrors},
    http1, http2, in_place,
    io::{DownIo, Socket, Transport},
    limits::Limits,
    load::Load,
    proxy_protocol, ranges,
    shared::Shared,
    stream::{self, Incoming},
    tls::{Accepted, HandshakeError, TlsConfigs},
    upstream::Dialler,
};

/// What connections need of their worker thread. All connections of a thread share one `Worker`, so that a new connection does
/// not change reference counts that other threads change, too.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) load: Arc<Load>,
    pub(crate) service: Service,
    pub(crate) tls: Arc<TlsConfigs>,
    pub(crate) limits: Limits,
    pub(crate) outward: Arc<Outward>,
}

/// What requests need on their way out.
#[derive(Clone, Debug)]
pub(crate) struct Outward {
    pub(crate) dialler: Dialler,
    pub(crate) mirrors: Mirrors,
    pub(crate) checks: Checks,
}

const HTTPS: u16 = 443;

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
                        // Boxed: tokio moves the future that it is given several times, and the output over it in the end.
                        tokio::spawn(in_place::pinned(|| connection(tcp, peer, port, worker, admitted)));
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
    let serving = pin!(async {
        if let Err(error) = serve(admitted, tcp, peer, &port, &worker).await {
            debug!(port = %port.key, %peer, %error, "connection refused");
        }
    });
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

/// A connection whose protocol is known.
enum Opened {
    Http {
        down: Box<DownIo>,
        conn: Arc<ConnInfo>,
        held: Arc<Held>,
        h2: bool,
    },
    Stream {
        incoming: Box<Incoming>,
        from: stream::Client,
        /// The address that the client connected to, if a PROXY header says so.
        local: Option<IpAddr>,
        admitted: Admitted,
    },
    /// It was closed.
    Nothing,
}

/// Serves a connection until it ends. Every future that it awaits is boxed, except that of HTTP/1: a task is as large as the
/// largest future that it ever awaits, and most idle connections are HTTP/1 connections.
async fn serve(
    admitted: Admitted,
    tcp: TcpStream,
    peer: SocketAddr,
    port: &Port,
    worker: &Arc<Worker>,
) -> Result<(), ConnectionError> {
    let (down, conn, held, h2) = match in_place::pinned(|| open(admitted, tcp, peer, port, worker)).await? {
        Opened::Http { down, conn, held, h2 } => (down, conn, held, h2),
        Opened::Stream { incoming, from, local, admitted } => {
            in_place::pinned(|| stream::carry(worker, incoming, from, local, admitted)).await;
            return Ok(());
        }
        Opened::Nothing => return Ok(()),
    };
    match (h2, worker.shared.options.carriers) {
        (true, Carriers::Pingora) => Box::pin(app::serve_http2(worker, down, conn, port, held)).await,
        (true, Carriers::All) => in_place::pinned(|| http2::serve(worker, down, conn, port, held)).await,
        (false, Carriers::Pingora) => Box::pin(app::serve_http1(worker, down, conn, port, &held)).await,
        (false, Carriers::All) => {
            let (transport, Some(admitted), early) = down.into_parts() else { return Ok(()) };
            http1::serve(worker, transport, early, conn, port, admitted).await;
        }
    }
    Ok(())
}

/// Reads what precedes a connection's first request: the header of the PROXY protocol, the handshake, and where HTTP is not
/// encrypted, whether it is HTTP/2.
async fn open(
    // First, and so dropped after the socket.
    mut admitted: Admitted,
    mut tcp: TcpStream,
    peer: SocketAddr,
    port: &Port,
    worker: &Arc<Worker>,
) -> Result<Opened, ConnectionError> {
    let Addresses { peer, local, has_header, counted } = addresses(&mut tcp, peer, port, worker).await?;
    // The address of a trusted proxy stands for many clients.
    let is_trusted = worker.shared.is_proxy(counted);
    if !is_trusted {
        admitted.belongs_to(counted).await.map_err(ConnectionError::TooMany)?;
    }
    // Asked anew for each connection: a port may change its protocol without being bound again.
    let table = worker.shared.table.load();
    let Some(served) = table.ports.get(&port.key) else {
        // Removed in the moment in which the client came.
        return Ok(Opened::Nothing);
    };
    let (client_port, offset) = (served.for_clients(), served.offset);
    // A load balancer that ends TLS says where the client connected to.
    let is_tls_before = served.protocol == Protocol::Http && local.is_some_and(|local| local.port() == HTTPS);
    let client_port = if is_tls_before { HTTPS } else { client_port };
    let from = stream::Client { peer, port: client_port };
    let local_ip = local.map(|local| local.ip());
    let tls_streams = match served.protocol {
        Protocol::Tls => Some(port.tls_streams(served)),
        Protocol::Http => None,
        Protocol::Tcp => {
            let mut incoming = Box::new(Incoming::plain(tcp, served));
            incoming.refuses_proxy_header = served.proxy_protocol && !has_header;
            return Ok(Opened::Stream { incoming, from, local: local_ip, admitted });
        }
        // A TCP socket is never opened for a UDP port.
        Protocol::Udp => return Ok(Opened::Nothing),
    };
    drop(table);
    let held = Arc::clone(admitted.held());
    let clients = worker.shared.live.load().clients;
    let limits = worker.limits.with(&clients);
    let info = |tcp: &TcpStream, tls: Option<TlsInfo>| {
        let local = local.map_or_else(|| tcp.local_addr(), Ok)?;
        let (client, client_port_text) = (forwarded::address(peer.ip()), forwarded::port(client_port));
        let scheme = if tls.is_some() || is_tls_before { "https" } else { "http" };
        io::Result::Ok(ConnInfo {
            port: port.key,
            client_port,
            offset,
            peer,
            forwarded: forwarded::of_connection(&client, &client_port_text, scheme),
            client,
            client_port_text,
            local,
            tls,
            is_tls_before,
            limits,
            header_names: clients.header_names,
            draining: Arc::clone(&port.draining),
            requests: Requests::most(clients.max_requests),
            without_request_ids: clients.without_request_ids,
            load: Arc::clone(&worker.load),
            buffered: (!is_trusted).then(Default::default),
        })
    };
    let (info, down, h2) = match tls_streams {
        Some(streams) => {
            let handshake = worker.tls.accept(tcp, port.key, streams, &worker.shared);
            match handshake.await.inspect_err(|error| tell(error, from, worker))? {
                Accepted::Http(stream, tls) => {
                    let (socket, session) = stream.get_ref();
                    let (info, h2) = (info(socket.tcp(), Some(tls))?, session.alpn_protocol() == Some(b"h2"));
                    let down = down_io(Transport::Tls(stream), &info, admitted);
                    (info, down, h2)
                }
                Accepted::Stream(incoming) => {
                    return Ok(Opened::Stream { incoming, from, local: local_ip, admitted });
                }
            }
        }
        None => {
            let (info, socket) = (info(&tcp, None)?, Socket::new(tcp, worker.limits.idle));
            let mut down = down_io(Transport::Plain(socket), &info, admitted);
            let Some(h2) = app::speaks_h2(&mut down, port, limits).await else { return Ok(Opened::Nothing) };
            (info, down, h2 && !clients.without_http2)
        }
    };
    Ok(Opened::Http { down, conn: Arc::new(info), held, h2 })
}

/// Counts a failed handshake, and logs it unless the client closed the connection.
fn tell(error: &HandshakeError, from: stream::Client, worker: &Worker) {
    let reason = error.reason();
    worker.shared.failed_handshakes[reason].fetch_add(1, Ordering::Relaxed);
    if reason != HandshakeError::CLOSED {
        access_log::handshake_failed(from.peer.ip(), from.port, &error.to_string());
    }
}

/// The addresses of a connection.
struct Addresses {
    /// The client.
    peer: SocketAddr,
    /// What the client connected to, if a PROXY header says so. Otherwise it is the address of the socket.
    local: Option<SocketAddr>,
    /// Whether the connection began with a PROXY header.
    has_header: bool,
    /// The address whose connections are limited. It is the socket's if everybody may send a PROXY header: an attacker who
    /// claims the address of another client must not use up that client's connections.
    counted: IpAddr,
}

/// Reads the PROXY header if the peer has to send one.
async fn addresses(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    port: &Port,
    worker: &Worker,
) -> Result<Addresses, ConnectionError> {
    let socket = peer.ip();
    let (has_header, is_named) = {
        let live = worker.shared.live.load();
        let of_port =
            || worker.shared.table.load().ports.get(&port.key).is_some_and(|port| port.proxy_protocol);
        let is_sent = |hold: fn(&[(IpAddr, u8)], IpAddr) -> bool| {
            hold(&live.proxy_protocol, socket) || (hold(&live.port_proxies, socket) && of_port())
        };
        let has_header = is_sent(ranges::hold);
        (has_header, has_header && is_sent(ranges::hold_named))
    };
    let own = Addresses { peer, local: None, has_header, counted: socket };
    if !has_header {
        return Ok(own);
    }
    // Boxed, so that connections that bring none do not pay for its size.
    let limit = worker.shared.options.header_timeout;
    let header = Box::pin(tokio::time::timeout(limit, proxy_protocol::read(tcp))).await;
    let header = header.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
    let Some((peer, local)) = header else { return Ok(own) };
    let counted = if is_named { peer.ip() } else { socket };
    Ok(Addresses { peer, local: Some(local), has_header, counted })
}

fn down_io(transport: Transport, info: &ConnInfo, admitted: Admitted) -> Box<DownIo> {
    Box::new(DownIo::new(transport, info, info.limits, admitted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// What an idle connection costs, beside its `ConnInfo`, tokio's header and what TLS keeps. The first is at most one of the
    /// allocator's blocks of 1,280 bytes; the second is allocated until the first byte or the end of the handshake.
    #[test]
    fn a_task_of_a_connection_is_small() {
        assert!(size_of_future(connection) <= 1280, "{}", size_of_future(connection));
        fn opening<'c>(
            admitted: Admitted,
            tcp: TcpStream,
            peer: SocketAddr,
            port: &'c Port,
            worker: &'c Arc<Worker>,
        ) -> impl Future<Output = Result<Opened, ConnectionError>> + use<'c> {
            open(admitted, tcp, peer, port, worker)
        }
        assert!(size_of_future(opening) <= 2048, "{}", size_of_future(opening));
    }
}
