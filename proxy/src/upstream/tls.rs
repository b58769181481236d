//! TLS towards backends: the handshake, and one client configuration for each identity, so that sessions are resumed.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use pingora_core::tls::{RootCertStore, load_platform_certs_incl_env_into_store};
use portcullis_routing::{
    BackendKey, BackendProtocol, BackendTls, Rejection, TlsMaterial, TlsVersions, Verify,
};
use portcullis_tls::BackendVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::warn;

use super::said::Said;

/// The client configurations. All workers share them, including their sessions.
#[derive(Debug, Default)]
pub(crate) struct ClientConfigs {
    system_roots: OnceLock<Arc<RootCertStore>>,
    /// By identity. Each key is the value of a backend, as long as there is one.
    known: Mutex<HashMap<Arc<BackendTls>, ByOffer>>,
    /// Backends to which no TLS connection could be made.
    said: Said<BackendKey>,
}

/// One configuration for each [`Offer`], made when it is first needed.
type ByOffer = [Option<Arc<ClientConfig>>; 3];

/// The application protocol that is offered to a backend (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    Http1,
    Http2,
    /// None: a backend of streams may speak any protocol.
    Nothing,
}

/// Why there is no TLS connection to a backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the backend did not finish the TLS handshake in time")]
    TimedOut,
    #[error("the server name {0} is not a DNS name")]
    ServerName(Box<str>),
    #[error("the certificates of its TLS configuration cannot be used")]
    Material,
    #[error("its certificate is not valid: {0}")]
    Certificate(Error),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("it does not agree to HTTP/2 (ALPN)")]
    NoHttp2,
}

impl TlsError {
    /// What the client is told.
    pub(crate) fn rejection(&self) -> (Rejection, &'static str) {
        match self {
            Self::TimedOut => (Rejection::Timeout, "the backend took too long"),
            Self::Certificate(_) => (Rejection::BadGateway, CERTIFICATE_REFUSED),
            Self::ServerName(_) | Self::Material | Self::Handshake(_) | Self::NoHttp2 => {
                (Rejection::BadGateway, HANDSHAKE_FAILED)
            }
        }
    }
}

pub(crate) const CERTIFICATE_REFUSED: &str = "the backend's certificate is not valid";
pub(crate) const HANDSHAKE_FAILED: &str = "the TLS handshake with the backend failed";

/// Returns a number for each TLS identity; 0 stands for no TLS. Two identities have the same number with a probability of
/// 1 in 2^64. The hash has a random key, so nobody can look for two such identities.
pub(crate) fn identity(tls: Option<&BackendTls>) -> u64 {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    tls.map_or(0, |tls| HASHER.hash_one(tls).max(1))
}

impl Offer {
    /// What is offered to a backend of requests.
    pub(crate) fn of(protocol: BackendProtocol) -> Self {
        match protocol {
            BackendProtocol::Http1 => Self::Http1,
            BackendProtocol::Http2 => Self::Http2,
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Nothing => Vec::new(),
        }
    }
}

impl ClientConfigs {
    /// Makes a TLS connection out of a TCP connection. `limit` is the time limit of the handshake.
    ///
    /// # Errors
    /// [`TlsError`] if the handshake fails, or the certificate is not accepted.
    pub(crate) async fn connect(
        &self,
        tcp: TcpStream,
        tls: &Arc<BackendTls>,
        offer: Offer,
        limit: Duration,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let name = ServerName::try_from(tls.server_name.to_string());
        let name = name.map_err(|_| TlsError::ServerName(tls.server_name.clone()))?;
        let connector = TlsConnector::from(self.of(tls, offer)?);
        let stream = timeout(limit, connector.connect(name, tcp)).await.map_err(|_| TlsError::TimedOut)?;
        let stream =
            stream.map_err(|error| match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
                Some(refused @ Error::InvalidCertificate(_)) => TlsError::Certificate(refused.clone()),
                _ => TlsError::Handshake(error),
            })?;
        // HTTP/2 over TLS has to be agreed upon (RFC 9113, section 3.2).
        if offer == Offer::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(TlsError::NoHttp2);
        }
        Ok(stream)
    }

    /// Logs why there is no TLS connection to a backend, once a minute for each backend.
    pub(crate) fn note(&self, backend: &BackendKey, address: SocketAddr, error: &TlsError) {
        if self.said.is_new(backend) {
            warn!(%backend, %address, "no TLS connection to this backend: {error}");
        }
    }

    /// Forgets the configurations of backends that are gone. Worker threads call this once a second.
    pub(crate) fn forget_unused(&self) {
        self.known().retain(|tls, _| is_used(tls));
    }

    fn of(&self, tls: &Arc<BackendTls>, offer: Offer) -> Result<Arc<ClientConfig>, TlsError> {
        if tls.verify == Verify::System {
            // They are read from disk, which must not happen while others wait for the lock.
            self.system_roots();
        }
        let mut known = self.known();
        // The backend whose value is the key may be gone, and another one have the same identity.
        let before = match known.get_key_value(tls) {
            Some((key, _)) if !is_used(key) => known.remove(tls),
            _ => None,
        };
        let by_offer = known.entry(Arc::clone(tls)).or_insert_with(|| before.unwrap_or_default());
        let config = &mut by_offer[offer as usize];
        Ok(Arc::clone(match config {
            Some(config) => config,
            None => config.insert(Arc::new(self.make(tls, offer)?)),
        }))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Arc<BackendTls>, ByOffer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, tls: &BackendTls, offer: Offer) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.roots(&tls.verify)? {
            None => Arc::new(NoVerification(Arc::clone(&provider))),
            Some(roots) => Arc::new(BackendVerifier::new(
                roots,
                tls.subject_names.clone(),
                provider.signature_verification_algorithms,
            )),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(offered(tls.versions))
            .expect("ring serves TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &tls.client_certificate {
            None => config.with_no_client_auth(),
            Some(ours) => {
                let ours = ours.get::<CertifiedKey>().ok_or(TlsError::Material)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(ours)))
            }
        };
        config.alpn_protocols = offer.protocols();
        config.enable_sni = !tls.hides_name;
        Ok(config)
    }

    fn system_roots(&self) -> &Arc<RootCertStore> {
        self.system_roots.get_or_init(|| Arc::new(system_roots()))
    }

    /// The sets of authorities; `None` if nothing is verified.
    fn roots(&self, verify: &Verify) -> Result<Option<Box<[Arc<RootCertStore>]>>, TlsError> {
        match verify {
            Verify::Nothing => Ok(None),
            Verify::System => Ok(Some([Arc::clone(self.system_roots())].into())),
            Verify::Authorities(sets) => {
                let sets: Option<Box<[_]>> = sets.iter().map(TlsMaterial::get).collect();
                sets.map(Some).ok_or(TlsError::Material)
            }
        }
    }
}

/// The versions that are offered.
pub(crate) fn offered(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match versions {
        TlsVersions::All => rustls::DEFAULT_VERSIONS,
        TlsVersions::Tls12 => &TLS12,
        TlsVersions::Tls13 => &TLS13,
    }
}

/// Whether a backend refers to a key of the known configurations.
fn is_used(key: &Arc<BackendTls>) -> bool {
    Arc::strong_count(key) > 1
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if let Err(error) = load_platform_certs_incl_env_into_store(&mut roots) {
        warn!(%error, "the system's certificate authorities cannot be read; no backend's certificate can be verified");
    }
    roots
}

/// A client that accepts any certificate, for a server that is known by its address.
///
/// # Errors
/// Where the provider of cryptography serves no version of TLS.
pub fn unverified_client() -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(NoVerification(provider));
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Accepts any certificate, as [`Verify::Nothing`] asks: the connection is encrypted, but its peer is not known.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_routing::SubjectName;

    use super::*;

    fn material<T: Send + Sync + 'static>(byte: u8, value: T) -> TlsMaterial {
        TlsMaterial::new([byte; 32], Arc::new(value))
    }

    /// A certificate of ours, told apart by the byte alone.
    fn presented(byte: u8) -> TlsMaterial {
        let made = rcgen::generate_simple_self_signed(["ours.example".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = portcullis_tls::Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        TlsMaterial::new([byte; 32], Arc::clone(&certificate.key))
    }

    #[test]
    fn each_identity_has_a_number_and_a_configuration_of_its_own() {
        let authorities = |byte| Verify::Authorities([material(byte, RootCertStore::empty())].into());
        let named = BackendTls::new("a.example", authorities(1));
        let all = [
            BackendTls::new("a.example", Verify::System),
            BackendTls::new("b.example", Verify::System),
            BackendTls::new("a.example", Verify::Nothing),
            BackendTls::new("a.example", authorities(2)),
            BackendTls { subject_names: [SubjectName::Dns("b.example".into())].into(), ..named.clone() },
            BackendTls { subject_names: [SubjectName::Uri("b.example".into())].into(), ..named.clone() },
            BackendTls { client_certificate: Some(presented(3)), ..named.clone() },
            BackendTls { client_certificate: Some(presented(4)), ..named.clone() },
            BackendTls { hides_name: true, ..named.clone() },
            BackendTls { versions: TlsVersions::Tls12, ..named.clone() },
            named,
        ];
        let configs = ClientConfigs::default();
        let mut known: Vec<(u64, Arc<ClientConfig>)> = vec![];
        for tls in all.map(Arc::new) {
            let (number, again) = (identity(Some(&tls)), identity(Some(&BackendTls::clone(&tls))));
            assert_eq!(number, again);
            assert_ne!(number, identity(None));
            let config = configs.of(&tls, Offer::Http1).unwrap();
            assert!(Arc::ptr_eq(
                &config,
                &configs.of(&Arc::new(BackendTls::clone(&tls)), Offer::Http1).unwrap()
            ));
            assert!(known.iter().all(|(n, c)| *n != number && !Arc::ptr_eq(c, &config)), "{tls}");
            known.push((number, config));
        }
    }

    #[test]
    fn a_configuration_lives_as_long_as_a_backend_of_its_identity() {
        let configs = ClientConfigs::default();
        let tls = || Arc::new(BackendTls::new("a.example", Verify::Nothing));
        let (one, other) = (tls(), tls());
        let config = configs.of(&one, Offer::Http2).unwrap();
        let other_offer = configs.of(&one, Offer::Nothing).unwrap();
        assert_eq!(
            (&config.alpn_protocols[..], &other_offer.alpn_protocols[..]),
            (&[b"h2".to_vec()][..], &[][..])
        );
        configs.forget_unused();
        drop(one);
        assert!(
            Arc::ptr_eq(&configs.of(&other, Offer::Http2).unwrap(), &config),
            "another backend has it now"
        );
        configs.forget_unused();
        assert!(Arc::ptr_eq(&configs.of(&other, Offer::Http2).unwrap(), &config), "it is still used");
        drop(other);
        configs.forget_unused();
        assert!(configs.known().is_empty());
    }

    #[test]
    fn material_of_another_type_is_no_configuration() {
        let tls = BackendTls::new("a.example", Verify::Authorities([material(1, 0_u8)].into()));
        assert!(matches!(ClientConfigs::default().of(&Arc::new(tls), Offer::Http1), Err(TlsError::Material)));
        let mut tls = BackendTls::new("a.example", Verify::Nothing);
        tls.client_certificate = Some(material(1, 0_u8));
        assert!(matches!(ClientConfigs::default().of(&Arc::new(tls), Offer::Http1), Err(TlsError::Material)));
    }
}
