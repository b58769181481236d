//! Certificate authorities out of ConfigMaps, for backends' certificates and for clients'.

use portcullis_routing::TlsMaterial;
use portcullis_tls::{Authorities, AuthoritiesError};

use super::{Reader, grants, memo::Memo};
use crate::{
    ir::{ConfigMap, Kind, ObjectKey, gateway::Reference},
    snapshot::Snapshot,
};

/// Authorities that were read, by their ConfigMap: each is read once, however many objects refer to it.
#[derive(Debug, Default)]
pub struct AuthoritiesPool {
    read: Memo<ConfigMap, Read>,
}

type Read = Result<Authorities, AuthoritiesError>;

/// The key that holds the certificates.
const CA: &str = "ca.crt";

/// Why certificates cannot be verified against what a reference names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityRefError {
    #[error("{0} is not a kind of certificate authority that is served; use a ConfigMap")]
    InvalidKind(Box<str>),
    #[error("no ReferenceGrant in namespace {namespace} allows a reference to ConfigMap {name}")]
    NotPermitted { namespace: Box<str>, name: Box<str> },
    #[error("{0} not found")]
    NotFound(ObjectKey),
    /// It is being fetched.
    #[error("{0} has not been read yet")]
    Pending(ObjectKey),
    #[error("{0} has no {CA}")]
    Missing(ObjectKey),
    #[error("{CA} of {0}: {1}")]
    Invalid(ObjectKey, AuthoritiesError),
}

impl AuthorityRefError {
    /// The reason of a policy's `ResolvedRefs`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidKind(_) => "InvalidKind",
            Self::NotPermitted { .. } => "RefNotPermitted",
            Self::Pending(_) => "Pending",
            Self::NotFound(_) | Self::Missing(_) | Self::Invalid(..) => "InvalidCACertificateRef",
        }
    }

    /// The reason of a listener's `ResolvedRefs`.
    pub fn listener_reason(&self) -> &'static str {
        match self {
            Self::InvalidKind(_) => "InvalidCACertificateKind",
            other => other.reason(),
        }
    }

    /// Whether it is not known yet if there is anything wrong.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }
}

impl AuthoritiesPool {
    /// Returns the authorities that a Gateway refers to, in its own namespace or another one.
    ///
    /// # Errors
    /// [`AuthorityRefError`] if there are none that can be used. Whether the reference is permitted comes before whether
    /// there is such a ConfigMap, so that nobody learns of ConfigMaps in other namespaces.
    pub fn resolve_for_gateway(
        &self,
        reader: &Reader<'_>,
        gateway: &ObjectKey,
        reference: &Reference,
    ) -> Result<TlsMaterial, AuthorityRefError> {
        let own = &*gateway.namespace;
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        let from = grants::From { group: grants::GATEWAY_GROUP, kind: gateway.kind.as_str(), namespace: own };
        if is_config_map(reference)
            && !grants::permitted(reader, from, "ConfigMap", namespace, &reference.name)
        {
            let name = reference.name.clone();
            return Err(AuthorityRefError::NotPermitted { namespace: namespace.into(), name });
        }
        self.resolve(reader, namespace, reference)
    }

    /// The authorities that an object of a namespace refers to, in that namespace.
    ///
    /// # Errors
    /// [`AuthorityRefError`] if there are none that can be used.
    pub fn resolve(
        &self,
        reader: &Reader<'_>,
        namespace: &str,
        reference: &Reference,
    ) -> Result<TlsMaterial, AuthorityRefError> {
        let Reference { group, kind, namespace: _, name } = reference;
        if !is_config_map(reference) {
            let named = if group.is_empty() { kind.clone() } else { format!("{group}/{kind}").into() };
            return Err(AuthorityRefError::InvalidKind(named));
        }
        let key = ObjectKey::new(Kind::ConfigMap, namespace, name);
        let missing = || match reader.is_pending(&key) {
            true => AuthorityRefError::Pending(key.clone()),
            false => AuthorityRefError::NotFound(key.clone()),
        };
        let map = reader.config_map(&key).ok_or_else(missing)?;
        // An empty text is as good as none.
        let text = map.data.get(CA).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| AuthorityRefError::Missing(key.clone()))?;
        let is_same = |known: &ConfigMap| known.data.get(CA) == Some(text);
        let authorities = self.read.get(&key, map, is_same, || Authorities::from_pem(text.as_bytes()));
        let material = authorities.as_ref().map(Authorities::to_material);
        material.map_err(|error| AuthorityRefError::Invalid(key, error.clone()))
    }

    /// Forgets the authorities of ConfigMaps that are gone.
    pub fn forget_unused(&self, snapshot: &Snapshot) {
        self.read.retain(|key| snapshot.config_maps.contains_key(key));
    }
}

fn is_config_map(reference: &Reference) -> bool {
    reference.group.is_empty() && &*reference.kind == Kind::ConfigMap.as_str()
}
