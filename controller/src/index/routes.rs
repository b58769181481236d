//! Routes and hosts of Ingresses as they were translated, and the slots that hold their rules.
//!
//! A route's entries are kept only in the tables of its slots: when another route of the slot changes, they are copied
//! from there. The slots of an Ingress host belong to that host alone, and a slot of streams belongs to one route
//! alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{Entry, HostPattern, ListenerId, RouteId, Rule};

use super::{
    Map, Set,
    units::{Unit, Units},
};
use crate::{
    facts::Fact,
    ir::{ObjectKey, Route},
    snapshot::Snapshot,
    status,
    translate::{
        self, Attached, Attachment, HostMessages, HostTableKey, HostTablePool, HostTranslation,
        IngressBackends, ListenerKey, Listeners, OtherHosts, OtherRoutes, PatternQuotas, PolicyUse,
        PolicyUser, PolicyUsers, Pools, Reader, ServiceMessages, ServicesTranslation, Slots, StreamClaims,
        Translated,
    },
};

/// Every route and host of Ingresses as it was translated last.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Boxed, as nearly half of a map's places are empty.
    known: Map<ObjectKey, Box<Known>>,
    hosts: Map<HostPattern, KnownHost>,
    tables: Slots,
    pub(super) attached: Attached,
    pub(super) policy_users: PolicyUsers,
    quotas: PatternQuotas,
    claims: StreamClaims,
    ingress_backends: IngressBackends,
    services: KnownServices,
}

/// What is kept of the translation of a route.
#[derive(Debug, Default)]
struct Known {
    attached: Box<[Arc<ListenerId>]>,
    /// The slots that hold the route's entries, and the slots whose streams the route gets.
    slots: Box<[HostTableKey]>,
    policies: Box<[PolicyUse]>,
}

/// What is kept of the translation of a host of Ingresses.
#[derive(Debug, Default)]
struct KnownHost {
    /// Its slots, all of which are of this host.
    slots: Box<[Arc<ListenerKey>]>,
    /// Boxed, as few hosts have any.
    remarks: Option<Box<Remarks>>,
}

/// What the owners of policies and Ingresses are told of a host.
#[derive(Debug, Default)]
struct Remarks {
    policies: Box<[PolicyUse]>,
    messages: HostMessages,
}

/// What is kept of the translation of TCP and UDP services.
#[derive(Debug, Default)]
struct KnownServices {
    slots: Box<[HostTableKey]>,
    maps: BTreeSet<ObjectKey>,
    messages: ServiceMessages,
}

/// The changes of a slot.
#[derive(Debug, Default)]
struct Pending {
    /// Routes whose old entries are removed.
    gone: Vec<ObjectKey>,
    fresh: Vec<Arc<[Entry]>>,
    /// The rule that takes the slot's streams or datagrams.
    stream: Option<Arc<Rule>>,
}

/// A route and its key; `None` where there is no such route any more.
type Found<'s> = (Option<&'s Arc<Route>>, ObjectKey);

/// What translation needs.
pub(super) struct Translator<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) reader: Reader<'a>,
    pub(super) listeners: &'a Listeners,
    pub(super) pools: &'a Pools,
}

impl Routes {
    /// Translates stale routes and hosts, and rebuilds the host tables that they are, or were, part of. Returns the
    /// keys of those tables.
    pub(super) fn renew(&mut self, translator: &Translator<'_>, units: &mut Units) -> Vec<HostTableKey> {
        let routes = &translator.snapshot.routes;
        let mut stale = find(std::mem::take(&mut units.stale.routes), routes);
        self.renew_quotas(&stale, translator, units);
        self.renew_claims(&stale, translator, units);
        // Routes whose regular expressions or streams are now granted or refused because of these.
        let mut more = std::mem::take(&mut units.stale.routes);
        more.retain(|key| stale.binary_search_by(|(_, known)| known.cmp(key)).is_err());
        stale.extend(find(more, routes));
        let mut pending = Map::default();
        if self.known.is_empty() {
            // At a start all routes come at once.
            self.known.reserve(stale.len());
            units.reserve(stale.len());
            pending.reserve(stale.len());
        }
        for (route, key) in stale {
            self.renew_one(key, route.map(|route| &**route), translator, units, &mut pending);
        }
        let mut renewed = Vec::with_capacity(pending.len());
        for (slot, pending) in pending {
            self.put_together(&slot, pending, &translator.pools.host_tables);
            renewed.push(slot);
        }
        self.renew_ingress_backends(translator, units);
        for host in std::mem::take(&mut units.stale.ingress_hosts) {
            self.renew_host(host, translator, units, &mut renewed);
        }
        if std::mem::take(&mut units.stale.port_services) {
            self.renew_services(translator, units, &mut renewed);
        }
        renewed
    }

    /// The host tables of all slots.
    pub(super) fn tables(&self) -> &Slots {
        &self.tables
    }

    /// The messages for the owners of a host's Ingresses.
    pub(super) fn said(&self, host: &HostPattern) -> Option<&HostMessages> {
        Some(&self.hosts.get(host)?.remarks.as_ref()?.messages)
    }

    /// The messages about the Services that ConfigMaps of TCP and UDP services name.
    pub(super) fn service_messages(&self) -> &ServiceMessages {
        &self.services.messages
    }

    /// Translates the TCP and UDP services of all ports.
    fn renew_services(
        &mut self,
        Translator { reader, pools, .. }: &Translator<'_>,
        units: &mut Units,
        renewed: &mut Vec<HostTableKey>,
    ) {
        let ServicesTranslation { streams, messages } = translate::port_services(reader, pools);
        let maps: BTreeSet<_> = reader.settings().service_maps().map(|(map, _)| map.clone()).collect();
        units.record(Unit::PortServices, reader);
        let slots = streams.iter().map(|(slot, _)| slot.clone()).collect();
        let before = std::mem::replace(&mut self.services, KnownServices { slots, maps, messages });
        before.slots.iter().for_each(|slot| self.tables.remove_stream(slot));
        renewed.extend(before.slots);
        renewed.extend(self.services.slots.iter().cloned());
        streams.into_iter().for_each(|(slot, rule)| self.tables.insert_stream(slot, rule));
        let maps = before.maps.union(&self.services.maps);
        maps.for_each(|map| units.change(&Fact::Outcome(map.clone())));
    }

    /// Records which regular expressions the stale routes and hosts need. Other routes and hosts become stale where theirs
    /// are now granted or refused because of that.
    fn renew_quotas(&mut self, stale: &[Found<'_>], translator: &Translator<'_>, units: &mut Units) {
        let Translator { reader, listeners, .. } = translator;
        for (route, key) in stale {
            match route {
                Some(route) if !route.patterns.is_empty() => {
                    let is_attached = translate::is_attached(reader, listeners, route);
                    self.quotas.set(&route.meta, is_attached.then_some(&*route.patterns));
                }
                _ => self.quotas.remove(key),
            }
        }
        for host in &units.stale.ingress_hosts {
            self.quotas.set_host(host, translate::ingress_patterns(reader, listeners, host));
        }
        let changed = self.quotas.settle(reader.settings().pattern_budget);
        changed.into_iter().for_each(|object| units.change(&Fact::PatternsOf(object)));
        // Each route and host notes the same reads again when it is translated.
        reader.take_noted();
    }

    /// Records which streams the stale routes claim. If that changes what other routes get, these routes become stale
    /// too.
    fn renew_claims(&mut self, stale: &[Found<'_>], translator: &Translator<'_>, units: &mut Units) {
        let Translator { reader, listeners, .. } = translator;
        for (route, key) in stale {
            match route {
                Some(route) if !route.kind.takes_requests() => {
                    self.claims.set(&route.meta, translate::stream_places(reader, listeners, route));
                }
                _ => self.claims.remove(key),
            }
        }
        self.claims.settle().into_iter().for_each(|route| units.change(&Fact::StreamsOf(route)));
        // Each route notes the same reads again when it is translated.
        reader.take_noted();
    }

    /// Records what the stale hosts say of Services. Other hosts become stale where that changes what they read.
    fn renew_ingress_backends(&mut self, translator: &Translator<'_>, units: &mut Units) {
        let Translator { reader, listeners, .. } = translator;
        for host in &units.stale.ingress_hosts {
            let claims = translate::ingress_claims(reader, listeners, &self.quotas, host);
            self.ingress_backends.set_host(host, claims);
        }
        self.ingress_backends.settle().iter().for_each(|fact| units.change(fact));
        // Each host notes the same reads again when it is translated.
        reader.take_noted();
    }

    fn renew_one(
        &mut self,
        key: ObjectKey,
        route: Option<&Route>,
        translator: &Translator<'_>,
        units: &mut Units,
        pending: &mut Map<HostTableKey, Pending>,
    ) {
        let others = OtherRoutes { patterns_granted: self.quotas.grants(&key), streams: &self.claims };
        let now = route.map(|route| translator.translate(route, others));
        units.record(Unit::Route(key.clone()), &translator.reader);
        let before = self.known.remove_entry(&key);
        let is_gone = now.is_none();
        let (who, before) = before.unwrap_or_else(|| (key.clone(), Box::default()));
        for slot in &before.slots {
            pending.entry(slot.clone()).or_default().gone.push(who.clone());
        }
        let mut now = now.unwrap_or_default();
        self.count(&before.attached, &now.attached, units);
        self.use_policies(&before.policies, &now.policies, units);
        units.stale.reports.push((key, if is_gone { None } else { status::route(&mut now) }));
        if is_gone {
            return;
        }
        let attached = now.attached.into();
        let mut slots = Vec::with_capacity(now.attachments.len() + now.streams.len());
        slots.extend(now.attachments.into_iter().map(|attachment| hand_over(attachment, pending)));
        for (slot, rule) in now.streams {
            pending.entry(slot.clone()).or_default().stream = Some(rule);
            slots.push(slot);
        }
        self.known.insert(who, Box::new(Known { attached, slots: slots.into(), policies: now.policies }));
    }

    fn renew_host(
        &mut self,
        host: HostPattern,
        translator: &Translator<'_>,
        units: &mut Units,
        renewed: &mut Vec<HostTableKey>,
    ) {
        let Translator { reader, listeners, pools, .. } = translator;
        let others = OtherHosts { backends: &self.ingress_backends, quotas: &self.quotas };
        let HostTranslation { tables, stream, policies, messages } =
            translate::ingress_host(reader, listeners, pools, others, &host);
        units.record(Unit::IngressHost(host.clone()), reader);
        let KnownHost { slots: before_at, remarks } = self.hosts.remove(&host).unwrap_or_default();
        let slots_before: Vec<_> =
            before_at.into_iter().map(|at| HostTableKey { at, host: host.clone() }).collect();
        let before = remarks.unwrap_or_default();
        let policies: Box<[_]> = policies.into_iter().map(|policy| (policy, PolicyUser::Ingresses)).collect();
        self.use_policies(&before.policies, &policies, units);
        slots_before.iter().for_each(|slot| {
            self.tables.remove(slot);
            self.tables.remove_stream(slot);
        });
        let streams = stream.iter().map(|(slot, _)| slot.clone());
        let slots: BTreeSet<_> = tables.iter().map(|(slot, _)| slot.clone()).chain(streams).collect();
        for (slot, table) in tables {
            self.tables.insert(slot, table);
        }
        if let Some((slot, rule)) = stream {
            self.tables.insert_stream(slot, rule);
        }
        renewed.extend(slots_before.into_iter().filter(|slot| !slots.contains(slot)));
        renewed.extend(slots.iter().cloned());
        let told: BTreeSet<_> = before.messages.keys().chain(messages.keys()).collect();
        let others = told.into_iter().filter(|key| before.messages.get(*key) != messages.get(*key));
        others.for_each(|key| units.change(&Fact::Outcome(key.clone())));
        let has_remarks = !messages.is_empty() || !policies.is_empty();
        let remarks = has_remarks.then(|| Box::new(Remarks { policies, messages }));
        if !slots.is_empty() || has_remarks {
            let slots = slots.into_iter().map(|slot| slot.at).collect();
            self.hosts.insert(host, KnownHost { slots, remarks });
        }
    }

    /// Replaces the uses of policies of a unit.
    pub(super) fn use_policies(&mut self, before: &[PolicyUse], now: &[PolicyUse], units: &mut Units) {
        let changed = self.policy_users.replace(before, now);
        changed.into_iter().for_each(|policy| units.change(&Fact::Outcome(policy)));
    }

    fn count(&mut self, before: &[Arc<ListenerId>], now: &[Arc<ListenerId>], units: &mut Units) {
        let gone = before.iter().filter(|id| !now.contains(id)).inspect(|id| self.attached.remove(id));
        let gone: Vec<_> = gone.collect();
        let new = now.iter().filter(|id| !before.contains(id)).inspect(|id| self.attached.add(id));
        for id in gone.into_iter().chain(new) {
            if let Some(owner) = super::owner_of(id) {
                units.change(&Fact::RoutesOn(owner));
            }
        }
    }

    /// Builds the table of a slot at a Gateway from the entries of unchanged routes and the fresh entries, or sets the
    /// rule that takes the slot's streams.
    fn put_together(
        &mut self,
        slot: &HostTableKey,
        Pending { gone, fresh, stream }: Pending,
        pool: &HostTablePool,
    ) {
        let gone: Set<_> =
            gone.iter().map(|key| (key.kind.resource().route, &*key.namespace, &*key.name)).collect();
        let is_gone = |RouteId { kind, namespace, name }: &RouteId| {
            gone.contains(&(Some(*kind), &**namespace, &**name))
        };
        match (stream, self.tables.stream(slot)) {
            (Some(rule), _) => self.tables.insert_stream(slot.clone(), rule),
            (None, Some(before)) if is_gone(&before.route) => self.tables.remove_stream(slot),
            (None, _) => {}
        }
        let mut entries = Vec::with_capacity(fresh.iter().map(|entries| entries.len()).sum());
        entries.extend(fresh.iter().flat_map(|entries| entries.iter().cloned()));
        if let Some(before) = self.tables.get(slot) {
            entries.extend(before.entries().iter().filter(|entry| !is_gone(&entry.rule.route)).cloned());
        }
        if entries.is_empty() {
            self.tables.remove(slot);
            return;
        }
        // The order of entries of equal precedence must not depend on which was translated last.
        entries.sort_by(|a, b| a.rule.route.cmp(&b.rule.route));
        self.tables.insert(slot.clone(), pool.table(entries));
    }
}

/// Finds routes by their keys. The result is in the order of the keys.
fn find<T>(keys: BTreeSet<ObjectKey>, routes: &BTreeMap<ObjectKey, T>) -> Vec<(Option<&T>, ObjectKey)> {
    // For few keys, a search for each takes fewer comparisons than the walk.
    if keys.len() < routes.len() / 16 {
        return keys.into_iter().map(|key| (routes.get(&key), key)).collect();
    }
    let mut routes = routes.iter().peekable();
    let find = |key: ObjectKey| {
        while routes.next_if(|(before, _)| **before < key).is_some() {}
        (routes.next_if(|(of, _)| **of == key).map(|(_, route)| route), key)
    };
    keys.into_iter().map(find).collect()
}

impl Translator<'_> {
    fn translate(&self, route: &Route, others: OtherRoutes<'_>) -> Translated {
        translate::route(&self.reader, self.listeners, self.pools, others, route)
    }
}

/// Gives a route's entries to their slot.
fn hand_over(attachment: Attachment, pending: &mut Map<HostTableKey, Pending>) -> HostTableKey {
    let Attachment { slot, entries, .. } = attachment;
    pending.entry(slot.clone()).or_default().fresh.push(entries);
    slot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    #[test]
    fn routes_are_found_by_one_walk_as_by_a_search_for_each() {
        let key = |number: u32| ObjectKey::new(Kind::HttpRoute, "shop", &format!("route-{number:03}"));
        let routes: BTreeMap<_, _> = (0..200).step_by(2).map(|number| (key(number), number)).collect();
        // All keys, a few, many of which some have no route, none.
        let some = [(0..200).collect(), vec![0, 1, 2, 198, 199], (3..150).step_by(3).collect(), vec![]];
        for numbers in some {
            let expected: Vec<_> =
                numbers.iter().map(|number| ((number % 2 == 0).then_some(number), key(*number))).collect();
            assert_eq!(find(numbers.iter().map(|number| key(*number)).collect(), &routes), expected);
        }
    }
}
