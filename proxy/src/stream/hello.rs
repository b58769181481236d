//! Reads a ClientHello to find its server name, and keeps its bytes unchanged, so that they can be forwarded to a
//! backend (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3).
//!
//! A ClientHello may arrive in any number of packets and records. The versions, the cipher suites and all extensions
//! except the server name are left to the peer that terminates TLS. So old clients, GREASE (RFC 8701) and an encrypted
//! ClientHello (RFC 9849) need no special treatment. The server name of an encrypted ClientHello is the outer one.

use std::io;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The maximum length of a ClientHello in bytes, including the headers of its records. Today's clients send less than 2
/// KiB, or less than 8 KiB with post-quantum key shares.
const MAX: usize = 16 << 10;

/// The number of bytes that are reserved for the first read.
const USUAL: usize = 2 << 10;
/// The content type `handshake` (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// The maximum length of a record's content in bytes (RFC 8446, 5.1).
const MAX_RECORD: usize = 1 << 14;
const RECORD_HEAD: usize = 5;
/// The handshake type `client_hello` (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;
/// The length of a handshake message's header: one byte of type and three bytes of length.
const MESSAGE_HEAD: usize = 4;
/// The extension type `server_name` (RFC 6066, 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// A ClientHello that is being read.
#[derive(Debug, Default)]
pub(crate) struct Hello {
    /// All bytes that were read, including any that follow the ClientHello.
    raw: Vec<u8>,
    /// The number of bytes of `raw` that have been parsed.
    seen: usize,
    /// The number of bytes of the current record's content that have not been parsed yet.
    left: usize,
    /// The contents of the records, joined.
    message: Vec<u8>,
}

/// What has been parsed of a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Greeting {
    /// More bytes are needed.
    Incomplete,
    /// The server name, in lower case, if the ClientHello has one.
    Complete(Option<Box<str>>),
}

/// Why the bytes are not a valid ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("the ClientHello is longer than 16 KiB")]
    TooLong,
    #[error("the bytes are not a valid ClientHello")]
    Malformed,
}

impl Hello {
    /// Reads from a client until the server name is known.
    ///
    /// # Errors
    /// The outer error is that of the connection, `UnexpectedEof` if the connection ends before the server name is
    /// known. The inner error says why the bytes are not a valid ClientHello; [`Self::into_raw`] still returns these
    /// bytes.
    pub(crate) async fn read_from(
        &mut self,
        client: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Result<Option<Box<str>>, HelloError>> {
        self.raw.reserve(USUAL);
        loop {
            let room = MAX - self.raw.len();
            if (&mut *client).take(room as u64).read_buf(&mut self.raw).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match self.read() {
                Ok(Greeting::Incomplete) => {}
                Ok(Greeting::Complete(name)) => return Ok(Ok(name)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Returns all bytes that were read.
    pub(crate) fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    /// Parses the bytes that were read since the last call. The work is proportional to their number.
    ///
    /// # Errors
    /// If the bytes do not begin with a valid ClientHello, or the ClientHello is longer than [`MAX`].
    fn read(&mut self) -> Result<Greeting, HelloError> {
        while self.seen < self.raw.len() {
            if self.left == 0 {
                let Some(head) = self.raw[self.seen..].first_chunk::<RECORD_HEAD>() else { break };
                self.left = record(*head)?;
                self.seen += RECORD_HEAD;
            }
            let rest = &self.raw[self.seen..];
            let taken = rest.len().min(self.left);
            self.message.extend_from_slice(&rest[..taken]);
            (self.seen, self.left) = (self.seen + taken, self.left - taken);
            if let Some(complete) = complete(&self.message)? {
                let name = server_name(complete).ok_or(HelloError::Malformed)?;
                return Ok(Greeting::Complete(name.map_or(Ok(None), host)?));
            }
        }
        if self.raw.len() >= MAX { Err(HelloError::TooLong) } else { Ok(Greeting::Incomplete) }
    }
}

/// Returns the length of a record's content from the record's header. The record has to carry a part of a ClientHello.
fn record([kind, major, _, high, low]: [u8; RECORD_HEAD]) -> Result<usize, HelloError> {
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Handshake records without content are forbidden, and parsing them would be work without progress.
    let is_valid = kind == HANDSHAKE && major == 3 && (1..=MAX_RECORD).contains(&length);
    if is_valid { Ok(length) } else { Err(HelloError::Malformed) }
}

/// Returns the body of the ClientHello, once all of its bytes have been read.
fn complete(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    match message {
        [CLIENT_HELLO, high, middle, low, body @ ..] => {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if length > MAX - MESSAGE_HEAD - RECORD_HEAD {
                return Err(HelloError::TooLong);
            }
            Ok(body.get(..length))
        }
        [] | [CLIENT_HELLO, ..] => Ok(None),
        _ => Err(HelloError::Malformed),
    }
}

/// Returns the host name of a ClientHello, `Some(None)` if the ClientHello has no host name; `None` if it is malformed.
fn server_name(body: &[u8]) -> Option<Option<&[u8]>> {
    let mut body = Reader(body);
    let (_version, _random) = (body.take(2)?, body.take(32)?);
    let (_session, _suites, _compression) = (body.short()?, body.long()?, body.short()?);
    if body.is_empty() {
        // Before TLS 1.3, a ClientHello may have no extensions at all.
        return Some(None);
    }
    let (mut extensions, mut name) = (body.long()?, None);
    if !body.is_empty() {
        return None;
    }
    while !extensions.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.long()?;
        if kind == SERVER_NAME && name.replace(host_name(content)?).is_some() {
            // Two readers could take different names (RFC 8446, 4.2: no extension may appear twice).
            return None;
        }
    }
    Some(name.flatten())
}

/// Returns the host name in the extension `server_name`, `Some(None)` if the extension has no host name; `None` if it
/// is malformed.
fn host_name(mut content: Reader<'_>) -> Option<Option<&[u8]>> {
    let mut list = content.long()?;
    if list.is_empty() || !content.is_empty() {
        return None;
    }
    let mut name = None;
    while !list.is_empty() {
        let [kind] = list.take(1)? else { return None };
        if *kind != HOST_NAME {
            // The length of a name of another type is unknown, so the rest of the list cannot be parsed.
            break;
        }
        let found = list.long()?;
        if found.is_empty() || name.replace(found.0).is_some() {
            return None;
        }
    }
    Some(name)
}

/// Returns a host name in lower case. An IP address is not a host name (RFC 6066, 3), and is treated as no name.
fn host(name: &[u8]) -> Result<Option<Box<str>>, HelloError> {
    match ServerName::try_from(name) {
        Ok(ServerName::DnsName(name)) => Ok(Some(name.as_ref().to_ascii_lowercase().into())),
        Ok(ServerName::IpAddress(_)) => Ok(None),
        _ => Err(HelloError::Malformed),
    }
}

/// Bytes that are parsed from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    /// Takes a field that is preceded by its length in one byte.
    fn short(&mut self) -> Option<Reader<'b>> {
        let [length] = self.take(1)? else { return None };
        self.take(usize::from(*length)).map(Reader)
    }

    /// Takes a field that is preceded by its length in two bytes.
    fn long(&mut self) -> Option<Reader<'b>> {
        let length = self.number()?;
        self.take(usize::from(length)).map(Reader)
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
