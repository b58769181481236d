//! Certificates and the clients that look at them.

use std::{net::SocketAddr, sync::Arc};

use portcullis_routing::{HostMap, HostPattern, PortKey};
use portcullis_tls::{Certificate, Certificates, ClientAuth, PortCertificates, Termination};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{ClientConfig, SupportedProtocolVersion, crypto::ring, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{any_certificate::AnyCertificate, client::connect, within};

const RSA: &str = include_str!("../../../tls/testdata/rsa.pkcs8.pem");

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Rsa,
    Ecdsa,
}

/// A certificate for these names, signed by itself.
pub fn certificate(key: Key, names: &[&str]) -> Arc<Certificate> {
    let pair = match key {
        Key::Rsa => KeyPair::from_pem(RSA).unwrap(),
        Key::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
    };
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let chain = CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
    Arc::new(Certificate::from_pem(chain.pem().as_bytes(), pair.serialize_pem().as_bytes()).unwrap())
}

/// The certificates of one port: for each listener's hostname, those that end TLS there.
pub fn on(port: u16, listeners: &[(&str, &[&Arc<Certificate>])]) -> Certificates {
    let mut map = HostMap::default();
    for (host, certificates) in listeners {
        let certificates = certificates.iter().map(|c| Arc::clone(c)).collect();
        map.insert(
            HostPattern::parse(host).unwrap(),
            Arc::new(Termination::new(certificates, ClientAuth::Unasked)),
        );
    }
    let mut all = Certificates::default();
    all.ports.insert(PortKey::tcp(port), Arc::new(PortCertificates { listeners: map }));
    all
}

/// A client of these versions and protocols.
pub fn client(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::offering(&[])))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

/// A client of both versions, without ALPN.
pub fn any_client() -> Arc<ClientConfig> {
    Arc::new(client(rustls::ALL_VERSIONS, &[]))
}

pub async fn tls(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let tcp = connect(address).await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(TlsConnector::from(Arc::clone(config)).connect(name, tcp)).await
}

/// Whether this is the certificate that the client was shown.
pub fn shows(stream: &TlsStream<tokio::net::TcpStream>, certificate: &Certificate) -> bool {
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    shown[0] == certificate.key.cert[0]
}
