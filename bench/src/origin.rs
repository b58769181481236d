//! The backend of all measurements: it answers any GET at once from memory. `/large` has 100 KiB, all else 100 bytes.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Bytes of body at every path but [`LARGE_PATH`].
pub const SMALL: usize = 100;
/// Bytes of body at [`LARGE_PATH`].
pub const LARGE: usize = 100 * 1024;
/// Where the small body is.
pub const SMALL_PATH: &str = "/small";
/// Where the large body is.
pub const LARGE_PATH: &str = "/large";

/// A listener on a free port of the loopback address, or on this one.
///
/// # Errors
/// Where it cannot be bound.
pub async fn bind(address: Option<SocketAddr>) -> io::Result<TcpListener> {
    TcpListener::bind(address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await
}

/// Answers until the task is dropped.
pub async fn serve(listener: TcpListener) {
    let (small, large) = (answer(SMALL), answer(LARGE));
    let (small, large): (&'static [u8], &'static [u8]) = (small.leak(), large.leak());
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move { drop(connection(stream, small, large).await) });
    }
}

async fn connection(mut stream: TcpStream, small: &[u8], large: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    let mut filled = 0;
    loop {
        let more = stream.read(&mut buffer[filled..]).await?;
        if more == 0 {
            return Ok(());
        }
        filled += more;
        // A proxy sends one request at a time: what ends with an empty line is one whole head.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            let head = &buffer[..filled];
            let large_wanted = head.get(4..).is_some_and(|rest| rest.starts_with(LARGE_PATH.as_bytes()));
            stream.write_all(if large_wanted { large } else { small }).await?;
            filled = 0;
        }
    }
}

fn answer(length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}
