//! TLS that ends at an echo backend.

use std::sync::Arc;

use anyhow::Context;
use portcullis_tls::{Certificate, ClientAuth, Termination};
use rustls::ServerConfig;

/// TLS with a certificate and a key in PEM, for HTTP/2 and HTTP/1.
///
/// # Errors
/// Where they cannot be read or do not fit; see [`portcullis_tls::CertificateError`].
pub fn from_pem(chain: &[u8], key: &[u8]) -> anyhow::Result<Arc<ServerConfig>> {
    let certificate = Certificate::from_pem(chain, key)?;
    let resolver = Termination::new(vec![Arc::new(certificate)], ClientAuth::Unasked);
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS with a certificate of its own making, for these names.
///
/// # Errors
/// Where a name cannot stand in a certificate.
pub fn self_signed(names: &[String]) -> anyhow::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(names).context("a self-signed certificate")?;
    from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
}
