//! A certificate chain with its key, checked.
//!
//! Whether a client will trust it is not asked: no time, no issuer, no purpose. What rustls cannot serve is refused.

use std::sync::Arc;

use portcullis_routing::{HostPattern, TlsMaterial};
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    crypto::ring::sign::any_supported_type,
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{
    oid_registry::OID_X509_SERIALNUMBER,
    prelude::{FromDer, GeneralName, X509Certificate},
};

use crate::digest;

/// A certificate chain whose key has been found to fit.
#[derive(Debug)]
pub struct Certificate {
    /// What rustls serves.
    pub key: Arc<CertifiedKey>,
    /// The DNS names of the leaf's subjectAltName; its common name where it has no such extension.
    pub names: Box<[HostPattern]>,
    /// SHA-256 of the leaf, in hexadecimal: whether two are the same one.
    pub fingerprint: Box<str>,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// The serial number in the name of the issuer, if it has one, a dash, and the leaf's serial number in decimal.
    pub identifier: Box<str>,
    /// What it was read from: `namespace/name` of a Secret.
    pub origin: Option<Box<str>>,
}

/// Two are equal if their chains are; the key belongs to the leaf.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

impl Eq for Certificate {}

/// Why a Secret's `tls.crt` and `tls.key` cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No certificate in the PEM text.
    #[error("tls.crt holds no PEM certificate")]
    NoCertificate,
    /// The text is damaged.
    #[error("certificate {position} of tls.crt is not valid PEM: {reason}")]
    CertificatePem {
        /// Counted from 1.
        position: usize,
        /// What the PEM reader says.
        reason: Box<str>,
    },
    /// The bytes in the PEM text are no certificate.
    #[error("certificate {position} of tls.crt is not an X.509 certificate")]
    CertificateDer {
        /// Counted from 1.
        position: usize,
    },
    /// No key in the PEM text.
    #[error("tls.key holds no PEM private key (RSA PRIVATE KEY, EC PRIVATE KEY or PRIVATE KEY)")]
    NoKey,
    /// The text is damaged. The reader's words could quote the key, so they are left out.
    #[error("tls.key is not valid PEM")]
    KeyPem,
    /// A passphrase would be needed.
    #[error("tls.key is encrypted; store it without a passphrase")]
    KeyEncrypted,
    /// A key that is damaged, or of a kind that is not served.
    #[error(
        "tls.key cannot be used; it must be RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519"
    )]
    KeyUnsupported,
    /// The key is another certificate's.
    #[error("tls.key does not belong to the certificate in tls.crt")]
    KeyMismatch,
    /// The key belongs to the chain, but not to its first certificate.
    #[error(
        "tls.key belongs to certificate {position} of tls.crt; the server's own certificate must be the first"
    )]
    LeafNotFirst {
        /// Counted from 1.
        position: usize,
    },
}

impl Certificate {
    /// Reads a chain and a key in PEM (the data of a `kubernetes.io/tls` Secret) and checks that they fit.
    ///
    /// Keys are PKCS #8, PKCS #1 (RSA) or SEC 1 (ECDSA). Other sections of either text are skipped.
    ///
    /// # Errors
    /// [`CertificateError`] where either cannot be read, or the key is not the leaf's.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = read_chain(chain)?;
        let parsed = chain.iter().enumerate().map(parse_der).collect::<Result<Vec<_>, _>>()?;
        let leaf = parsed.first().ok_or(CertificateError::NoCertificate)?;
        let key = read_key(key)?;
        check_fit(&parsed, &*key)?;
        Ok(Self {
            names: dns_names(leaf),
            fingerprint: fingerprint(&chain[0]),
            not_after: leaf.validity().not_after.timestamp(),
            identifier: identifier(leaf),
            origin: None,
            key: Arc::new(CertifiedKey::new(chain, key)),
        })
    }

    /// The same, with what it was read from.
    #[must_use]
    pub fn with_origin(self, origin: impl Into<Box<str>>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// The chain and its key, as what we present to a backend.
    pub fn to_material(&self) -> TlsMaterial {
        TlsMaterial::new(digest::of(self.key.cert.iter().map(|der| &**der)), Arc::clone(&self.key))
    }

    /// Whether the key can sign with one of the schemes that a client offers.
    pub(crate) fn signs(&self, offered: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(offered).is_some()
    }

    pub(crate) fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::RSA
    }
}

fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    CertificateDer::pem_slice_iter(text)
        .enumerate()
        .map(|(index, section)| {
            section.map_err(|error| CertificateError::CertificatePem {
                position: index + 1,
                reason: error.to_string().into(),
            })
        })
        .collect()
}

fn parse_der<'c>(
    (index, der): (usize, &'c CertificateDer<'static>),
) -> Result<X509Certificate<'c>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::CertificateDer { position: index + 1 }),
    }
}

fn read_key(text: &[u8]) -> Result<Arc<dyn SigningKey>, CertificateError> {
    // PKCS #8 says so in the section's name, OpenSSL's older form in a header of the section.
    let encrypted = text.windows(9).any(|w| w == b"ENCRYPTED");
    match PrivateKeyDer::pem_slice_iter(text).next() {
        Some(Ok(der)) => any_supported_type(&der).map_err(|_| CertificateError::KeyUnsupported),
        _ if encrypted => Err(CertificateError::KeyEncrypted),
        Some(Err(_)) => Err(CertificateError::KeyPem),
        None => Err(CertificateError::NoKey),
    }
}

/// The comparison of rustls's `keys_match`, on certificates of version 1 too, which its parser refuses.
fn check_fit(chain: &[X509Certificate<'_>], key: &dyn SigningKey) -> Result<(), CertificateError> {
    let Some(public) = key.public_key() else { return Err(CertificateError::KeyUnsupported) };
    match chain.iter().position(|c| c.public_key().raw == &*public) {
        Some(0) => Ok(()),
        Some(index) => Err(CertificateError::LeafNotFirst { position: index + 1 }),
        None => Err(CertificateError::KeyMismatch),
    }
}

/// The names that a client may find in the leaf (RFC 6125, section 6.4.4: the common name counts only where there
/// is no subjectAltName). Names that no host can have are left out, and so are IP addresses.
fn dns_names(leaf: &X509Certificate<'_>) -> Box<[HostPattern]> {
    match leaf.subject_alternative_name() {
        Ok(Some(extension)) => names_of(extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })),
        Ok(None) => names_of(leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok())),
        Err(_) => Box::default(),
    }
}

/// A certificate's `*` stands for one label, as an Ingress's does (RFC 6125, section 6.4.3).
fn names_of<'n>(names: impl Iterator<Item = &'n str>) -> Box<[HostPattern]> {
    names
        .filter_map(|name| HostPattern::parse_ingress(name.strip_suffix('.').unwrap_or(name)).ok())
        .filter(|pattern| *pattern != HostPattern::Any)
        .collect()
}

fn identifier(leaf: &X509Certificate<'_>) -> Box<str> {
    let mut of_issuer = leaf.issuer().iter_by_oid(&OID_X509_SERIALNUMBER);
    let of_issuer = of_issuer.next().and_then(|attribute| attribute.as_str().ok()).unwrap_or_default();
    format!("{of_issuer}-{}", leaf.tbs_certificate.serial).into()
}

fn fingerprint(leaf: &CertificateDer<'_>) -> Box<str> {
    let digest = ring::digest::digest(&ring::digest::SHA256, leaf);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests;
