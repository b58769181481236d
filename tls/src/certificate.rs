//! A certificate chain with its key, checked.

use std::sync::Arc;

use portcullis_routing::HostPattern;
use rustls::sign::CertifiedKey;

/// A certificate chain whose key has been found to fit.
#[derive(Debug)]
pub struct Certificate {
    /// What rustls serves.
    pub key: Arc<CertifiedKey>,
    /// The DNS names of the leaf's subjectAltName.
    pub names: Box<[HostPattern]>,
    /// SHA-256 of the leaf, in hexadecimal: whether two are the same one.
    pub fingerprint: Box<str>,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
}

/// Why a Secret's `tls.crt` and `tls.key` cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No certificate in the PEM text.
    #[error("tls.crt holds no PEM certificate")]
    NoCertificate,
}

impl Certificate {
    /// Reads a chain and a key in PEM (the data of a `kubernetes.io/tls` Secret) and checks that they fit.
    ///
    /// # Errors
    /// [`CertificateError`] where either cannot be read, or the key is not the leaf's.
    pub fn from_pem(_chain: &[u8], _key: &[u8]) -> Result<Self, CertificateError> {
        Err(CertificateError::NoCertificate)
    }
}
