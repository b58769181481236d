//! TLS of ours under pingora, for what its own TLS towards backends cannot do: verify subjectAltNames, resume sessions
//! under authorities of a backend's own.
//!
//! ```text
//! pingora --- a pair of Unix sockets --- relay (a task) --- TLS --- the backend
//! ```
//!
//! pingora keeps a connection in its pool only if that has a file descriptor, hence the pair of sockets. Towards pingora
//! the connection is one without TLS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora_core::{
    connectors::L4Connect,
    protocols::l4::{socket::SocketAddr as PeerAddress, stream::Stream},
};
use pingora_error::{Error, ErrorType, OrErr, Result};
use portcullis_routing::{Backend, BackendTls};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::copy_bidirectional_with_sizes,
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

#[async_trait]
impl L4Connect for Relayed {
    async fn connect(&self, _: &PeerAddress) -> Result<Stream> {
        let Self { shared, backend, tls, limit, .. } = self;
        let address = self.address.address();
        let tcp = self.dial(address).await?;
        let stream = shared.backend_tls.connect(tcp, tls, Offer::of(backend.protocol), *limit).await;
        let mut stream = stream.map_err(|error| {
            shared.backend_tls.note(&backend.key, address, &error);
            Error::because(kind(&error), format!("TLS to {address}"), error)
        })?;
        let (ours, mut theirs) = UnixStream::pair().or_err(ErrorType::SocketError, "no pair of sockets")?;
        tokio::spawn(async move {
            // Either side sees the end of the other; what went wrong shows in the request.
            let _ = copy_bidirectional_with_sizes(&mut stream, &mut theirs, BUFFER, BUFFER).await;
        });
        Ok(ours.into())
    }
}

impl Relayed {
    async fn dial(&self, address: SocketAddr) -> Result<TcpStream> {
        let late = |_| Error::explain(ErrorType::ConnectTimedout, format!("connecting to {address}"));
        let tcp = timeout(self.limit, TcpStream::connect(address)).await.map_err(late)?;
        let tcp = tcp.or_err(ErrorType::ConnectError, "no TCP connection")?;
        tcp.set_nodelay(true).or_err(ErrorType::SocketError, "TCP_NODELAY")?;
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

/// The type of error as which pingora gets it.
fn kind(error: &TlsError) -> ErrorType {
    match error {
        TlsError::TimedOut => ErrorType::TLSHandshakeTimedout,
        TlsError::Certificate(_) => ErrorType::InvalidCert,
        TlsError::ServerName(_) | TlsError::Material | TlsError::Handshake(_) | TlsError::NoHttp2 => {
            ErrorType::TLSHandshakeFailure
        }
    }
}
