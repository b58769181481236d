//! WebSocket: one short message after the other, each of which comes back.

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Answer, Ask, Target};
use crate::origin::{ACCEPT, KEY, MESSAGE};

/// A binary message in one frame (RFC 6455, 5.2).
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;

/// One connection that has been upgraded.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    /// What is sent, and what must come back.
    frame: Vec<u8>,
    back: Vec<u8>,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Asks for the upgrade.
    ///
    /// # Errors
    /// Where it is not granted.
    pub async fn new(mut stream: S, target: &Target) -> Result<Self> {
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n",
            target.path, target.host
        );
        stream.write_all(request.as_bytes()).await.context("write")?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte, so that nothing behind the head is taken.
            head.push(stream.read_u8().await.context("no answer to the upgrade")?);
        }
        let head = String::from_utf8_lossy(&head);
        let accepted = head.starts_with("HTTP/1.1 101") && head.contains(ACCEPT);
        ensure!(accepted, "no upgrade: {}", head.lines().next().unwrap_or_default());

        let length = u8::try_from(MESSAGE).ok().filter(|length| *length < 126).context("a short message")?;
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let payload = [b'x'; MESSAGE];
        let mut frame = vec![BINARY, MASKED | length];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let back: Vec<u8> = [BINARY, length].into_iter().chain(payload).collect();
        Ok(Self { stream, frame, buffer: vec![0; back.len()], back })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ask for WebSocket<S> {
    /// A message that has come back is as good as a 200.
    async fn ask(&mut self) -> Result<Answer> {
        self.stream.write_all(&self.frame).await.context("write")?;
        self.stream.read_exact(&mut self.buffer).await.context("read")?;
        ensure!(self.buffer == self.back, "another message came back");
        Ok(Answer { status: 200, body: MESSAGE, closes: false })
    }

    fn has(&self, _name: &str) -> bool {
        false
    }
}
