//! Certificate authorities out of ConfigMaps and ClusterTrustBundles, for backends' certificates and for clients'.

use portcullis_routing::TlsMaterial;
use portcullis_tls::{Authorities, AuthoritiesError};

use super::{Reader, grants, memo::Memo};
use crate::{
    ir::{ClusterTrustBundle, ConfigMap, Kind, ObjectKey, Secret, gateway::Reference},
    snapshot::Snapshot,
};

/// Authorities that were read, by the object that holds them: each is read once, however many others refer to it.
#[derive(Debug, Default)]
pub struct AuthoritiesPool {
    config_maps: Memo<ConfigMap, Read>,
    trust_bundles: Memo<ClusterTrustBundle, Read>,
    secrets: Memo<Secret, Read>,
}

type Read = Result<Authorities, AuthoritiesError>;

/// The key of a ConfigMap that holds the certificates.
const CA: &str = "ca.crt";
/// The key of a Secret with certificates that its authorities have revoked.
const REVOKED: &str = "ca.crl";

/// Why certificates cannot be verified against what a reference names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityRefError {
    #[error("{0} is not a supported kind of certificate authority; use a ConfigMap or a ClusterTrustBundle")]
    InvalidKind(Box<str>),
    #[error("no ReferenceGrant in namespace {namespace} allows a reference to ConfigMap {name}")]
    NotPermitted { namespace: Box<str>, name: Box<str> },
    #[error("{0} not found")]
    NotFound(ObjectKey),
    #[error(
        "{0} is not read: ConfigMaps are disabled (--no-config-maps, or readConfigMaps: false of the chart)"
    )]
    NotRead(ObjectKey),
    /// It is being fetched.
    #[error("{0} has not been read yet")]
    Pending(ObjectKey),
    #[error("{0} has no {CA}")]
    Missing(ObjectKey),
    #[error("{CA} of {0}: {1}")]
    Invalid(ObjectKey, AuthoritiesError),
    #[error("{0}: {1}")]
    InvalidBundle(ObjectKey, AuthoritiesError),
    #[error("{0} has {REVOKED}, but certificate revocation lists are not supported")]
    Revocation(ObjectKey),
    #[error("a reference to ClusterTrustBundle {0} must have no namespace")]
    NotNamespaced(Box<str>),
}

impl AuthorityRefError {
    /// The reason of a policy's `ResolvedRefs`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidKind(_) => "InvalidKind",
            Self::NotPermitted { .. } => "RefNotPermitted",
            Self::Pending(_) => "Pending",
            Self::NotFound(_)
            | Self::NotRead(_)
            | Self::Missing(_)
            | Self::Invalid(..)
            | Self::InvalidBundle(..)
            | Self::Revocation(_)
            | Self::NotNamespaced(_) => "InvalidCACertificateRef",
        }
    }

    /// The reason of a listener's `ResolvedRefs`.
    pub fn listener_reason(&self) -> &'static str {
        match self {
            Self::InvalidKind(_) => "InvalidCACertificateKind",
            other => other.reason(),
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

impl AuthoritiesPool {
    /// Returns the authorities that a Gateway refers to, in its own namespace or another one.
    ///
    /// # Errors
    /// [`AuthorityRefError`] if there are none that can be used. Whether the reference is permitted comes before whether
    /// there is such a ConfigMap, so that nobody learns of ConfigMaps in other namespaces. A ClusterTrustBundle is
    /// readable for everybody, so nobody has to permit it (GEP-5075).
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
        if is_config_map(reference) {
            self.of_config_map(reader, ObjectKey::new(Kind::ConfigMap, namespace, name))
        } else if is_trust_bundle(reference) {
            self.of_trust_bundle(reader, reference)
        } else {
            let named = if group.is_empty() { kind.clone() } else { format!("{group}/{kind}").into() };
            Err(AuthorityRefError::InvalidKind(named))
        }
    }

    fn of_config_map(&self, reader: &Reader<'_>, key: ObjectKey) -> Result<TlsMaterial, AuthorityRefError> {
        if !reader.settings().config_maps {
            return Err(AuthorityRefError::NotRead(key));
        }
        let missing = || match reader.is_pending(&key) {
            true => AuthorityRefError::Pending(key.clone()),
            false => AuthorityRefError::NotFound(key.clone()),
        };
        let map = reader.config_map(&key).ok_or_else(missing)?;
        // An empty text is as good as none.
        let text = map.data.get(CA).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| AuthorityRefError::Missing(key.clone()))?;
        let is_same = |known: &ConfigMap| known.data.get(CA) == Some(text);
        let authorities = self.config_maps.get(&key, map, is_same, || Authorities::from_pem(text.as_bytes()));
        let material = authorities.as_ref().map(Authorities::to_material);
        material.map_err(|error| AuthorityRefError::Invalid(key, error.clone()))
    }

    /// The authorities of a Secret, as `auth-tls-secret` names one.
    ///
    /// # Errors
    /// [`AuthorityRefError`] if there are none that can be used.
    pub(super) fn of_secret(
        &self,
        reader: &Reader<'_>,
        key: &ObjectKey,
    ) -> Result<TlsMaterial, AuthorityRefError> {
        let missing = || match reader.is_pending(key) {
            true => AuthorityRefError::Pending(key.clone()),
            false => AuthorityRefError::NotFound(key.clone()),
        };
        let secret = reader.secret(key).ok_or_else(missing)?;
        let text = secret.data.get(CA).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| AuthorityRefError::Missing(key.clone()))?;
        if secret.data.contains_key(REVOKED) {
            return Err(AuthorityRefError::Revocation(key.clone()));
        }
        let is_same = |known: &Secret| known.data.get(CA) == Some(text);
        let authorities = self.secrets.get(key, secret, is_same, || Authorities::from_pem(text));
        let material = authorities.as_ref().map(Authorities::to_material);
        material.map_err(|error| AuthorityRefError::Invalid(key.clone(), error.clone()))
    }

    fn of_trust_bundle(
        &self,
        reader: &Reader<'_>,
        Reference { namespace, name, .. }: &Reference,
    ) -> Result<TlsMaterial, AuthorityRefError> {
        if namespace.is_some() {
            return Err(AuthorityRefError::NotNamespaced(name.clone()));
        }
        let key = ObjectKey::new(Kind::ClusterTrustBundle, "", name);
        let bundle = reader.trust_bundle(&key).ok_or_else(|| AuthorityRefError::NotFound(key.clone()))?;
        let is_same = |known: &ClusterTrustBundle| known.certificates == bundle.certificates;
        let read = || Authorities::from_pem(bundle.certificates.as_bytes());
        let authorities = self.trust_bundles.get(&key, bundle, is_same, read);
        let material = authorities.as_ref().map(Authorities::to_material);
        material.map_err(|error| AuthorityRefError::InvalidBundle(key, error.clone()))
    }

    /// Forgets the authorities of objects that are gone.
    pub fn forget_unused(&self, snapshot: &Snapshot) {
        self.config_maps.retain(|key| snapshot.config_maps.contains_key(key));
        self.trust_bundles.retain(|key| snapshot.trust_bundles.contains_key(key));
        self.secrets.retain(|key| snapshot.secrets.contains_key(key));
    }
}

fn is_config_map(reference: &Reference) -> bool {
    reference.group.is_empty() && &*reference.kind == Kind::ConfigMap.as_str()
}

fn is_trust_bundle(reference: &Reference) -> bool {
    let resource = Kind::ClusterTrustBundle.resource();
    &*reference.group == resource.group() && &*reference.kind == resource.name
}
