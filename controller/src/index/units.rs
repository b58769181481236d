//! Units of translation, and which of them are stale.

use std::collections::BTreeSet;

use portcullis_routing::HostPattern;

use super::dependencies::Dependencies;
use crate::{
    facts::Fact,
    ir::ObjectKey,
    kinds::{Kind, StatusShape},
    status::Report,
    translate::Reader,
};

/// What is translated on its own, and again when a fact that it read changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Unit {
    /// The listeners of a Gateway or a ListenerSet, regardless of all others.
    Listeners(ObjectKey),
    /// What the hosts of all Ingresses, as listeners, have in common.
    IngressHosts,
    /// The hosts of one Ingress, as listeners.
    HostsOf(ObjectKey),
    /// A route, with its status.
    Route(ObjectKey),
    /// The Ingresses of a host.
    IngressHost(HostPattern),
    /// The TCP and UDP services of all ports.
    PortServices,
    /// A policy, without its status.
    Policy(ObjectKey),
    /// The status of a GatewayClass, a Gateway, a ListenerSet, a policy or an Ingress, or the report on a ConfigMap of TCP
    /// or UDP services.
    Status(ObjectKey),
    /// The list of objects that nobody serves.
    Unclaimed,
}

impl Unit {
    /// The unit that translates or reports the fact's object. It becomes stale even if it has never read the fact.
    fn about(fact: &Fact) -> Option<Self> {
        match fact {
            Fact::Object(key) => match key.kind.resource().status_shape()? {
                StatusShape::Parents => Some(Self::Route(key.clone())),
                StatusShape::Ancestors => Some(Self::Policy(key.clone())),
                // Its status is about the outcome.
                StatusShape::Listeners => Some(Self::Listeners(key.clone())),
                StatusShape::LoadBalancer | StatusShape::Conditions => Some(Self::Status(key.clone())),
            },
            Fact::Outcome(key) => Some(Self::Status(key.clone())),
            // Of an Ingress, its hosts read it.
            Fact::PatternsOf(key) if key.kind == Kind::Ingress => None,
            Fact::PatternsOf(key) | Fact::StreamsOf(key) => Some(Self::Route(key.clone())),
            Fact::ListenerAt(host) => Some(Self::IngressHost(host.clone())),
            Fact::HostsOf(key) => Some(Self::HostsOf(key.clone())),
            Fact::Existence(_)
            | Fact::Gateways
            | Fact::ListenerSets
            | Fact::GrantsIn(_)
            | Fact::IngressClasses
            | Fact::IngressHosts
            | Fact::EndpointsOf(_)
            | Fact::PodsIn(_)
            | Fact::AddressesOf(_)
            | Fact::GatewayOfSets(_)
            | Fact::LeftToIngresses
            | Fact::ListenersOf(_)
            | Fact::IngressBackend(..)
            | Fact::RoutesOn(_)
            | Fact::OwnerOf(_)
            | Fact::OwnersBelow(_)
            | Fact::PoliciesOn(_)
            | Fact::Binding(_)
            | Fact::Addresses
            | Fact::ProvisioningError(_)
            | Fact::Allocation
            | Fact::Bundle
            | Fact::Entrance
            | Fact::Settings => None,
        }
    }
}

/// What every unit read, and which units have to be translated again.
#[derive(Debug)]
pub(super) struct Units {
    pub(super) dependencies: Dependencies,
    pub(super) stale: Stale,
}

/// Units that have to be translated again, and what else has to be brought up to date.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// The Gateways and ListenerSets whose listeners have to be translated again.
    pub(super) listeners: BTreeSet<ObjectKey>,
    /// Whether the hosts of all Ingresses, as listeners, have to be translated again.
    pub(super) are_ingress_hosts_stale: bool,
    /// The Ingresses whose hosts, as listeners, have to be translated again.
    pub(super) ingresses: BTreeSet<ObjectKey>,
    pub(super) routes: BTreeSet<ObjectKey>,
    pub(super) ingress_hosts: BTreeSet<HostPattern>,
    pub(super) policies: BTreeSet<ObjectKey>,
    pub(super) statuses: BTreeSet<ObjectKey>,
    pub(super) port_services: bool,
    pub(super) unclaimed: bool,
    /// Services and XBackends whose endpoints have to be looked up.
    pub(super) endpoints: BTreeSet<ObjectKey>,
    /// Namespaces of which XBackends have to look for their Pods.
    pub(super) pods: BTreeSet<Box<str>>,
    /// Services whose addresses have to be looked up.
    pub(super) addresses: BTreeSet<ObjectKey>,
    /// Whether ReferenceGrants have changed.
    pub(super) grants: bool,
    /// The reports of routes that have been translated since statuses were updated last, the last one of a route behind
    /// those before.
    pub(super) reports: Vec<(ObjectKey, Option<Report>)>,
}

impl Units {
    /// Nothing has been translated yet.
    pub(super) fn new() -> Self {
        let stale =
            Stale { are_ingress_hosts_stale: true, port_services: true, unclaimed: true, ..Stale::default() };
        Self { dependencies: Dependencies::default(), stale }
    }

    /// Marks what a changed fact makes stale.
    pub(super) fn change(&mut self, fact: &Fact) {
        match fact {
            Fact::EndpointsOf(service) => drop(self.stale.endpoints.insert(service.clone())),
            Fact::PodsIn(namespace) => drop(self.stale.pods.insert(namespace.clone())),
            Fact::AddressesOf(service) => drop(self.stale.addresses.insert(service.clone())),
            Fact::GrantsIn(_) => self.stale.grants = true,
            _ => {}
        }
        if let Some(unit) = Unit::about(fact) {
            self.stale.add(&unit);
        }
        for unit in self.dependencies.readers(fact) {
            self.stale.add(unit);
        }
    }

    /// Records what a unit has read.
    pub(super) fn record(&mut self, unit: Unit, reader: &Reader<'_>) {
        let mut reads = reader.take_noted();
        reads.retain(|fact| Unit::about(fact).as_ref() != Some(&unit));
        self.dependencies.record(unit, reads.drain(..));
        reader.reuse(reads);
    }

    /// Prepares for the first records of so many units.
    pub(super) fn reserve(&mut self, units: usize) {
        self.dependencies.reserve(units);
    }

    /// Records what was read of one Ingress for its hosts, beside what all of them have in common.
    pub(super) fn record_hosts_of(&mut self, ingress: ObjectKey, mut reads: Vec<Fact>) {
        reads.retain(|fact| !self.dependencies.has_read(&Unit::IngressHosts, fact));
        self.dependencies.record(Unit::HostsOf(ingress), reads.into_iter());
    }
}

impl Stale {
    fn add(&mut self, unit: &Unit) {
        match unit {
            Unit::Listeners(key) => drop(self.listeners.insert(key.clone())),
            Unit::IngressHosts => self.are_ingress_hosts_stale = true,
            Unit::HostsOf(key) => drop(self.ingresses.insert(key.clone())),
            Unit::Route(key) => drop(self.routes.insert(key.clone())),
            Unit::IngressHost(host) => drop(self.ingress_hosts.insert(host.clone())),
            Unit::Policy(key) => drop(self.policies.insert(key.clone())),
            Unit::Status(key) => drop(self.statuses.insert(key.clone())),
            Unit::PortServices => self.port_services = true,
            Unit::Unclaimed => self.unclaimed = true,
        }
    }
}
