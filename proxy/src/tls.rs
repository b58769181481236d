//! The server's side of TLS: ClientHello -> listener -> handshake with its certificate, or passthrough to a backend.

mod base;
mod first;

use std::{
    collections::HashMap,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_routing::{PortKey, Serves, TlsMode};
use portcullis_tls::{Certificates, ClientAuth, Offer, Termination};
use rustls::{ProtocolVersion, ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use crate::{
    conn::TlsInfo,
    io::Socket,
    limits::until,
    shared::Shared,
    stream::{
        self, Incoming, Route, Side, Spoken, TlsStreams,
        hello::{Hello, HelloError},
    },
};
use first::First;

pub(crate) use base::TlsBase;

/// The alert `unrecognized_name` (RFC 6066, 3), fatal, in a record of its own. No key has been agreed on yet, so
/// it goes in the clear in every version.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The alert `decode_error` (RFC 8446, 6.2), fatal, in a record of its own.
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// The configuration of each listener, made at its first handshake. One for each worker thread.
#[derive(Debug)]
pub(crate) struct TlsConfigs {
    base: Arc<TlsBase>,
    made: Mutex<Made>,
}

/// The configurations of one publication and one [`Offer`], by the address of a [`Termination`], which `of` keeps alive, and by [`Inside`].
#[derive(Debug, Default)]
struct Made {
    of: Option<Arc<Certificates>>,
    /// What is offered to all clients.
    offer: Offer,
    configs: HashMap<(usize, Inside), Arc<ServerConfig>>,
}

/// The protocol inside TLS that is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Inside {
    /// HTTP; ALPN negotiates the version.
    Http,
    /// HTTP/1 alone.
    Http1,
    /// Any other protocol. No ALPN protocol is offered, since only the backend knows which ones it speaks.
    Stream,
}

/// The result of accepting a TLS connection.
pub(crate) enum Accepted {
    /// TLS was terminated for HTTP.
    Http(Box<TlsStream<Socket>>, TlsInfo),
    /// The connection is a stream: TLS is passed through, or was terminated.
    Stream(Box<Incoming>),
}

/// How TLS is terminated for a server name.
struct Ending {
    config: Arc<ServerConfig>,
    client_auth: ClientAuth,
    /// The route, if the connection is a stream.
    route: Option<Route>,
}

/// Why a handshake came to nothing. All are the client's doing, or its network's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("no listener or route for this server name")]
    UnrecognizedName,
    #[error("the handshake took too long")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl HandshakeError {
    /// What metrics call the reasons, by [`HandshakeError::reason`].
    pub(crate) const REASONS: [&str; 4] = ["server-name", "timeout", "closed", "tls"];
    /// The index of handshakes that the client broke off, as health checks do.
    pub(crate) const CLOSED: usize = 2;

    /// The index of its reason.
    pub(crate) fn reason(&self) -> usize {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
        match self {
            Self::UnrecognizedName => 0,
            Self::TimedOut => 1,
            Self::Io(error) => match error.kind() {
                TimedOut => 1,
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::CLOSED,
                _ => 3,
            },
        }
    }
}

impl TlsConfigs {
    pub(crate) fn new(base: Arc<TlsBase>) -> Self {
        Self { base, made: Mutex::default() }
    }

    fn config(
        &self,
        certificates: &Arc<Certificates>,
        termination: &Arc<Termination>,
        offer: &Offer,
        inside: Inside,
    ) -> Arc<ServerConfig> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, certificates)) || made.offer != *offer {
            *made =
                Made { of: Some(Arc::clone(certificates)), offer: offer.clone(), configs: HashMap::new() };
        }
        let address = Arc::as_ptr(termination).addr();
        let make = || {
            let mut config = self.base.config(termination, certificates, offer);
            match inside {
                Inside::Http => {}
                Inside::Http1 => config.alpn_protocols = vec![b"http/1.1".to_vec()],
                Inside::Stream => config.alpn_protocols.clear(),
            }
            Arc::new(config)
        };
        Arc::clone(made.configs.entry((address, inside)).or_insert_with(make))
    }

    /// Terminates TLS on a connection to `port`, or finds its passthrough route. `streams` says which streams the port serves.
    ///
    /// # Errors
    /// [`HandshakeError`]; where it can be told, the client has been.
    pub(crate) async fn accept(
        &self,
        tcp: TcpStream,
        port: PortKey,
        streams: TlsStreams,
        shared: &Shared,
    ) -> Result<Accepted, HandshakeError> {
        let deadline = Instant::now().checked_add(shared.options.handshake_timeout);
        let socket = match streams.passthrough {
            false => Socket::new(tcp, shared.options.idle_timeout),
            true => match within(deadline, pin!(greet(tcp, port, shared))).await? {
                Greeted::Passed(incoming) => return Ok(Accepted::Stream(incoming)),
                Greeted::Other(socket) => socket,
            },
        };
        // Boxed: other connections do not pay for its size.
        within(deadline, Box::pin(self.handshake(socket, port, streams, shared))).await
    }

    async fn handshake(
        &self,
        socket: Socket,
        port: PortKey,
        streams: TlsStreams,
        shared: &Shared,
    ) -> Result<Accepted, HandshakeError> {
        let mut start = greeting(socket, streams).await?;
        let server_name = start.client_hello().server_name().map(|name| {
            let mut name: Box<str> = name.into();
            name.make_ascii_lowercase();
            name
        });
        let Some(ending) = self.find(port, server_name.as_deref(), shared) else {
            return Err(match streams.any {
                // An alert of ours would pass for one of the backend that the client asked for, and the Gateway API's conformance
                // suite (TLSRouteHostnameIntersection) accepts no alert as a refusal.
                true => HandshakeError::UnrecognizedName,
                false => refuse(&mut start.io, &UNRECOGNIZED_NAME, HandshakeError::UnrecognizedName).await,
            });
        };
        let stream = start.into_stream(ending.config).await?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let mut stream = Box::new(stream);
        let Some(route) = ending.route else {
            let certificate = self.base.certificate(&ending.client_auth, stream.get_ref().1);
            let tls = TlsInfo { server_name, client_auth: ending.client_auth, certificate, version };
            return Ok(Accepted::Http(stream, tls));
        };
        // The relay enforces one idle limit for both sides of a stream; the socket's own limit must not end it earlier.
        stream.get_mut().0.set_limit(shared.options.tcp_idle_timeout * 2);
        Ok(Accepted::Stream(Box::new(Incoming {
            client: Side::Client(stream),
            early: Vec::new(),
            spoken: Spoken::Tls,
            server_name,
            tls: Some(version),
            route,
            refuses_proxy_header: false,
        })))
    }

    /// How TLS is terminated for a server name; `None` if no listener, certificate or route has that name.
    fn find(&self, port: PortKey, server_name: Option<&str>, shared: &Shared) -> Option<Ending> {
        let table = shared.table.load();
        let greeted = table.ports.get(&port).and_then(|port| port.greeted(server_name));
        let live = shared.live.load();
        let http = match live.clients.without_http2 {
            true => Inside::Http1,
            false => Inside::Http,
        };
        let (inside, route) = match greeted {
            None => (http, None),
            // The name belongs to a passthrough listener: no less specific listener may answer it with another certificate.
            Some(listener) if listener.tls.client_auth().is_none() => return None,
            Some(listener) => match &listener.serves {
                Serves::Http(_) => (http, None),
                Serves::Stream(_) => (Inside::Stream, Some(stream::route(listener, server_name)?)),
                Serves::Datagram(_) => return None,
            },
        };
        let certificates = shared.certificates.load();
        let termination = certificates.ports.get(&port)?.termination(server_name)?;
        // Table and certificates may be of two publications. Requests are held to the policy one by one, a stream only here.
        let policy = greeted.and_then(|listener| listener.tls.client_auth());
        if route.is_some() && policy != Some(&termination.client_auth) {
            return None;
        }
        let config = self.config(&certificates, termination, &live.offer, inside);
        Some(Ending { config, client_auth: termination.client_auth.clone(), route })
    }
}

/// Reads a ClientHello. A client that sends HTTP instead gets an answer in HTTP, unless the port has streams of other protocols.
async fn greeting(socket: Socket, streams: TlsStreams) -> Result<StartHandshake<Socket>, HandshakeError> {
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), First::new(socket));
    let error = match Pin::new(&mut acceptor).await {
        Ok(start) => return Ok(StartHandshake::from_parts(start.accepted, start.io.into_inner())),
        Err(error) => error,
    };
    let io = acceptor.take_io().filter(|_| first::is_plain_http(&error) && !streams.any);
    Err(match io {
        Some(mut io) => refuse(&mut io, first::EXPECTS_TLS, error.into()).await,
        None => error.into(),
    })
}

/// Which listener a ClientHello is for.
enum Greeted {
    /// One that passes TLS through.
    Passed(Box<Incoming>),
    /// Another listener, or none, or the bytes are not a ClientHello. rustls gets the same bytes and answers them.
    Other(Socket),
}

/// Reads a ClientHello to find out whether a listener passes its connection through.
async fn greet(mut tcp: TcpStream, port: PortKey, shared: &Shared) -> Result<Greeted, HandshakeError> {
    let mut hello = Hello::default();
    let server_name = match hello.read_from(&mut tcp).await? {
        Ok(server_name) => server_name,
        Err(error @ HelloError::TooLong) => {
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            return Err(refuse(&mut tcp, &DECODE_ERROR, error.into()).await);
        }
        // rustls answers with the proper alert. If it accepts these bytes after all, the connection is not passed through.
        Err(HelloError::Malformed) => return Ok(other(tcp, hello, shared)),
    };
    let table = shared.table.load();
    let greeted = table.ports.get(&port).and_then(|port| port.greeted(server_name.as_deref()));
    let Some(listener) = greeted.filter(|listener| listener.tls == TlsMode::Passthrough) else {
        return Ok(other(tcp, hello, shared));
    };
    let Some(route) = stream::route(listener, server_name.as_deref()) else {
        return Err(HandshakeError::UnrecognizedName);
    };
    Ok(Greeted::Passed(Box::new(Incoming {
        client: Side::Tcp(tcp),
        early: hello.into_raw(),
        spoken: Spoken::Tls,
        server_name,
        tls: None,
        route,
        refuses_proxy_header: false,
    })))
}

fn other(tcp: TcpStream, hello: Hello, shared: &Shared) -> Greeted {
    Greeted::Other(Socket::with_early(tcp, shared.options.idle_timeout, hello.into_raw()))
}

/// Sends bytes in the clear, such as an alert before any keys are agreed on, and closes the connection.
async fn refuse(
    client: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    error: HandshakeError,
) -> HandshakeError {
    match client.write_all(bytes).await {
        Ok(()) => match client.shutdown().await {
            Ok(()) => error,
            Err(failed) => failed.into(),
        },
        Err(failed) => failed.into(),
    }
}

/// Carries out a part of a handshake until the deadline. The future is passed pinned, so that it is not moved.
async fn within<T>(
    deadline: Option<Instant>,
    handshake: impl Future<Output = Result<T, HandshakeError>> + Unpin,
) -> Result<T, HandshakeError> {
    until(deadline, handshake).await.unwrap_or(Err(HandshakeError::TimedOut))
}

#[cfg(test)]
mod tests;
