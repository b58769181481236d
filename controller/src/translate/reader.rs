//! The view through which a unit of translation reads. It notes everything that the unit asks for, whether it exists or
//! not, so that a later change of it makes the unit stale. No dependency is kept by hand.

use std::{cell::RefCell, collections::BTreeSet, mem, sync::Arc};

use portcullis_routing::PortKey;

use super::{Allocation, BackendTlsPolicies, Bundle, HostOwners, Settings};
use crate::{
    Bindings,
    facts::Fact,
    ir::{
        Address, ClusterTrustBundle, ConfigMap, Gateway, GatewayClass, GatewayParameters, Ingress,
        IngressClass, Kind, ListenerSet, Namespace, ObjectKey, ReferenceGrant, Secret, Service, XBackend,
    },
    snapshot::Snapshot,
};

/// Reads objects, settings, and the state of this process.
#[derive(Debug)]
pub struct Reader<'a> {
    snapshot: &'a Snapshot,
    pub(super) settings: &'a Settings,
    /// `None` before the owners of hostnames are known.
    pub(super) owners: Option<&'a HostOwners>,
    /// `None` where no policy is asked for.
    pub(super) policies: Option<&'a BackendTlsPolicies>,
    bindings: Option<&'a Bindings>,
    /// Of the objects that are fetched on demand, those that have been; `None` if every object is at hand.
    fetched: Option<&'a BTreeSet<ObjectKey>>,
    /// `None` if reads are not recorded.
    noted: Option<RefCell<Vec<Fact>>>,
}

/// Whether a port is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    Bound,
    Pending,
    Failed(&'a str),
    /// Nothing runs, as in a check of a folder: every port counts as bound.
    Assumed,
}

impl<'a> Reader<'a> {
    /// Notes nothing. `bindings` is `None` where nothing runs.
    pub fn new(snapshot: &'a Snapshot, settings: &'a Settings, bindings: Option<&'a Bindings>) -> Self {
        Self { snapshot, settings, owners: None, policies: None, bindings, fetched: None, noted: None }
    }

    /// The same reader, recording what is read.
    #[must_use]
    pub fn noting(self) -> Self {
        Self { noted: Some(RefCell::default()), ..self }
    }

    /// The same reader with the owners of hostnames.
    #[must_use]
    pub fn with_owners(self, owners: Option<&'a HostOwners>) -> Self {
        Self { owners, ..self }
    }

    /// The same reader with the policies.
    #[must_use]
    pub fn with_policies(self, policies: &'a BackendTlsPolicies) -> Self {
        Self { policies: Some(policies), ..self }
    }

    /// The same reader with the objects that have been fetched, of those that are fetched on demand.
    #[must_use]
    pub fn with_fetched(self, fetched: Option<&'a BTreeSet<ObjectKey>>) -> Self {
        Self { fetched, ..self }
    }

    /// Reads something for another unit than the reader's: returns what was read of it beside the result.
    pub(crate) fn apart<T>(&self, read: impl FnOnce() -> T) -> (T, Vec<Fact>) {
        let before = self.take_noted();
        let result = read();
        let noted = self.take_noted();
        if let Some(own) = &self.noted {
            *own.borrow_mut() = before;
        }
        (result, noted)
    }

    /// What was read since the last call.
    pub fn take_noted(&self) -> Vec<Fact> {
        self.noted.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// Takes back the list that [`Reader::take_noted`] returned, for the facts that are read next.
    pub(crate) fn reuse(&self, mut list: Vec<Fact>) {
        if let Some(noted) = &self.noted
            && noted.borrow().is_empty()
        {
            list.clear();
            *noted.borrow_mut() = list;
        }
    }

    pub(crate) fn note(&self, fact: impl FnOnce() -> Fact) {
        if let Some(noted) = &self.noted {
            noted.borrow_mut().push(fact());
        }
    }

    /// The same for a fact without fields, which a unit reads again and again: it is noted once.
    pub(crate) fn note_once(&self, fact: &'static Fact) {
        let Some(noted) = &self.noted else { return };
        let mut noted = noted.borrow_mut();
        if !noted.iter().any(|known| mem::discriminant(known) == mem::discriminant(fact)) {
            noted.push(fact.clone());
        }
    }

    fn note_object(&self, key: &ObjectKey) {
        self.note(|| Fact::Object(key.clone()));
    }

    /// The settings. Those that change at run time have methods of their own here, so that fewer units become stale.
    pub fn settings(&self) -> &'a Settings {
        self.note_once(&Fact::Settings);
        self.settings
    }
}

/// Objects.
impl<'a> Reader<'a> {
    pub(crate) fn gateway_class(&self, name: &str) -> Option<&'a GatewayClass> {
        let key = ObjectKey::new(Kind::GatewayClass, "", name);
        self.note_object(&key);
        self.snapshot.gateway_classes.get(&key).map(|class| &**class)
    }

    pub(crate) fn gateway_parameters(&self, key: &ObjectKey) -> Option<&'a GatewayParameters> {
        self.note_object(key);
        self.snapshot.gateway_parameters.get(key).map(|parameters| &**parameters)
    }

    /// All of them.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &'a Arc<Gateway>> + use<'a> {
        self.note(|| Fact::Gateways);
        self.snapshot.gateways.values()
    }

    pub(crate) fn gateway(&self, key: &ObjectKey) -> Option<&'a Arc<Gateway>> {
        self.note_object(key);
        self.snapshot.gateways.get(key)
    }

    pub(crate) fn listener_set(&self, key: &ObjectKey) -> Option<&'a Arc<ListenerSet>> {
        self.note_object(key);
        self.snapshot.listener_sets.get(key)
    }

    /// All of them.
    pub(crate) fn listener_sets(&self) -> impl Iterator<Item = &'a Arc<ListenerSet>> + use<'a> {
        self.note(|| Fact::ListenerSets);
        self.snapshot.listener_sets.values()
    }

    /// Whether there is such a Gateway or ListenerSet, of any class.
    pub(crate) fn has_parent(&self, key: &ObjectKey) -> bool {
        self.note(|| Fact::Existence(key.clone()));
        self.snapshot.gateways.contains_key(key) || self.snapshot.listener_sets.contains_key(key)
    }

    /// Those of a namespace.
    pub(crate) fn grants<'n>(
        &self,
        namespace: &'n str,
    ) -> impl Iterator<Item = &'a ReferenceGrant> + use<'a, 'n> {
        self.note(|| Fact::GrantsIn(namespace.into()));
        let first = ObjectKey::new(Kind::ReferenceGrant, namespace, "");
        let grants = self.snapshot.grants.range(first..);
        grants.take_while(move |(key, _)| *key.namespace == *namespace).map(|(_, grant)| &**grant)
    }

    pub(crate) fn ingress_class(&self, name: &str) -> Option<&'a IngressClass> {
        self.note(|| Fact::IngressClasses);
        let key = ObjectKey::new(Kind::IngressClass, "", name);
        self.snapshot.ingress_classes.get(&key).map(|class| &**class)
    }

    /// All of them.
    pub(crate) fn ingress_classes(&self) -> impl Iterator<Item = &'a IngressClass> + use<'a> {
        self.note(|| Fact::IngressClasses);
        self.snapshot.ingress_classes.values().map(|class| &**class)
    }

    pub(crate) fn ingress(&self, key: &ObjectKey) -> Option<&'a Ingress> {
        self.note_object(key);
        self.hosts_of(key).map(|ingress| &**ingress)
    }

    /// An Ingress, for its hosts, its TLS and its class. Notes nothing: what is read of an Ingress for its hosts is a unit of
    /// its own, which is stale whenever these change.
    pub(crate) fn hosts_of(&self, key: &ObjectKey) -> Option<&'a Arc<Ingress>> {
        let default = || self.settings.default_backend.as_ref().map(|default| &default.ingress);
        let found = self.snapshot.ingresses.get(key);
        found.or_else(|| default().filter(|own| own.meta.key == *key))
    }

    /// The same of all Ingresses.
    pub(crate) fn hosts_of_all(&self) -> impl Iterator<Item = &'a Arc<Ingress>> + use<'a> {
        let default = self.settings.default_backend.iter().map(|default| &default.ingress);
        self.snapshot.ingresses.values().chain(default)
    }

    /// All of them, for their hosts, their TLS and their classes.
    pub(crate) fn ingresses(&self) -> impl Iterator<Item = &'a Arc<Ingress>> + use<'a> {
        self.note(|| Fact::IngressHosts);
        self.snapshot.ingresses.values()
    }

    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&'a Service> {
        let found = self.snapshot.services.find(Kind::Service, namespace, name);
        self.note(|| {
            let missing = || ObjectKey::new(Kind::Service, namespace, name);
            Fact::Object(found.map_or_else(missing, |service| service.meta.key.clone()))
        });
        found.map(|service| &**service)
    }

    pub(crate) fn x_backend(&self, key: &ObjectKey) -> Option<&'a XBackend> {
        self.note_object(key);
        self.snapshot.x_backends.get(key).map(|backend| &**backend)
    }

    pub(crate) fn secret(&self, key: &ObjectKey) -> Option<&'a Arc<Secret>> {
        self.note_object(key);
        self.snapshot.secrets.get(key)
    }

    pub(crate) fn config_map(&self, key: &ObjectKey) -> Option<&'a Arc<ConfigMap>> {
        self.note_object(key);
        self.snapshot.config_maps.get(key)
    }

    pub(crate) fn trust_bundle(&self, key: &ObjectKey) -> Option<&'a Arc<ClusterTrustBundle>> {
        self.note_object(key);
        self.snapshot.trust_bundles.get(key)
    }

    /// Whether an object that was not found is being fetched, so that it is not known yet whether there is one.
    pub(crate) fn is_pending(&self, key: &ObjectKey) -> bool {
        self.note_object(key);
        self.fetched.is_some_and(|fetched| !fetched.contains(key))
    }

    pub(crate) fn namespace(&self, name: &str) -> Option<&'a Namespace> {
        let key = ObjectKey::new(Kind::Namespace, "", name);
        self.note_object(&key);
        self.snapshot.namespaces.get(&key).map(|namespace| &**namespace)
    }
}

/// The state of this process.
impl<'a> Reader<'a> {
    /// Whether anything is served; false where manifests are only checked.
    pub(crate) fn runs(&self) -> bool {
        self.bindings.is_some()
    }

    pub(crate) fn binding(&self, port: PortKey) -> Binding<'a> {
        self.note(|| Fact::Binding(port));
        let Some(bindings) = self.bindings else { return Binding::Assumed };
        match bindings.get(&port) {
            Some(Ok(())) => Binding::Bound,
            Some(Err(why)) => Binding::Failed(why),
            None => Binding::Pending,
        }
    }

    /// Where clients reach us.
    pub(crate) fn addresses(&self) -> &'a [Address] {
        self.note(|| Fact::Addresses);
        &self.settings.addresses
    }

    /// Why the Service of a Gateway could not be brought to its desired state.
    pub(crate) fn provisioning_error(&self, gateway: &ObjectKey) -> Option<&'a str> {
        self.note(|| Fact::ProvisioningError(gateway.clone()));
        self.settings.provisioning_errors.get(gateway).map(|why| &**why)
    }

    /// Which ports are bound for Gateways with addresses of their own.
    pub(crate) fn allocation(&self) -> &'a Allocation {
        self.note(|| Fact::Allocation);
        &self.settings.allocation
    }

    /// The releases of the CRDs.
    pub(crate) fn bundle(&self) -> Option<&'a Bundle> {
        self.note(|| Fact::Bundle);
        self.settings.bundle.as_ref()
    }
}
