//! Which Ingresses name which hosts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use foldhash::fast::RandomState;
use portcullis_routing::HostPattern;

use crate::ir::{Ingress, ObjectKey};

/// The Ingresses that are ours and the hosts that they serve, as they were translated last.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    by_host: BTreeMap<HostPattern, Box<[ObjectKey]>>,
    by_ingress: HashMap<ObjectKey, Box<[HostPattern]>, RandomState>,
}

impl Named {
    pub(super) fn of(ours: &[Arc<Ingress>]) -> Self {
        let mut named = Self::default();
        let mut by_host: BTreeMap<HostPattern, Vec<ObjectKey>> = BTreeMap::new();
        for ingress in ours {
            let (key, hosts) = (&ingress.meta.key, ingress.served_hosts());
            for host in &hosts {
                by_host.entry(host.clone()).or_default().push(key.clone());
            }
            named.by_ingress.insert(key.clone(), hosts.into_iter().collect());
        }
        named.by_host = by_host.into_iter().map(|(host, ingresses)| (host, ingresses.into())).collect();
        named
    }

    /// Returns whether no Ingress is ours.
    pub(super) fn is_empty(&self) -> bool {
        self.by_ingress.is_empty()
    }

    /// Sets the hosts of an Ingress; `None` if it is not ours.
    pub(super) fn set(&mut self, key: &ObjectKey, hosts: Option<BTreeSet<HostPattern>>) {
        if hosts.as_ref().is_some_and(|hosts| hosts.iter().eq(self.hosts(key))) {
            return;
        }
        for host in self.by_ingress.remove(key).unwrap_or_default() {
            let Some(ingresses) = self.by_host.get_mut(&host) else { continue };
            *ingresses = ingresses.iter().filter(|other| *other != key).cloned().collect();
            if ingresses.is_empty() {
                self.by_host.remove(&host);
            }
        }
        let Some(hosts) = hosts else { return };
        for host in &hosts {
            let ingresses = self.by_host.entry(host.clone()).or_default();
            *ingresses = ingresses.iter().chain([key]).cloned().collect();
        }
        self.by_ingress.insert(key.clone(), hosts.into_iter().collect());
    }

    /// Returns the Ingresses that are ours.
    pub(super) fn ingresses(&self) -> impl ExactSizeIterator<Item = &ObjectKey> {
        self.by_ingress.keys()
    }

    /// Returns the hosts of an Ingress.
    pub(super) fn hosts(&self, ingress: &ObjectKey) -> &[HostPattern] {
        self.by_ingress.get(ingress).map_or(&[], |hosts| hosts)
    }

    /// Returns the Ingresses of a host.
    pub(super) fn at(&self, host: &HostPattern) -> &[ObjectKey] {
        self.by_host.get(host).map_or(&[], |ingresses| ingresses)
    }

    /// Returns the Ingresses of any of these hosts.
    pub(super) fn at_any<'h>(&self, hosts: impl IntoIterator<Item = &'h HostPattern>) -> BTreeSet<ObjectKey> {
        hosts.into_iter().flat_map(|host| self.at(host)).cloned().collect()
    }
}
