//! The socket of a client's connection: the client that stops taking bytes is found out here, where it can be seen, under
//! TLS and whatever is held back.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use super::{pipe::Pipe, read, write};
use crate::stall::Stall;

/// A socket whose writes fail when the client has taken nothing for a while.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    stall: Stall,
    limit: Duration,
    early: Option<Box<Early>>,
}

/// What the next reads return.
#[derive(Debug, Default)]
struct Early {
    /// Bytes that were read before it was known how to serve the connection.
    bytes: Vec<u8>,
    read: usize,
    /// An error that is still to be reported.
    error: Option<io::Error>,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, limit: Duration) -> Self {
        Self { tcp, stall: Stall::default(), limit, early: None }
    }

    /// A socket from which these bytes have been read already. Reads return them first.
    pub(crate) fn with_early(tcp: TcpStream, limit: Duration, bytes: Vec<u8>) -> Self {
        Self { early: Some(Box::new(Early { bytes, ..Early::default() })), ..Self::new(tcp, limit) }
    }

    /// Has the next read fail.
    pub(super) fn fail_with(&mut self, error: io::Error) {
        self.early.get_or_insert_default().error = Some(error);
    }

    /// Changes how long the client may take no bytes before writes fail.
    pub(crate) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Ready when a read would give bytes, the end or an error, as far as the runtime knows.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.early.is_some() { Poll::Ready(Ok(())) } else { self.tcp.poll_read_ready(cx) }
    }

    /// Writes as much of what is in the pipe as the client accepts; returns how many bytes that is.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let written = loop {
            match self.tcp.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
            match self.tcp.try_io(Interest::WRITABLE, || pipe.drain(&self.tcp)) {
                // The runtime's readiness was out of date.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => break Poll::Ready(written),
            }
        };
        self.watch(cx, written)
    }

    /// Takes the result of a write through, or an error in its place when it has been waiting too long.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall.moved();
            return written;
        }
        while !ready!(self.stall.poll_look(cx, self.limit)) {}
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(early) = &mut this.early else {
            // Filling a large buffer of pingora or h2 with zeros would take longer than most reads.
            if buf.initialized().len() < buf.capacity() {
                return Pin::new(&mut this.tcp).poll_read(cx, buf);
            }
            let n = ready!(read::poll_read(&this.tcp, cx, buf.initialize_unfilled()))?;
            buf.advance(n);
            return Poll::Ready(Ok(()));
        };
        let rest = &early.bytes[early.read..];
        if let Some(error) = early.error.take_if(|_| rest.is_empty()) {
            this.early = None;
            return Poll::Ready(Err(error));
        }
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        early.read += taken;
        if early.read == early.bytes.len() && early.error.is_none() {
            this.early = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = write::poll_write(&this.tcp, cx, &[IoSlice::new(buf)]);
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = write::poll_write(&this.tcp, cx, bufs);
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, mem::MaybeUninit};

    use tokio::{
        io::AsyncWriteExt,
        time::{Instant, timeout},
    };

    use super::*;
    use crate::io::pair::pair;

    #[tokio::test]
    async fn a_read_initializes_no_more_than_it_gives() {
        let (tcp, mut client) = pair().await;
        let mut socket = Socket::new(tcp, Duration::from_secs(60));
        client.write_all(b"hello").await.unwrap();
        let mut room = [MaybeUninit::uninit(); 1 << 16];
        let mut buf = ReadBuf::uninit(&mut room);
        poll_fn(|cx| Pin::new(&mut socket).poll_read(cx, &mut buf)).await.unwrap();
        assert_eq!((buf.filled(), buf.initialized().len()), (&b"hello"[..], 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_fails_though_it_be_flushed_and_tried_again() {
        let (tcp, _client) = pair().await;
        let (mut socket, begin) = (Socket::new(tcp, Duration::from_secs(60)), Instant::now());
        let error = loop {
            match timeout(Duration::from_secs(1), socket.write_all(&[0; 1 << 16])).await {
                Ok(Ok(())) | Err(_) => socket.flush().await.unwrap(),
                Ok(Err(error)) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_secs(60));
    }
}
