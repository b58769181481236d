//! What is written: which objects, and what they are called.

use std::fmt;

use k8s_openapi::api::{
    core::v1::{ConfigMap, Service},
    discovery::v1::EndpointSlice,
};
use kube::api::ApiResource;

/// `(namespace, name)`.
pub(super) type Name = (Box<str>, Box<str>);

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) kind: TargetKind,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TargetKind {
    /// Of the controller's own namespace.
    ConfigMap,
    /// Made for a Gateway.
    Service,
    /// Made for a Gateway's Service.
    EndpointSlice,
}

impl TargetKind {
    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            TargetKind::ConfigMap => "ConfigMap",
            TargetKind::Service => "Service",
            TargetKind::EndpointSlice => "EndpointSlice",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}
