//! Gateways and ListenerSets while it is decided which of their listeners are served, and the order in which they take
//! ports and hostnames.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::PortKey;

use super::{Addressing, GatewayState, ListenerRefusal, ListenerSetState, ListenerState};
use crate::ir::{Meta, ObjectKey, gateway::GatewayListener};

/// The Gateways of our classes, and the ListenerSets that name them.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) gateways: BTreeMap<ObjectKey, GatewayState>,
    pub(super) sets: BTreeMap<ObjectKey, ListenerSetState>,
}

/// A Gateway or a ListenerSet with its listeners.
#[derive(Debug)]
pub(super) struct Owner<'s> {
    pub(super) meta: &'s Meta,
    /// The Gateway itself, or that of the ListenerSet.
    pub(super) gateway: &'s ObjectKey,
    pub(super) addressing: &'s Addressing,
    /// The listeners as they are written, in the order of `listeners`.
    pub(super) specs: &'s [GatewayListener],
    pub(super) listeners: &'s mut [ListenerState],
    /// The time that counts as its age.
    pub(super) since: i64,
}

impl States {
    /// Returns the Gateways and ListenerSets that are not refused as a whole, in the order of precedence: the oldest first, and a Gateway before its
    /// ListenerSets (ListenerSetSpec `listeners`). A ListenerSet is never older than its Gateway: otherwise somebody
    /// could take a hostname from an older Gateway by creating one under the name that an old ListenerSet refers to.
    pub(super) fn by_precedence(&mut self) -> Vec<Owner<'_>> {
        let gateways =
            self.gateways.values_mut().filter(|state| state.refused.is_none()).map(|state| Owner {
                meta: &state.gateway.meta,
                gateway: &state.gateway.meta.key,
                addressing: &state.addressing,
                specs: &state.gateway.listeners,
                listeners: &mut state.listeners,
                since: state.gateway.meta.created,
            });
        let sets = self.sets.values_mut().filter(|state| state.refused.is_none()).map(|state| Owner {
            meta: &state.set.meta,
            gateway: &state.gateway,
            addressing: &state.addressing,
            specs: &state.set.listeners,
            listeners: &mut state.listeners,
            since: state.since,
        });
        let mut owners: Vec<_> = gateways.chain(sets).collect();
        owners.sort_by(Owner::precedence);
        owners
    }

    /// Returns all listeners.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &ListenerState> {
        let of_gateways = self.gateways.values().flat_map(|state| &state.listeners);
        of_gateways.chain(self.sets.values().flat_map(|state| &state.listeners))
    }

    /// Returns all listeners, to be changed.
    pub(super) fn listeners_mut(&mut self) -> impl Iterator<Item = &mut ListenerState> {
        let of_gateways = self.gateways.values_mut().flat_map(|state| &mut state.listeners);
        of_gateways.chain(self.sets.values_mut().flat_map(|state| &mut state.listeners))
    }

    /// Returns the finished states, with the number of accepted ListenerSets at each Gateway.
    pub(super) fn finish(
        mut self,
    ) -> (BTreeMap<ObjectKey, Arc<GatewayState>>, BTreeMap<ObjectKey, Arc<ListenerSetState>>) {
        for set in self.sets.values().filter(|set| set.is_accepted()) {
            if let Some(gateway) = self.gateways.get_mut(&set.gateway) {
                gateway.attached_sets += 1;
            }
        }
        let gateways = self.gateways.into_iter().map(|(key, state)| (key, Arc::new(state)));
        let sets = self.sets.into_iter().map(|(key, state)| (key, Arc::new(state)));
        (gateways.collect(), sets.collect())
    }
}

impl Owner<'_> {
    /// Whether it is a ListenerSet.
    pub(super) fn is_set(&self) -> bool {
        *self.gateway != self.meta.key
    }

    fn precedence(&self, other: &Self) -> Ordering {
        let ages = |owner: &Self| (owner.since, owner.is_set(), owner.meta.created);
        ages(self).cmp(&ages(other)).then_with(|| title(self.meta).cmp(title(other.meta)))
    }
}

/// The bytes of `namespace/name`, whose order is the alphabetical one that the API asks for.
fn title(meta: &Meta) -> impl Iterator<Item = u8> {
    meta.namespace().bytes().chain([b'/']).chain(meta.name().bytes())
}

/// The ports that the listeners of each Gateway use, those of its ListenerSets included.
#[derive(Debug, Default)]
pub(super) struct UsedPorts(BTreeMap<ObjectKey, BTreeSet<PortKey>>);

/// The maximum number of ports of one Gateway, including those that its ListenerSets add. A Gateway without
/// ListenerSets has at most 64 listeners, and so as many ports.
const MAX_PORTS: usize = 64;

impl UsedPorts {
    /// Counts the port of a listener.
    ///
    /// # Errors
    /// If a ListenerSet would give its Gateway more ports than it may have.
    pub(super) fn add(
        &mut self,
        gateway: &ObjectKey,
        is_set: bool,
        listener: &GatewayListener,
    ) -> Result<(), ListenerRefusal> {
        let (port, ports) = (listener.port_key(), self.0.entry(gateway.clone()).or_default());
        if is_set && ports.len() >= MAX_PORTS && !ports.contains(&port) {
            return Err(ListenerRefusal::TooManyPorts { limit: MAX_PORTS });
        }
        ports.insert(port);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    #[test]
    fn the_alphabetical_order_is_that_of_namespace_slash_name() {
        let meta = |(namespace, name): (&str, &str)| {
            let key = ObjectKey::new(Kind::ListenerSet, namespace, name);
            Meta { key, uid: None, generation: 1, version: 0, created: 0, warnings: Box::default() }
        };
        // A dash is before the slash, and letters are after it.
        let sorted = [("zoo-a", "twin"), ("zoo", "a"), ("zoo", "x"), ("zooa", "b")].map(meta);
        assert!(sorted.windows(2).all(|pair| title(&pair[0]).lt(title(&pair[1]))));
    }
}
