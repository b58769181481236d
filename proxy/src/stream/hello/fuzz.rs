//! The ClientHello, whole and in pieces, against how rustls reads it.

use rustls::server::Acceptor;

use super::{
    CLIENT_HELLO, Greeting, HANDSHAKE, Hello, HelloError, MAX, MAX_RECORD, MESSAGE_HEAD, RECORD_HEAD,
};

/// Input: the length of pieces and that of records, a byte each, and the bytes that a client sends.
pub fn client_hello(data: &[u8]) {
    let [piece, record, bytes @ ..] = data else { return };
    let bytes = bytes.get(..MAX).unwrap_or(bytes);
    let (whole, read) = read_in(bytes, MAX);
    assert!(read <= bytes.len());
    let (torn, read) = read_in(bytes, usize::from(*piece) + 1);
    assert_eq!(torn, whole, "in pieces");
    let Ok(Greeting::Complete(name)) = &whole else {
        // rustls reads more of a ClientHello than its server name, so what it accepts is read here, too.
        if let Some(theirs) = named_by_rustls(bytes) {
            panic!("rustls reads {theirs:?}, and here it is {whole:?}");
        }
        return;
    };
    assert_eq!(read_in(&bytes[..read], MAX).0, whole, "what follows has no part in it");
    if let Some(theirs) = named_by_rustls(bytes) {
        assert_eq!(*name, theirs, "as rustls reads it");
    }
    // The same message in other records.
    let message = message(bytes);
    for length in [usize::from(*record) + 1, MAX_RECORD] {
        let again = in_records(&message, length);
        let expected = if again.len() <= MAX { whole.clone() } else { Err(HelloError::TooLong) };
        assert_eq!(
            read_in(again.get(..MAX).unwrap_or(&again), MAX).0,
            expected,
            "in records of {length} bytes"
        );
    }
}

/// What comes of bytes that arrive in pieces of this length, and how many of them were read.
fn read_in(bytes: &[u8], piece: usize) -> (Result<Greeting, HelloError>, usize) {
    let mut hello = Hello::default();
    for piece in bytes.chunks(piece) {
        hello.raw.extend_from_slice(piece);
        match hello.read() {
            Ok(Greeting::Incomplete) => {}
            done => {
                let raw = hello.into_raw();
                assert_eq!(raw, bytes[..raw.len()], "the bytes stay as they were sent");
                return (done, raw.len());
            }
        }
    }
    (Ok(Greeting::Incomplete), bytes.len())
}

/// The server name that rustls reads, in lower case, if it accepts the ClientHello.
fn named_by_rustls(mut wire: &[u8]) -> Option<Option<Box<str>>> {
    let mut acceptor = Acceptor::default();
    while !wire.is_empty() {
        acceptor.read_tls(&mut wire).ok()?;
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
                return Some(name);
            }
            Err(_) => return None,
        }
    }
    None
}

/// The ClientHello that the records carry, which has been read as a whole.
fn message(mut wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, rest) = rest.split_at(length);
        message.extend_from_slice(content);
        wire = rest;
        if let [CLIENT_HELLO, high, middle, low, ..] = message[..] {
            let whole = MESSAGE_HEAD + u32::from_be_bytes([0, high, middle, low]) as usize;
            if message.len() >= whole {
                message.truncate(whole);
                break;
            }
        }
    }
    message
}

fn in_records(message: &[u8], length: usize) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + RECORD_HEAD);
    for content in message.chunks(length) {
        let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
        wire.extend_from_slice(&[HANDSHAKE, 3, 1, length[0], length[1]]);
        wire.extend_from_slice(content);
    }
    wire
}
