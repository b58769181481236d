//! All listeners, kept up to date: the steps from stale objects to what differs in the table and in statuses.
//!
//! ```text
//! translate()           one Gateway or ListenerSet, regardless of all others
//! resolve()             the limits of its namespace; then ports and hostnames, down the order of precedence
//! translate_ingresses() the hosts of Ingresses, beside those listeners (hosts.rs)
//! finish()              the places in the table that may differ, and the states of the listeners concerned
//! ```
//!
//! What is made from nothing goes through the same steps, with every object stale.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostPattern, PortKey};
use portcullis_tls::Certificates;

use super::{
    FirstOf, GatewayState, IngressHost, IngressSide, ListenerPlan, ListenerSetState, ListenerState, PortPlan,
    conflicts::Claims,
    entrance::{self, ByNamespace, Taken},
    gateways,
    named::Named,
    overlaps::{Beneath, ByAge, ByHostname},
    places::IngressPlaces,
    plan::Terminations,
    states::Owner,
};
use crate::{
    facts::Fact,
    ir::{Kind, ObjectKey},
    translate::{Place, PolicyUse, Pools, Reader},
};

/// Every listener that is ours. Routes read this and not the Gateways and ListenerSets.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// The Gateways of our classes, and the ListenerSets that name one of them.
    owners: BTreeMap<ObjectKey, Layers>,
    pub ingress: IngressSide,
    /// The frame of the table: every port and listener that is served, with or without routes. By the port that is
    /// bound.
    pub ports: BTreeMap<PortKey, PortPlan>,
    pub certificates: Arc<Certificates>,
    pub(super) claims: Claims,
    /// Empty where nothing is limited.
    pub(super) taken: ByNamespace,
    pub(super) places: IngressPlaces,
    pub(super) named: Named,
    /// The listeners that terminate TLS for requests. Clients send requests for other hosts over the same connection;
    /// streams are of one host.
    pub(super) tls: Beneath<ByAge>,
    /// The hosts that Ingresses alone have, beneath the listeners of Gateways.
    pub(super) ingress_hosts: Beneath<ByHostname>,
    /// The number of ListenerSets of each Gateway that are accepted.
    attached_sets: BTreeMap<ObjectKey, u32>,
    pub(super) terminations: Terminations,
    pub(super) touched: Touched,
    /// The places that differ from the last [`Listeners::take_changed_places`], each with its plan from before.
    pub(super) changed_places: ChangedPlaces,
}

/// Places, each with its plan from before.
pub(crate) type ChangedPlaces = BTreeMap<Place, Option<ListenerPlan>>;

/// The states of a Gateway or ListenerSet. They are one value as long as they are the same.
#[derive(Clone, Debug)]
struct Layers {
    /// Regardless of all others.
    alone: Owner,
    /// Within the limits of its namespace.
    admitted: Owner,
    /// With all that others mean for it; `None` before the first time.
    finished: Option<Owner>,
}

/// What has to be brought up to date.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    /// Objects that were translated.
    translated: BTreeSet<ObjectKey>,
    /// Objects whose final states may differ.
    pub(super) owners: BTreeSet<ObjectKey>,
    /// Places of the table that may differ.
    pub(super) places: BTreeSet<Place>,
    /// Objects that are gone.
    gone: BTreeMap<ObjectKey, Owner>,
}

/// What became different.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) facts: Vec<Fact>,
    /// Whether a Gateway with addresses of its own, or a ListenerSet of one, differs.
    pub(crate) dedicated: bool,
    /// The uses of policies before and now, of each object where they may differ.
    pub(crate) policies: Vec<(Vec<PolicyUse>, Vec<PolicyUse>)>,
}

/// What all Gateways, GatewayClasses, ListenerSets, Secrets and Ingresses say of listeners.
pub fn listeners(reader: &Reader<'_>, pools: &Pools) -> Listeners {
    let mut all = Listeners::default();
    let gateways = reader.gateways().map(|gateway| &gateway.meta.key);
    // A ListenerSet reads what was made of its Gateway.
    for key in gateways.chain(reader.listener_sets().map(|set| &set.meta.key)) {
        all.translate(reader, pools, key);
    }
    all.resolve(reader);
    all.translate_ingresses(reader, pools, None);
    all.finish(reader);
    all
}

impl Listeners {
    /// Translates a Gateway or a ListenerSet that is new, other than before or gone. Returns what ListenerSets read of
    /// a Gateway, if that differs.
    pub(crate) fn translate(&mut self, reader: &Reader<'_>, pools: &Pools, key: &ObjectKey) -> Option<Fact> {
        // Whatever the limits are, and whether there are any.
        reader.entrance();
        let now = if key.kind == Kind::ListenerSet {
            gateways::listener_set(reader, pools, self, key).map(Arc::new).map(Owner::Set)
        } else {
            gateways::gateway(reader, pools, key).map(Arc::new).map(Owner::Gateway)
        };
        let before = self.owners.get(key).map(|layers| &layers.alone);
        if before.is_none() && now.is_none() {
            return None;
        }
        let gateways = (before.and_then(Owner::as_gateway), now.as_ref().and_then(Owner::as_gateway));
        let is_other = match gateways {
            (Some(before), Some(now)) => !gateways::is_same_for_sets(before, now),
            (before, now) => before.is_some() || now.is_some(),
        };
        self.touched.translated.insert(key.clone());
        match (now, self.owners.get_mut(key)) {
            (Some(now), Some(layers)) => layers.alone = now,
            (Some(now), None) => {
                let finished = self.touched.gone.remove(key);
                let layers = Layers { admitted: now.clone(), alone: now, finished };
                self.owners.insert(key.clone(), layers);
            }
            (None, _) => self.remove(key),
        }
        is_other.then(|| Fact::GatewayOfSets(key.clone()))
    }

    fn remove(&mut self, key: &ObjectKey) {
        self.claims.remove(key, &mut self.touched);
        self.touched.owners.remove(key);
        let finished = self.owners.remove(key).and_then(|layers| layers.finished);
        if let Some(finished) = finished {
            self.touched.gone.insert(key.clone(), finished);
        }
    }

    /// Decides which listeners get their ports and hostnames. Returns whether that may concern Ingresses.
    pub(crate) fn resolve(&mut self, reader: &Reader<'_>) -> Option<Fact> {
        let is_other = self.admit(reader);
        self.claims.settle(reader.settings(), &mut self.touched);
        let has_ingress = |(port, hostname): &Place| {
            self.places.ports.contains_key(port)
                && (*hostname == HostPattern::Any || self.ingress.has_host(hostname))
        };
        (is_other || self.touched.places.iter().any(has_ingress)).then_some(Fact::LeftToIngresses)
    }

    /// Applies the limits of namespaces to the objects that were translated, and to others of their namespaces. Returns
    /// whether there is anything else left for Ingresses.
    fn admit(&mut self, reader: &Reader<'_>) -> bool {
        let translated = std::mem::take(&mut self.touched.translated);
        if !entrance::is_limited(reader.entrance()) {
            for key in translated {
                let Some(layers) = self.owners.get_mut(&key) else { continue };
                layers.admitted = layers.alone.clone();
                self.claims.set(layers.admitted.clone(), &mut self.touched);
            }
            return !std::mem::take(&mut self.taken).is_empty();
        }
        let namespaces: BTreeSet<_> = translated.iter().map(|key| key.namespace.clone()).collect();
        let mut is_other = false;
        for namespace in namespaces {
            let taken = self.admit_namespace(reader, &namespace, &translated);
            is_other |= self.taken.get(&namespace).unwrap_or(&Taken::default()) != &taken;
            match taken.is_empty() {
                true => drop(self.taken.remove(&namespace)),
                false => drop(self.taken.insert(namespace, taken)),
            }
        }
        is_other
    }

    fn admit_namespace(
        &mut self,
        reader: &Reader<'_>,
        namespace: &str,
        translated: &BTreeSet<ObjectKey>,
    ) -> Taken {
        let of_kind = |kind| {
            let first = ObjectKey::new(kind, namespace, "");
            let all = self.owners.range(first..);
            all.take_while(move |(key, _)| key.kind == kind && *key.namespace == *namespace)
        };
        let all = of_kind(Kind::Gateway).chain(of_kind(Kind::ListenerSet));
        let mut all: Vec<_> = all.map(|(key, layers)| (layers.alone.precedence(), key.clone())).collect();
        all.sort();
        let mut taken = Taken::default();
        for (_, key) in all {
            let Some(layers) = self.owners.get_mut(&key) else { continue };
            let mut admitted = layers.alone.clone();
            entrance::restrict_owner(reader, &mut admitted, &mut taken);
            if translated.contains(&key) || admitted != layers.admitted {
                layers.admitted = admitted.clone();
                self.claims.set(admitted, &mut self.touched);
            }
        }
        taken
    }

    /// Brings the frame of the table, certificates and the states of listeners up to date.
    pub(crate) fn finish(&mut self, reader: &Reader<'_>) -> Changes {
        for place in std::mem::take(&mut self.touched.places) {
            self.renew_place(&place, reader.settings());
        }
        let mut changes = Changes::default();
        for (key, before) in std::mem::take(&mut self.touched.gone) {
            self.count_set(Some(&before), None);
            changes.note(&key, Some(&before), None);
        }
        // ListenerSets first: a Gateway counts those that are accepted.
        while let Some(key) = self.touched.owners.pop_last() {
            self.finish_owner(&key, &mut changes);
        }
        changes
    }

    fn finish_owner(&mut self, key: &ObjectKey, changes: &mut Changes) {
        let Some(layers) = self.owners.get(key) else { return };
        let mut now = layers.admitted.clone();
        for (index, refusal) in self.claims.refusals(key) {
            now.listener_mut(index).refuse(refusal.clone());
        }
        for index in 0..now.listeners().len() {
            self.place_beside_others(&mut now, index);
        }
        if let Owner::Gateway(state) = &mut now
            && let Some(attached) = self.attached_sets.get(key)
        {
            Arc::make_mut(state).attached_sets = *attached;
        }
        let before = self.owners.get_mut(key).and_then(|layers| layers.finished.replace(now.clone()));
        self.count_set(before.as_ref(), Some(&now));
        changes.note(key, before.as_ref(), Some(&now));
    }

    /// Adds what other listeners and Ingresses mean for a listener that is served.
    fn place_beside_others(&self, owner: &mut Owner, index: usize) {
        let point = &owner.listeners()[index].point;
        let Some(bound) = point.bound().filter(|_| point.served) else { return };
        let place = (bound, point.hostname.clone());
        let is_tls = self.tls.get(&place).is_some();
        let FirstOf { first, count } = if is_tls { self.tls.overlaps(&place) } else { FirstOf::default() };
        let overlaps = FirstOf { first: first.into_iter().map(|member| member.id).collect(), count };
        let mut before = FirstOf::default();
        self.ingress_hosts.beneath(&place).for_each(|(host, _)| before.add(|| host.clone()));
        if self.places.hosts.contains_key(&place) {
            owner.listener_mut(index).ingress_behind = true;
        }
        if overlaps.count > 0 {
            owner.listener_mut(index).overlaps = overlaps;
        }
        if before.count > 0 {
            owner.listener_mut(index).ingress_before = before;
        }
    }

    /// Counts a ListenerSet at its Gateway, if it is accepted.
    fn count_set(&mut self, before: Option<&Owner>, now: Option<&Owner>) {
        let accepted = |owner: Option<&Owner>| {
            let set = owner?.as_set().filter(|set| set.is_accepted())?;
            Some(set.gateway.clone())
        };
        let (before, now) = (accepted(before), accepted(now));
        if before == now {
            return;
        }
        for (gateway, is_more) in before.map(|key| (key, false)).into_iter().chain(now.map(|key| (key, true)))
        {
            let count = self.attached_sets.entry(gateway.clone()).or_default();
            *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.attached_sets.remove(&gateway);
            }
            self.touched.owners.insert(gateway);
        }
    }

    /// Returns the listener of a Gateway or ListenerSet that holds a hostname on a bound port.
    pub(super) fn holding(&self, port: PortKey, hostname: &HostPattern) -> Option<&ListenerState> {
        let holder = self.claims.holder(port, hostname)?;
        self.owners.get(&holder.owner)?.admitted.listeners().get(holder.index)
    }

    /// Returns what ListenerSets read of their Gateway; `None` if it is not ours.
    pub(super) fn for_set(&self, reader: &Reader<'_>, gateway: &ObjectKey) -> Option<&GatewayState> {
        reader.note(|| Fact::GatewayOfSets(gateway.clone()));
        self.owners.get(gateway)?.alone.as_gateway()
    }

    fn finished(&self, key: &ObjectKey) -> Option<&Owner> {
        self.owners.get(key)?.finished.as_ref()
    }

    fn all_finished(&self) -> impl Iterator<Item = (&ObjectKey, &Owner)> {
        self.owners.iter().filter_map(|(key, layers)| Some((key, layers.finished.as_ref()?)))
    }

    /// Returns the state of a Gateway; `None` if it is not ours.
    pub(crate) fn gateway(&self, key: &ObjectKey) -> Option<&GatewayState> {
        self.finished(key)?.as_gateway()
    }

    /// Returns the state of a ListenerSet; `None` if its Gateway is not ours.
    pub(crate) fn set(&self, key: &ObjectKey) -> Option<&ListenerSetState> {
        self.finished(key)?.as_set()
    }

    /// Returns the Gateways of our classes.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = (&ObjectKey, &GatewayState)> {
        self.all_finished().filter_map(|(key, owner)| Some((key, owner.as_gateway()?)))
    }

    /// Returns the policies that concern the filters of all listeners, each with its Gateway.
    pub(crate) fn policies(&self) -> impl Iterator<Item = PolicyUse> {
        self.all_finished().flat_map(|(_, owner)| owner.policies())
    }

    /// Returns the ListenerSets that name one of those Gateways.
    pub(crate) fn sets(&self) -> impl Iterator<Item = (&ObjectKey, &ListenerSetState)> {
        self.all_finished().filter_map(|(key, owner)| Some((key, owner.as_set()?)))
    }

    /// Returns the listeners of a Gateway or a ListenerSet for a unit that reads them; `None` where it is not ours.
    pub(crate) fn of_parent(&self, reader: &Reader<'_>, key: &ObjectKey) -> Option<&[ListenerState]> {
        reader.note(|| Fact::ListenersOf(key.clone()));
        self.finished(key).map(Owner::listeners)
    }

    /// Returns the Gateway of a ListenerSet, and any other key as it is. The caller has read the listeners of `key`.
    pub(crate) fn gateway_of(&self, key: &ObjectKey) -> ObjectKey {
        self.finished(key).map_or(key, Owner::gateway).clone()
    }

    /// What a unit reads of a host of Ingresses.
    pub(crate) fn at_host(&self, reader: &Reader<'_>, host: &HostPattern) -> Option<&IngressHost> {
        reader.note(|| Fact::ListenerAt(host.clone()));
        self.ingress.hosts.get(host)
    }

    /// Returns whether a port has hosts that Ingresses alone have.
    pub(crate) fn has_ingress_hosts(&self, port: PortKey) -> bool {
        self.ingress_hosts.has(port)
    }

    /// Returns the places whose listeners or certificates may differ from those of the last call.
    pub(crate) fn take_changed_places(&mut self) -> ChangedPlaces {
        std::mem::take(&mut self.changed_places)
    }

    /// Forgets what was kept for listeners that are gone.
    pub(crate) fn forget_unused(&mut self) {
        self.terminations.forget_unused();
    }
}

impl Changes {
    fn note(&mut self, key: &ObjectKey, before: Option<&Owner>, now: Option<&Owner>) {
        if before == now {
            return;
        }
        self.facts.push(Fact::Outcome(key.clone()));
        self.dedicated |= before.into_iter().chain(now).any(Owner::is_dedicated);
        let uses = |owner: Option<&Owner>| owner.map(Owner::policies).unwrap_or_default();
        match (uses(before), uses(now)) {
            (before, now) if before.is_empty() && now.is_empty() => {}
            uses => self.policies.push(uses),
        }
        // What routes read of it.
        let points = |owner: &Owner| {
            let points = owner.listeners().iter().map(|listener| Arc::clone(&listener.point));
            (owner.gateway().clone(), points.collect::<Vec<_>>())
        };
        if before.map(points) != now.map(points) {
            self.facts.push(Fact::ListenersOf(key.clone()));
        }
    }
}
