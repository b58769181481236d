//! An HTTP/2 client written by hand: for what a well-behaved library would not do, such as not to read.

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::within;

/// Begins a connection on which the server may send as much as it likes.
pub fn open_windows() -> Vec<u8> {
    const MOST: u32 = (1 << 31) - 1;
    let mut wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    wire.extend(frame(4, 0, 0, &[&[0, 4][..], &MOST.to_be_bytes()].concat()));
    // WINDOW_UPDATE of the connection, from 65,535.
    wire.extend(frame(8, 0, 0, &(MOST - 65_535).to_be_bytes()));
    wire
}

/// `GET / HTTP/2` for `a.example`.
pub fn get(stream: u32) -> Vec<u8> {
    // :method GET, :scheme http, :path / from the static table; :authority as a literal (RFC 7541, A and 6.2.1).
    let block = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"a.example"].concat();
    // END_STREAM and END_HEADERS.
    frame(1, 5, stream, &block)
}

pub async fn send(io: &mut (impl AsyncWrite + Unpin), wire: &[u8]) {
    within(io.write_all(wire)).await.unwrap();
    within(io.flush()).await.unwrap();
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
