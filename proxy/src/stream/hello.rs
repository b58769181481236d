//! A ClientHello, read as far as the server name and kept as it came, so that a backend can be given the same bytes
//! (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3).
//!
//! It may come in any number of packets and records. Versions, cipher suites and all other extensions are for whoever
//! ends TLS: those of old clients, GREASE (RFC 8701) and an encrypted ClientHello (RFC 9849), whose outer server name is
//! the one that is found, are all the same here.

use std::io;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of a ClientHello, the heads of its records included. Those of today's clients have less than 2 KiB,
/// with post-quantum key shares less than 8.
const MAX: usize = 16 << 10;

/// Read at once, if it is there.
const USUAL: usize = 2 << 10;
/// `handshake` (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// What a record carries at most (RFC 8446, 5.1).
const MAX_RECORD: usize = 1 << 14;
const RECORD_HEAD: usize = 5;
/// `client_hello` (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;
/// The type of the message and three bytes of length.
const MESSAGE_HEAD: usize = 4;
/// `server_name` (RFC 6066, 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// A ClientHello that is being read.
#[derive(Debug, Default)]
pub(crate) struct Hello {
    /// All that came, in one piece with what follows the ClientHello.
    raw: Vec<u8>,
    /// How much of it has been looked at.
    seen: usize,
    /// How much of the current record is still to come.
    left: usize,
    /// What the records carried.
    message: Vec<u8>,
}

/// What is known of a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Greeting {
    /// More has to come.
    Incomplete,
    /// The server name, in lower case, if it has one.
    Complete(Option<Box<str>>),
}

/// Why something is no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("the ClientHello is longer than 16 KiB")]
    TooLong,
    #[error("what came is no ClientHello")]
    Malformed,
}

impl Hello {
    /// Reads from a client until the server name is known.
    ///
    /// # Errors
    /// Those of the connection, `UnexpectedEof` where it ends before. The second one says that what came is no ClientHello; the
    /// bytes are there all the same.
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

    /// The bytes so far.
    pub(crate) fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    /// Looks at the bytes that have come since the last time. The work is in proportion to them.
    ///
    /// # Errors
    /// Where they do not begin with a ClientHello, or its end does not fit into [`MAX`].
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

/// What follows the head of a record that has a part of a ClientHello.
fn record([kind, major, _, high, low]: [u8; RECORD_HEAD]) -> Result<usize, HelloError> {
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Records without content are forbidden for handshakes, and would make the work for nothing endless.
    let is_valid = kind == HANDSHAKE && major == 3 && (1..=MAX_RECORD).contains(&length);
    if is_valid { Ok(length) } else { Err(HelloError::Malformed) }
}

/// The body of the ClientHello, once all of it is there.
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

/// The host name of a ClientHello, if it has one; `None` where its parts do not fit into each other.
fn server_name(body: &[u8]) -> Option<Option<&[u8]>> {
    let mut body = Reader(body);
    let (_version, _random) = (body.take(2)?, body.take(32)?);
    let (_session, _suites, _compression) = (body.short()?, body.long()?, body.short()?);
    if body.is_empty() {
        // Before TLS 1.3 there may be no extensions at all.
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
            // Two readers could take one each (RFC 8446, 4.2: none comes twice).
            return None;
        }
    }
    Some(name.flatten())
}

/// The host name in the extension `server_name`.
fn host_name(mut content: Reader<'_>) -> Option<Option<&[u8]>> {
    let mut list = content.long()?;
    if list.is_empty() || !content.is_empty() {
        return None;
    }
    let mut name = None;
    while !list.is_empty() {
        let [kind] = list.take(1)? else { return None };
        if *kind != HOST_NAME {
            // How long a name of another kind is is not known.
            break;
        }
        let found = list.long()?;
        if found.is_empty() || name.replace(found.0).is_some() {
            return None;
        }
    }
    Some(name)
}

/// A host name in lower case. An address is none (RFC 6066, 3), and taken for no name.
fn host(name: &[u8]) -> Result<Option<Box<str>>, HelloError> {
    match ServerName::try_from(name) {
        Ok(ServerName::DnsName(name)) => Ok(Some(name.as_ref().to_ascii_lowercase().into())),
        Ok(ServerName::IpAddress(_)) => Ok(None),
        _ => Err(HelloError::Malformed),
    }
}

/// Bytes that are taken from the front.
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

    /// What has its length in one byte before it.
    fn short(&mut self) -> Option<Reader<'b>> {
        let [length] = self.take(1)? else { return None };
        self.take(usize::from(*length)).map(Reader)
    }

    /// What has its length in two bytes before it.
    fn long(&mut self) -> Option<Reader<'b>> {
        let length = self.number()?;
        self.take(usize::from(length)).map(Reader)
    }
}

#[cfg(test)]
mod tests;
