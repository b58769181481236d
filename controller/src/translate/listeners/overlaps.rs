//! Which hostnames of a port have hosts in common: a wildcard, or no hostname at all, and what is beneath it.
//!
//! From each hostname to the wildcards above it there are as many steps as it has labels, however many listeners there
//! are. Two exact hostnames have a host in common only where they are the same, and then they are at odds.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{HostPattern, ListenerId, PortKey};

use super::FirstOf;
use crate::{ir::ObjectKey, translate::Place};

/// A member of [`Beneath`].
pub(super) trait Member: PartialEq + Clone {
    /// The order in which members are told; of each, another one.
    type Order: Ord + Clone;

    fn order(&self, place: &Place) -> Self::Order;
}

/// A listener with TLS, in the order of precedence of the objects.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ByAge {
    /// The object, and the place of the listener there.
    pub(super) order: (ObjectKey, usize),
    pub(super) id: Arc<ListenerId>,
}

/// A host of Ingresses, in the order of the hostnames. It takes no memory beside its place, as there are thousands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ByHostname;

/// Members, each at a hostname of a port, and which of them are beneath each wide hostname.
#[derive(Clone, Debug)]
pub(super) struct Beneath<M: Member> {
    members: BTreeMap<Place, M>,
    wide: BTreeMap<Place, BTreeMap<M::Order, M>>,
}

impl Member for ByAge {
    type Order = (ObjectKey, usize);

    fn order(&self, _: &Place) -> Self::Order {
        self.order.clone()
    }
}

impl Member for ByHostname {
    type Order = HostPattern;

    fn order(&self, (_, hostname): &Place) -> HostPattern {
        hostname.clone()
    }
}

impl<M: Member> Default for Beneath<M> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), wide: BTreeMap::new() }
    }
}

impl<M: Member> Beneath<M> {
    /// Sets the member at a place; returns whether it is another one than before.
    pub(super) fn set(&mut self, place: &Place, member: Option<M>) -> bool {
        let before = match &member {
            Some(member) => self.members.insert(place.clone(), member.clone()),
            None => self.members.remove(place),
        };
        if before == member {
            return false;
        }
        let (port, host) = place;
        for above in above(host) {
            let Some(beneath) = self.wide.get_mut(&(*port, above)) else { continue };
            before.as_ref().map(|member| beneath.remove(&member.order(place)));
            member.clone().map(|member| beneath.insert(member.order(place), member));
        }
        true
    }

    /// Sets whether something at a place asks what is beneath it.
    pub(super) fn set_wide(&mut self, place: &Place, is_wide: bool) {
        if !is_wide {
            self.wide.remove(place);
        } else if !self.wide.contains_key(place) {
            let (port, wide) = place;
            let of_port =
                self.members.range((*port, HostPattern::Any)..).take_while(|((of, _), _)| of == port);
            let beneath = of_port.filter(|((_, host), _)| host != wide && wide.covers(host));
            let beneath = beneath.map(|(place, member)| (member.order(place), member.clone())).collect();
            self.wide.insert(place.clone(), beneath);
        }
    }

    /// Returns the member at a place.
    pub(super) fn get(&self, place: &Place) -> Option<&M> {
        self.members.get(place)
    }

    /// Returns whether a port has a member.
    pub(super) fn has(&self, port: PortKey) -> bool {
        self.members.range((port, HostPattern::Any)..).next().is_some_and(|((of, _), _)| *of == port)
    }

    /// Returns the members beneath a place, in their order.
    pub(super) fn beneath(&self, place: &Place) -> impl Iterator<Item = (&M::Order, &M)> {
        self.wide.get(place).into_iter().flatten()
    }

    /// Returns how many members are beneath a place.
    pub(super) fn count(&self, place: &Place) -> usize {
        self.wide.get(place).map_or(0, BTreeMap::len)
    }

    /// Returns the wide hostnames above a place.
    pub(super) fn above(&self, (port, host): &Place) -> impl Iterator<Item = Place> {
        above(host).map(|above| (*port, above)).filter(|place| self.wide.contains_key(place))
    }

    /// Returns the members that have hosts in common with a place: those above it and those beneath it.
    pub(super) fn overlaps(&self, place: &Place) -> FirstOf<M> {
        let above = self.above(place).filter_map(|above| {
            let member = self.members.get(&above)?;
            Some((member.order(&above), member))
        });
        let mut all: Vec<_> = above.collect();
        let count = all.len() + self.count(place);
        let beneath = self.beneath(place).map(|(order, member)| (order.clone(), member));
        all.extend(beneath.take(FirstOf::<M>::KEPT));
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let first = all.into_iter().take(FirstOf::<M>::KEPT).map(|(_, member)| member.clone());
        FirstOf { first: first.collect(), count }
    }
}

/// Returns the hostnames of listeners that cover all hosts of a hostname, and more.
fn above(host: &HostPattern) -> impl Iterator<Item = HostPattern> {
    let (own, rest) = match host {
        HostPattern::Any => (None, None),
        HostPattern::Exact(name) => (None, parent(name)),
        HostPattern::Wildcard(suffix) => (None, parent(suffix)),
        // One label under that name, of all that a wildcard covers.
        HostPattern::WildcardLabel(suffix) => (Some(&**suffix), parent(suffix)),
    };
    let names = own.into_iter().chain(std::iter::successors(rest, |name| parent(name)));
    let any = (*host != HostPattern::Any).then_some(HostPattern::Any);
    names.map(|name| HostPattern::Wildcard(Arc::from(name))).chain(any)
}

/// A name without its first label.
fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PORTS: std::ops::Range<u16> = 80..82;

    impl Member for u8 {
        type Order = Self;

        fn order(&self, _: &Place) -> Self {
            *self
        }
    }

    fn edits() -> impl Strategy<Value = Vec<((u16, HostPattern), Option<u8>, bool)>> {
        let name = "([ab]\\.){0,3}[ab]";
        let host = prop_oneof![
            1 => Just(HostPattern::Any),
            3 => name.prop_map(|name| HostPattern::Exact(name.into())),
            3 => name.prop_map(|name| HostPattern::Wildcard(name.into())),
            1 => name.prop_map(|name| HostPattern::WildcardLabel(name.into())),
        ];
        prop::collection::vec(((PORTS, host), prop::option::of(any::<u8>()), any::<bool>()), 0..40)
    }

    proptest! {
        #[test]
        fn overlaps_are_those_that_a_look_at_all_finds(edits in edits()) {
            let mut beneath = Beneath::<u8>::default();
            let (mut plain, mut wide) = (BTreeMap::new(), BTreeSet::new());
            for ((port, host), order, is_wide) in edits {
                let place = (PortKey::tcp(port), host);
                // As listeners, each member has an order of its own.
                let order = order.filter(|order| plain.iter().all(|(other, known)| *other == place || known != order));
                let before = plain.get(&place).copied();
                prop_assert_eq!(beneath.set(&place, order), before != order);
                match order {
                    Some(order) => plain.insert(place.clone(), order),
                    None => plain.remove(&place),
                };
                let may_be_wide = matches!(place.1, HostPattern::Any | HostPattern::Wildcard(_));
                match is_wide && may_be_wide {
                    true => wide.insert(place.clone()),
                    false => wide.remove(&place),
                };
                beneath.set_wide(&place, is_wide && may_be_wide);
            }
            for port in PORTS {
                prop_assert_eq!(beneath.has(PortKey::tcp(port)), plain.keys().any(|(of, _)| of.number == port));
            }
            let covers = |wide: &Place, other: &Place| wide.0 == other.0 && wide.1 != other.1 && wide.1.covers(&other.1);
            for place in plain.keys() {
                let above: Vec<_> = beneath.above(place).collect();
                let want: BTreeSet<_> = wide.iter().filter(|wide| covers(wide, place)).cloned().collect();
                prop_assert_eq!(above.iter().cloned().collect::<BTreeSet<_>>(), want, "above {:?}", place);
                let is_beneath = |other: &Place| wide.contains(place) && covers(place, other);
                let others = plain.iter().filter(|(other, _)| above.contains(other) || is_beneath(other));
                let mut orders: Vec<_> = others.map(|(_, order)| *order).collect();
                orders.sort_unstable();
                let found = beneath.overlaps(place);
                prop_assert_eq!(found.count, orders.len());
                prop_assert_eq!(found.first, orders.into_iter().take(5).collect::<Vec<_>>(), "{:?}", place);
            }
        }
    }
}
