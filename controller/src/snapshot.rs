//! What the controller has read: every object by its key.

mod by_name;
mod slices;

use std::{collections::BTreeMap, sync::Arc};

pub use by_name::{ByName, Keyed};
pub use slices::Slices;

use crate::ir::{
    ConfigMap, Gateway, GatewayClass, GatewayParameters, Ingress, IngressClass, Meta, Namespace, Object,
    ObjectKey, ReferenceGrant, Route, Secret, Service,
};

/// Every object that was read. Translation reads it and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub gateway_classes: BTreeMap<ObjectKey, Arc<GatewayClass>>,
    pub gateways: BTreeMap<ObjectKey, Arc<Gateway>>,
    pub gateway_parameters: BTreeMap<ObjectKey, Arc<GatewayParameters>>,
    pub routes: BTreeMap<ObjectKey, Arc<Route>>,
    pub grants: BTreeMap<ObjectKey, Arc<ReferenceGrant>>,
    pub ingresses: BTreeMap<ObjectKey, Arc<Ingress>>,
    pub ingress_classes: BTreeMap<ObjectKey, Arc<IngressClass>>,
    pub services: ByName<Arc<Service>>,
    pub endpoint_slices: Slices,
    pub secrets: BTreeMap<ObjectKey, Arc<Secret>>,
    pub config_maps: BTreeMap<ObjectKey, Arc<ConfigMap>>,
    pub namespaces: BTreeMap<ObjectKey, Arc<Namespace>>,
}

/// One thing that happened to an object.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new or another than before.
    Apply(Object),
    /// It is gone.
    Delete(ObjectKey),
}

impl Snapshot {
    /// Carries out one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Apply(object) => self.insert(object),
            Change::Delete(key) => self.remove(&key),
        }
    }

    fn insert(&mut self, object: Object) {
        let key = |meta: &Meta| meta.key.clone();
        match object {
            Object::GatewayClass(o) => drop(self.gateway_classes.insert(key(&o.meta), o)),
            Object::Gateway(o) => drop(self.gateways.insert(key(&o.meta), o)),
            Object::GatewayParameters(o) => drop(self.gateway_parameters.insert(key(&o.meta), o)),
            Object::Route(o) => drop(self.routes.insert(key(&o.meta), o)),
            Object::ReferenceGrant(o) => drop(self.grants.insert(key(&o.meta), o)),
            Object::Ingress(o) => drop(self.ingresses.insert(key(&o.meta), o)),
            Object::IngressClass(o) => drop(self.ingress_classes.insert(key(&o.meta), o)),
            Object::Service(o) => self.services.insert(o),
            Object::EndpointSlice(o) => self.endpoint_slices.insert(o),
            Object::Secret(o) => drop(self.secrets.insert(key(&o.meta), o)),
            Object::ConfigMap(o) => drop(self.config_maps.insert(key(&o.meta), o)),
            Object::Namespace(o) => drop(self.namespaces.insert(key(&o.meta), o)),
        }
    }

    fn remove(&mut self, key: &ObjectKey) {
        use crate::ir::Kind;
        match key.kind {
            Kind::GatewayClass => drop(self.gateway_classes.remove(key)),
            Kind::Gateway => drop(self.gateways.remove(key)),
            Kind::GatewayParameters => drop(self.gateway_parameters.remove(key)),
            Kind::HttpRoute | Kind::GrpcRoute => drop(self.routes.remove(key)),
            Kind::ReferenceGrant => drop(self.grants.remove(key)),
            Kind::Ingress => drop(self.ingresses.remove(key)),
            Kind::IngressClass => drop(self.ingress_classes.remove(key)),
            Kind::Service => self.services.remove(key),
            Kind::EndpointSlice => self.endpoint_slices.remove(key),
            Kind::Secret => drop(self.secrets.remove(key)),
            Kind::ConfigMap => drop(self.config_maps.remove(key)),
            Kind::Namespace => drop(self.namespaces.remove(key)),
        }
    }
}
