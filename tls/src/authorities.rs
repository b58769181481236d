//! Certificate authorities that the certificates of backends and clients are verified against.

use std::sync::Arc;

use portcullis_routing::TlsMaterial;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::digest;

/// A set of certificate authorities.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    fingerprint: [u8; 32],
}

/// Why a text holds no authorities that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    /// No certificate in the PEM text.
    #[error("holds no PEM certificate")]
    NoCertificate,
    /// The text is damaged.
    #[error("certificate {position} is not valid PEM: {reason}")]
    Pem {
        /// Counted from 1.
        position: usize,
        /// What the PEM reader says.
        reason: Box<str>,
    },
    /// The bytes in the PEM text are no certificate.
    #[error("certificate {position} is not an X.509 certificate")]
    Der {
        /// Counted from 1.
        position: usize,
    },
    /// More than [`Authorities::MAX`] of them.
    #[error("more than {} certificates", Authorities::MAX)]
    TooMany,
    /// More than [`Authorities::MAX_BYTES`] of them.
    #[error("more than {} KiB of certificates", Authorities::MAX_BYTES >> 10)]
    TooLarge,
}

impl Authorities {
    /// The maximum number of certificates. Collections of public authorities have about 150.
    pub const MAX: usize = 256;
    /// The maximum size of the certificates in DER, in bytes.
    pub const MAX_BYTES: usize = 512 << 10;

    /// Reads certificates in PEM. Other sections of the text are skipped.
    ///
    /// # Errors
    /// [`AuthoritiesError`] if there is none, if one cannot be read, or if there are too many.
    pub fn from_pem(text: &[u8]) -> Result<Self, AuthoritiesError> {
        let (mut roots, mut all, mut bytes) = (RootCertStore::empty(), Vec::new(), 0);
        for (index, section) in CertificateDer::pem_slice_iter(text).enumerate() {
            let position = index + 1;
            let pem = |error: rustls_pki_types::pem::Error| AuthoritiesError::Pem {
                position,
                reason: error.to_string().into(),
            };
            let der = section.map_err(pem)?;
            bytes += der.len();
            check_size(position, bytes)?;
            roots.add(der.clone()).map_err(|_| AuthoritiesError::Der { position })?;
            all.push(der);
        }
        if all.is_empty() {
            return Err(AuthoritiesError::NoCertificate);
        }
        let fingerprint = digest::of(all.iter().map(|der| &**der));
        Ok(Self { roots: Arc::new(roots), fingerprint })
    }

    /// The set as a part of [`portcullis_routing::BackendTls`]; its value is a [`RootCertStore`].
    pub fn to_material(&self) -> TlsMaterial {
        TlsMaterial::new(self.fingerprint, Arc::clone(&self.roots))
    }
}

fn check_size(count: usize, bytes: usize) -> Result<(), AuthoritiesError> {
    if count > Authorities::MAX {
        return Err(AuthoritiesError::TooMany);
    }
    if bytes > Authorities::MAX_BYTES {
        return Err(AuthoritiesError::TooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn pem(name: &str, filler: usize) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        let filler = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99], vec![0; filler]);
        params.custom_extensions.push(filler);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn every_certificate_has_to_be_one() {
        let (one, two) = (pem("one", 0), pem("two", 0));
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let damaged = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        let key = KeyPair::generate().unwrap().serialize_pem();
        for (text, want) in [
            (one.clone(), Ok(1)),
            (format!("a comment\n{one}{key}{two}"), Ok(2)),
            (String::new(), Err("holds no PEM certificate")),
            (key, Err("holds no PEM certificate")),
            (format!("{one}{not_der}"), Err("certificate 2 is not an X.509 certificate")),
            (format!("{damaged}{one}"), Err("certificate 1 is not valid PEM: ")),
            (one.repeat(Authorities::MAX), Ok(Authorities::MAX)),
            (one.repeat(Authorities::MAX + 1), Err("more than 256 certificates")),
            (pem("large", Authorities::MAX_BYTES), Err("more than 512 KiB of certificates")),
        ] {
            let read = Authorities::from_pem(text.as_bytes());
            match (read, want) {
                (Ok(read), Ok(count)) => assert_eq!(read.roots.len(), count),
                (Err(error), Err(want)) => {
                    assert!(error.to_string().starts_with(want), "{error}, not {want}")
                }
                (read, want) => panic!("{read:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn sets_of_the_same_certificates_are_equal() {
        let read = |text: &str| Authorities::from_pem(text.as_bytes()).unwrap().to_material();
        let (one, two) = (pem("one", 0), pem("two", 0));
        assert_eq!(read(&one), read(&format!("a comment\n{one}")));
        assert_ne!(read(&one), read(&two));
        assert_ne!(read(&one), read(&format!("{one}{two}")));
    }
}
