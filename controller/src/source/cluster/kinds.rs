//! What is watched, and what of it is kept.

use kube::api::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::{ir::Kind, objects::api_version_of};

/// A kind that is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) kind: Kind,
    pub(super) plural: &'static str,
    pub(super) fields: Option<&'static str>,
    pub(super) has_status: bool,
}

impl Watched {
    const fn new(kind: Kind, plural: &'static str) -> Self {
        Self { kind, plural, fields: None, has_status: false }
    }

    const fn with_status(kind: Kind, plural: &'static str) -> Self {
        Self { has_status: true, ..Self::new(kind, plural) }
    }

    pub(super) fn resource(&self) -> ApiResource {
        let (group, version) = api_version_of(self.kind).rsplit_once('/').unwrap_or(("", "v1"));
        let kind = GroupVersionKind::gvk(group, version, self.kind.as_str());
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    pub(super) fn is_namespaced(&self) -> bool {
        // The parameters of a class are with whoever runs the cluster: they are read in all namespaces, as classes are.
        !matches!(
            self.kind,
            Kind::GatewayClass | Kind::GatewayParameters | Kind::IngressClass | Kind::Namespace
        )
    }

    /// Whether it comes with CRDs, the Gateway API's or our own.
    pub(super) fn is_optional(&self) -> bool {
        let api_version = api_version_of(self.kind);
        api_version.starts_with("gateway.networking.k8s.io/") || self.kind == Kind::GatewayParameters
    }
}

/// In the order in which the log names them.
pub(super) const WATCHED: [Watched; 13] = [
    Watched::new(Kind::Namespace, "namespaces"),
    Watched::new(Kind::Service, "services"),
    Watched::new(Kind::EndpointSlice, "endpointslices"),
    Watched {
        // Releases of Helm and tokens are many, large, and none of our business.
        fields: Some("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"),
        ..Watched::new(Kind::Secret, "secrets")
    },
    Watched::new(Kind::ConfigMap, "configmaps"),
    Watched::new(Kind::IngressClass, "ingressclasses"),
    Watched::with_status(Kind::Ingress, "ingresses"),
    Watched::with_status(Kind::GatewayClass, "gatewayclasses"),
    Watched::with_status(Kind::Gateway, "gateways"),
    Watched::new(Kind::GatewayParameters, "gatewayparameters"),
    Watched::with_status(Kind::HttpRoute, "httproutes"),
    Watched::with_status(Kind::GrpcRoute, "grpcroutes"),
    Watched::new(Kind::ReferenceGrant, "referencegrants"),
];

/// Of Secrets and ConfigMaps nothing else is ever used, and much of it is secret or large.
const KEPT: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// Takes out what nobody looks at, before anything is kept.
pub(super) fn reduce(kind: Kind, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    // Of a Service it says where clients reach it.
    if kind != Kind::Service {
        fields.remove("status");
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    if matches!(kind, Kind::Secret | Kind::ConfigMap) {
        fields.remove("binaryData");
        if let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut) {
            data.retain(|name, _| KEPT.contains(&name.as_str()));
        }
    }
}
