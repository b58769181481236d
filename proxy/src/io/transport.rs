//! The bytes of a connection: TCP, or TLS over it.

use std::{
    io::{self, IoSlice, Write as _},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use pingora_core::protocols::SocketDigest;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{out::SLICES, socket::Socket};

/// The bytes of a connection.
#[derive(Debug)]
pub(crate) enum Transport {
    /// As they come.
    Plain(Socket),
    /// Boxed, so that a plain connection does not pay for the size of a TLS session.
    Tls(Box<TlsStream<Socket>>),
    /// Handed on to somebody else.
    Gone,
}

impl Transport {
    /// Ready when a read would give bytes, the end or an error; takes nothing out. `stale`: what the runtime believes
    /// of the socket may be out of date, so the kernel is asked.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>, stale: bool) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) if stale => {
                let mut byte = [0; 1];
                tcp.tcp().poll_peek(cx, &mut ReadBuf::new(&mut byte)).map_ok(|_| ())
            }
            Self::Plain(tcp) => tcp.poll_readable(cx),
            // Readiness of the socket is not enough: tickets and key updates carry no bytes of ours, and rustls
            // may hold bytes that the socket no longer has.
            Self::Tls(_) if self.lacks_bytes(cx) => Poll::Pending,
            Self::Tls(tls) => Pin::new(&mut **tls).poll_fill_buf(cx).map_ok(|_| ()),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    /// Whether a read would certainly give nothing yet. Wakes the task when that changes.
    pub(super) fn lacks_bytes(&self, cx: &mut Context<'_>) -> bool {
        matches!(self, Self::Tls(tls) if lacks_bytes(tls, cx))
    }

    /// The socket under it.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket.tcp()),
            Self::Tls(tls) => Some(tls.get_ref().0.tcp()),
            Self::Gone => None,
        }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.tcp().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Whether the peer has ended the connection, or its side of it, though there be bytes of it that were not read.
    pub(crate) fn left(&self) -> bool {
        left(&SocketDigest::from_raw_fd(self.raw_fd()))
    }
}

/// Whether the peer of a socket has ended the connection, or its side of it.
pub(super) fn left(socket: &SocketDigest) -> bool {
    // Of `enum tcp_state` in the kernel's include/net/tcp_states.h.
    const CLOSE: u8 = 7;
    const CLOSE_WAIT: u8 = 8;
    socket.tcp_info().is_some_and(|info| matches!(info.tcpi_state, CLOSE | CLOSE_WAIT))
}

/// Most that one TLS record carries (RFC 8446, 5.1).
const RECORD: usize = 1 << 14;

/// TLS whose records are not sent one by one: they stay with rustls until somebody flushes, or until it has as many as
/// it may hold (64 KiB).
///
/// h2 flushes after each frame of data. A system call for each takes longer than its encryption.
#[derive(Debug)]
pub(crate) struct Gathering<'t>(pub(crate) &'t mut TlsStream<Socket>);

impl Gathering<'_> {
    /// Whether there are records that have not been sent.
    pub(crate) fn holds_records(&self) -> bool {
        self.0.get_ref().1.wants_write()
    }
}

impl AsyncWrite for Gathering<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    /// Takes no more than a record at a time: a frame of 16 KiB and its head would leave as a full one and one of nine
    /// bytes.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tls = &mut *self.get_mut().0;
        let (mut record, mut count, mut room) = ([IoSlice::new(&[]); SLICES], 0, RECORD);
        for (slot, buf) in record.iter_mut().zip(bufs) {
            let taken = buf.len().min(room);
            *slot = IoSlice::new(&buf[..taken]);
            (count, room) = (count + 1, room - taken);
        }
        loop {
            let taken = tls.get_mut().1.writer().write_vectored(&record[..count])?;
            if taken > 0 || room == RECORD {
                return Poll::Ready(Ok(taken));
            }
            ready!(Pin::new(&mut *tls).poll_flush(cx))?;
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_shutdown(cx)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => poll_read_tls(tls, cx, buf),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }
}

/// Reads as much as fits of what has come. Other than tokio-rustls, it asks the runtime whether there is more, and does not
/// find out by a read that gives nothing.
fn poll_read_tls(
    tls: &mut TlsStream<Socket>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buf.filled().len();
    loop {
        let data = match Pin::new(&mut *tls).poll_fill_buf(cx) {
            Poll::Ready(Ok(data)) => data,
            nothing if buf.filled().len() == before => return nothing.map_ok(|_| ()),
            Poll::Ready(Err(error)) => {
                tls.get_mut().0.fail_with(error);
                return Poll::Ready(Ok(()));
            }
            Poll::Pending => return Poll::Ready(Ok(())),
        };
        let n = data.len().min(buf.remaining());
        buf.put_slice(&data[..n]);
        Pin::new(&mut *tls).consume(n);
        if n == 0 || buf.remaining() == 0 || lacks_bytes(tls, cx) {
            return Poll::Ready(Ok(()));
        }
    }
}

/// Whether rustls holds no bytes, and the runtime knows of none in the socket: a read would give nothing yet. Wakes the task when
/// that changes. It takes a fraction of what such a read takes.
fn lacks_bytes(tls: &TlsStream<Socket>, cx: &mut Context<'_>) -> bool {
    let (socket, session) = tls.get_ref();
    session.wants_read() && socket.poll_readable(cx).is_pending()
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Read as _, sync::Arc, time::Duration};

    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream as ClientStream};

    use super::{super::out::Out, *};

    /// Both ends of a connection.
    async fn pair() -> (TlsStream<Socket>, ClientStream<TcpStream>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(["a.example".into()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        // Nothing but what the test writes.
        server.send_tls13_tickets = 0;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, connected) = tokio::join!(
            async {
                let socket = Socket::new(listener.accept().await.unwrap().0, Duration::from_secs(60));
                TlsAcceptor::from(Arc::new(server)).accept(socket).await
            },
            TlsConnector::from(Arc::new(client)).connect("a.example".try_into().unwrap(), tcp),
        );
        (accepted.unwrap(), connected.unwrap())
    }

    /// As h2 writes a frame of data: head and payload, until all of it is taken.
    async fn write(out: &mut Out, tls: &mut TlsStream<Socket>, frame: &[u8]) {
        let mut written = 0;
        while written < frame.len() {
            let rest = &frame[written..];
            let head = 9_usize.saturating_sub(written);
            let bufs = [IoSlice::new(&rest[..head]), IoSlice::new(&rest[head..])];
            written += poll_fn(|cx| out.poll_write(&mut Gathering(tls), cx, &bufs)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn frames_leave_together_in_full_records() {
        let (mut server, mut client) = pair().await;
        let frames: Vec<Vec<u8>> = (1..=3).map(|n| vec![n; 9 + RECORD]).collect();
        let mut out = Out::default();
        for frame in &frames {
            write(&mut out, &mut server, frame).await;
            assert!(Gathering(&mut server).holds_records());
        }
        let unsent = client.get_ref().0.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(unsent.kind(), io::ErrorKind::WouldBlock, "nothing is sent before it is flushed");

        let mut transport = Transport::Tls(Box::new(server));
        poll_fn(|cx| out.poll_flush(&mut transport, cx)).await.unwrap();
        poll_fn(|cx| Pin::new(&mut transport).poll_flush(cx)).await.unwrap();
        let (sent, overhead, rest) = (3 * (9 + RECORD), 5 + 1 + 16, 3 * 9);
        let mut wire = vec![0; sent + 4 * overhead];
        client.get_mut().0.read_exact(&mut wire).await.unwrap();
        let (mut lengths, mut left) = (Vec::new(), &wire[..]);
        while let [_, _, _, high, low, after @ ..] = left {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            lengths.push(length + 5 - overhead);
            left = &after[length..];
        }
        assert_eq!(lengths, [RECORD, RECORD, RECORD, rest]);

        let (session, mut got) = (client.get_mut().1, Vec::new());
        let mut wire = &wire[..];
        while !wire.is_empty() {
            session.read_tls(&mut wire).unwrap();
            session.process_new_packets().unwrap();
            let _ = session.reader().read_to_end(&mut got);
        }
        assert!(got == frames.concat());
    }

    /// Waits until so many bytes have come.
    async fn until_come(transport: &Transport, count: usize) {
        while transport.tcp().unwrap().peek(&mut vec![0; count]).await.unwrap() < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_has_come_is_read_at_once_and_an_error_after_it() {
        let (server, mut client) = pair().await;
        let mut transport = Transport::Tls(Box::new(server));
        const OVERHEAD: usize = 5 + 1 + 16;
        for part in [&[1; 100][..], &[2; 5000], &[3; 7]] {
            client.write_all(part).await.unwrap();
        }
        until_come(&transport, 3 * OVERHEAD + 5107).await;
        let mut room = [0; 8000];
        assert_eq!(transport.read(&mut room).await.unwrap(), 5107);
        assert!(room[..100] == [1; 100] && room[100..5100] == [2; 5000] && room[5100..5107] == [3; 7]);
        // As many bytes as rustls reads from the socket at a time, so that it does not see the error together with the record.
        const READ: usize = 4096;
        client.write_all(&[4; READ - OVERHEAD]).await.unwrap();
        client.get_mut().0.write_all(b"no record of TLS").await.unwrap();
        until_come(&transport, READ + 16).await;
        assert_eq!(transport.read(&mut room).await.unwrap(), READ - OVERHEAD);
        assert_eq!(transport.read(&mut room).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_read_is_ruled_out_where_neither_tls_nor_the_socket_has_bytes() {
        let (server, mut client) = pair().await;
        let mut transport = Transport::Tls(Box::new(server));
        client.write_all(b"0123456789").await.unwrap();
        let mut got = [0; 4];
        transport.read_exact(&mut got).await.unwrap();
        assert!(!poll_fn(|cx| Poll::Ready(transport.lacks_bytes(cx))).await, "TLS holds six bytes");
        transport.read_exact(&mut [0; 6]).await.unwrap();
        let mut room = [0; 1];
        let more = poll_fn(|cx| {
            let read = Pin::new(&mut transport).poll_read(cx, &mut ReadBuf::new(&mut room));
            Poll::Ready(read.is_ready())
        });
        assert!(!more.await);
        assert!(poll_fn(|cx| Poll::Ready(transport.lacks_bytes(cx))).await);
        let (sent, ()) = tokio::join!(
            client.write_all(b"a"),
            poll_fn(|cx| if transport.lacks_bytes(cx) { Poll::Pending } else { Poll::Ready(()) })
        );
        sent.unwrap();
        transport.read_exact(&mut room).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(transport.read(&mut room).await.unwrap(), 0);
        assert!(!poll_fn(|cx| Poll::Ready(transport.lacks_bytes(cx))).await, "the end is there to be read");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_stops_the_writer() {
        let (mut server, mut client) = pair().await;
        let mut out = Out::default();
        let frame = vec![7; 9 + RECORD];
        let mut written = 0;
        // Sockets hold some megabytes.
        let stopped = loop {
            let bufs = [IoSlice::new(&frame)];
            match poll_fn(|cx| Poll::Ready(out.poll_write(&mut Gathering(&mut server), cx, &bufs))).await {
                Poll::Ready(taken) => written += taken.unwrap(),
                Poll::Pending => break true,
            }
            if written > 64 << 20 {
                break false;
            }
        };
        assert!(stopped, "{written} bytes and no end");
        let mut transport = Transport::Tls(Box::new(server));
        let flush = async {
            poll_fn(|cx| out.poll_flush(&mut transport, cx)).await.unwrap();
            poll_fn(|cx| Pin::new(&mut transport).poll_flush(cx)).await.unwrap();
        };
        let mut got = vec![0; written];
        let (read, ()) = tokio::join!(client.read_exact(&mut got), flush);
        read.unwrap();
        assert!(got.iter().all(|byte| *byte == 7));
    }
}
