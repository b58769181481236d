//! Hosts that a Gateway's routes and Ingresses share, though the Gateway's listener has another hostname.
//!
//! An Ingress host is a listener of its own and more specific than a Gateway's wildcard listener. Nevertheless, a route that names
//! exactly that host takes precedence, and the Ingresses serve the remaining paths, so that a site can be migrated path by path.
//! Which hosts are shared is known only after the routes have been translated; certificates and statuses depend on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostMap, HostPattern, HttpRoutes, Listener, ListenerId, PortKey, Serves};
use portcullis_tls::Certificates;

use super::{HostTableKey, ListenerKey, Listeners, PortPlan, RuleSource, Slots, assemble};

/// All of them, by port and host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedHosts(BTreeMap<Place, SharedHost>);

/// A port, and a hostname under which it finds a listener.
pub(crate) type Place = (PortKey, HostPattern);

/// Who shares a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedHost {
    /// Where the Gateway's listener has its routes.
    pub gateway: Arc<ListenerKey>,
    pub gateway_id: Arc<ListenerId>,
    /// Under which hostname the port finds the Ingresses'.
    pub ingress: HostPattern,
}

impl SharedHosts {
    /// Those of all ports.
    pub fn of(listeners: &Listeners, slots: &Slots) -> Self {
        let mut all = Self::default();
        for (port, plan) in listeners.ports.iter().filter(|(_, plan)| has_both(plan)) {
            for host in slots.exact_hosts(*port) {
                if let Some(shared) = shared(listeners, *port, plan, slots, host) {
                    all.0.insert((*port, host.clone()), shared);
                }
            }
        }
        all
    }

    /// Updates the hosts whose route tables have changed. Returns the differences.
    pub fn renew<'s>(
        &mut self,
        listeners: &Listeners,
        slots: &Slots,
        dirty: impl IntoIterator<Item = &'s HostTableKey>,
    ) -> Vec<Change> {
        let of_gateways = dirty.into_iter().filter(|slot| matches!(slot.at.owner, RuleSource::Gateway(_)));
        let mut changes = Vec::new();
        for slot in of_gateways {
            let plan = listeners.ports.get(&slot.at.port);
            let now = plan.and_then(|plan| shared(listeners, slot.at.port, plan, slots, &slot.host));
            let place = (slot.at.port, slot.host.clone());
            let before = match &now {
                Some(now) => self.0.insert(place.clone(), now.clone()),
                None => self.0.remove(&place),
            };
            if before != now {
                changes.push(Change { place, before, now });
            }
        }
        changes
    }

    /// All differences from `before`.
    pub fn changes(&self, before: &Self) -> Vec<Change> {
        let places: BTreeSet<&Place> = self.0.keys().chain(before.0.keys()).collect();
        let change = |place: &Place| {
            let (before, now) = (before.0.get(place), self.0.get(place));
            let change = || Change { place: place.clone(), before: before.cloned(), now: now.cloned() };
            (before != now).then(change)
        };
        places.into_iter().filter_map(change).collect()
    }

    pub fn get(&self, place: &Place) -> Option<&SharedHost> {
        self.0.get(place)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Place, &SharedHost)> {
        self.0.iter()
    }

    /// The hosts that a Gateway's listener shares.
    pub fn of_gateway<'s>(&'s self, id: &'s ListenerId) -> impl Iterator<Item = &'s HostPattern> {
        self.0.iter().filter(|(_, shared)| *shared.gateway_id == *id).map(|((_, host), _)| host)
    }

    /// The hosts that the Ingresses of a place share.
    pub fn of_ingress<'s>(
        &'s self,
        place: &'s Place,
    ) -> impl Iterator<Item = (&'s HostPattern, &'s SharedHost)> {
        // One that is named exactly is shared under that name and no other.
        let (port, hostname) = place;
        let (first, most) = match hostname {
            HostPattern::Exact(_) => (place.clone(), 1),
            _ => ((*port, HostPattern::Any), usize::MAX),
        };
        let of_port = self.0.range(first..).take(most).take_while(move |((of, _), _)| of == port);
        let of_ingress = of_port.filter(move |(_, shared)| shared.ingress == *hostname);
        of_ingress.map(|((_, host), shared)| (host, shared))
    }

    /// The listener of a place.
    pub(crate) fn listener(
        &self,
        slots: &Slots,
        place: &Place,
        plan: &PortPlan,
        default: Option<&Arc<Listener>>,
    ) -> Option<Arc<Listener>> {
        let (port, host) = place;
        let shared = self.0.get(place)?;
        let of_ingress = plan.listeners.get(&shared.ingress)?;
        let fallback = assemble::listener(slots, *port, &shared.ingress, of_ingress, default);
        let mut hosts = HostMap::default();
        let slot = HostTableKey { at: Arc::clone(&shared.gateway), host: host.clone() };
        hosts.insert(host.clone(), Arc::clone(slots.get(&slot)?));
        let tls = plan.listeners.get(&shared.gateway.listener)?.tls.clone();
        let (id, serves) = (Arc::clone(&shared.gateway_id), Serves::Http(HttpRoutes { hosts, fallback }));
        Some(Arc::new(Listener { id, tls, serves }))
    }

    /// The certificates, with the Gateways' certificates for the shared hosts.
    pub fn certificates(&self, own: &Arc<Certificates>) -> Arc<Certificates> {
        let mut all = Arc::clone(own);
        for ((port, host), shared) in &self.0 {
            let gateway = own.ports.get(port).and_then(|own| own.listeners.get(&shared.gateway.listener));
            let Some(termination) = gateway else { continue };
            if let Some(of_port) = Arc::make_mut(&mut all).ports.get_mut(port) {
                Arc::make_mut(of_port).listeners.insert(host.clone(), Arc::clone(termination));
            }
        }
        all
    }
}

/// A difference at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub place: Place,
    pub before: Option<SharedHost>,
    pub now: Option<SharedHost>,
}

/// Whether a port has listeners of both Gateways and Ingresses.
fn has_both(plan: &PortPlan) -> bool {
    let mut plans = plan.listeners.values();
    plans.clone().any(|plan| plan.gateway.is_none()) && plans.any(|plan| plan.gateway.is_some())
}

/// Who shares a host: Ingresses, whose listener takes its requests, and the most specific listener of a Gateway behind it
/// that has routes which name the host. On a port with TLS the Gateway's certificate is shown: without one it shares nothing, and
/// the Ingresses keep theirs.
fn shared(
    listeners: &Listeners,
    port: PortKey,
    plan: &PortPlan,
    slots: &Slots,
    host: &HostPattern,
) -> Option<SharedHost> {
    let HostPattern::Exact(name) = host else { return None };
    let mut covering = patterns(name).filter_map(|hostname| {
        let plan = plan.listeners.get(&hostname)?;
        Some((hostname, plan))
    });
    let (ingress, _) = covering.next().filter(|(_, plan)| plan.gateway.is_none())?;
    let (listener, id) = covering.find_map(|(hostname, plan)| Some((hostname, plan.gateway.clone()?)))?;
    let gateway = Arc::new(ListenerKey { port, listener, owner: RuleSource::Gateway(Arc::clone(&id)) });
    let has_routes = slots.get(&HostTableKey { at: Arc::clone(&gateway), host: host.clone() }).is_some();
    let terminations = listeners.certificates.ports.get(&port);
    let shows = terminations.is_none_or(|of_port| {
        of_port.listeners.get(&gateway.listener).is_some_and(|shown| !shown.certificates.is_empty())
    });
    (has_routes && shows).then_some(SharedHost { gateway, gateway_id: id, ingress })
}

/// The patterns that cover a host, in the order of [`HostMap::matches`].
fn patterns(name: &Arc<str>) -> impl Iterator<Item = HostPattern> {
    let parents = std::iter::successors(parent(name), |name| parent(name));
    let wildcards = parents.map(Arc::from).enumerate().flat_map(|(number, suffix): (usize, Arc<str>)| {
        let label = (number == 0).then(|| HostPattern::WildcardLabel(Arc::clone(&suffix)));
        label.into_iter().chain([HostPattern::Wildcard(suffix)])
    });
    let exact = HostPattern::Exact(Arc::clone(name));
    [exact].into_iter().chain(wildcards).chain([HostPattern::Any])
}

fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_a_host_in_the_order_in_which_a_port_asks_them() {
        for name in ["a.b.example.com", "example.com", "localhost", "a.b.c.d.e"] {
            let all: Vec<_> = patterns(&name.into()).collect();
            let mut map = HostMap::default();
            for pattern in &all {
                map.insert(pattern.clone(), ());
            }
            assert_eq!(map.matches(name).map(|(pattern, ())| pattern.clone()).collect::<Vec<_>>(), all);
            assert!(all.len() >= 2 && all.iter().all(|pattern| pattern.matches(name)), "{all:?}");
        }
    }
}
