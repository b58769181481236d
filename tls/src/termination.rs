//! Which certificate a client is shown.

use std::{cmp::Reverse, sync::Arc};

use portcullis_routing::{ClientAuth, HostPattern};
use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{Certificate, CipherPolicy, PortCertificates};

/// How TLS ends at one listener.
#[derive(Debug)]
pub struct Termination {
    /// At least one, in the order of the listener's references; the first one is shown where no name fits.
    pub certificates: Vec<Arc<Certificate>>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// The cipher suites.
    pub ciphers: CipherPolicy,
}

/// How well a certificate suits a client; the greatest is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Suitability {
    /// Whether its key can sign for this client at all.
    signs: bool,
    name: NameFit,
    /// Signing with RSA costs ten times as much. Asked only where the name fits: without a fitting name it is the
    /// first certificate that is shown.
    not_rsa: bool,
    position: Reverse<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NameFit {
    None,
    Wildcard,
    Exact,
}

impl PortCertificates {
    /// The listener that takes a connection, by the server name that the client sent (lower case); the one for
    /// every host where it sent none. `None`: the handshake is refused.
    pub fn termination(&self, server_name: Option<&str>) -> Option<&Arc<Termination>> {
        match server_name {
            Some(name) => self.listeners.most_specific(without_last_dot(name)),
            None => self.listeners.get(&HostPattern::Any),
        }
    }
}

impl Termination {
    /// With the cipher suites that are offered everywhere.
    pub fn new(certificates: Vec<Arc<Certificate>>, client_auth: ClientAuth) -> Self {
        Self { certificates, client_auth, ciphers: CipherPolicy::default() }
    }

    /// The certificate for a client: the best name (exact, then wildcard, then the first certificate of all), and
    /// among equals ECDSA or Ed25519 before RSA, always one whose key can sign with a scheme of the client's.
    ///
    /// `None` where there is no certificate. Where none can sign for this client, the best name is handed out, so
    /// that rustls ends the handshake with the alert that says so.
    pub fn choose(
        &self,
        server_name: Option<&str>,
        signature_schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let server_name = server_name.map(without_last_dot);
        let suitability = |(position, certificate): &(usize, &Arc<Certificate>)| {
            let name = certificate.fit(server_name);
            Suitability {
                signs: certificate.signs(signature_schemes),
                name,
                not_rsa: name != NameFit::None && !certificate.is_rsa(),
                position: Reverse(*position),
            }
        };
        self.certificates.iter().enumerate().max_by_key(suitability).map(|(_, certificate)| &certificate.key)
    }
}

impl Termination {
    /// The certificate for a host, whatever its clients support: one with its name, one with a wildcard for it, the first.
    pub fn for_host(&self, host: &HostPattern) -> Option<&Arc<Certificate>> {
        let named = |certificate: &&Arc<Certificate>| certificate.names.contains(host);
        let covered = |certificate: &&Arc<Certificate>| match host {
            HostPattern::Exact(name) => certificate.fit(Some(name)) != NameFit::None,
            HostPattern::Wildcard(_) | HostPattern::WildcardLabel(_) | HostPattern::Any => false,
        };
        let all = || self.certificates.iter();
        all().find(named).or_else(|| all().find(covered)).or_else(|| all().next())
    }
}

impl ResolvesServerCert for Termination {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let server_name = client_hello.server_name().map(str::to_ascii_lowercase);
        self.choose(server_name.as_deref(), client_hello.signature_schemes()).cloned()
    }
}

impl Certificate {
    fn fit(&self, server_name: Option<&str>) -> NameFit {
        let Some(server_name) = server_name else { return NameFit::None };
        let fits = self.names.iter().filter(|pattern| pattern.matches(server_name));
        fits.map(|pattern| match pattern {
            HostPattern::Exact(_) => NameFit::Exact,
            HostPattern::Wildcard(_) | HostPattern::WildcardLabel(_) => NameFit::Wildcard,
            HostPattern::Any => NameFit::None,
        })
        .max()
        .unwrap_or(NameFit::None)
    }
}

/// A server name has none (RFC 6066, section 3), but clients send it.
fn without_last_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use portcullis_routing::HostMap;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519, RSA_PSS_SHA256};

    use super::*;

    const RSA: &str = include_str!("../testdata/rsa.pkcs8.pem");
    const P256: &str = include_str!("../testdata/p256.pkcs8.pem");
    const ALL: &[SignatureScheme] = &[RSA_PSS_SHA256, ECDSA_NISTP256_SHA256];

    #[test]
    fn the_best_name_is_shown_then_the_cheaper_key() {
        let all = [
            ("first", RSA, "first.example.org"),
            ("wild rsa", RSA, "*.example.com"),
            ("wild ecdsa", P256, "*.example.com"),
            ("exact rsa", RSA, "a.example.com"),
            ("pair ecdsa", P256, "pair.example.com"),
            ("pair rsa", RSA, "pair.example.com"),
            ("again", P256, "pair.example.com"),
        ];
        for (server_name, schemes, want) in [
            (Some("first.example.org"), ALL, "first"),
            (Some("b.example.com"), ALL, "wild ecdsa"),
            (Some("b.example.com"), &[RSA_PSS_SHA256], "wild rsa"),
            (Some("a.example.com"), ALL, "exact rsa"),
            (Some("a.example.com."), ALL, "exact rsa"),
            (Some("a.example.com"), &[ECDSA_NISTP256_SHA256], "wild ecdsa"),
            (Some("pair.example.com"), ALL, "pair ecdsa"),
            (Some("pair.example.com"), &[RSA_PSS_SHA256], "pair rsa"),
            (Some("b.a.example.com"), ALL, "first"),
            (Some("other.example.net"), ALL, "first"),
            (None, ALL, "first"),
            (None, &[ECDSA_NISTP256_SHA256], "wild ecdsa"),
            (Some("a.example.com"), &[ED25519], "exact rsa"),
        ] {
            assert_eq!(shown(&all, server_name, schemes), want, "{server_name:?} with {schemes:?}");
        }
    }

    #[test]
    fn a_host_has_the_certificate_that_names_it() {
        let all = [
            ("first", RSA, "first.example.org"),
            ("wild", RSA, "*.example.com"),
            ("exact", P256, "a.example.com"),
        ];
        let certificates = all.iter().map(|(_, key, name)| certificate(key, name)).collect();
        let termination = Termination::new(certificates, ClientAuth::Unasked);
        for (host, want) in [
            ("a.example.com", "exact"),
            ("b.example.com", "wild"),
            ("*.example.com", "wild"),
            ("other.example.net", "first"),
        ] {
            let found = termination.for_host(&HostPattern::parse_ingress(host).unwrap()).unwrap();
            let index = termination.certificates.iter().position(|c| Arc::ptr_eq(c, found)).unwrap();
            assert_eq!(all[index].0, want, "{host}");
        }
    }

    #[test]
    fn without_certificates_nothing_is_shown() {
        assert!(
            Termination::new(Vec::new(), ClientAuth::Unasked).choose(Some("a.example.com"), ALL).is_none()
        );
    }

    #[test]
    fn the_most_specific_listener_takes_a_server_name() {
        let listener = || Arc::new(Termination::new(Vec::new(), ClientAuth::Unasked));
        let (any, wild, exact) = (listener(), listener(), listener());
        let mut listeners = HostMap::default();
        for (host, termination) in [("", &any), ("*.example.com", &wild), ("a.example.com", &exact)] {
            listeners.insert(HostPattern::parse(host).unwrap(), Arc::clone(termination));
        }
        let port = PortCertificates { listeners };
        for (server_name, want) in [
            (Some("a.example.com"), &exact),
            (Some("a.example.com."), &exact),
            (Some("b.c.example.com"), &wild),
            (Some("example.com"), &any),
            (None, &any),
        ] {
            assert!(Arc::ptr_eq(port.termination(server_name).unwrap(), want), "{server_name:?}");
        }
    }

    #[test]
    fn a_server_name_of_no_listener_is_refused() {
        let mut port = PortCertificates::default();
        let exact = Arc::new(Termination::new(Vec::new(), ClientAuth::Unasked));
        port.listeners.insert(HostPattern::parse("a.example.com").unwrap(), exact);
        for server_name in [Some("b.example.com"), None] {
            assert!(port.termination(server_name).is_none(), "{server_name:?}");
        }
    }

    /// The label of the certificate that is shown.
    fn shown<'l>(
        all: &[(&'l str, &str, &str)],
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> &'l str {
        let certificates = all.iter().map(|(_, key, name)| certificate(key, name)).collect();
        let termination = Termination::new(certificates, ClientAuth::Unasked);
        let key = termination.choose(server_name, schemes).unwrap();
        let index = termination.certificates.iter().position(|c| Arc::ptr_eq(&c.key, key)).unwrap();
        all[index].0
    }

    fn certificate(key: &str, name: &str) -> Arc<Certificate> {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let chain = params.self_signed(&KeyPair::from_pem(key).unwrap()).unwrap().pem();
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap())
    }
}
