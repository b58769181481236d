//! Verifies the certificates of clients.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_routing::{ClientAuth, TlsMaterial, step::ClientCertificate};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::name::{distinguished_name, pem_of};

/// What nginx escapes in `$ssl_client_escaped_cert`: all but letters, digits and `-._~`.
const IN_HEADER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Requests a certificate from clients and verifies it as a [`ClientAuth`] asks.
#[derive(Debug)]
pub struct ClientVerifier {
    /// Verifies chains; `None` if there is no authority that can be used.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether a client without a valid certificate is refused.
    is_required: bool,
    /// The most certificates between the client's and an authority's that are looked at.
    depth: Option<usize>,
    provider: Arc<CryptoProvider>,
}

/// The maximum size in bytes of the names of authorities that are sent to clients. With more, none are sent: they only
/// help the client to choose a certificate, and a message has room for 64 KiB (RFC 8446, section 4.2.4).
const MAX_HINTS: usize = 16 << 10;

impl ClientVerifier {
    /// Returns the verifier for a policy; `None` if it requests no certificate.
    pub fn of(policy: &ClientAuth, provider: &Arc<CryptoProvider>) -> Option<Arc<Self>> {
        let (sets, is_required, depth) = match policy {
            ClientAuth::Unasked => return None,
            ClientAuth::Optional(sets) => (sets, false, None),
            ClientAuth::Required(sets) => (sets, true, None),
            ClientAuth::Reported { authorities, depth } => (authorities, false, Some(usize::from(*depth))),
        };
        let (chains, provider) = (chains(sets, provider), Arc::clone(provider));
        Some(Arc::new(Self { chains, is_required, depth, provider }))
    }

    /// Describes the certificate that a client has shown in a handshake, and verifies its chain. `None` for no chain.
    ///
    /// The client has proved that it has the key.
    pub fn describe(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<ClientCertificate> {
        let (end_entity, intermediates) = chain.split_first()?;
        let looked_at = self.depth.map_or(intermediates.len(), |depth| depth.min(intermediates.len()));
        let failure = match &self.chains {
            Some(chains) => chains.verify_client_cert(end_entity, &intermediates[..looked_at], now).err(),
            None => Some(CertificateError::UnknownIssuer.into()),
        };
        Some(described(end_entity, failure.map(failure_text)))
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

/// Why a certificate is not valid, in OpenSSL's words where it has some: backends know these from nginx.
fn failure_text(error: Error) -> String {
    let Error::InvalidCertificate(error) = error else { return error.to_string() };
    match error {
        CertificateError::UnknownIssuer => "unable to verify the first certificate".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsuitable certificate purpose".into()
        }
        CertificateError::BadSignature => "certificate signature failure".into(),
        other => other.to_string(),
    }
}

/// A certificate as requests are told of it. One that cannot be read is not valid.
fn described(der: &CertificateDer<'_>, failure: Option<String>) -> ClientCertificate {
    let names = X509Certificate::from_der(der).map(|(_, read)| {
        (
            distinguished_name(read.subject()).into_boxed_str(),
            distinguished_name(read.issuer()).into_boxed_str(),
        )
    });
    let (failure, (subject, issuer)) = match names {
        Ok(names) => (failure, names),
        Err(_) => (failure.or(Some("the certificate cannot be read".into())), Default::default()),
    };
    let pem = utf8_percent_encode(&pem_of(der), IN_HEADER).to_string();
    ClientCertificate { failure: failure.map(Into::into), subject, issuer, pem: pem.into() }
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
