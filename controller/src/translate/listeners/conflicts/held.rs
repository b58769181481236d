//! Who wants and who holds which port and hostname.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use portcullis_routing::{HostPattern, ListenerId, PortKey, Protocol, Transport};

use super::{Precedence, Wanted};
use crate::ir::ObjectKey;

/// Where listeners meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// A port that is bound.
    Bound(PortKey),
    /// A port of a Gateway with addresses of its own that is not bound yet: the port that its listeners name.
    Unbound(ObjectKey, PortKey),
}

/// Everything that Gateways and ListenerSets want and hold. While claims are settled, several may hold the same; then
/// the first one has it, and the others are about to lose it.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    spots: BTreeMap<Spot, OfSpot>,
    /// The ports that each Gateway and its ListenerSets use, and who uses them.
    used: BTreeMap<(ObjectKey, PortKey), BTreeSet<Precedence>>,
}

#[derive(Clone, Debug, Default)]
struct OfSpot {
    wanting: BTreeMap<Protocol, BTreeSet<Precedence>>,
    holders: BTreeMap<Precedence, HeldPort>,
    hosts_wanted: BTreeSet<(HostPattern, Precedence)>,
    hosts: BTreeMap<(HostPattern, Precedence), Holder>,
}

/// A port as one of its listeners has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct HeldPort {
    pub(in super::super) protocol: Protocol,
    /// The port that the listener names.
    pub(in super::super) number: u16,
    /// Whether it is a port of a Gateway with addresses of its own.
    pub(in super::super) is_dedicated: bool,
    pub(super) id: Arc<ListenerId>,
}

/// A listener that holds a hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Holder {
    /// Its Gateway or ListenerSet.
    pub(in super::super) owner: ObjectKey,
    pub(in super::super) index: usize,
    pub(super) id: Arc<ListenerId>,
}

impl Held {
    /// Returns the first holder of a port.
    pub(super) fn port(&self, spot: &Spot) -> Option<(&Precedence, &HeldPort)> {
        self.spots.get(spot)?.holders.first_key_value()
    }

    /// Returns the first holder of a hostname.
    pub(super) fn host(&self, spot: &Spot, hostname: &HostPattern) -> Option<(&Precedence, &Holder)> {
        let from = (hostname.clone(), Precedence::first());
        let ((found, precedence), holder) = self.spots.get(spot)?.hosts.range(from..).next()?;
        (found == hostname).then_some((precedence, holder))
    }

    /// Returns the first user of a Gateway's port.
    pub(super) fn user(&self, gateway: &ObjectKey, port: PortKey) -> Option<&Precedence> {
        self.used.get(&(gateway.clone(), port))?.first()
    }

    /// Returns the ports that a Gateway and its ListenerSets use, each with its first user.
    pub(super) fn ports_of(
        &self,
        gateway: &ObjectKey,
    ) -> impl Iterator<Item = (PortKey, Option<&Precedence>)> {
        let from = (gateway.clone(), PortKey { transport: Transport::Tcp, number: 0 });
        let of_gateway = self.used.range(from..).take_while(move |((of, _), _)| of == gateway);
        of_gateway.map(|((_, port), users)| (*port, users.first()))
    }

    /// Returns those after `after` that want a port for a protocol to which a change of the port's first holder makes a
    /// difference.
    pub(super) fn concerned_by_port(
        &self,
        spot: &Spot,
        after: &Precedence,
        [before, now]: [Option<&HeldPort>; 2],
    ) -> impl Iterator<Item = &Precedence> {
        let fits = |held: Option<&HeldPort>, protocol| held.is_none_or(|held| held.protocol == protocol);
        let wanting = self.spots.get(spot).into_iter().flat_map(|of_spot| &of_spot.wanting);
        wanting
            .filter(move |(protocol, _)| !(fits(before, **protocol) && fits(now, **protocol)))
            .flat_map(move |(_, wanting)| wanting.range((Excluded(after), Unbounded)))
    }

    /// Returns those after `after` that want a hostname.
    pub(super) fn concerned_by_host(
        &self,
        spot: &Spot,
        after: &Precedence,
        hostname: &HostPattern,
    ) -> impl Iterator<Item = &Precedence> {
        let from = (Excluded((hostname.clone(), after.clone())), Unbounded);
        let wanted = self
            .spots
            .get(spot)
            .into_iter()
            .flat_map(move |of_spot| of_spot.hosts_wanted.range(from.clone()));
        wanted.take_while(move |(wanted, _)| wanted == hostname).map(|(_, precedence)| precedence)
    }

    /// Adds a listener, which holds what it wants or only wants it.
    pub(super) fn insert(&mut self, precedence: &Precedence, wanted: &Wanted<'_>, holds: bool) {
        let Wanted { index, spec, point, protocol, ref spot, .. } = *wanted;
        let of_spot = self.spots.entry(spot.clone()).or_default();
        of_spot.wanting.entry(protocol).or_default().insert(precedence.clone());
        let place = (spec.hostname.clone(), precedence.clone());
        of_spot.hosts_wanted.insert(place.clone());
        if holds {
            let id = || Arc::clone(&point.id);
            let holder = Holder { owner: precedence.key.clone(), index, id: id() };
            of_spot.hosts.insert(place, holder);
            let (number, is_dedicated) = (spec.port, !point.shared);
            let held = || HeldPort { protocol, number, is_dedicated, id: id() };
            of_spot.holders.entry(precedence.clone()).or_insert_with(held);
            let used = (wanted.gateway.clone(), spec.port_key());
            self.used.entry(used).or_default().insert(precedence.clone());
        }
    }

    /// Removes what an object wants and holds by one of its listeners.
    pub(super) fn remove(&mut self, precedence: &Precedence, wanted: &Wanted<'_>) {
        let Wanted { spec, protocol, ref spot, .. } = *wanted;
        if let Some(of_spot) = self.spots.get_mut(spot) {
            if let Some(wanting) = of_spot.wanting.get_mut(&protocol) {
                wanting.remove(precedence);
                if wanting.is_empty() {
                    of_spot.wanting.remove(&protocol);
                }
            }
            let place = (spec.hostname.clone(), precedence.clone());
            of_spot.hosts_wanted.remove(&place);
            of_spot.hosts.remove(&place);
            of_spot.holders.remove(precedence);
            if of_spot.wanting.is_empty() {
                self.spots.remove(spot);
            }
        }
        let used = (wanted.gateway.clone(), spec.port_key());
        if let Some(users) = self.used.get_mut(&used) {
            users.remove(precedence);
            if users.is_empty() {
                self.used.remove(&used);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.spots.is_empty() && self.used.is_empty()
    }
}
