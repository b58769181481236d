//! HTTP/1 byte by byte, for clients and backends: nothing is put right on the way.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A name and a value.
pub type Header = (String, String);

/// A connection, plain or under TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What has been read of a connection and not yet taken.
#[derive(Debug)]
pub struct Wire<R> {
    pub from: R,
    buffer: Vec<u8>,
}

/// How a message says where its body ends.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    Length(usize),
    Chunked,
    /// With the connection.
    Close,
}

impl<R: AsyncRead + Unpin> Wire<R> {
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new() }
    }

    /// Reads what comes; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        Ok(self.from.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next byte, which stays to be read; `None` at the end.
    pub async fn peek(&mut self) -> Result<Option<u8>> {
        while self.buffer.is_empty() {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(self.buffer.first().copied())
    }

    /// A line without its end.
    pub async fn line(&mut self) -> Result<String> {
        let mut seen = 0;
        let end = loop {
            if let Some(at) = self.buffer[seen..].iter().position(|byte| *byte == b'\n') {
                break seen + at;
            }
            seen = self.buffer.len();
            if !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        // Latin 1, as header values are.
        Ok(line.strip_suffix(b"\r").unwrap_or(line).iter().map(|byte| char::from(*byte)).collect())
    }

    /// The first line and the headers.
    pub async fn head(&mut self) -> Result<(String, Vec<Header>)> {
        let first = self.line().await?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok((first, headers));
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Whatever comes next; empty at the end.
    pub async fn some(&mut self) -> Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Appends a body to `to`, so that what came of it is there when it ends early.
    pub async fn body(&mut self, framing: Framing, to: &mut Vec<u8>) -> Result<()> {
        match framing {
            Framing::Length(length) => self.exactly(length, to).await,
            Framing::Close => {
                to.append(&mut self.buffer);
                self.from.read_to_end(to).await?;
                Ok(())
            }
            Framing::Chunked => loop {
                let line = self.line().await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size =
                    usize::from_str_radix(size, 16).map_err(|_| Error::from(ErrorKind::InvalidData))?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    return Ok(());
                }
                self.exactly(size, to).await?;
                self.line().await?;
            },
        }
    }

    async fn exactly(&mut self, length: usize, to: &mut Vec<u8>) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let take = left.min(self.buffer.len());
            to.extend(self.buffer.drain(..take));
            left -= take;
        }
        Ok(())
    }
}

/// The last value of a name.
pub fn value<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    headers.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Whether a value of a name has a word in it, whatever its case.
pub fn says(headers: &[Header], name: &str, word: &str) -> bool {
    value(headers, name).is_some_and(|value| value.to_ascii_lowercase().contains(word))
}

/// The bytes of a head whose characters are bytes.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut utf8 = [0; 4];
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(byte) => out.push(byte),
            Err(_) => out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    out
}

/// The first 16 hexadecimal digits of a body's SHA-256; empty of nothing.
pub fn digest(body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
