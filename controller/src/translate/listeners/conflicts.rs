//! Resolves conflicts: of several listeners that want a port or a hostname on it, that of the oldest object gets it.
//! Of those that are left of one Gateway or ListenerSet, the conflicting ones are all refused (GatewaySpec `listeners`,
//! "Handling indistinct Listeners").
//!
//! Each object is decided about by itself, the oldest first, and the decision depends on older objects alone. So when an
//! object changes, it is decided about again, and after it those younger ones to which what it holds makes a
//! difference.

mod held;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use portcullis_routing::{HostPattern, ListenerId, ListenerOwner, PortKey, Protocol};

use super::{
    AttachPoint, ListenerRefusal, Touched, WayOut,
    states::{Owner, Precedence},
};
use crate::{
    ir::{ObjectKey, gateway::GatewayListener},
    translate::Settings,
};
use held::{Held, Spot};
pub(super) use held::{HeldPort, Holder};

/// The Gateways and ListenerSets that want ports and hostnames, and what each of them holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    claimants: HashMap<ObjectKey, Claimant, RandomState>,
    held: Held,
    /// Those that have to be decided about.
    stale: BTreeSet<Precedence>,
}

#[derive(Clone, Debug)]
struct Claimant {
    precedence: Precedence,
    owner: Owner,
    decided: Option<Decision>,
}

/// What was decided about an object, and of which states.
#[derive(Clone, Debug)]
struct Decision {
    owner: Owner,
    refusals: Refusals,
}

/// The listeners that are refused, by their index.
type Refusals = BTreeMap<usize, ListenerRefusal>;

/// A listener that competes for a port: nothing else has refused it.
struct Wanted<'o> {
    gateway: &'o ObjectKey,
    index: usize,
    spec: &'o GatewayListener,
    point: &'o AttachPoint,
    protocol: Protocol,
    spot: Spot,
}

/// The maximum number of ports of one Gateway, including those that its ListenerSets add. A Gateway without
/// ListenerSets has at most 64 listeners, and so as many ports.
const MAX_PORTS: usize = 64;

impl Claims {
    /// Sets what an object wants.
    pub(super) fn set(&mut self, owner: Owner, touched: &mut Touched) {
        let precedence = owner.precedence();
        let key = &precedence.key;
        if self.claimants.get(key).is_some_and(|before| before.precedence != precedence) {
            self.remove(key, touched);
        }
        self.stale.insert(precedence.clone());
        match self.claimants.get_mut(key) {
            Some(claimant) => claimant.owner = owner,
            None => {
                let key = key.clone();
                self.claimants.insert(key, Claimant { precedence, owner, decided: None });
            }
        }
    }

    /// Removes an object that is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey, touched: &mut Touched) {
        let Some(Claimant { precedence, decided, .. }) = self.claimants.remove(key) else { return };
        self.stale.remove(&precedence);
        self.replace(&precedence, decided.as_ref(), None, touched);
    }

    /// Decides about what is stale. Notes the objects that were decided about, and where they hold hostnames or did so
    /// before.
    pub(super) fn settle(&mut self, settings: &Settings, touched: &mut Touched) {
        // Only younger objects become stale on the way.
        while let Some(precedence) = self.stale.pop_first() {
            let Some(mut claimant) = self.claimants.remove(&precedence.key) else { continue };
            let before = claimant.decided.take();
            let owner = claimant.owner.clone();
            let now = Decision { refusals: self.decide(&owner, &precedence, settings), owner };
            self.replace(&precedence, before.as_ref(), Some(&now), touched);
            touched.owners.insert(precedence.key.clone());
            claimant.decided = Some(now);
            self.claimants.insert(precedence.key, claimant);
        }
    }

    /// Returns the listeners of an object that are refused, by their index.
    pub(super) fn refusals(&self, key: &ObjectKey) -> impl Iterator<Item = (usize, &ListenerRefusal)> {
        let decision = self.claimants.get(key).and_then(|claimant| claimant.decided.as_ref());
        decision.into_iter().flat_map(|decision| &decision.refusals).map(|(index, refusal)| (*index, refusal))
    }

    /// Returns the listener that holds a hostname on a bound port.
    pub(super) fn holder(&self, port: PortKey, hostname: &HostPattern) -> Option<&Holder> {
        self.held.host(&Spot::Bound(port), hostname).map(|(_, holder)| holder)
    }

    /// Returns what a bound port speaks, and by which number clients know it.
    pub(super) fn port(&self, port: PortKey) -> Option<&HeldPort> {
        self.held.port(&Spot::Bound(port)).map(|(_, held)| held)
    }

    fn decide(&self, owner: &Owner, precedence: &Precedence, settings: &Settings) -> Refusals {
        let all: Vec<_> = wanted(owner).collect();
        let mut refusals = self.taken_from(owner, &all, precedence, settings);
        refuse_conflicting(&all, &mut refusals);
        if owner.is_set() {
            self.refuse_further_ports(owner, &all, precedence, &mut refusals);
        }
        refusals
    }

    /// Refuses the listeners whose port or hostname an older object has.
    fn taken_from(
        &self,
        owner: &Owner,
        all: &[Wanted<'_>],
        precedence: &Precedence,
        settings: &Settings,
    ) -> Refusals {
        let of_set = owner.is_set().then_some(owner.meta().namespace());
        // A ListenerSet cannot choose the addresses.
        let way_out = if owner.is_set() { WayOut::Nothing } else { WayOut::of(settings) };
        let refusal = |Wanted { spec, protocol, spot, .. }: &Wanted<'_>| {
            let (_, held) = self.held.port(spot).filter(|(holder, _)| *holder < precedence)?;
            if held.protocol != *protocol {
                let with = name_for(of_set, &held.id);
                return Some(ListenerRefusal::ProtocolConflict { with, port: spec.port, way_out });
            }
            let host = self.held.host(spot, &spec.hostname);
            let (_, holder) = host.filter(|(holder, _)| *holder < precedence)?;
            Some(taken(spec, name_for(of_set, &holder.id), way_out))
        };
        all.iter().filter_map(|wanted| Some((wanted.index, refusal(wanted)?))).collect()
    }

    /// Refuses the listeners of a ListenerSet by which its Gateway would get more ports than it may have.
    fn refuse_further_ports(
        &self,
        owner: &Owner,
        all: &[Wanted<'_>],
        precedence: &Precedence,
        refusals: &mut Refusals,
    ) {
        let ports = self.held.ports_of(owner.gateway());
        let ports = ports.filter(|(_, user)| user.is_some_and(|user| user < precedence));
        let mut ports: BTreeSet<_> = ports.map(|(port, _)| port).collect();
        for Wanted { index, spec, .. } in all {
            if refusals.contains_key(index) || ports.contains(&spec.port_key()) {
                continue;
            }
            if ports.len() >= MAX_PORTS {
                refusals.insert(*index, ListenerRefusal::TooManyPorts { limit: MAX_PORTS });
            } else {
                ports.insert(spec.port_key());
            }
        }
    }

    /// Replaces what an object wants and holds. Younger objects to which that makes a difference become stale.
    fn replace(
        &mut self,
        precedence: &Precedence,
        before: Option<&Decision>,
        now: Option<&Decision>,
        touched: &mut Touched,
    ) {
        let wanted_before: Vec<_> = before.iter().flat_map(|decision| wanted(&decision.owner)).collect();
        let wanted_now: Vec<_> = now.iter().flat_map(|decision| wanted(&decision.owner)).collect();
        let mut seen = Seen::default();
        for (decision, wanted) in [(before, &wanted_before), (now, &wanted_now)] {
            for one in wanted.iter().filter(|one| decision.is_some_and(|decision| decision.grants(one.index)))
            {
                seen.look(&self.held, one);
                touched.places.extend(one.point.bound().map(|bound| (bound, one.spec.hostname.clone())));
            }
        }
        wanted_before.iter().for_each(|one| self.held.remove(precedence, one));
        for one in &wanted_now {
            self.held.insert(precedence, one, now.is_some_and(|now| now.grants(one.index)));
        }
        self.mark(precedence, &seen);
    }

    /// Marks the objects after `changed` that see something else than before.
    fn mark(&mut self, changed: &Precedence, seen: &Seen) {
        let Self { claimants, held, stale } = self;
        for (spot, before) in &seen.ports {
            let now = held.port(spot);
            if before.as_ref() != now.map(owned).as_ref() {
                let holders = [before.as_ref().map(|(_, held)| held), now.map(|(_, held)| held)];
                stale.extend(held.concerned_by_port(spot, changed, holders).cloned());
            }
        }
        for ((spot, hostname), before) in &seen.hosts {
            if before.as_ref() != held.host(spot, hostname).map(owned).as_ref() {
                stale.extend(held.concerned_by_host(spot, changed, hostname).cloned());
            }
        }
        for ((gateway, port), (before, count)) in &seen.used {
            let differs = before.as_ref() != held.user(gateway, *port);
            // With fewer ports than that, nobody has been or will be refused one.
            if differs && (*count).max(held.ports_of(gateway).count()) >= MAX_PORTS {
                let others = claimants.values().filter(|other| other.owner.gateway() == gateway);
                let younger = others.filter(|other| other.precedence > *changed);
                stale.extend(younger.map(|other| other.precedence.clone()));
            }
        }
    }
}

/// The first holders of what one object holds or held.
#[derive(Default)]
struct Seen {
    ports: BTreeMap<Spot, Option<(Precedence, HeldPort)>>,
    hosts: BTreeMap<(Spot, HostPattern), Option<(Precedence, Holder)>>,
    /// The first users of Gateways' ports, and how many ports the Gateway uses.
    used: BTreeMap<(ObjectKey, PortKey), (Option<Precedence>, usize)>,
}

impl Seen {
    fn look(&mut self, held: &Held, Wanted { gateway, spec, spot, .. }: &Wanted<'_>) {
        self.ports.entry(spot.clone()).or_insert_with(|| held.port(spot).map(owned));
        let host = (spot.clone(), spec.hostname.clone());
        self.hosts.entry(host).or_insert_with(|| held.host(spot, &spec.hostname).map(owned));
        let port = spec.port_key();
        self.used
            .entry(((*gateway).clone(), port))
            .or_insert_with(|| (held.user(gateway, port).cloned(), held.ports_of(gateway).count()));
    }
}

fn owned<A: Clone, B: Clone>((a, b): (&A, &B)) -> (A, B) {
    (a.clone(), b.clone())
}

impl Decision {
    /// Returns whether a listener gets what it wants.
    fn grants(&self, index: usize) -> bool {
        !self.refusals.contains_key(&index)
    }
}

/// Returns the listeners of an object that want a port. An object that is refused as a whole wants none.
fn wanted(owner: &Owner) -> impl Iterator<Item = Wanted<'_>> {
    let all = owner.specs().iter().zip(owner.listeners()).enumerate().filter(|_| !owner.is_refused());
    all.filter_map(|(index, (spec, state))| {
        let (gateway, point) = (owner.gateway(), &*state.point);
        let protocol = point.mode.as_ref().filter(|_| state.refused.is_none())?.protocol;
        let spot = match point.bound() {
            Some(bound) => Spot::Bound(bound),
            None => Spot::Unbound(gateway.clone(), spec.port_key()),
        };
        Some(Wanted { gateway, index, spec, point, protocol, spot })
    })
}

/// Names a listener to the owner of another one. `of_set` is the owner's namespace if that is a ListenerSet, which is not
/// told the names of ListenerSets in other namespaces.
pub(crate) fn name_for(of_set: Option<&str>, listener: &ListenerId) -> Box<str> {
    match (&listener.owner, of_set) {
        (ListenerOwner::ListenerSet { namespace, .. }, Some(own)) if **namespace != *own => {
            "a listener of another namespace".into()
        }
        _ => listener.to_string().into(),
    }
}

/// Refuses the listeners of one object that conflict with each other, of those that are left.
fn refuse_conflicting(all: &[Wanted<'_>], refusals: &mut Refusals) {
    let left: Vec<_> = all.iter().filter(|one| !refusals.contains_key(&one.index)).collect();
    for one in &left {
        let same_port = left
            .iter()
            .filter(|other| other.index != one.index && other.spec.port_key() == one.spec.port_key());
        let (mut protocols, mut same) = (BTreeSet::new(), BTreeSet::new());
        for other in same_port {
            if other.protocol != one.protocol {
                protocols.insert(format!("listener {}", other.spec.name));
            } else if other.spec.hostname == one.spec.hostname {
                same.insert(format!("listener {}", other.spec.name));
            }
        }
        let list = |names: BTreeSet<String>| crate::status::list(names).into();
        let way_out = WayOut::Nothing;
        if !protocols.is_empty() {
            let (with, port) = (list(protocols), one.spec.port);
            refusals.insert(one.index, ListenerRefusal::ProtocolConflict { with, port, way_out });
        } else if !same.is_empty() {
            refusals.insert(one.index, taken(one.spec, list(same), way_out));
        }
    }
}

/// Returns the refusal of a listener whose port and hostname another listener holds.
fn taken(listener: &GatewayListener, with: Box<str>, way_out: WayOut) -> ListenerRefusal {
    let port = listener.port;
    if listener.protocol.has_hostnames() {
        ListenerRefusal::HostnameConflict { with, hostname: listener.hostname.clone(), port, way_out }
    } else {
        ListenerRefusal::PortTaken { with, port, way_out }
    }
}

#[cfg(test)]
mod tests;
