//! Backends whose certificates an authority of the test has issued.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_routing::{BackendTls, TlsMaterial, Verify};
use portcullis_tls::{Authorities, Certificate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier,
    sign::SingleCertAndKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// A certificate authority.
pub struct Issuer(CertifiedIssuer<'static, KeyPair>);

impl Issuer {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these DNS names and URIs.
    pub fn certificate(&self, names: &[&str]) -> Arc<Certificate> {
        let mut params = CertificateParams::default();
        let name = |name: &&str| match name.contains(':') {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap())
    }

    /// This authority as what certificates are verified against.
    pub fn material(&self) -> TlsMaterial {
        Authorities::from_pem(self.0.pem().as_bytes()).unwrap().to_material()
    }

    /// TLS to a backend of this name whose certificate this authority has issued.
    pub fn tls(&self, name: &str) -> BackendTls {
        BackendTls::new(name, Verify::Authorities([self.material()].into()))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

/// A backend that answers in HTTP/1 or HTTP/2, with TLS and without.
pub struct SecureBackend {
    pub address: SocketAddr,
    pub handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
    /// Requests to `/hold` that have come in.
    pub held: Arc<Semaphore>,
    /// Lets one request to `/hold` go on for each permit.
    pub go: Arc<Semaphore>,
}

impl SecureBackend {
    /// Shows this certificate. Answers with the server name that it was asked for, on `/close` on a connection that ends
    /// with the answer.
    pub async fn start(shown: &Arc<Certificate>) -> Self {
        Self::with(shown, None).await
    }

    /// The same, for clients that show a certificate of this authority.
    pub async fn for_clients_of(shown: &Arc<Certificate>, clients: &Issuer) -> Self {
        Self::with(shown, Some(clients)).await
    }

    async fn with(shown: &Arc<Certificate>, clients: Option<&Issuer>) -> Self {
        let config = server_config(shown, clients, &["h2", "http/1.1"]);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            handshakes: Arc::default(),
            held: Arc::new(Semaphore::new(0)),
            go: Arc::new(Semaphore::new(0)),
        };
        let (handshakes, hold) =
            (Arc::clone(&backend.handshakes), (Arc::clone(&backend.held), Arc::clone(&backend.go)));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, handshakes, hold) = (acceptor.clone(), Arc::clone(&handshakes), hold.clone());
                tokio::spawn(serve(tcp, acceptor, handshakes, hold));
            }
        });
        backend
    }
}

/// Terminates TLS with this certificate, for clients that show one of `clients`.
pub fn server_config(shown: &Arc<Certificate>, clients: Option<&Issuer>, alpn: &[&str]) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown.key.clone())));
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

type Hold = (Arc<Semaphore>, Arc<Semaphore>);

async fn serve(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
    hold: Hold,
) {
    // A handshake begins with its content type (RFC 8446, section 5.1).
    let mut first = [0];
    if tcp.peek(&mut first).await.unwrap_or_default() == 1 && first[0] != 22 {
        return answer(tcp, "plain".into(), hold).await;
    }
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let connection = stream.get_ref().1;
    handshakes.lock().unwrap().push(connection.handshake_kind().unwrap());
    let name = connection.server_name().unwrap_or("none").to_owned();
    answer(stream, name, hold).await;
}

async fn answer(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, name: String, hold: Hold) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (name, (held, go)) = (name.clone(), hold.clone());
        async move {
            if request.uri().path().ends_with("/hold") {
                held.add_permits(1);
                go.acquire().await.unwrap().forget();
            }
            let mut answer = Response::new(Full::<Bytes>::from(name));
            if request.uri().path().ends_with("/close") {
                answer.headers_mut().insert("connection", "close".parse().unwrap());
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(io), service).await;
}
