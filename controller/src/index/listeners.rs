//! Listeners that are stale, and what becomes stale with them.

use super::{Index, units::Unit};
use crate::{kinds::Kind, translate::Reader};

impl Index {
    /// Translates stale listeners and hosts of Ingresses, and marks what reads them as stale. Returns whether it
    /// translated the hosts of Ingresses.
    pub(super) fn renew_stale_listeners(&mut self) -> bool {
        if self.units.stale.listeners.is_empty() && !self.units.stale.are_ingress_hosts_stale {
            return false;
        }
        let reader = Reader::new(&self.snapshot, &self.settings, None)
            .with_owners(self.owners.as_ref())
            .with_policies(&self.policies)
            .with_fetched(self.fetched.as_ref())
            .noting();
        let Self { listeners, pools, units, routes, .. } = self;
        self.is_desired_new |= !self.is_translated;
        // In the order of keys, a Gateway comes before the ListenerSets that become stale with it.
        while let Some(key) = units.stale.listeners.pop_first() {
            let changed = listeners.translate(&reader, pools, &key);
            self.is_desired_new |= key.kind == Kind::Gateway;
            units.record(Unit::Listeners(key), &reader);
            changed.iter().for_each(|fact| units.change(fact));
        }
        listeners.resolve(&reader).iter().for_each(|fact| units.change(fact));
        // Each object notes these reads again when it is translated.
        reader.take_noted();
        let are_hosts_stale = std::mem::take(&mut units.stale.are_ingress_hosts_stale);
        if are_hosts_stale {
            let changed = listeners.translate_ingresses(&reader, pools);
            units.record(Unit::IngressHosts, &reader);
            changed.iter().for_each(|fact| units.change(fact));
        }
        let changes = listeners.finish(&reader);
        changes.facts.iter().for_each(|fact| units.change(fact));
        for (before, now) in &changes.policies {
            routes.use_policies(before, now, units);
        }
        self.is_desired_new |= changes.dedicated;
        are_hosts_stale
    }
}
