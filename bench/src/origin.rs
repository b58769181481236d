//! The backend of all measurements, answering from memory: small and large bodies, uploads, WebSocket messages, gRPC,
//! and datagrams.

mod datagrams;
mod grpc;
mod http1;
mod upload;
mod websocket;

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub use self::datagrams::echo;
pub(crate) use self::websocket::{ACCEPT, KEY};

/// Bytes of body at every path that is not named here.
pub const SMALL: usize = 100;
/// Bytes of body at [`LARGE_PATH`].
pub const LARGE: usize = 100 * 1024;
/// Bytes of body at [`BULK_PATH`].
pub const BULK: usize = 16 * 1024 * 1024;
/// Bytes that a chunked upload must have.
pub const CHUNKED: usize = 64 * 1024;
/// Bytes of a WebSocket message.
pub const MESSAGE: usize = 64;
/// Bytes of a datagram.
pub const DATAGRAM: usize = 512;
/// Bytes of a gRPC message with its prefix.
pub const GRPC_MESSAGE: usize = 5 + MESSAGE;
/// Where the small body is.
pub const SMALL_PATH: &str = "/small";
/// Where the large body is.
pub const LARGE_PATH: &str = "/large";
/// Where the body of a bulk transfer is.
pub const BULK_PATH: &str = "/bulk";
/// Where the checks of `auth-url` are answered, without a body.
pub const CHECK_PATH: &str = "/auth";
/// Requests for this prefix have to be rewritten by the proxy: they are not found here.
pub const EDITED_PREFIX: &str = "/edited/";
/// Where WebSocket messages are sent back.
pub const SOCKET_PATH: &str = "/socket";
/// A unary method that sends its message back.
pub const GRPC_PATH: &str = "/bench.Echo/Unary";

/// A listener on a free port of the loopback address, or on this one.
///
/// # Errors
/// Where it cannot be bound.
pub async fn bind(address: Option<SocketAddr>) -> io::Result<TcpListener> {
    TcpListener::bind(address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await
}

/// Answers until the task is dropped.
pub async fn serve(listener: TcpListener) {
    let answers = http1::Answers::new();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move { drop(connection(stream, answers).await) });
    }
}

/// Answers HTTP/1.1 over TLS until the task is dropped.
pub async fn serve_tls(listener: TcpListener, tls: TlsAcceptor) {
    let answers = http1::Answers::new();
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move { drop(connection_over_tls(stream, &tls, answers).await) });
    }
}

async fn connection_over_tls(
    stream: TcpStream,
    tls: &TlsAcceptor,
    answers: http1::Answers,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    http1::serve(tls.accept(stream).await?, answers).await
}

/// HTTP/2 without TLS announces itself (RFC 9113, 3.4).
async fn connection(stream: TcpStream, answers: http1::Answers) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 3];
    stream.peek(&mut first).await?;
    if &first == b"PRI" { grpc::serve(stream).await } else { http1::serve(stream, answers).await }
}
