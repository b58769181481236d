//! One of the two connections of a stream.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client, server};

use crate::io::Socket;

/// One of the two connections of a stream.
#[derive(Debug)]
pub(crate) enum Side {
    /// A connection whose bytes are passed on unchanged.
    Tcp(TcpStream),
    /// A client's connection whose TLS is terminated here.
    Client(Box<server::TlsStream<Socket>>),
    /// A connection to a backend over TLS.
    Backend(Box<client::TlsStream<TcpStream>>),
}

impl Side {
    /// Returns the socket, if its bytes are passed on unchanged.
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Client(_) | Self::Backend(_) => None,
        }
    }

    /// Returns the address that the connection has on this machine.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().local_addr()
    }

    /// Makes the socket send small writes without delay. Otherwise the kernel delays them while an earlier small write is
    /// not acknowledged; it never delays the first write of a connection.
    pub(super) fn send_at_once(&self) {
        let _ = self.tcp().set_nodelay(true);
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Client(tls) => tls.get_ref().0.tcp(),
            Self::Backend(tls) => tls.get_ref().0,
        }
    }

    /// Makes the connection end with a reset when it is closed, so that the peer does not take it for a regular end of
    /// the bytes.
    pub(super) fn reset(&self) {
        let _ = self.tcp().set_zero_linger();
    }

    /// Reads into `room`. Returns 0 at the end of the peer's bytes.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(room);
        let read = match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut buf),
            Self::Client(tls) => Pin::new(&mut **tls).poll_read(cx, &mut buf),
            Self::Backend(tls) => Pin::new(&mut **tls).poll_read(cx, &mut buf),
        };
        match ready!(read) {
            // Many peers close the connection without a `close_notify` alert. The protocol inside TLS has to judge
            // whether its bytes are complete; the other side sees a regular end, as it would without TLS.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => Poll::Ready(Ok(buf.filled().len())),
        }
    }

    /// Writes some of the bytes, and returns their number. Never returns 0.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Client(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
            Self::Backend(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        };
        Poll::Ready(match ready!(written)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            n => Ok(n),
        })
    }

    /// Sends the bytes that TLS holds back.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Client(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::Backend(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Tells the peer that no more bytes follow. The peer may still send.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Client(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Self::Backend(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}
