//! Makes the next table out of the last one: parts that did not change keep their `Arc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostMap, HostPattern, HostTable, Listener, Port, PortKey, Rule, Serves, Table};

use super::{Map, Set};
use crate::translate::{
    ChangedPlaces, HostTableKey, Listeners, Place, PortPlan, RuleSource, SharedChange, SharedHosts, Slots,
    assemble,
};

/// What differs from the last table.
#[derive(Debug)]
pub(super) struct Patch {
    /// The places whose listeners may have changed, each with its plan from before.
    pub(super) places: ChangedPlaces,
    /// The slots whose host tables are new or gone.
    pub(super) slots: Vec<HostTableKey>,
    /// The changes in which hosts routes and Ingresses share, and how.
    pub(super) shares: Vec<SharedChange>,
}

impl Patch {
    /// Makes the next table out of this one; returns whether it differs.
    pub(super) fn carry_out(
        self,
        table: &mut Arc<Table>,
        listeners: &Listeners,
        slots: &Slots,
        shared: &SharedHosts,
    ) -> bool {
        let mut changed = false;
        let mut to_share: BTreeSet<Place> = self.shares.into_iter().map(|change| change.place).collect();
        to_share.extend(self.slots.iter().flat_map(|slot| sharing(shared, slot)));
        // Listeners that were assembled again already have all their host tables.
        let mut made = Set::default();
        changed |= renew_frame(table, &self.places, &listeners.ports, slots, &mut made);
        let (defaults, slots_of_hosts): (Vec<_>, Vec<_>) =
            self.slots.into_iter().partition(|slot| slot.at.owner == RuleSource::IngressDefault);
        let defaults: BTreeSet<_> = defaults.iter().map(|slot| slot.at.port).collect();
        for port in &defaults {
            changed |= renew_default(table, *port, listeners, slots);
        }
        if !(made.is_empty() && defaults.is_empty()) {
            let is_made = |port, hostname: &HostPattern| made.contains(&(port, hostname.clone()));
            let all = shared.iter().filter(|((port, host), shared)| {
                let hostnames = [host, &shared.ingress, &shared.gateway.listener];
                defaults.contains(port) || hostnames.into_iter().any(|hostname| is_made(*port, hostname))
            });
            to_share.extend(all.map(|(place, _)| place.clone()));
        }
        let mut by_listener: Map<_, Vec<_>> = Map::default();
        for slot in slots_of_hosts {
            let listener = (slot.at.port, slot.at.listener.clone());
            if !made.contains(&listener) {
                by_listener.entry(listener).or_default().push(slot);
            }
        }
        for ((port, hostname), dirty) in by_listener {
            changed |= renew_hosts(table, port, &hostname, &dirty, slots);
        }
        for place in &to_share {
            changed |= renew_place(table, place, listeners, slots, shared);
        }
        changed
    }
}

/// The places whose listeners contain a slot's host table because they share its host.
fn sharing(shared: &SharedHosts, slot: &HostTableKey) -> Vec<Place> {
    match slot.at.owner {
        RuleSource::Gateway(_) => {
            let place = (slot.at.port, slot.host.clone());
            let shares = shared.get(&place).is_some_and(|shared| shared.gateway == slot.at);
            shares.then_some(place).into_iter().collect()
        }
        RuleSource::Ingress => {
            let place = (slot.at.port, slot.at.listener.clone());
            shared.of_ingress(&place).map(|(host, _)| (slot.at.port, host.clone())).collect()
        }
        RuleSource::IngressDefault | RuleSource::Services => Vec::new(),
    }
}

/// Replaces the listener of a place whose host is shared, or no longer is.
fn renew_place(
    table: &mut Arc<Table>,
    place: &Place,
    listeners: &Listeners,
    slots: &Slots,
    shared: &SharedHosts,
) -> bool {
    let (number, hostname) = place;
    let Some(plan) = listeners.ports.get(number) else { return false };
    let default = assemble::default_listener(slots, *number);
    let listener = match shared.get(place) {
        Some(_) => shared.listener(slots, place, plan, default.as_ref()),
        None => plan
            .listeners
            .get(hostname)
            .and_then(|plan| assemble::listener(slots, *number, hostname, plan, default.as_ref())),
    };
    let Some(port) = Arc::make_mut(table).ports.get_mut(number).map(Arc::make_mut) else { return false };
    match listener {
        Some(listener) => drop(port.listeners.insert(hostname.clone(), listener)),
        None => drop(port.listeners.remove(hostname)),
    }
    true
}

/// Adds, replaces and removes ports and listeners.
fn renew_frame(
    table: &mut Arc<Table>,
    changed_places: &ChangedPlaces,
    now: &BTreeMap<PortKey, PortPlan>,
    slots: &Slots,
    made: &mut Set<Place>,
) -> bool {
    let mut changed = false;
    let numbers: BTreeSet<_> = changed_places.keys().map(|(number, _)| *number).collect();
    for number in &numbers {
        let before = table.ports.get(number);
        let Some(plan) = now.get(number) else {
            if before.is_some() {
                Arc::make_mut(table).ports.remove(number);
                changed = true;
            }
            continue;
        };
        if !before.is_some_and(|port| is_of_plan(port, plan)) {
            let mut port = assemble::empty(plan);
            renew_listeners(&mut port, *number, plan.listeners.keys(), plan, slots, made);
            Arc::make_mut(table).ports.insert(*number, Arc::new(port));
            changed = true;
            continue;
        }
        let of_port = changed_places.range((*number, HostPattern::Any)..);
        let of_port =
            of_port.take_while(|((of, _), _)| of == number).map(|((_, hostname), before)| (hostname, before));
        let mut others =
            of_port.filter(|(hostname, before)| before.as_ref() != plan.listeners.get(*hostname)).peekable();
        if others.peek().is_some()
            && let Some(port) = Arc::make_mut(table).ports.get_mut(number).map(Arc::make_mut)
        {
            renew_listeners(port, *number, others.map(|(hostname, _)| hostname), plan, slots, made);
            changed = true;
        }
    }
    changed
}

fn is_of_plan(port: &Port, plan: &PortPlan) -> bool {
    (port.protocol, port.number, port.offset, port.proxy_protocol, &port.unmatched)
        == (plan.protocol, plan.number, plan.offset, plan.proxy_protocol, &plan.unmatched)
}

/// Makes the listeners of these hostnames anew.
fn renew_listeners<'h>(
    port: &mut Port,
    number: PortKey,
    hostnames: impl Iterator<Item = &'h HostPattern>,
    now: &PortPlan,
    slots: &Slots,
    made: &mut Set<Place>,
) {
    let default = assemble::default_listener(slots, number);
    for hostname in hostnames {
        let plan = now.listeners.get(hostname);
        match plan.and_then(|plan| assemble::listener(slots, number, hostname, plan, default.as_ref())) {
            Some(listener) => drop(port.listeners.insert(hostname.clone(), listener)),
            None => drop(port.listeners.remove(hostname)),
        }
        if plan.is_some() {
            made.insert((number, hostname.clone()));
        }
    }
}

/// The rules behind all Ingress hosts of a port have changed: each listener of these hosts refers to them.
fn renew_default(table: &mut Arc<Table>, number: PortKey, listeners: &Listeners, slots: &Slots) -> bool {
    let Some(plan) = listeners.ports.get(&number) else { return false };
    let Some(port) = Arc::make_mut(table).ports.get_mut(&number).map(Arc::make_mut) else { return false };
    let default = assemble::default_listener(slots, number);
    for (hostname, plan) in plan.listeners.iter().filter(|(_, plan)| plan.ingress.is_some()) {
        if let Some(made) = assemble::listener(slots, number, hostname, plan, default.as_ref()) {
            port.listeners.insert(hostname.clone(), made);
        }
    }
    true
}

/// Replaces the changed host tables of one listener.
fn renew_hosts(
    table: &mut Arc<Table>,
    port: PortKey,
    hostname: &HostPattern,
    dirty: &[HostTableKey],
    slots: &Slots,
) -> bool {
    let in_place = |listener: &Listener| {
        dirty.iter().all(|slot| {
            let there = hosts_of(listener, &slot.at.owner).and_then(|hosts| hosts.get(&slot.host));
            is_same(there, slots.get(slot)) && is_same(stream_of(listener, slot), slots.stream(slot))
        })
    };
    // A listener that is gone needs none.
    let found = table.ports.get(&port).and_then(|port| port.listeners.get(hostname));
    let Some(mut listener) = found.filter(|found| !in_place(found)).map(|found| Listener::clone(found))
    else {
        return false;
    };
    for at in dirty.iter().map(|slot| &slot.at).collect::<BTreeSet<_>>() {
        if let Some(hosts) = hosts_of_mut(&mut listener, &at.owner) {
            *hosts = slots.hosts(at);
        }
        if has_streams_of(&listener, &at.owner) {
            match &mut listener.serves {
                Serves::Http(_) => {}
                Serves::Stream(rules) => *rules = slots.streams(at),
                Serves::Datagram(rule) => *rule = slots.streams(at).get(&HostPattern::Any).cloned(),
            }
        }
    }
    if let Some(port) = Arc::make_mut(table).ports.get_mut(&port) {
        Arc::make_mut(port).listeners.insert(hostname.clone(), Arc::new(listener));
    }
    true
}

fn is_same<T>(there: Option<&Arc<T>>, wanted: Option<&Arc<T>>) -> bool {
    match (there, wanted) {
        (Some(there), Some(wanted)) => Arc::ptr_eq(there, wanted),
        (there, wanted) => there.is_none() && wanted.is_none(),
    }
}

/// Returns the rule that takes the streams or datagrams of a slot in this listener.
fn stream_of<'l>(listener: &'l Listener, slot: &HostTableKey) -> Option<&'l Arc<Rule>> {
    match &listener.serves {
        _ if !has_streams_of(listener, &slot.at.owner) => None,
        Serves::Http(_) => None,
        Serves::Stream(rules) => rules.get(&slot.host),
        Serves::Datagram(rule) => rule.as_ref(),
    }
}

/// Returns whether the streams or datagrams of a listener are taken by rules of this source.
fn has_streams_of(listener: &Listener, source: &RuleSource) -> bool {
    match source {
        RuleSource::Gateway(id) => listener.id == *id,
        RuleSource::Ingress => listener.id.is_ingress(),
        RuleSource::Services => listener.id.is_service(),
        RuleSource::IngressDefault => false,
    }
}

type Hosts = HostMap<Arc<HostTable>>;

fn hosts_of<'l>(listener: &'l Listener, owner: &RuleSource) -> Option<&'l Hosts> {
    let routes = listener.http_routes()?;
    match owner {
        RuleSource::Gateway(id) => (listener.id == *id).then_some(&routes.hosts),
        RuleSource::Ingress if listener.id.is_ingress() => Some(&routes.hosts),
        RuleSource::Ingress => routes.fallback.as_ref()?.http_routes().map(|behind| &behind.hosts),
        RuleSource::IngressDefault | RuleSource::Services => None,
    }
}

fn hosts_of_mut<'l>(listener: &'l mut Listener, owner: &RuleSource) -> Option<&'l mut Hosts> {
    let (is_its, is_ingress) = match owner {
        RuleSource::Gateway(id) => (listener.id == *id, false),
        RuleSource::Ingress => (listener.id.is_ingress(), true),
        RuleSource::IngressDefault | RuleSource::Services => return None,
    };
    let routes = listener.http_routes_mut()?;
    match (is_its, is_ingress) {
        (true, _) => Some(&mut routes.hosts),
        (false, true) => {
            let behind = Arc::make_mut(routes.fallback.as_mut()?);
            behind.http_routes_mut().map(|behind| &mut behind.hosts)
        }
        (false, false) => None,
    }
}
