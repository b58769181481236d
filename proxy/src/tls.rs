//! The server's side of the handshake: ClientHello -> listener -> certificate.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis_routing::{Listener, PortKey};
use portcullis_tls::{Certificates, ClientAuth, Termination};
use rustls::{
    ProtocolVersion, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{
        Acceptor, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
        StoresServerSessions,
    },
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{conn::TlsInfo, io::Socket, shared::Shared};

/// Sessions of TLS 1.2 clients that do not support tickets, under one policy.
const SESSIONS: usize = 1024;

/// The alert `unrecognized_name` (RFC 6066, 3), fatal, in a record of its own. No key has been agreed on yet, so
/// it goes in the clear in every version.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What all handshakes have in common.
#[derive(Debug)]
pub(crate) struct TlsBase {
    /// A configuration that resumes no session.
    config: ServerConfig,
    sessions: Mutex<HashMap<ClientAuth, Arc<Sessions>>>,
}

/// What it takes to resume a session: on any thread and port, and after the certificates changed, but under the same
/// policy of client authentication, since a client that resumes shows no certificate. rustls sees to it that the server
/// name is the same.
#[derive(Debug)]
struct Sessions {
    /// `None` if the machine provides no randomness.
    tickets: Option<Arc<dyn ProducesTickets>>,
    store: Arc<dyn StoresServerSessions>,
}

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
    /// The index of handshakes that the client broke off, as health checks do.
    pub(crate) const CLOSED: usize = 2;

    /// The index of its reason.
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
            .with_cert_resolver(Arc::new(Termination {
                certificates: Vec::new(),
                client_auth: ClientAuth::Unasked,
            }));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(Self { config, sessions: Mutex::default() }))
    }

    /// The configuration of a listener.
    fn config(&self, termination: &Arc<Termination>) -> ServerConfig {
        // Exhaustive: each policy has to be handed to rustls here.
        match &termination.client_auth {
            policy @ ClientAuth::Unasked => self.resuming(&self.sessions(policy), termination),
        }
    }

    fn sessions(&self, policy: &ClientAuth) -> Arc<Sessions> {
        let mut all = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(policy.clone()).or_default())
    }

    fn resuming(&self, sessions: &Sessions, termination: &Arc<Termination>) -> ServerConfig {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Termination>::clone(termination);
        let mut config = self.config.clone();
        config.cert_resolver = resolver;
        config.session_storage = Arc::clone(&sessions.store);
        if let Some(tickets) = &sessions.tickets {
            config.ticketer = Arc::clone(tickets);
        }
        config
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let tickets = ring::Ticketer::new().inspect_err(|error| {
            tracing::warn!(%error, "TLS sessions are resumed without tickets");
        });
        Self { tickets: tickets.ok(), store: ServerSessionMemoryCache::new(SESSIONS) }
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
        let address = Arc::as_ptr(termination).addr();
        let config = made.configs.entry(address).or_insert_with(|| Arc::new(self.base.config(termination)));
        Arc::clone(config)
    }

    /// Ends TLS on a connection to `port`.
    ///
    /// # Errors
    /// [`HandshakeError`]; where it can be told, the client has been.
    pub(crate) async fn accept(
        &self,
        socket: Socket,
        port: PortKey,
        shared: &Shared,
    ) -> Result<(Box<TlsStream<Socket>>, TlsInfo), HandshakeError> {
        let limit = shared.options.handshake_timeout;
        within(limit, self.handshake(socket, port, shared)).await
    }

    async fn handshake(
        &self,
        socket: Socket,
        port: PortKey,
        shared: &Shared,
    ) -> Result<(Box<TlsStream<Socket>>, TlsInfo), HandshakeError> {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let server_name = start.client_hello().server_name().map(|name| {
            let mut name: Box<str> = name.into();
            name.make_ascii_lowercase();
            name
        });
        let Some((config, client_auth)) = self.find(port, server_name.as_deref(), shared) else {
            start.io.write_all(&UNRECOGNIZED_NAME).await?;
            start.io.shutdown().await?;
            return Err(HandshakeError::UnrecognizedName);
        };
        let stream = start.into_stream(config).await?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        Ok((Box::new(stream), TlsInfo { server_name, client_auth, version }))
    }

    /// How TLS ends for a server name, and what is asked of the client.
    fn find(
        &self,
        port: PortKey,
        server_name: Option<&str>,
        shared: &Shared,
    ) -> Option<(Arc<ServerConfig>, ClientAuth)> {
        let table = shared.table.load();
        let greeted = table.ports.get(&port).and_then(|port| port.greeted(server_name));
        if greeted.is_some_and(|listener| !ends_tls(listener)) {
            return None;
        }
        let certificates = shared.certificates.load();
        let termination = certificates.ports.get(&port)?.termination(server_name)?;
        Some((self.config(&certificates, termination), termination.client_auth.clone()))
    }
}

/// Whether TLS ends at a listener, for HTTP. Of another one nothing is carried yet; and what its name is for must not be
/// answered by a wider one, nor with its certificate.
fn ends_tls(listener: &Listener) -> bool {
    listener.tls.client_auth().is_some() && listener.http_routes().is_some()
}

async fn within<T>(
    limit: Duration,
    handshake: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    tokio::time::timeout(limit, handshake).await.unwrap_or(Err(HandshakeError::TimedOut))
}

#[cfg(test)]
mod tests {
    use portcullis_tls::Certificate;
    use rcgen::generate_simple_self_signed;
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
        SupportedProtocolVersion,
        client::{
            ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
            Tls13ClientSessionValue,
        },
        version::{TLS12, TLS13},
    };
    use rustls_pki_types::ServerName;

    use super::*;

    /// Sessions of a client that offers them to every server.
    #[derive(Debug)]
    struct Everywhere(ClientSessionMemoryCache);

    fn anywhere() -> ServerName<'static> {
        ServerName::try_from("anywhere").unwrap()
    }

    impl ClientSessionStore for Everywhere {
        fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
            self.0.set_kx_hint(anywhere(), group);
        }

        fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
            self.0.kx_hint(&anywhere())
        }

        fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
            self.0.set_tls12_session(anywhere(), value);
        }

        fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
            self.0.tls12_session(&anywhere())
        }

        fn remove_tls12_session(&self, _: &ServerName<'static>) {
            self.0.remove_tls12_session(&anywhere());
        }

        fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
            self.0.insert_tls13_ticket(anywhere(), value);
        }

        fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
            self.0.take_tls13_ticket(&anywhere())
        }
    }

    fn client(version: &'static SupportedProtocolVersion, root: &Certificate) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(root.key.cert[0].clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::store(Arc::new(Everywhere(ClientSessionMemoryCache::new(8))));
        config
    }

    /// How a handshake went.
    fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &'static str) -> HandshakeKind {
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        let mut wire = Vec::new();
        // The last flight brings the tickets.
        for _ in 0..4 {
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
            server.process_new_packets().unwrap();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
            client.process_new_packets().unwrap();
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        client.handshake_kind().unwrap()
    }

    #[test]
    fn a_session_is_resumed_under_its_own_policy_and_for_its_own_name_alone() {
        use HandshakeKind::{Full, Resumed};
        let names = ["a.example.com", "b.example.com"].map(str::to_owned).to_vec();
        let made = generate_simple_self_signed(names).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let shown = Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap());
        let base = TlsBase::new().unwrap();
        let listener = || {
            let certificates = vec![Arc::clone(&shown)];
            Arc::new(Termination { certificates, client_auth: ClientAuth::Unasked })
        };
        let [one, same] = [listener(), listener()].map(|listener| Arc::new(base.config(&listener)));
        let other_policy = Arc::new(base.resuming(&Sessions::default(), &listener()));
        for version in [&TLS12, &TLS13] {
            let client = Arc::new(client(version, &shown));
            let (a, b) = ("a.example.com", "b.example.com");
            for (server, name, want) in [
                (&one, a, Full),
                (&one, a, Resumed),
                (&same, a, Resumed),
                (&other_policy, a, Full),
                (&other_policy, a, Resumed),
                (&one, a, Full),
                (&one, b, Full),
                (&one, b, Resumed),
                (&one, a, Full),
            ] {
                assert_eq!(shake(server, &client, name), want, "{version:?} {name}");
            }
        }
    }
}
