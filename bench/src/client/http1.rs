//! HTTP/1.1 by hand: one GET after the other, the head read where it lies, the body counted and dropped.

use std::ops::Range;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Answer, Ask, Shape, Target};

/// Large enough for any head, and for a large body in few reads.
const BUFFER: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Http1<S> {
    stream: S,
    request: Vec<u8>,
    buffer: Vec<u8>,
    head: Range<usize>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    /// Asks for this target on each [`Http1::get`].
    pub fn new(stream: S, target: &Target) -> Self {
        Self::shaped(stream, target, Shape::Lower)
    }

    /// The same, with requests of this shape.
    pub fn shaped(stream: S, target: &Target, shape: Shape) -> Self {
        Self { stream, request: shape.bytes(target), buffer: vec![0; BUFFER], head: 0..0 }
    }

    /// Asks once and reads the whole answer.
    ///
    /// # Errors
    /// Where the connection fails, ends early, or what comes is not an answer with a `Content-Length`.
    pub async fn get(&mut self) -> Result<Answer> {
        self.stream.write_all(&self.request).await.context("write")?;
        // TLS holds encrypted data back until it is flushed.
        self.stream.flush().await.context("write")?;
        let filled = self.read_head().await?;
        let head = std::str::from_utf8(&self.buffer[self.head.clone()]).context("head")?;
        let status = head.get(9..12).and_then(|code| code.parse().ok()).context("no status line")?;
        let length = header_in(head, "content-length").context("no content-length")?.parse()?;
        let closes = header_in(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut body = filled - self.head.end;
        if body < length {
            // The head has to stay in the buffer: the body is read behind it.
            let end = self.head.end;
            while body < length {
                let space = (BUFFER - end).min(length - body);
                match self.stream.read(&mut self.buffer[end..end + space]).await.context("read")? {
                    0 => return Ok(Answer { status, body, closes: true }),
                    more => body += more,
                }
            }
        }
        if body > length {
            bail!("{} bytes behind the answer", body - length);
        }
        Ok(Answer { status, body, closes })
    }

    /// A header of the last answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        header_in(std::str::from_utf8(&self.buffer[self.head.clone()]).ok()?, name)
    }

    /// Returns how many bytes of the buffer are filled.
    async fn read_head(&mut self) -> Result<usize> {
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..]).await.context("read")? {
                0 if filled == BUFFER => bail!("head longer than {BUFFER} bytes"),
                0 => bail!("connection closed before the answer"),
                more => filled += more,
            }
            if let Some(end) = self.buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                self.head = 0..end + 4;
                return Ok(filled);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ask for Http1<S> {
    async fn ask(&mut self) -> Result<Answer> {
        self.get().await
    }

    fn has(&self, name: &str) -> bool {
        self.header(name).is_some()
    }
}

fn header_in<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    #[tokio::test]
    async fn only_200_with_the_whole_body_is_good() {
        for (answer, want) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", Ok(false)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nConnection: close\r\n\r\nbody", Ok(true)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo", Err("body of 2 bytes, not 4")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbodyX", Err("body of 5 bytes, not 4")),
            (
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbody",
                Err("status 503 with 4 bytes"),
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbodyX", Err("1 bytes behind the answer")),
            ("HTTP/1.1 200 OK\r\n\r\n", Err("no content-length")),
            ("HTTP/1.1 200 OK\r\n", Err("connection closed before the answer")),
            ("", Err("connection closed before the answer")),
        ] {
            let got = ask(answer).await;
            assert_eq!(got.map_err(|error| error.to_string()), want.map_err(str::to_owned), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_header_of_the_last_answer_outlives_its_body() {
        let body = "x".repeat(3 * BUFFER);
        let answer = format!("HTTP/1.1 200 OK\r\nx-edit: 7\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut client = client(&answer, body.len());
        assert_eq!(client.get().await.unwrap().body, body.len());
        assert_eq!(client.header("X-Edit"), Some("7"));
    }

    async fn ask(answer: &str) -> Result<bool> {
        let answer = client(answer, 4).get().await?;
        target(4).check(answer).map(|()| answer.closes)
    }

    fn client(answer: &str, body: usize) -> Http1<DuplexStream> {
        let (near, mut far) = tokio::io::duplex(1024);
        let answer = answer.to_owned();
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = far.read(&mut request).await;
            let _ = far.write_all(answer.as_bytes()).await;
        });
        Http1::new(near, &target(body))
    }

    fn target(body: usize) -> Target {
        let address = ([127, 0, 0, 1], 0).into();
        Target { address, host: "a.example".into(), path: "/".into(), body, header: None }
    }
}
