//! Listeners that are stale, and what becomes stale with them.

use std::collections::BTreeSet;

use super::{Index, units::Unit};
use crate::{ir::ObjectKey, kinds::Kind, translate::Reader};

/// The Ingresses whose hosts were translated.
#[derive(Debug)]
pub(super) enum RenewedIngresses {
    All,
    These(BTreeSet<ObjectKey>),
}

impl Index {
    /// Translates stale listeners and hosts of Ingresses, and marks what reads them as stale. Returns the Ingresses whose
    /// hosts it translated.
    pub(super) fn renew_stale_listeners(&mut self) -> RenewedIngresses {
        let stale = &self.units.stale;
        if stale.listeners.is_empty() && stale.ingresses.is_empty() && !stale.are_ingress_hosts_stale {
            return RenewedIngresses::These(BTreeSet::new());
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
        let ingresses = std::mem::take(&mut units.stale.ingresses);
        let are_all_stale = std::mem::take(&mut units.stale.are_ingress_hosts_stale);
        if are_all_stale || !ingresses.is_empty() {
            let changed = (!are_all_stale).then_some(&ingresses);
            let changes = listeners.translate_ingresses(&reader, pools, changed);
            match changes.are_all {
                true => units.record(Unit::IngressHosts, &reader),
                // What they have in common has been recorded.
                false => drop(reader.take_noted()),
            }
            for (ingress, reads) in changes.reads {
                units.record_hosts_of(ingress, reads);
            }
            changes.facts.iter().for_each(|fact| units.change(fact));
        }
        let changes = listeners.finish(&reader);
        changes.facts.iter().for_each(|fact| units.change(fact));
        for (before, now) in &changes.policies {
            routes.use_policies(before, now, units);
        }
        self.is_desired_new |= changes.dedicated;
        if are_all_stale { RenewedIngresses::All } else { RenewedIngresses::These(ingresses) }
    }
}
