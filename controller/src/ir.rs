//! Our own form of every object that is read: defaults filled in, texts parsed, nothing generated.
//!
//! `objects/` makes these from YAML or from the API; everything else in this crate reads these alone. What could
//! not be parsed stays in them as a value (`Err`), so that its owner can be told and nothing else is lost.

pub mod core;
pub mod gateway;
pub mod grant;
pub(crate) mod hosts;
pub mod ingress;
mod ingress_settings;
pub mod live_settings;
pub mod meta;
pub mod parameters;
pub mod policy;
pub mod port_services;
pub mod route;
pub mod selector;
pub mod x_backend;

pub use core::{Address, ClusterTrustBundle, ConfigMap, EndpointSlice, Namespace, Pod, Secret, Service};
pub use gateway::{Gateway, GatewayClass, ListenerSet};
pub use grant::ReferenceGrant;
pub use ingress::{Ingress, IngressClass};
pub use live_settings::LiveSettings;
pub use meta::{KeyParts, Meta, ObjectKey};
pub use parameters::GatewayParameters;
pub use policy::BackendTlsPolicy;
pub use route::Route;
pub use x_backend::XBackend;

pub use crate::kinds::{Kind, Object};
