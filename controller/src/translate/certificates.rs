//! Certificates out of Secrets.

use std::sync::Arc;

use portcullis_tls::{Certificate, CertificateError};

use super::{Reader, grants, memo::Memo};
use crate::{
    ir::{Kind, ObjectKey, Secret, gateway::Reference},
    snapshot::Snapshot,
};

/// Certificates that were read, by their Secret: reading one costs more than all the rest of a listener.
#[derive(Debug, Default)]
pub struct CertificatePool {
    read: Memo<Secret, Read>,
}

type Read = Result<Arc<Certificate>, CertificateError>;

/// Why a listener or Ingress cannot show the certificate that it refers to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefError {
    #[error("{0} is not a supported kind of certificate; use a Secret")]
    InvalidKind(Box<str>),
    #[error("no ReferenceGrant in namespace {namespace} allows a reference to Secret {name}")]
    NotPermitted { namespace: Box<str>, name: Box<str> },
    #[error("{0} not found")]
    NotFound(ObjectKey),
    /// It is being fetched.
    #[error("{0} has not been read yet")]
    Pending(ObjectKey),
    #[error("{0} has no {1}")]
    Missing(ObjectKey, &'static str),
    #[error(
        "its namespace already uses certificates from {0} Secrets (limit max-certificates-per-namespace)"
    )]
    OverLimit(usize),
    #[error("{0}: {1}")]
    Invalid(ObjectKey, CertificateError),
}

impl CertificateRefError {
    /// The reason of a listener's `ResolvedRefs`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotPermitted { .. } | Self::OverLimit(_) => "RefNotPermitted",
            Self::Pending(_) => "Pending",
            Self::InvalidKind(_) | Self::NotFound(_) | Self::Missing(..) | Self::Invalid(..) => {
                "InvalidCertificateRef"
            }
        }
    }

    /// Whether there is no such object.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether it is not known yet if there is anything wrong.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }
}

impl CertificatePool {
    /// The certificate that a listener of `owner`, a Gateway or a ListenerSet, refers to, or an XBackend.
    ///
    /// # Errors
    /// [`CertificateRefError`]; whether the reference is permitted comes before whether there is such a Secret, so
    /// that nobody learns of Secrets in other namespaces.
    pub fn resolve(
        &self,
        reader: &Reader<'_>,
        owner: &ObjectKey,
        reference: &Reference,
    ) -> Result<Arc<Certificate>, CertificateRefError> {
        if !reference.group.is_empty() || &*reference.kind != "Secret" {
            let kind = match &*reference.group {
                "" => reference.kind.to_string(),
                group => format!("{group}/{}", reference.kind),
            };
            return Err(CertificateRefError::InvalidKind(kind.into()));
        }
        let namespace = &*owner.namespace;
        let target = reference.namespace.as_deref().unwrap_or(namespace);
        let from =
            grants::From { group: owner.kind.resource().group(), kind: owner.kind.as_str(), namespace };
        if !grants::permitted(reader, from, "Secret", target, &reference.name) {
            return Err(CertificateRefError::NotPermitted {
                namespace: target.into(),
                name: reference.name.clone(),
            });
        }
        self.read(reader, &ObjectKey::new(Kind::Secret, target, &reference.name))
    }

    /// The certificate in a Secret.
    ///
    /// # Errors
    /// [`CertificateRefError`] where there is none that can be used.
    pub fn read(
        &self,
        reader: &Reader<'_>,
        key: &ObjectKey,
    ) -> Result<Arc<Certificate>, CertificateRefError> {
        let missing = || match reader.is_pending(key) {
            true => CertificateRefError::Pending(key.clone()),
            false => CertificateRefError::NotFound(key.clone()),
        };
        let secret = reader.secret(key).ok_or_else(missing)?;
        let part = |name| secret.data.get(name).ok_or(CertificateRefError::Missing(key.clone(), name));
        let (chain, private) = (part("tls.crt")?, part("tls.key")?);
        let origin = || format!("{}/{}", key.namespace, key.name);
        let read = || Certificate::from_pem(chain, private).map(|read| Arc::new(read.with_origin(origin())));
        let certificate = self.read.get(key, secret, |known| known.data == secret.data, read);
        certificate.map_err(|error| CertificateRefError::Invalid(key.clone(), error))
    }

    /// Forgets the certificates of Secrets that are gone.
    pub fn forget_unused(&self, snapshot: &Snapshot) {
        self.read.retain(|key| snapshot.secrets.contains_key(key));
    }
}
