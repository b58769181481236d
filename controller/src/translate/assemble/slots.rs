//! The host tables of all slots.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{HostMap, HostPattern, HostTable, ListenerId};

use crate::translate::{HostSlot, Owner};

/// The host tables of all slots that have one.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// One listener of a Gateway has thousands of hosts, and they stand here as they stand in the table, which shares
    /// them.
    of_gateways: BTreeMap<Place, HostMap<Arc<HostTable>>>,
    /// Each host of an Ingress is a listener of its own.
    of_ingresses: BTreeMap<HostSlot, Arc<HostTable>>,
}

/// A slot of a Gateway's listener but for the route's own hostname: port, hostname of the listener, and whose it is.
type Place = (u16, HostPattern, Arc<ListenerId>);

impl Slots {
    pub fn get(&self, slot: &HostSlot) -> Option<&Arc<HostTable>> {
        match place(slot) {
            Some(place) => self.of_gateways.get(&place)?.get(&slot.host),
            None => self.of_ingresses.get(slot),
        }
    }

    pub fn insert(&mut self, slot: HostSlot, table: Arc<HostTable>) {
        match place(&slot) {
            Some(place) => drop(self.of_gateways.entry(place).or_default().insert(slot.host, table)),
            None => drop(self.of_ingresses.insert(slot, table)),
        }
    }

    pub fn remove(&mut self, slot: &HostSlot) {
        let Some(place) = place(slot) else { return drop(self.of_ingresses.remove(slot)) };
        let Some(hosts) = self.of_gateways.get_mut(&place) else { return };
        hosts.remove(&slot.host);
        if hosts.is_empty() {
            self.of_gateways.remove(&place);
        }
    }

    /// All of one listener and owner.
    pub(crate) fn hosts(&self, port: u16, listener: &HostPattern, owner: &Owner) -> HostMap<Arc<HostTable>> {
        if let Owner::Gateway(id) = owner {
            let place = (port, listener.clone(), Arc::clone(id));
            return self.of_gateways.get(&place).cloned().unwrap_or_default();
        }
        // `Any` is the first of all hostnames in their order.
        let host = HostPattern::Any;
        let first = HostSlot { port, listener: listener.clone(), owner: owner.clone(), host };
        let mut hosts = HostMap::default();
        let same = |slot: &HostSlot| slot.port == port && slot.listener == *listener && slot.owner == *owner;
        for (slot, table) in self.of_ingresses.range(first..).take_while(|(slot, _)| same(slot)) {
            hosts.insert(slot.host.clone(), Arc::clone(table));
        }
        hosts
    }
}

fn place(slot: &HostSlot) -> Option<Place> {
    match &slot.owner {
        Owner::Gateway(id) => Some((slot.port, slot.listener.clone(), Arc::clone(id))),
        Owner::Ingress | Owner::IngressDefault => None,
    }
}

impl FromIterator<(HostSlot, Arc<HostTable>)> for Slots {
    fn from_iter<I: IntoIterator<Item = (HostSlot, Arc<HostTable>)>>(all: I) -> Self {
        let mut slots = Self::default();
        all.into_iter().for_each(|(slot, table)| slots.insert(slot, table));
        slots
    }
}
