//! Which namespaces may serve which hostnames at the shared addresses (`docs/settings.md`).

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::HostPattern;

use super::{HostOwners, Reader};
use crate::{
    facts::Fact,
    ir::{
        Meta, ObjectKey,
        gateway::{AllowedNamespaces, LabelSelector},
        live_settings::{HostnameGrant, SharedEntrance},
    },
};

/// Why a namespace may not serve a hostname at the shared addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRefusal {
    #[error(
        "namespace {namespace} is not allowed to serve {} at the shared addresses (setting shared-hostnames)",
        super::listeners::host_text(hostname)
    )]
    NotPermitted { namespace: Box<str>, hostname: HostPattern },
    #[error(
        "hostname {hostname} belongs to namespace {}, where {owner} was the first to serve it (setting \
         first-namespace-owns)",
        owner.namespace
    )]
    Owned { hostname: Arc<str>, owner: ObjectKey },
    #[error(
        "{pattern} covers hostname {hostname}, which belongs to namespace {}, where {owner} was the first to serve it \
         (setting first-namespace-owns)",
        owner.namespace
    )]
    OwnedBelow { pattern: HostPattern, hostname: Arc<str>, owner: ObjectKey },
}

/// An object that would take a hostname: a Gateway, a ListenerSet or an Ingress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taker<'a> {
    pub(crate) key: &'a ObjectKey,
    /// The time that counts as its age.
    pub(crate) since: i64,
}

impl<'a> From<&'a Meta> for Taker<'a> {
    fn from(meta: &'a Meta) -> Self {
        Self { key: &meta.key, since: meta.created }
    }
}

impl<'a> Reader<'a> {
    /// The operator's limits on the shared addresses.
    pub(crate) fn entrance(&self) -> &'a SharedEntrance {
        self.note_once(&Fact::Entrance);
        &self.settings.live.entrance
    }

    /// Whether a selector selects a namespace.
    pub(crate) fn selects(&self, selector: &LabelSelector, namespace: &str) -> bool {
        match self.namespace(namespace) {
            Some(found) => selector.matches(&found.labels),
            // A folder need not contain the Namespace object. The API server would give it this label.
            None => {
                selector.matches(&BTreeMap::from([("kubernetes.io/metadata.name".into(), namespace.into())]))
            }
        }
    }

    /// Whether an object of namespace `owner` allows routes or ListenerSets of `namespace`.
    pub(crate) fn allows(&self, allowed: &AllowedNamespaces, owner: &str, namespace: &str) -> bool {
        match allowed {
            AllowedNamespaces::Same => namespace == owner,
            AllowedNamespaces::All => true,
            AllowedNamespaces::None => false,
            AllowedNamespaces::Selector(selector) => self.selects(selector, namespace),
        }
    }

    /// Whether the operator permits a namespace to serve a hostname, and no other namespace owns it.
    pub(crate) fn may_serve(&self, namespace: &str, hostname: &HostPattern) -> Result<(), HostRefusal> {
        self.permits(namespace, hostname)?;
        let HostPattern::Exact(name) = hostname else { return Ok(()) };
        match self.owner(name) {
            Some((_, owner)) if *owner.namespace != *namespace => {
                Err(HostRefusal::Owned { hostname: Arc::clone(name), owner: owner.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the operator permits a namespace to serve a hostname: of the patterns that cover it, the most specific
    /// one decides.
    pub(crate) fn permits(&self, namespace: &str, hostname: &HostPattern) -> Result<(), HostRefusal> {
        let Some(grants) = &self.entrance().hostnames else { return Ok(()) };
        let covering =
            |grant: &'a HostnameGrant| grant.hostnames.iter().filter(|pattern| pattern.covers(hostname));
        let decisive = grants.iter().flat_map(covering).max_by_key(|pattern| pattern.specificity());
        let grants_it = |grant: &HostnameGrant| {
            decisive.is_some_and(|pattern| grant.hostnames.contains(pattern))
                && grant.namespaces.as_ref().is_some_and(|selector| self.selects(selector, namespace))
        };
        match grants.iter().any(grants_it) {
            true => Ok(()),
            false => {
                Err(HostRefusal::NotPermitted { namespace: namespace.into(), hostname: hostname.clone() })
            }
        }
    }

    /// Whether a listener or an Ingress may have a hostname. It may not if it would take the hostname's requests away
    /// from an older object of another namespace, unless that object is a route which attaches to the listener's
    /// Gateway or ListenerSet.
    pub(crate) fn may_take(&self, taker: Taker<'_>, hostname: &HostPattern) -> Result<(), HostRefusal> {
        let namespace = &*taker.key.namespace;
        self.permits(namespace, hostname)?;
        let is_others = |since: i64, owner: &ObjectKey| {
            since < taker.since
                && *owner.namespace != *namespace
                && !self.owners.is_some_and(|owners| owners.attaches(owner, taker.key))
        };
        match hostname {
            HostPattern::Any => Ok(()),
            HostPattern::Exact(name) => match self.owner(name) {
                Some((since, owner)) if is_others(since, owner) => {
                    Err(HostRefusal::Owned { hostname: Arc::clone(name), owner: owner.clone() })
                }
                Some(_) | None => Ok(()),
            },
            HostPattern::Wildcard(suffix) | HostPattern::WildcardLabel(suffix) => {
                let Some(owners) = self.owners_below(suffix) else { return Ok(()) };
                match owners.in_the_way(taker, hostname) {
                    Some((host, owner)) => Err(HostRefusal::OwnedBelow {
                        pattern: hostname.clone(),
                        hostname: Arc::clone(host),
                        owner: owner.clone(),
                    }),
                    None => Ok(()),
                }
            }
        }
    }

    fn owners_below(&self, name: &Arc<str>) -> Option<&'a HostOwners> {
        if !self.entrance().first_namespace_owns {
            return None;
        }
        self.note(|| Fact::OwnersBelow(Arc::clone(name)));
        self.owners
    }

    /// The oldest object that serves a hostname, and when it was created; `None` if hostnames have no owners.
    pub(crate) fn owner(&self, hostname: &Arc<str>) -> Option<(i64, &'a ObjectKey)> {
        if !self.entrance().first_namespace_owns {
            return None;
        }
        self.note(|| Fact::OwnerOf(Arc::clone(hostname)));
        self.owners?.first(hostname)
    }
}
