//! The test certificates, and TLS configurations made of them.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    any_certificate::AnyCertificate,
    case::{Send, folder},
};

/// The configuration of a TLS backend with a certificate; with `client_ca`, it wants one of that authority.
pub fn server(certificate: &str, alpn: &[&str], client_ca: Option<&str>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let mut roots = RootCertStore::empty();
            chain(name).into_iter().for_each(|authority| roots.add(authority).unwrap());
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain(certificate), key(certificate)).unwrap();
    // What a handshake proves is proved on each connection.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The configuration of a client for one request.
pub fn client(send: &Send) -> Arc<ClientConfig> {
    let versions: &[&SupportedProtocolVersion] =
        if send.tls_max.as_deref() == Some("1.2") { &[&TLS12] } else { &[&TLS13, &TLS12] };
    let builder = ClientConfig::builder_with_protocol_versions(versions)
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::offering(&[])));
    let mut config = match &send.cert {
        Some(name) => builder.with_client_auth_cert(chain(name), key(name)).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let default = vec![if send.http == "2" { "h2" } else { "http/1.1" }.to_owned()];
    let alpn = send.alpn.as_ref().unwrap_or(&default);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.enable_sni = send.sni.as_deref() != Some("");
    Arc::new(config)
}

/// The subject of a certificate, as `commonName=alice`.
pub fn subject(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return String::new() };
    let attributes = certificate.subject().iter_attributes().map(|attribute| {
        let name = match attribute.attr_type().to_id_string().as_str() {
            "2.5.4.3" => "commonName".to_owned(),
            "2.5.4.10" => "organizationName".to_owned(),
            other => other.to_owned(),
        };
        format!("{name}={}", attribute.as_str().unwrap_or_default())
    });
    attributes.collect::<Vec<_>>().join(",")
}

/// The common name of its subject.
pub fn common_name(certificate: &CertificateDer<'_>) -> String {
    let subject = subject(certificate);
    subject.split(',').find_map(|part| part.strip_prefix("commonName=")).unwrap_or_default().to_owned()
}

fn chain(name: &str) -> Vec<CertificateDer<'static>> {
    let path = folder().join(format!("pki/{name}.crt"));
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

fn key(name: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(folder().join(format!("pki/{name}.key"))).unwrap()
}
