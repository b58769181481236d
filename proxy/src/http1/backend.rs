//! A connection to an HTTP/1 backend: TCP, or TLS over TCP.

use std::{
    io,
    io::IoSlice,
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use portcullis_routing::{Backend, BackendTls, Endpoint};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::{
    io::{read, write},
    shared::Shared,
    upstream::{
        connections::Open,
        dial::Permitted,
        tls::{self, Offer, TlsError},
    },
};

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// The endpoint. Once it has been removed, the pool closes the idle connection.
    pub(super) endpoint: Weak<Endpoint>,
    /// Whether the body of its last answer was large enough for a pipe. The next one probably is, too.
    pub(super) sends_large: bool,
    _open: Open,
}

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The number of a TLS identity ([`tls::identity`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsId(pub(super) u64);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the backend did not respond in time")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the connections that were being established for other requests failed")]
    Others,
}

impl TlsId {
    pub(super) fn of(tls: Option<&BackendTls>) -> Self {
        Self(tls::identity(tls))
    }
}

/// Connects to an endpoint of a backend. `limit` is the time limit for the TCP handshake, and again for the TLS
/// handshake.
///
/// # Errors
/// If there is no connection.
pub(super) async fn connect(
    address: Permitted,
    endpoint: Weak<Endpoint>,
    backend: Arc<Backend>,
    shared: Arc<Shared>,
    limit: Duration,
) -> Result<Connection, ConnectError> {
    let late = |_| ConnectError::TimedOut;
    let tcp = timeout(limit, address.connect()).await.map_err(late)??;
    let open = shared.backend_connections.open(&backend.key);
    let Some(tls) = &backend.tls else { return Ok(Connection::new(Stream::Plain(tcp), endpoint, open)) };
    let stream = shared.backend_tls.connect(tcp, tls, Offer::Http1, limit).await;
    let stream =
        stream.inspect_err(|error| shared.backend_tls.note(&backend.key, address.address(), error))?;
    Ok(Connection::new(Stream::Tls(Box::new(stream)), endpoint, open))
}

impl Connection {
    pub(super) fn new(stream: Stream, endpoint: Weak<Endpoint>, open: Open) -> Self {
        Self { stream, endpoint, sends_large: false, _open: open }
    }

    /// The socket, if its bytes are not encrypted.
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(_) => None,
        }
    }

    /// Ready if a read may return bytes, the end or an error. TLS is always ready: only a read shows what it holds.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            Stream::Plain(tcp) => tcp.poll_read_ready(cx).map(|_| ()),
            Stream::Tls(_) => Poll::Ready(()),
        }
    }

    /// Reads into `room`; 0 bytes are the end of the connection.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => read::poll_read(tcp, cx, room),
            Stream::Tls(tls) => {
                let mut buf = ReadBuf::new(room);
                ready!(Pin::new(&mut **tls).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Writes as much of `bufs` as the connection accepts; returns how many bytes that is, never 0.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(match &mut self.stream {
            Stream::Plain(tcp) => write::poll_write(tcp, cx, bufs),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
        })?;
        Poll::Ready(if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(n) })
    }

    /// Sends what TLS has buffered.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Whether nothing has come on the idle connection, not even its end. Costs no system call unless the runtime has noticed
    /// an event, and leaves no waker behind.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        match &mut self.stream {
            Stream::Plain(tcp) => would_block(&tcp.try_read(&mut byte)),
            // Session tickets may come at any time; they are read here.
            Stream::Tls(tls) => {
                let mut cx = Context::from_waker(Waker::noop());
                would_block(&tls.get_ref().0.try_io(Interest::READABLE, || Ok(())))
                    || Pin::new(&mut **tls).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }

    /// The socket's file descriptor.
    pub(super) fn raw_fd(&self) -> RawFd {
        match &self.stream {
            Stream::Plain(tcp) => tcp.as_raw_fd(),
            Stream::Tls(tls) => tls.get_ref().0.as_raw_fd(),
        }
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
