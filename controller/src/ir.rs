//! Our own form of every object that is read: defaults filled in, texts parsed, nothing generated.
//!
//! `objects/` makes these from YAML or from the API; everything else in this crate reads these alone. What could
//! not be parsed stays in them as a value (`Err`), so that its owner can be told and nothing else is lost.

pub mod core;
pub mod gateway;
pub mod grant;
pub mod ingress;
pub mod meta;
pub mod parameters;
pub mod route;

pub use core::{Address, ConfigMap, EndpointSlice, Namespace, Secret, Service};
pub use gateway::{Gateway, GatewayClass};
pub use grant::ReferenceGrant;
pub use ingress::{Ingress, IngressClass};
pub use meta::{KeyParts, Kind, Meta, ObjectKey};
pub use parameters::GatewayParameters;
pub use route::Route;

use std::sync::Arc;

/// One object that was read.
#[derive(Clone, Debug)]
pub enum Object {
    /// `gateway.networking.k8s.io/v1` GatewayClass.
    GatewayClass(Arc<GatewayClass>),
    /// `gateway.networking.k8s.io/v1` Gateway.
    Gateway(Arc<Gateway>),
    /// `portcullis.dev/v1alpha1` GatewayParameters.
    GatewayParameters(Arc<GatewayParameters>),
    /// HTTPRoute or GRPCRoute.
    Route(Arc<Route>),
    /// `gateway.networking.k8s.io/v1` ReferenceGrant.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// `networking.k8s.io/v1` Ingress.
    Ingress(Arc<Ingress>),
    /// `networking.k8s.io/v1` IngressClass.
    IngressClass(Arc<IngressClass>),
    /// Service.
    Service(Arc<Service>),
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// Secret.
    Secret(Arc<Secret>),
    /// ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// Namespace.
    Namespace(Arc<Namespace>),
}

impl Object {
    /// What every object has.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::GatewayClass(o) => &o.meta,
            Self::Gateway(o) => &o.meta,
            Self::GatewayParameters(o) => &o.meta,
            Self::Route(o) => &o.meta,
            Self::ReferenceGrant(o) => &o.meta,
            Self::Ingress(o) => &o.meta,
            Self::IngressClass(o) => &o.meta,
            Self::Service(o) => &o.meta,
            Self::EndpointSlice(o) => &o.meta,
            Self::Secret(o) => &o.meta,
            Self::ConfigMap(o) => &o.meta,
            Self::Namespace(o) => &o.meta,
        }
    }

    /// The same, to be changed; copies an object that is shared.
    pub(crate) fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Self::GatewayClass(o) => &mut Arc::make_mut(o).meta,
            Self::Gateway(o) => &mut Arc::make_mut(o).meta,
            Self::GatewayParameters(o) => &mut Arc::make_mut(o).meta,
            Self::Route(o) => &mut Arc::make_mut(o).meta,
            Self::ReferenceGrant(o) => &mut Arc::make_mut(o).meta,
            Self::Ingress(o) => &mut Arc::make_mut(o).meta,
            Self::IngressClass(o) => &mut Arc::make_mut(o).meta,
            Self::Service(o) => &mut Arc::make_mut(o).meta,
            Self::EndpointSlice(o) => &mut Arc::make_mut(o).meta,
            Self::Secret(o) => &mut Arc::make_mut(o).meta,
            Self::ConfigMap(o) => &mut Arc::make_mut(o).meta,
            Self::Namespace(o) => &mut Arc::make_mut(o).meta,
        }
    }

    /// The same without spare room: it is kept for long, and there are many.
    pub(crate) fn compact(&self) -> Self {
        match self {
            Self::GatewayClass(o) => Self::GatewayClass(Arc::new(GatewayClass::clone(o))),
            Self::Gateway(o) => Self::Gateway(Arc::new(Gateway::clone(o))),
            Self::GatewayParameters(o) => Self::GatewayParameters(Arc::new(GatewayParameters::clone(o))),
            Self::Route(o) => Self::Route(Arc::new(Route::clone(o))),
            Self::ReferenceGrant(o) => Self::ReferenceGrant(Arc::new(ReferenceGrant::clone(o))),
            Self::Ingress(o) => Self::Ingress(Arc::new(Ingress::clone(o))),
            Self::IngressClass(o) => Self::IngressClass(Arc::new(IngressClass::clone(o))),
            Self::Service(o) => Self::Service(Arc::new(Service::clone(o))),
            Self::EndpointSlice(o) => Self::EndpointSlice(Arc::new(EndpointSlice::clone(o))),
            Self::Secret(o) => Self::Secret(Arc::new(Secret::clone(o))),
            Self::ConfigMap(o) => Self::ConfigMap(Arc::new(ConfigMap::clone(o))),
            Self::Namespace(o) => Self::Namespace(Arc::new(Namespace::clone(o))),
        }
    }
}
