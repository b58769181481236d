//! Verifies the certificates of clients.

use std::sync::Arc;

use portcullis_routing::{ClientAuth, TlsMaterial};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

/// Requests a certificate from clients and verifies it as a [`ClientAuth`] asks.
#[derive(Debug)]
pub struct ClientVerifier {
    /// Verifies chains; `None` if there is no authority that can be used.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether a client without a valid certificate is refused.
    is_required: bool,
    provider: Arc<CryptoProvider>,
}

/// The maximum size in bytes of the names of authorities that are sent to clients. With more, none are sent: they only
/// help the client to choose a certificate, and a message has room for 64 KiB (RFC 8446, section 4.2.4).
const MAX_HINTS: usize = 16 << 10;

impl ClientVerifier {
    /// Returns the verifier for a policy; `None` if it requests no certificate.
    pub fn of(policy: &ClientAuth, provider: &Arc<CryptoProvider>) -> Option<Arc<Self>> {
        let (sets, is_required) = match policy {
            ClientAuth::Unasked => return None,
            ClientAuth::Optional(sets) => (sets, false),
            ClientAuth::Required(sets) => (sets, true),
        };
        let (chains, provider) = (chains(sets, provider), Arc::clone(provider));
        Some(Arc::new(Self { chains, is_required, provider }))
    }
}

fn chains(sets: &[TlsMaterial], provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ClientCertVerifier>> {
    let stores = sets.iter().filter_map(TlsMaterial::get::<RootCertStore>);
    let roots: Vec<_> = stores.flat_map(|store| store.roots.clone()).collect();
    let hints: usize = roots.iter().map(|root| root.subject.len()).sum();
    let roots = Arc::new(RootCertStore { roots });
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = if hints > MAX_HINTS { builder.clear_root_hint_subjects() } else { builder };
    builder.build().ok()
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.as_ref().map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !self.is_required {
            return Ok(ClientCertVerified::assertion());
        }
        match &self.chains {
            Some(chains) => chains.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
