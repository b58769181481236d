//! Bytes of both sides: how a client connects, HTTP/1 written in pieces, messages read back, and connections that break.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::version::{TLS12, TLS13};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsConnector;

use super::{
    LIMIT, Model,
    script::{Body, Fault, Kind, NONSENSE, next_piece},
};
use crate::support::{client::connect, pki, within};

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// What a client's connection is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Plain,
    Tls12,
    Tls13,
}

impl Model {
    /// Connects a client of this protocol. The fault strikes the bytes of the TCP connection.
    ///
    /// # Errors
    /// If the handshake fails.
    pub(super) async fn connect(
        &self,
        over: Over,
        alpn: &str,
        fault: Option<Fault>,
    ) -> io::Result<Box<dyn Io>> {
        let version = match over {
            Over::Plain => return Ok(Box::new(Breaking::new(connect(self.plain).await, fault))),
            Over::Tls12 => &TLS12,
            Over::Tls13 => &TLS13,
        };
        let connector = TlsConnector::from(Arc::new(pki::client(&[version], &[alpn])));
        let tcp = Breaking::new(connect(self.secure).await, fault);
        let name = ServerName::try_from("a.example").unwrap();
        Ok(Box::new(within(connector.connect(name, tcp)).await?))
    }
}

/// A pause between two pieces, now and then long enough for the other side to receive a piece by itself.
pub(super) async fn pause(at: usize) {
    match at % 3 {
        0 => tokio::time::sleep(Duration::from_millis(1)).await,
        _ => tokio::task::yield_now().await,
    }
}

/// Writes bytes in pieces, up to a fault. `false`: nothing may be written after them.
pub(super) async fn write(
    io: &mut (impl AsyncWrite + Unpin),
    wire: &[u8],
    pieces: &[usize],
    fault: Option<Fault>,
) -> bool {
    let end = fault.map_or(wire.len(), |fault| fault.after.min(wire.len()));
    let (mut at, mut sizes) = (0, pieces.iter().cycle());
    while at < end {
        let next = (at + next_piece(&mut sizes, wire.len())).min(end);
        if io.write_all(&wire[at..next]).await.is_err() || io.flush().await.is_err() {
            return false;
        }
        at = next;
        pause(at).await;
    }
    match fault.map(|fault| fault.kind) {
        None => return true,
        Some(Kind::Close) => {
            let _ = io.shutdown().await;
        }
        Some(Kind::Stall) => tokio::time::sleep(LIMIT * 20).await,
        Some(Kind::Nonsense) => {
            let _ = io.write_all(NONSENSE).await;
            let _ = io.flush().await;
            tokio::time::sleep(LIMIT * 20).await;
        }
    }
    false
}

/// A head's lines that frame a body, and the body.
pub(super) fn framed(body: Body, content: &[u8]) -> (String, Vec<u8>) {
    match body {
        Body::None => (String::new(), Vec::new()),
        Body::Length(len) => (format!("Content-Length: {len}\r\n"), content.to_vec()),
        Body::Close(_) => (String::new(), content.to_vec()),
        Body::Chunked(_) => {
            let mut wire = Vec::new();
            for chunk in content.chunks(700) {
                wire.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            ("Transfer-Encoding: chunked\r\n".into(), wire)
        }
    }
}

/// Bytes as they come, of which messages are taken off the front.
pub(super) struct Reader<R> {
    io: R,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(io: R) -> Self {
        Self { io, bytes: Vec::new() }
    }

    /// Reads more; `false`: the connection has ended.
    async fn more(&mut self) -> bool {
        let mut room = vec![0; 64 << 10];
        let n = within(self.io.read(&mut room)).await.unwrap_or(0);
        self.bytes.extend_from_slice(&room[..n]);
        n > 0
    }

    /// A head, including its empty line; `None`: the connection has ended before it was whole.
    pub(super) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(String::from_utf8_lossy(&self.take(end + 4)).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        self.bytes.drain(..n).collect()
    }

    /// The body that belongs to a head, and whether it is whole. The proxy sends none that ends with the connection.
    pub(super) async fn body(&mut self, head: &str) -> (Vec<u8>, bool) {
        let head = head.to_lowercase();
        if head.contains("transfer-encoding: chunked") {
            let mut content = Vec::new();
            let whole = self.chunks(&mut content).await;
            return (content, whole);
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length = length.unwrap_or(0);
        while self.bytes.len() < length {
            if !self.more().await {
                return (std::mem::take(&mut self.bytes), false);
            }
        }
        (self.take(length), true)
    }

    /// The content of chunks; whether the last one came.
    async fn chunks(&mut self, content: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.bytes.windows(2).position(|two| two == b"\r\n") else {
                if !self.more().await {
                    return false;
                }
                continue;
            };
            let size = std::str::from_utf8(&self.bytes[..line]).ok();
            let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
                content.extend_from_slice(b"no chunk: ");
                content.extend_from_slice(&self.bytes[..line]);
                return false;
            };
            while self.bytes.len() < line + 2 + size + 2 {
                if !self.more().await {
                    let there = self.bytes.len().min(line + 2 + size);
                    content.extend_from_slice(&self.bytes[(line + 2).min(there)..there]);
                    return false;
                }
            }
            let chunk = self.take(line + 2 + size + 2);
            content.extend_from_slice(&chunk[line + 2..line + 2 + size]);
            if size == 0 {
                return true;
            }
        }
    }
}

/// A connection on which a fault strikes what is written, whatever writes it. Where it stalls, it says that all was written.
pub(super) struct Breaking<T> {
    io: T,
    fault: Option<Fault>,
    /// Of the nonsense, what is not written yet.
    nonsense: &'static [u8],
}

impl<T> Breaking<T> {
    /// `fault` counts from here.
    pub(super) fn new(io: T, fault: Option<Fault>) -> Self {
        Self { io, fault, nonsense: NONSENSE }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Breaking<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Breaking<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, fault, nonsense } = self.get_mut();
        let mut io = Pin::new(io);
        let Some(Fault { kind, after }) = fault else { return io.poll_write(cx, bytes) };
        if *after > 0 {
            let n = ready!(io.poll_write(cx, &bytes[..bytes.len().min(*after)]))?;
            *after -= n;
            return Poll::Ready(Ok(n));
        }
        match kind {
            Kind::Close => {
                let _ = ready!(io.poll_shutdown(cx));
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Kind::Stall => {}
            Kind::Nonsense => {
                while !nonsense.is_empty() {
                    let n = ready!(io.as_mut().poll_write(cx, nonsense))?;
                    *nonsense = &nonsense[n..];
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
