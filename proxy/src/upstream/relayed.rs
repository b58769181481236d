//! Our own TLS below pingora, for what pingora's TLS towards backends cannot do: verify subjectAltNames, and resume
//! sessions under authorities of a backend's own.
//!
//! ```text
//! pingora --- a pair of Unix sockets --- relay (a task) --- TLS --- the backend
//! ```
//!
//! pingora keeps a connection in its pool only if that has a file descriptor, hence the pair of sockets. Towards pingora
//! the connection is one without TLS.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora_core::{
    connectors::L4Connect,
    protocols::l4::{socket::SocketAddr as PeerAddress, stream::Stream},
};
use pingora_error::{Error, ErrorType, OrErr, Result};
use portcullis_routing::{Backend, BackendTls};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{
    dial::Permitted,
    peer::Liveness,
    tls::{Offer, TlsError},
};
use crate::shared::Shared;

/// Connects to an endpoint over TLS.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) shared: Arc<Shared>,
    pub(super) backend: Arc<Backend>,
    pub(super) tls: Arc<BackendTls>,
    pub(super) address: Permitted,
    /// The time limit of the TCP handshake, and again of the TLS handshake.
    pub(super) limit: Duration,
    pub(super) liveness: Option<Liveness>,
}

/// The size of the relay's buffer in each direction, in bytes: that of a TLS record.
const BUFFER: usize = 16 << 10;

/// How long a backend may take for the end of the TLS connection.
const LINGER: Duration = Duration::from_secs(1);

#[async_trait]
impl L4Connect for Relayed {
    async fn connect(&self, _: &PeerAddress) -> Result<Stream> {
        let Self { shared, backend, tls, limit, .. } = self;
        let address = self.address.address();
        let tcp = self.dial().await?;
        let stream = shared.backend_tls.connect(tcp, tls, Offer::of(backend.protocol), *limit).await;
        let stream = stream.map_err(|error| {
            shared.backend_tls.note(&backend.key, address, &error);
            Error::because(kind(&error), format!("TLS to {address}"), error)
        })?;
        let (to_pingora, relayed) =
            UnixStream::pair().or_err(ErrorType::SocketError, "no pair of sockets")?;
        tokio::spawn(relay(relayed, stream, shared.options.idle_timeout));
        Ok(to_pingora.into())
    }
}

/// Copies in both directions until one of the sides ends. pingora never closes its sending direction alone, so that the
/// end of its side is the end of the connection: a backend that does not close its side cannot keep this task.
///
/// pingora sees an end of the backend's side in any case as a regular end, also where the backend's TLS ended without
/// close_notify (`docs/limits.md`).
async fn relay(pingora: UnixStream, backend: impl AsyncRead + AsyncWrite + Unpin, write_limit: Duration) {
    let (mut from_pingora, mut to_pingora) = pingora.into_split();
    let (mut from_backend, mut to_backend) = tokio::io::split(backend);
    tokio::select! {
        // If pingora has gone, a write to it fails at once.
        () = copy(&mut from_backend, &mut to_pingora, Duration::MAX) => {}
        // While a write to the backend waits, nothing else would notice that pingora has gone.
        () = copy(&mut from_pingora, &mut to_backend, write_limit) => {}
    }
    // close_notify.
    let _ = timeout(LINGER, to_backend.shutdown()).await;
}

/// Copies until the end of `from`, an error, or until `to` takes longer than `limit` for what was read at a time.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), limit: Duration) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let write = async {
            to.write_all(&buffer[..read]).await?;
            to.flush().await
        };
        if !matches!(timeout(limit, write).await, Ok(Ok(()))) {
            return;
        }
    }
}

impl Relayed {
    async fn dial(&self) -> Result<TcpStream> {
        let address = self.address.address();
        let late = |_| Error::explain(ErrorType::ConnectTimedout, format!("connecting to {address}"));
        let tcp = timeout(self.limit, self.address.connect()).await.map_err(late)?;
        let tcp = tcp.or_err(ErrorType::ConnectError, "no TCP connection")?;
        if let Some(liveness) = self.liveness {
            let probes = liveness.probe_interval();
            let keepalive = TcpKeepalive::new().with_time(probes).with_interval(probes).with_retries(3);
            let socket = SockRef::from(&tcp);
            socket.set_tcp_keepalive(&keepalive).or_err(ErrorType::SocketError, "keepalive")?;
            let limit = Some(liveness.idle_limit);
            socket.set_tcp_user_timeout(limit).or_err(ErrorType::SocketError, "TCP_USER_TIMEOUT")?;
        }
        Ok(tcp)
    }
}

/// Returns the type under which pingora gets an error.
fn kind(error: &TlsError) -> ErrorType {
    match error {
        TlsError::TimedOut => ErrorType::TLSHandshakeTimedout,
        TlsError::Certificate(_) => ErrorType::InvalidCert,
        TlsError::ServerName(_) | TlsError::Material | TlsError::Handshake(_) | TlsError::NoHttp2 => {
            ErrorType::TLSHandshakeFailure
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_backend_ends() {
        let (mut pingora, relayed) = UnixStream::pair().unwrap();
        let (mut backend, of_relay) = duplex(64);
        let task = tokio::spawn(relay(relayed, of_relay, LIMIT));
        let large = vec![7; 3 * BUFFER];
        let (sent, mut got) = (large.clone(), vec![0; large.len()]);
        let (wrote, read) = tokio::join!(pingora.write_all(&sent), backend.read_exact(&mut got));
        assert!(wrote.is_ok() && read.is_ok() && got == large);
        let mut answer = Vec::new();
        let send = async {
            backend.write_all(&large).await.unwrap();
            drop(backend);
        };
        let ((), read) = tokio::join!(send, pingora.read_to_end(&mut answer));
        assert!(read.is_ok() && answer == large);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_does_not_close_its_side_keeps_no_relay() {
        let (pingora, relayed) = UnixStream::pair().unwrap();
        let (_backend, of_relay) = duplex(64);
        let task = tokio::spawn(relay(relayed, of_relay, LIMIT));
        drop(pingora);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_takes_nothing_keeps_no_relay() {
        let (mut pingora, relayed) = UnixStream::pair().unwrap();
        let (_backend, of_relay) = duplex(64);
        let task = tokio::spawn(relay(relayed, of_relay, LIMIT));
        pingora.write_all(&[7; 1000]).await.unwrap();
        drop(pingora);
        task.await.unwrap();
    }
}
