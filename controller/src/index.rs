//! Owns every object and all that is derived from them; brings up to date what a change makes stale, and no more.
//!
//! ```text
//! apply()    changes -> Snapshot, and what they make stale     changed.rs, dependents.rs
//! publish()  stale listeners -> frame of the table             patch.rs
//!            stale routes    -> slots -> HostTables            routes.rs
//!            stale services  -> endpoint pools, no table       endpoints.rs
//!                            -> whose each address is          addresses.rs
//! tell()     stale statuses                                    tell.rs
//! ```
//!
//! One task owns it; there are no locks. What it makes is what [`crate::translate::full`] makes of the same objects.

mod addresses;
mod changed;
mod dependents;
mod endpoints;
mod patch;
mod routes;
mod tell;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use portcullis_routing::{ClusterAddresses, HostPattern, Table};
use portcullis_tls::{Certificates, PortCertificates};

use crate::{
    Bindings, Problem, Publication,
    cluster::dedicated::{Hindrances, Wishes},
    ir::ObjectKey,
    snapshot::{Change, Snapshot},
    translate::{self, Address, Allocation, Bundle, Listeners, Pools, PortPlan, Settings},
};
use addresses::Addresses;
use patch::Patch;
use routes::Routes;
use tell::Stale;

/// Every object, and what is served of them.
#[derive(Debug)]
pub struct Index {
    settings: Settings,
    snapshot: Snapshot,
    bindings: Bindings,
    pools: Pools,
    addresses: Addresses,
    listeners: Listeners,
    routes: Routes,
    table: Arc<Table>,
    certificates: Arc<Certificates>,
    dirty: Dirty,
    stale: Stale,
    /// Whether [`Index::unclaimed`] has not been asked since classes, Gateways or Ingresses changed.
    unasked: bool,
    complete: bool,
    publications: u64,
}

/// What has to be translated again.
#[derive(Debug, Default)]
struct Dirty {
    listeners: bool,
    /// Routes and Ingresses.
    routes: BTreeSet<ObjectKey>,
    /// Services whose endpoints have to be looked up.
    services: BTreeSet<ObjectKey>,
    /// ReferenceGrants.
    grants: bool,
}

/// Nobody outside chooses the keys of these to make them collide: they are names of objects that were admitted, and
/// the hasher is seeded all the same.
type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// How many publications pass until what nobody uses any more is looked for: it costs a look at everything.
const TIDY: u64 = 64;

impl Index {
    /// An index without objects.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            snapshot: Snapshot::default(),
            bindings: Bindings::new(),
            pools: Pools::default(),
            addresses: Addresses::default(),
            listeners: Listeners::default(),
            routes: Routes::default(),
            table: Arc::default(),
            certificates: Arc::default(),
            dirty: Dirty { listeners: true, ..Dirty::default() },
            stale: Stale::default(),
            unasked: false,
            complete: false,
            publications: 0,
        }
    }

    /// Every object that was read.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Which addresses are whose, as far as that is asked for ([`Settings::external_names`]). It is this one always, and
    /// kept up to date by [`Index::publish`].
    pub fn cluster_addresses(&self) -> &Arc<ClusterAddresses> {
        self.addresses.all()
    }

    /// The addresses of the Services before Gateways, which lead to us.
    pub fn gateway_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.of_gateways()
    }

    /// Takes up changes; nothing is translated before [`Index::publish`].
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.mark(&change);
            self.snapshot.apply(change);
        }
    }

    /// Takes up which ports are bound: a matter of statuses alone.
    pub fn bind(&mut self, bindings: &Bindings) {
        if self.bindings != *bindings {
            self.bindings.clone_from(bindings);
            self.stale.gateways.extend(self.listeners.gateways.keys().cloned());
            self.stale.ingresses.extend(self.snapshot.ingresses.keys().cloned());
        }
    }

    /// Takes up at which addresses clients reach us: a matter of statuses alone.
    pub fn locate(&mut self, addresses: Vec<Address>) {
        if self.settings.addresses != addresses {
            self.settings.addresses = addresses;
            self.stale.gateways.extend(self.listeners.gateways.keys().cloned());
            self.stale.ingresses.extend(self.snapshot.ingresses.keys().cloned());
        }
    }

    /// Takes up what keeps the Services of Gateways from being as they should be: a matter of statuses alone.
    pub fn hinder(&mut self, hindrances: Hindrances) {
        let before = std::mem::replace(&mut self.settings.hindrances, hindrances);
        let now = &self.settings.hindrances;
        let others = before.keys().chain(now.keys()).filter(|key| before.get(key) != now.get(key));
        self.stale.gateways.extend(others.cloned());
    }

    /// Takes up which ports are bound for Gateways with addresses of their own.
    pub fn allocate(&mut self, allocation: Arc<Allocation>) {
        if self.settings.allocation != allocation {
            self.settings.allocation = allocation;
            self.dirty.listeners = true;
        }
    }

    /// The Services of Gateways that are to be.
    pub fn wishes(&self) -> Wishes {
        Wishes::of(&self.snapshot, &self.listeners)
    }

    /// Takes up of which releases the CRDs are: a matter of the classes' statuses alone.
    pub fn define(&mut self, bundle: Bundle) {
        if self.settings.bundle.as_ref() != Some(&bundle) {
            self.settings.bundle = Some(bundle);
            self.stale.classes.extend(self.snapshot.gateway_classes.keys().cloned());
        }
    }

    /// Says that every object that exists has been applied. Before, nothing is published.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Brings everything up to date but the statuses. `None` where table and certificates are those from before;
    /// endpoints may have changed all the same, in the pools that the table refers to.
    pub fn publish(&mut self) -> Option<Publication> {
        if !self.complete {
            return None;
        }
        let mut patch = Patch::default();
        if std::mem::take(&mut self.dirty.listeners) {
            patch.frame = Some(self.renew_listeners());
        }
        let dirty = std::mem::take(&mut self.dirty.routes);
        let translator = routes::Translator {
            snapshot: &self.snapshot,
            listeners: &self.listeners,
            settings: &self.settings,
            pools: &self.pools,
        };
        patch.slots = self.routes.renew(dirty, &translator, &mut self.stale);
        let services = std::mem::take(&mut self.dirty.services);
        let grants = std::mem::take(&mut self.dirty.grants);
        self.addresses.renew(&self.snapshot, &self.settings, &services, grants);
        // At first every pool is fresh, and filled for that.
        let services = if self.publications == 0 { BTreeSet::new() } else { services };
        endpoints::fill(&self.snapshot, &self.pools.backends, &services);

        let mut changed = self.publications == 0;
        changed |= patch.carry_out(&mut self.table, &self.listeners, self.routes.tables());
        if !same_certificates(&self.certificates, &self.listeners.certificates) {
            self.certificates = Arc::clone(&self.listeners.certificates);
            changed = true;
        }
        changed.then(|| self.publication())
    }

    /// Objects that nobody serves, as [`translate::unclaimed`] finds them; `None` where they are those from before.
    pub fn unclaimed(&mut self) -> Option<Vec<Problem>> {
        std::mem::take(&mut self.unasked).then(|| translate::unclaimed(&self.snapshot, &self.settings))
    }

    fn publication(&mut self) -> Publication {
        self.publications += 1;
        Arc::make_mut(&mut self.table).generation = self.publications;
        if self.publications.is_multiple_of(TIDY) {
            self.pools.backends.forget_unused();
            self.pools.patterns.forget_unused();
            self.pools.certificates.forget_unused(&self.snapshot);
        }
        Publication { table: Arc::clone(&self.table), certificates: Arc::clone(&self.certificates) }
    }

    /// Listeners are few: all of them again, and then only the routes at those that are others. Returns the frame
    /// from before.
    fn renew_listeners(&mut self) -> BTreeMap<u16, PortPlan> {
        let now = translate::listeners(&self.snapshot, &self.settings, &self.pools.certificates);
        let before = std::mem::replace(&mut self.listeners, now);
        self.unasked = true;
        let now = &self.listeners;
        for gateway in now.changed_gateways(&before) {
            self.dirty.routes.extend(self.routes.dependents.of_object(&gateway));
        }
        for host in now.changed_hosts(&before) {
            self.dirty.routes.extend(self.routes.dependents.of_host(&host));
        }
        self.stale.gateways.extend(now.gateways.keys().chain(before.gateways.keys()).cloned());
        let (told, tell) = (&before.ingress.messages, &now.ingress.messages);
        let told_ones = told.keys().chain(tell.keys()).filter(|key| told.get(key) != tell.get(key));
        self.stale.ingresses.extend(told_ones.cloned());
        before.ports
    }

    /// Ingresses depend on all classes of theirs.
    fn mark_all_ingresses(&mut self) {
        self.dirty.routes.extend(self.snapshot.ingresses.keys().cloned());
    }
}

/// Whether the same certificates are shown for the same hosts. They are the same ones: their pool keeps them.
fn same_certificates(one: &Certificates, other: &Certificates) -> bool {
    let same_listener = |other: &PortCertificates, host: &HostPattern, certificates: &[Arc<_>]| {
        other.listeners.get(host).is_some_and(|found| {
            found.certificates.len() == certificates.len()
                && found.certificates.iter().zip(certificates).all(|(a, b)| Arc::ptr_eq(a, b))
        })
    };
    let same_port = |one: &PortCertificates, other: &PortCertificates| {
        one.listeners.len() == other.listeners.len()
            && one.listeners.iter().all(|(host, t)| same_listener(other, host, &t.certificates))
    };
    one.ports.len() == other.ports.len()
        && one
            .ports
            .iter()
            .all(|(port, one)| other.ports.get(port).is_some_and(|other| same_port(one, other)))
}
