//! The settings of the controller that `run`, `check` and `explain` have in common.

use std::sync::Arc;

use anyhow::Context as _;
use portcullis_controller::Settings;
use portcullis_tls::Certificate;

use crate::cli::ObjectArgs;

/// Those that the flags give. Ingress hosts without a certificate of their own have a self-signed one.
pub(crate) fn of(args: &ObjectArgs) -> anyhow::Result<Settings> {
    let certificate = self_signed().context("the default certificate")?;
    Ok(Settings { fallback_certificate: Some(Arc::new(certificate)), ..args.settings() })
}

/// The certificate for hosts without one of their own: it encrypts, and no client trusts it.
fn self_signed() -> anyhow::Result<Certificate> {
    let mut params = rcgen::CertificateParams::new(["default.portcullis.invalid".to_owned()])?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Portcullis default certificate");
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Certificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())?)
}
