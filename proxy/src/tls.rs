//! The server's side of the handshake: ClientHello -> listener -> certificate.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis_tls::{Certificates, Termination};
use rustls::{
    ProtocolVersion, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{Acceptor, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache},
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{conn::TlsInfo, io::Socket, shared::Shared};

/// Sessions of TLS 1.2 clients that know no tickets.
const SESSIONS: usize = 1024;

/// The alert `unrecognized_name` (RFC 6066, 3), fatal, in a record of its own. No key has been agreed on yet, so
/// it goes in the clear in every version.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What all handshakes have in common: a client may resume on any thread, and after the certificates changed.
#[derive(Debug)]
pub(crate) struct TlsBase(ServerConfig);

/// The configuration of each listener, made at its first handshake. One for each worker thread.
#[derive(Debug)]
pub(crate) struct TlsConfigs {
    base: Arc<TlsBase>,
    made: Mutex<Made>,
}

/// Configurations of one publication, by the address of a [`Termination`] that `of` keeps alive.
#[derive(Debug, Default)]
struct Made {
    of: Option<Arc<Certificates>>,
    configs: HashMap<usize, Arc<ServerConfig>>,
}

/// Why a handshake came to nothing. All are the client's doing, or its network's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("no listener for this server name")]
    UnrecognizedName,
    #[error("the handshake took too long")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl HandshakeError {
    /// What metrics call the reasons, by [`HandshakeError::reason`].
    pub(crate) const REASONS: [&str; 4] = ["server-name", "timeout", "closed", "tls"];
    /// The place of those that the client ended by itself, as health checks do.
    pub(crate) const CLOSED: usize = 2;

    /// The place of its reason.
    pub(crate) fn reason(&self) -> usize {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
        match self {
            Self::UnrecognizedName => 0,
            Self::TimedOut => 1,
            Self::Io(error) => match error.kind() {
                TimedOut => 1,
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::CLOSED,
                _ => 3,
            },
        }
    }
}

impl TlsBase {
    /// # Errors
    /// Where the machine gives no randomness.
    pub(crate) fn new() -> Result<Arc<Self>, rustls::Error> {
        let provider = Arc::new(CryptoProvider { ..ring::default_provider() });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Termination { certificates: Vec::new() }));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let tickets: Arc<dyn ProducesTickets> = ring::Ticketer::new()?;
        config.ticketer = tickets;
        Ok(Arc::new(Self(config)))
    }
}

impl TlsConfigs {
    pub(crate) fn new(base: Arc<TlsBase>) -> Self {
        Self { base, made: Mutex::default() }
    }

    fn config(&self, certificates: &Arc<Certificates>, termination: &Arc<Termination>) -> Arc<ServerConfig> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, certificates)) {
            *made = Made { of: Some(Arc::clone(certificates)), configs: HashMap::new() };
        }
        let config = made.configs.entry(Arc::as_ptr(termination).addr()).or_insert_with(|| {
            let resolver: Arc<dyn ResolvesServerCert> = Arc::<Termination>::clone(termination);
            let mut config = self.base.0.clone();
            config.cert_resolver = resolver;
            Arc::new(config)
        });
        Arc::clone(config)
    }

    /// Ends TLS on a connection to `port`.
    ///
    /// # Errors
    /// [`HandshakeError`]; where it can be told, the client has been.
    pub(crate) async fn accept(
        &self,
        socket: Socket,
        port: u16,
        shared: &Shared,
    ) -> Result<(Box<TlsStream<Socket>>, TlsInfo), HandshakeError> {
        let limit = shared.options.handshake_timeout;
        within(limit, self.handshake(socket, port, shared)).await
    }

    async fn handshake(
        &self,
        socket: Socket,
        port: u16,
        shared: &Shared,
    ) -> Result<(Box<TlsStream<Socket>>, TlsInfo), HandshakeError> {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let server_name = start.client_hello().server_name().map(|name| {
            let mut name: Box<str> = name.into();
            name.make_ascii_lowercase();
            name
        });
        let Some(config) = self.find(port, server_name.as_deref(), shared) else {
            start.io.write_all(&UNRECOGNIZED_NAME).await?;
            start.io.shutdown().await?;
            return Err(HandshakeError::UnrecognizedName);
        };
        let stream = start.into_stream(config).await?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        Ok((Box::new(stream), TlsInfo { server_name, version }))
    }

    fn find(&self, port: u16, server_name: Option<&str>, shared: &Shared) -> Option<Arc<ServerConfig>> {
        let certificates = shared.certificates.load();
        let termination = certificates.ports.get(&port)?.termination(server_name)?;
        Some(self.config(&certificates, termination))
    }
}

async fn within<T>(
    limit: Duration,
    handshake: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    tokio::time::timeout(limit, handshake).await.unwrap_or(Err(HandshakeError::TimedOut))
}
