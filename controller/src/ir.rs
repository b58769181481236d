//! Our own form of every object that is read: defaults filled in, texts parsed, nothing generated.
//!
//! `objects/` makes these from YAML or from the API; everything else in this crate reads these alone. What could
//! not be parsed stays in them as a value (`Err`), so that its owner can be told and nothing else is lost.

pub mod core;
pub mod gateway;
pub mod grant;
pub mod ingress;
pub mod meta;
pub mod route;

pub use core::{ConfigMap, EndpointSlice, Namespace, Secret, Service};
pub use gateway::{Gateway, GatewayClass};
pub use grant::ReferenceGrant;
pub use ingress::{Ingress, IngressClass};
pub use meta::{Kind, Meta, ObjectKey};
pub use route::Route;

use std::sync::Arc;

/// One object that was read.
#[derive(Clone, Debug)]
pub enum Object {
    /// `gateway.networking.k8s.io/v1` GatewayClass.
    GatewayClass(Arc<GatewayClass>),
    /// `gateway.networking.k8s.io/v1` Gateway.
    Gateway(Arc<Gateway>),
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
}
