//! The first bytes of a connection to a TLS port.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The answer to a client that sends an HTTP request without TLS, as nginx has it.
pub(super) const EXPECTS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 54\r\nConnection: close\r\n\r\nThe plain HTTP request was sent to a port with HTTPS.\n";

/// A connection of which the ClientHello is read. A client that sends HTTP instead is an error of reading, so that no alert of
/// TLS is sent.
pub(super) struct First<T> {
    io: T,
    is_read: bool,
}

/// The client sent HTTP instead of TLS.
#[derive(Debug, thiserror::Error)]
#[error("the client sent HTTP instead of TLS")]
pub(super) struct PlainHttp;

impl<T> First<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, is_read: false }
    }

    pub(super) fn into_inner(self) -> T {
        self.io
    }
}

/// Whether this is why the ClientHello could not be read.
pub(super) fn is_plain_http(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PlainHttp>())
}

impl<T: AsyncRead + Unpin> AsyncRead for First<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if !std::mem::replace(&mut self.is_read, true) {
            // The type of a TLS record is 20 to 24, and methods of HTTP are in upper case.
            let first = buf.filled().get(before);
            if first.is_some_and(u8::is_ascii_uppercase) {
                buf.set_filled(before);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, PlainHttp)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for First<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_first_byte_alone_tells_http_from_tls() {
        for (bytes, is_http) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"PRI * HTTP/2.0\r\n", true),
            (b"\x16\x03\x01GET", false),
            (b"\x80\x2e\x01", false),
            (b"", false),
        ] {
            let mut first = First::new(bytes);
            let mut read = Vec::new();
            let outcome = first.read_to_end(&mut read).await;
            assert_eq!(outcome.is_err_and(|error| is_plain_http(&error)), is_http, "{bytes:?}");
            assert!(is_http || read == bytes, "{bytes:?}");
        }
    }

    #[test]
    fn the_answer_has_the_length_that_it_announces() {
        let text = std::str::from_utf8(EXPECTS_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
