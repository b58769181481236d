//! Owns every object and all that is derived from them; brings up to date what a change makes stale, and no more.
//!
//! ```text
//! apply()            changes -> served ones -> Snapshot               scope.rs
//!                    facts -> stale units                             ../facts.rs, units.rs, dependencies.rs
//! publish()          stale listeners -> places in the table           listeners.rs, patch.rs
//!                    stale policies -> TLS towards backends
//!                    stale routes, hosts of Ingresses -> slots -> tables  routes.rs
//!                    stale endpoints -> endpoint pools, no table
//!                    stale addresses -> owners of addresses            addresses.rs
//!                    certificates that are shown                       certificates.rs
//! update_statuses()  stale statuses                                   statuses.rs
//! survey()           as publish(), for what the units read             demand.rs
//! ```
//!
//! A unit of translation reads through a [`Reader`]; what it read is recorded, and when a fact changes, the units that
//! read it become stale. One task owns the index, so there are no locks. The result is what [`crate::translate::full`]
//! makes of the same objects.

mod addresses;
mod certificates;
mod demand;
mod dependencies;
mod listeners;
mod live;
mod patch;
mod routes;
mod scope;
mod statuses;
mod units;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use portcullis_routing::{ClusterAddresses, HostPattern, ListenerId, ListenerOwner, Table};
use portcullis_tls::Certificates;

use crate::{
    Bindings, Problem, Publication,
    cluster::dedicated::{DesiredServices, ProvisioningErrors},
    facts::{Fact, facts_of},
    ir::{LiveSettings, ObjectKey},
    kinds::Kind,
    objects::{self, live_settings::LastGood},
    snapshot::{Change, Snapshot},
    translate::{
        self, Address, Allocation, BackendTlsPolicies, Bundle, ChangedPlaces, HostOwners, HostTableKey,
        Listeners, Pools, Reader, RuleSource, ServedNamespaces, Settings, SharedChange, SharedHosts,
    },
};
use addresses::Addresses;
use patch::Patch;
use routes::Routes;
use scope::Scope;
use units::{Unit, Units};

/// Every object, and what is served of them.
#[derive(Debug)]
pub struct Index {
    settings: Settings,
    /// The live settings of the command line, before the ConfigMap of settings.
    flags: Arc<LiveSettings>,
    /// Whether the ConfigMaps of settings, and of TCP and UDP services, have to be read again.
    is_settings_map_new: bool,
    settings_problems: Vec<Problem>,
    last_good_settings: LastGood,
    /// Which namespace owns each hostname; `None` if hostnames have no owners.
    owners: Option<HostOwners>,
    /// The objects of served namespaces.
    snapshot: Snapshot,
    scope: Scope,
    /// The objects that the source has fetched, if only to find that there is none; `None` if it has everything at
    /// hand.
    fetched: Option<BTreeSet<ObjectKey>>,
    bindings: Bindings,
    pools: Pools,
    addresses: Addresses,
    units: Units,
    listeners: Listeners,
    routes: Routes,
    shared: SharedHosts,
    policies: BackendTlsPolicies,
    table: Arc<Table>,
    certificates: Arc<Certificates>,
    /// Whether anything that [`Index::desired_services`] reads may have changed since its last call.
    is_desired_new: bool,
    complete: bool,
    /// Whether everything has been translated once.
    is_translated: bool,
    /// Whether a publication would differ from the last one.
    is_unpublished: bool,
    publications: u64,
}

/// A fast hasher suffices: the keys are names of admitted objects, which nobody chooses to make them collide, and the
/// hasher is seeded.
type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// How many publications pass between two searches for entries of the pools that are no longer used. Such a search
/// looks at every entry.
const TIDY: u64 = 64;

impl Index {
    /// An index without objects.
    pub fn new(settings: Settings) -> Self {
        let mut scope = Scope::default();
        scope.renew(&Snapshot::default(), &settings);
        Self {
            flags: Arc::clone(&settings.live),
            owners: None,
            is_settings_map_new: true,
            settings_problems: Vec::new(),
            last_good_settings: LastGood::default(),
            settings,
            snapshot: Snapshot::default(),
            scope,
            fetched: None,
            bindings: Bindings::new(),
            pools: Pools::default(),
            addresses: Addresses::default(),
            units: Units::new(),
            listeners: Listeners::default(),
            routes: Routes::default(),
            shared: SharedHosts::default(),
            policies: BackendTlsPolicies::default(),
            table: Arc::default(),
            certificates: Arc::default(),
            is_desired_new: false,
            complete: false,
            is_translated: false,
            is_unpublished: true,
            publications: 0,
        }
    }

    /// Every object that is served.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Which namespace each address belongs to, as far as [`Settings::external_names`] needs it. Always the same value,
    /// which [`Index::publish`] updates.
    pub fn cluster_addresses(&self) -> &Arc<ClusterAddresses> {
        self.addresses.all()
    }

    /// The addresses of Gateways' Services, which lead to us.
    pub fn gateway_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.of_gateways()
    }

    /// Which namespaces are served. Always the same value, which is kept up to date.
    pub fn served_namespaces(&self) -> &Arc<ServedNamespaces> {
        &self.scope.served
    }

    /// Applies changes; nothing is translated before [`Index::publish`].
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.note_fetched(change.key());
            let Some(change) = self.scope.filter(change, &self.settings) else { continue };
            let key = change.key().clone();
            self.apply_served([change]);
            if key.kind == Kind::Namespace {
                let changes = self.scope.renew_namespace(&key.name, &self.snapshot, &self.settings);
                self.apply_served(changes);
            }
        }
    }

    fn apply_served(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let before = self.snapshot.get(change.key());
            let after = match &change {
                Change::Apply(object) => Some(object),
                Change::Delete(_) => None,
            };
            facts_of(before.as_ref(), after).iter().for_each(|fact| self.units.change(fact));
            self.is_settings_map_new |= self.settings.is_settings_map(change.key());
            self.snapshot.apply(change);
        }
    }

    /// Sets which ports are bound.
    pub fn set_bindings(&mut self, bindings: &Bindings) {
        let before = std::mem::replace(&mut self.bindings, bindings.clone());
        let ports = before.keys().chain(bindings.keys());
        let others = ports.filter(|port| before.get(port) != bindings.get(port));
        others.for_each(|port| self.units.change(&Fact::Binding(*port)));
    }

    /// Sets the addresses at which clients reach us.
    pub fn set_addresses(&mut self, addresses: Vec<Address>) {
        if self.settings.addresses != addresses {
            self.settings.addresses = addresses;
            self.units.change(&Fact::Addresses);
        }
    }

    /// Sets why Services of Gateways could not be brought to their desired state.
    pub fn set_provisioning_errors(&mut self, errors: ProvisioningErrors) {
        let before = std::mem::replace(&mut self.settings.provisioning_errors, errors);
        let now = &self.settings.provisioning_errors;
        let gateways = before.keys().chain(now.keys());
        let others = gateways.filter(|key| before.get(*key) != now.get(*key));
        others.for_each(|key| self.units.change(&Fact::ProvisioningError(key.clone())));
    }

    /// Sets which ports are bound for Gateways with addresses of their own.
    pub fn set_allocation(&mut self, allocation: Arc<Allocation>) {
        if self.settings.allocation != allocation {
            self.settings.allocation = allocation;
            self.units.change(&Fact::Allocation);
        }
    }

    /// Sets what the CRDs say about themselves.
    pub fn set_bundle(&mut self, bundle: Bundle) {
        if self.settings.bundle.as_ref() != Some(&bundle) {
            self.settings.bundle = Some(bundle);
            self.units.change(&Fact::Bundle);
        }
    }

    /// Replaces the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        let Settings { addresses, provisioning_errors, allocation, bundle, .. } = settings.clone();
        self.set_addresses(addresses);
        self.set_provisioning_errors(provisioning_errors);
        self.set_allocation(allocation);
        if self.settings.bundle != bundle {
            self.units.change(&Fact::Bundle);
        }
        // The live settings stay until the ConfigMap is applied to the new ones, so that the two can be compared.
        let live = Arc::clone(&self.settings.live);
        let port_services = Arc::clone(&self.settings.port_services);
        let scope = |of: &Settings| {
            let maps = (of.settings_map.clone(), of.tcp_services.clone(), of.udp_services.clone());
            (of.namespace_selector.clone(), of.default_certificate.clone(), maps)
        };
        let is_scope_new = scope(&self.settings) != scope(&settings);
        self.settings = settings;
        self.flags = std::mem::replace(&mut self.settings.live, live);
        self.settings.port_services = port_services;
        self.is_settings_map_new = true;
        self.units.change(&Fact::Settings);
        if is_scope_new {
            let changes = self.scope.renew(&self.snapshot, &self.settings);
            self.apply_served(changes);
        }
    }

    /// Says that every object that exists has been applied. Until then nothing is published.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Brings everything but the statuses up to date. `None` if nothing of a publication has changed; endpoints may
    /// have changed all the same, in the pools that the table refers to.
    pub fn publish(&mut self) -> Option<Publication> {
        if !self.complete {
            return None;
        }
        self.renew();
        std::mem::take(&mut self.is_unpublished).then(|| self.publication())
    }

    /// Translates what is stale.
    fn renew(&mut self) {
        let is_live_new = self.renew_live_settings();
        // Listeners read them, and so do routes.
        self.renew_policies();
        let ingresses = self.renew_stale_listeners();
        self.renew_owners(ingresses);
        // Ownership of hostnames can change which listeners are refused, but not which listeners routes attach to.
        self.renew_stale_listeners();
        let translator = routes::Translator {
            snapshot: &self.snapshot,
            reader: Reader::new(&self.snapshot, &self.settings, None)
                .with_owners(self.owners.as_ref())
                .with_policies(&self.policies)
                .with_fetched(self.fetched.as_ref())
                .noting(),
            listeners: &self.listeners,
            pools: &self.pools,
        };
        let slots = self.routes.renew(&translator, &mut self.units);
        self.addresses.renew(&self.snapshot, &self.settings, &mut self.units.stale);
        self.fill_pools();

        let places = self.listeners.take_changed_places();
        let shares = self.renew_shared(&places, &slots);
        let are_certificates_new = self.renew_certificates(&places, &shares);
        let patch = Patch { places, slots, shares };
        let is_table_new =
            patch.carry_out(&mut self.table, &self.listeners, self.routes.tables(), &self.shared);
        self.is_unpublished |= is_live_new || is_table_new || are_certificates_new;
        self.is_translated = true;
    }

    /// Determines which hosts routes and Ingresses share: all of them if a listener of many hosts may have changed, else
    /// those of `places` and `slots`.
    fn renew_shared(&mut self, places: &ChangedPlaces, slots: &[HostTableKey]) -> Vec<SharedChange> {
        let tables = self.routes.tables();
        let changes = if places.keys().all(|(_, host)| matches!(host, HostPattern::Exact(_))) {
            let of_gateways = slots.iter().filter(|slot| matches!(slot.at.owner, RuleSource::Gateway(_)));
            let of_routes = of_gateways.map(|slot| (slot.at.port, slot.host.clone()));
            self.shared.renew(&self.listeners, tables, places.keys().cloned().chain(of_routes))
        } else {
            let before = std::mem::replace(&mut self.shared, SharedHosts::of(&self.listeners, tables));
            self.shared.changes(&before)
        };
        for SharedChange { before, now, .. } in &changes {
            for shared in before.iter().chain(now) {
                let host = self.listeners.ingress.hosts.get(&shared.ingress);
                let of_ingresses = host.into_iter().flat_map(|host| host.ingresses.iter().cloned());
                let concerned = of_ingresses.chain(owner_of(&shared.gateway_id));
                concerned.for_each(|key| self.units.change(&Fact::Outcome(key)));
            }
        }
        changes
    }

    /// Objects that nobody serves, as [`translate::unclaimed`] finds them; `None` if they are the same as before.
    pub fn unclaimed(&mut self) -> Option<Vec<Problem>> {
        if !self.complete || !std::mem::take(&mut self.units.stale.unclaimed) {
            return None;
        }
        let reader = Reader::new(&self.snapshot, &self.settings, None).noting();
        let unclaimed = translate::unclaimed(&reader);
        self.units.record(Unit::Unclaimed, &reader);
        Some(unclaimed)
    }

    /// The desired Services of Gateways; `None` where nothing that they depend on has changed since the last call.
    pub fn desired_services(&mut self) -> Option<DesiredServices> {
        if !self.complete {
            return None;
        }
        std::mem::take(&mut self.is_desired_new).then(|| DesiredServices::of(&self.snapshot, &self.listeners))
    }

    fn publication(&mut self) -> Publication {
        self.publications += 1;
        Arc::make_mut(&mut self.table).generation = self.publications;
        if self.publications.is_multiple_of(TIDY) {
            self.listeners.forget_unused();
            self.pools.backends.forget_unused();
            self.pools.patterns.forget_unused();
            self.pools.host_tables.forget_unused();
            self.pools.labels.forget_unused();
            self.pools.common.forget_unused();
            self.pools.certificates.forget_unused(&self.snapshot);
            self.pools.authorities.forget_unused(&self.snapshot);
            self.pools.users.forget_unused(&self.snapshot);
            objects::forget_unused();
        }
        Publication {
            table: Arc::clone(&self.table),
            certificates: Arc::clone(&self.certificates),
            live: Arc::clone(&self.settings.live),
        }
    }

    /// Translates stale policies, and marks what reads their targets as stale.
    fn renew_policies(&mut self) {
        let reader =
            Reader::new(&self.snapshot, &self.settings, None).with_fetched(self.fetched.as_ref()).noting();
        for key in std::mem::take(&mut self.units.stale.policies) {
            self.policies.renew(&reader, &self.pools, &self.snapshot, &key);
            self.units.record(Unit::Policy(key.clone()), &reader);
            self.units.change(&Fact::Outcome(key));
        }
        self.policies.take_changed().iter().for_each(|fact| self.units.change(fact));
    }

    /// Looks up the endpoints of new pools, and of the pools of Services whose endpoints changed. No table is touched.
    fn fill_pools(&mut self) {
        let backends = &self.pools.backends;
        let mut stale = std::mem::take(&mut self.units.stale.endpoints);
        for namespace in std::mem::take(&mut self.units.stale.pods) {
            stale.extend(
                translate::x_backends_in(&self.snapshot, &namespace).map(|backend| backend.meta.key.clone()),
            );
        }
        translate::fill(&self.snapshot, backends.take_fresh());
        // At first every pool is fresh.
        for object in stale.iter().filter(|_| self.is_translated) {
            translate::fill(&self.snapshot, backends.of_object(object));
        }
    }
}

/// Returns the Gateway or ListenerSet that a listener belongs to.
fn owner_of(listener: &ListenerId) -> Option<ObjectKey> {
    match &listener.owner {
        ListenerOwner::Gateway { namespace, name } => Some(ObjectKey::new(Kind::Gateway, namespace, name)),
        ListenerOwner::ListenerSet { namespace, name } => {
            Some(ObjectKey::new(Kind::ListenerSet, namespace, name))
        }
        ListenerOwner::IngressHost(_) | ListenerOwner::Services { .. } => None,
    }
}
