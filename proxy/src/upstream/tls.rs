//! TLS towards HTTP/1 backends and backends of streams: one client configuration for each way to verify them, so that
//! sessions are resumed.

use std::sync::{Arc, OnceLock};

use pingora_core::tls::{RootCertStore, load_platform_certs_incl_env_into_store};
use portcullis_routing::Verify;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tracing::warn;

/// The client configurations, each made when it is first needed. All workers share them, including their sessions.
#[derive(Debug, Default)]
pub(crate) struct ClientConfigs {
    system: OnceLock<Arc<ClientConfig>>,
    nothing: OnceLock<Arc<ClientConfig>>,
    system_without_alpn: OnceLock<Arc<ClientConfig>>,
    nothing_without_alpn: OnceLock<Arc<ClientConfig>>,
}

impl ClientConfigs {
    /// The configuration for this way to verify.
    pub(crate) fn of(&self, verify: Verify) -> Arc<ClientConfig> {
        let config = match verify {
            Verify::System => self.system.get_or_init(|| Arc::new(system())),
            Verify::Nothing => self.nothing.get_or_init(|| Arc::new(nothing())),
        };
        Arc::clone(config)
    }

    /// The configuration for backends of streams, with this way to verify. It offers no ALPN protocol, because such a
    /// backend may speak any protocol.
    pub(crate) fn without_alpn(&self, verify: Verify) -> Arc<ClientConfig> {
        let cell = match verify {
            Verify::System => &self.system_without_alpn,
            Verify::Nothing => &self.nothing_without_alpn,
        };
        let make = || {
            let mut config = ClientConfig::clone(&self.of(verify));
            config.alpn_protocols.clear();
            Arc::new(config)
        };
        Arc::clone(cell.get_or_init(make))
    }
}

fn system() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Err(error) = load_platform_certs_incl_env_into_store(&mut roots) {
        warn!(%error, "the system's certificate authorities cannot be read; no backend's certificate can be verified");
    }
    let mut config = builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn nothing() -> ClientConfig {
    let verifier = Arc::new(NoVerification(Arc::new(ring::default_provider())));
    let mut config = builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring serves TLS 1.2 and 1.3")
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
