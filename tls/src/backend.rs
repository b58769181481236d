//! Verifies the certificate of a backend: its chain, and that it has the right name.

use std::{fmt, sync::Arc};

use portcullis_routing::SubjectName;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Accepts certificates that one of the authorities has issued, directly or through intermediates, and that are valid for
/// the server name or, if there are subject names, have one of these.
#[derive(Debug)]
pub struct BackendVerifier {
    /// Sets of authorities, one of which has to have issued the certificate.
    roots: Box<[Arc<RootCertStore>]>,
    subject_names: Box<[SubjectName]>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The certificate has other names.
#[derive(thiserror::Error)]
#[error("it has none of the subjectAltNames {0}")]
struct OtherNames(String);

/// Writes the same as `Display`, because rustls prints errors of other crates by their `Debug`.
impl fmt::Debug for OtherNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl BackendVerifier {
    /// Verifies with these algorithms.
    pub fn new(
        roots: Box<[Arc<RootCertStore>]>,
        subject_names: Box<[SubjectName]>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { roots, subject_names, algorithms }
    }

    fn verify_chain(
        &self,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut refusal = Error::from(CertificateError::UnknownIssuer);
        for roots in &self.roots {
            let algorithms = self.algorithms.all;
            match verify_server_cert_signed_by_trust_anchor(parsed, roots, intermediates, now, algorithms) {
                Ok(()) => return Ok(()),
                // Other sets do not know the issuer; that one of them does says more.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(other) => refusal = other,
            }
        }
        Err(refusal)
    }

    fn verify_names(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        server_name: &ServerName<'_>,
    ) -> Result<(), Error> {
        if self.subject_names.is_empty() {
            return verify_server_name(parsed, server_name);
        }
        if self.subject_names.iter().any(|name| has_name(certificate, parsed, name)) {
            return Ok(());
        }
        let names = self.subject_names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(CertificateError::Other(OtherError(Arc::new(OtherNames(names)))).into())
    }
}

/// Whether a certificate has a subject alternative name.
fn has_name(certificate: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>, name: &SubjectName) -> bool {
    match name {
        SubjectName::Dns(pattern) => match pattern.strip_prefix("*.") {
            None => {
                ServerName::try_from(&**pattern).is_ok_and(|name| verify_server_name(parsed, &name).is_ok())
            }
            Some(parent) => has_general_name(certificate, |found| match found {
                GeneralName::DNSName(found) => {
                    let rest = found.split_once('.').filter(|(label, _)| !label.is_empty());
                    rest.is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
                }
                _ => false,
            }),
        },
        SubjectName::Uri(uri) => has_general_name(
            certificate,
            |found| matches!(found, GeneralName::URI(found) if **found == **uri),
        ),
    }
}

fn has_general_name(certificate: &CertificateDer<'_>, is_it: impl Fn(&GeneralName<'_>) -> bool) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return false };
    extension.value.general_names.iter().any(is_it)
}

impl ServerCertVerifier for BackendVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        self.verify_chain(&parsed, intermediates, now)?;
        self.verify_names(end_entity, &parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd,
    };
    use rustls::crypto::ring;

    use super::*;

    const SHOP: &str = "spiffe://shop.example/web";

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn san(text: &str) -> SanType {
        match text.contains("://") {
            true => SanType::URI(text.try_into().unwrap()),
            false => SanType::DnsName(text.try_into().unwrap()),
        }
    }

    fn leaf(by: &CertifiedIssuer<'_, KeyPair>, names: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        params.signed_by(&KeyPair::generate().unwrap(), by).unwrap().der().clone()
    }

    fn verifier(roots: &[&CertifiedIssuer<'_, KeyPair>], names: &[&str]) -> BackendVerifier {
        let set = |root: &&CertifiedIssuer<'_, KeyPair>| {
            let mut store = RootCertStore::empty();
            store.add(root.der().clone()).unwrap();
            Arc::new(store)
        };
        let name = |text: &&str| match text.contains(':') {
            true => SubjectName::Uri((*text).into()),
            false => SubjectName::Dns((*text).into()),
        };
        let names = names.iter().map(name).collect();
        let algorithms = ring::default_provider().signature_verification_algorithms;
        BackendVerifier::new(roots.iter().map(set).collect(), names, algorithms)
    }

    fn verify(verifier: &BackendVerifier, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let name = ServerName::try_from("shop.example").unwrap();
        verifier.verify_server_cert(leaf, &[], &name, &[], now).map(drop)
    }

    #[test]
    fn a_certificate_has_the_server_name_or_one_of_the_subject_names() {
        let authority = authority();
        for (has, names, want) in [
            (&["shop.example"][..], &[][..], true),
            (&["other.example"], &[], false),
            (&[SHOP], &[], false),
            (&[], &[], false),
            // Subject names take the place of the server name.
            (&["shop.example"], &["other.example"], false),
            (&["other.example"], &["other.example"], true),
            (&["*.b.example"], &["a.b.example"], true),
            (&["a.b.example"], &["*.b.example"], true),
            (&["*.b.example"], &["*.b.example"], true),
            (&["A.B.example"], &["*.b.example"], true),
            (&["c.a.b.example"], &["*.b.example"], false),
            (&["b.example"], &["*.b.example"], false),
            (&["shop.example"], &[SHOP], false),
            (&[SHOP], &[SHOP], true),
            (&["shop.example", SHOP], &["other.example", SHOP], true),
            (&["spiffe://shop.example/web/"], &[SHOP], false),
            (&["spiffe://SHOP.example/web"], &[SHOP], false),
            (&["spiffe://shop.example/we"], &[SHOP], false),
        ] {
            let leaf = leaf(&authority, has);
            let verified = verify(&verifier(&[&authority], names), &leaf);
            assert_eq!(verified.is_ok(), want, "{has:?} as {names:?}: {verified:?}");
        }
        let error = verify(&verifier(&[&authority], &[SHOP, "a.example"]), &leaf(&authority, &["b.example"]));
        let want = "none of the subjectAltNames spiffe://shop.example/web, a.example";
        assert!(error.unwrap_err().to_string().contains(want));
    }

    #[test]
    fn a_certificate_has_to_come_from_one_of_the_authorities() {
        let (ours, theirs) = (authority(), authority());
        let leaf = leaf(&ours, &["shop.example", SHOP]);
        for names in [&[][..], &[SHOP]] {
            assert!(verify(&verifier(&[&theirs, &ours], names), &leaf).is_ok());
            assert!(verify(&verifier(&[&theirs], names), &leaf).is_err());
            assert!(verify(&verifier(&[], names), &leaf).is_err());
        }
    }

    #[test]
    fn an_expired_certificate_is_refused_whatever_its_names() {
        let authority = authority();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![san("shop.example"), san(SHOP)];
        params.not_after = date_time_ymd(2020, 1, 1);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        for names in [&[][..], &[SHOP]] {
            assert!(verify(&verifier(&[&authority], names), leaf.der()).is_err());
        }
    }
}
