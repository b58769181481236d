//! Hosts that a Gateway's routes and Ingresses share, though the Gateway's listener has another hostname.
//!
//! An Ingress host is a listener of its own and more specific than a Gateway's wildcard listener. Nevertheless, a
//! route that names exactly that host takes precedence, and the Ingresses serve the remaining paths, so that a site
//! can be migrated path by path. Which hosts are shared is known only after the routes have been translated;
//! certificates and statuses depend on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostMap, HostPattern, HttpRoutes, Listener, ListenerId, PortKey, Serves};
use portcullis_tls::Certificates;

use super::{
    HostTableKey, ListenerKey, ListenerPlan, Listeners, PortPlan, RuleSource, Slots, Traffic, assemble,
};
use crate::ir::hosts::covering;

/// All shared hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedHosts {
    /// By port and host.
    hosts: BTreeMap<Place, SharedHost>,
    by_gateway: BTreeMap<Arc<ListenerId>, BTreeSet<Place>>,
    /// By the place of the Ingresses.
    by_ingress: BTreeMap<Place, BTreeSet<HostPattern>>,
}

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
        for (port, plan) in listeners.ports.iter().filter(|(port, plan)| has_both(listeners, **port, plan)) {
            for host in slots.exact_hosts(*port) {
                if let Some(shared) = shared(listeners, *port, plan, slots, host) {
                    all.insert((*port, host.clone()), shared);
                }
            }
        }
        all
    }

    /// Updates the hosts at these places, where routes or the listener have changed. Returns the differences.
    pub(crate) fn renew(
        &mut self,
        listeners: &Listeners,
        slots: &Slots,
        places: impl IntoIterator<Item = Place>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for place in places {
            let (port, host) = &place;
            let plan = listeners.ports.get(port);
            let now = plan.and_then(|plan| shared(listeners, *port, plan, slots, host));
            let before = match &now {
                Some(now) => self.insert(place.clone(), now.clone()),
                None => self.remove(&place),
            };
            if before != now {
                changes.push(Change { place, before, now });
            }
        }
        changes
    }

    /// All differences from `before`.
    pub fn changes(&self, before: &Self) -> Vec<Change> {
        let places: BTreeSet<&Place> = self.hosts.keys().chain(before.hosts.keys()).collect();
        let change = |place: &Place| {
            let (before, now) = (before.hosts.get(place), self.hosts.get(place));
            let change = || Change { place: place.clone(), before: before.cloned(), now: now.cloned() };
            (before != now).then(change)
        };
        places.into_iter().filter_map(change).collect()
    }

    pub fn get(&self, place: &Place) -> Option<&SharedHost> {
        self.hosts.get(place)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Place, &SharedHost)> {
        self.hosts.iter()
    }

    /// Those of a port.
    pub(crate) fn of_port(&self, port: PortKey) -> impl Iterator<Item = (&Place, &SharedHost)> {
        self.hosts.range((port, HostPattern::Any)..).take_while(move |((of, _), _)| *of == port)
    }

    /// The hosts that a Gateway's listener shares.
    pub fn of_gateway(&self, id: &ListenerId) -> impl Iterator<Item = &HostPattern> {
        self.by_gateway.get(id).into_iter().flatten().map(|(_, host)| host)
    }

    /// The hosts that the Ingresses of a place share.
    pub fn of_ingress(&self, place: &Place) -> impl Iterator<Item = (&HostPattern, &SharedHost)> {
        let port = place.0;
        let hosts = self.by_ingress.get(place).into_iter().flatten();
        hosts.filter_map(move |host| Some((host, self.hosts.get(&(port, host.clone()))?)))
    }

    fn insert(&mut self, place: Place, shared: SharedHost) -> Option<SharedHost> {
        let before = self.remove(&place);
        let (port, host) = &place;
        self.by_gateway.entry(Arc::clone(&shared.gateway_id)).or_default().insert(place.clone());
        self.by_ingress.entry((*port, shared.ingress.clone())).or_default().insert(host.clone());
        self.hosts.insert(place, shared);
        before
    }

    fn remove(&mut self, place: &Place) -> Option<SharedHost> {
        let before = self.hosts.remove(place)?;
        let (port, host) = place;
        remove(&mut self.by_gateway, &before.gateway_id, place);
        remove(&mut self.by_ingress, &(*port, before.ingress.clone()), host);
        Some(before)
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
        let shared = self.hosts.get(place)?;
        let ListenerPlan { tls, gateway, .. } = plan.listeners.get(&shared.gateway.listener)?.clone();
        let filters = gateway.map(|gateway| gateway.filters).unwrap_or_default();
        // Behind the Gateway's TLS, the Ingresses get requests, even where they would have TLS passed through.
        let of_ingress = plan.listeners.get(&shared.ingress)?.clone();
        let of_ingress = match of_ingress.traffic {
            Traffic::Requests => of_ingress,
            Traffic::Streams | Traffic::Datagrams => {
                ListenerPlan { tls: tls.clone(), traffic: Traffic::Requests, ..of_ingress }
            }
        };
        let fallback = assemble::listener(slots, *port, &shared.ingress, &of_ingress, default);
        let mut hosts = HostMap::default();
        let slot = HostTableKey { at: Arc::clone(&shared.gateway), host: host.clone() };
        hosts.insert(host.clone(), Arc::clone(slots.get(&slot)?));
        // It is the Gateway's listener that takes the requests, those for Ingresses too.
        let serves = Serves::Http(HttpRoutes { filters, hosts, fallback, hsts: None });
        let id = Arc::clone(&shared.gateway_id);
        Some(Arc::new(Listener { id, tls, serves }))
    }

    /// The certificates, with the Gateways' certificates for the shared hosts.
    pub fn certificates(&self, own: &Arc<Certificates>) -> Arc<Certificates> {
        let mut all = Arc::clone(own);
        for ((port, host), shared) in &self.hosts {
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

/// Takes an item out of a set, and the set out of the map once it is empty.
fn remove<K: Ord, T: Ord>(sets: &mut BTreeMap<K, BTreeSet<T>>, key: &K, item: &T) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(item);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// Whether a port has listeners of both Gateways and Ingresses.
fn has_both(listeners: &Listeners, port: PortKey, plan: &PortPlan) -> bool {
    listeners.has_ingress_hosts(port) && plan.listeners.values().any(|plan| plan.gateway.is_some())
}

/// Who shares a host: Ingresses, whose listener takes its requests, and the most specific listener of a Gateway behind
/// it that has routes which name the host. On a port with TLS the Gateway's certificate is shown: without one it
/// shares nothing, and the Ingresses keep theirs.
fn shared(
    listeners: &Listeners,
    port: PortKey,
    plan: &PortPlan,
    slots: &Slots,
    host: &HostPattern,
) -> Option<SharedHost> {
    let HostPattern::Exact(name) = host else { return None };
    let mut covering = covering(name).filter_map(|hostname| {
        let plan = plan.listeners.get(&hostname)?;
        Some((hostname, plan))
    });
    let (ingress, _) = covering.next().filter(|(_, plan)| plan.gateway.is_none())?;
    let (listener, id) =
        covering.find_map(|(hostname, plan)| Some((hostname, Arc::clone(&plan.gateway.as_ref()?.id))))?;
    let gateway = Arc::new(ListenerKey { port, listener, owner: RuleSource::Gateway(Arc::clone(&id)) });
    let has_routes = slots.get(&HostTableKey { at: Arc::clone(&gateway), host: host.clone() }).is_some();
    let terminations = listeners.certificates.ports.get(&port);
    let shows = terminations.is_none_or(|of_port| {
        of_port.listeners.get(&gateway.listener).is_some_and(|shown| !shown.certificates.is_empty())
    });
    (has_routes && shows).then_some(SharedHost { gateway, gateway_id: id, ingress })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTS: [&str; 3] = ["a.x.com", "b.x.com", "c.x.com"];
    const INGRESSES: [&str; 3] = ["a.x.com", "*.x.com", ""];

    fn place(port: u16, host: &str) -> Place {
        (PortKey::tcp(port), HostPattern::parse(host).unwrap())
    }

    fn shared(port: u16, gateway: &str, ingress: &str) -> SharedHost {
        let gateway_id = Arc::new(ListenerId::gateway("infra", gateway, "web"));
        let owner = RuleSource::Gateway(Arc::clone(&gateway_id));
        let gateway = ListenerKey { port: PortKey::tcp(port), listener: HostPattern::Any, owner };
        SharedHost { gateway: Arc::new(gateway), gateway_id, ingress: HostPattern::parse(ingress).unwrap() }
    }

    proptest! {
        #[test]
        fn the_hosts_of_a_gateway_and_of_ingresses_are_those_that_a_look_at_each_finds(
            edits in prop::collection::vec((80..82u16, 0..3usize, prop::option::of(("a|b", 0..3usize))), 0..24)
        ) {
            let mut all = SharedHosts::default();
            for (port, host, edit) in edits {
                let place = place(port, HOSTS[host]);
                match edit {
                    Some((gateway, ingress)) => all.insert(place, shared(port, &gateway, INGRESSES[ingress])),
                    None => all.remove(&place),
                };
            }
            for gateway in ["a", "b", "c"] {
                let id = ListenerId::gateway("infra", gateway, "web");
                let plain = all.iter().filter(|(_, shared)| *shared.gateway_id == id);
                prop_assert!(all.of_gateway(&id).eq(plain.map(|((_, host), _)| host)));
            }
            for port in 80..83 {
                let of_port = || all.iter().filter(|((of, _), _)| *of == PortKey::tcp(port));
                prop_assert!(all.of_port(PortKey::tcp(port)).eq(of_port()));
                for ingress in INGRESSES {
                    let place = place(port, ingress);
                    let plain = of_port().filter(|(_, shared)| shared.ingress == place.1);
                    prop_assert!(all.of_ingress(&place).eq(plain.map(|((_, host), shared)| (host, shared))));
                }
            }
            let places: Vec<_> = all.iter().map(|(place, _)| place.clone()).collect();
            places.iter().for_each(|place| drop(all.remove(place)));
            prop_assert_eq!(all, SharedHosts::default());
        }
    }
}
