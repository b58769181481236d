//! What is watched, and what of it is kept.

use kube::api::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::{ir::Kind, objects::api_version_of};

/// A kind that is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) plural: &'static str,
    pub(super) reads: Reads,
    pub(super) fields: Option<&'static str>,
}

/// What a watch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// Objects, all of them.
    Objects { kind: Kind, has_status: bool },
    /// Secrets of certificates, with their data.
    Certificates,
    /// Which other Secrets there are; those that somebody refers to are read one by one.
    OtherSecrets,
    /// Which kinds there are, and of which release.
    Definitions,
}

impl Watched {
    const fn new(kind: Kind, plural: &'static str) -> Self {
        Self { plural, reads: Reads::Objects { kind, has_status: false }, fields: None }
    }

    const fn with_status(kind: Kind, plural: &'static str) -> Self {
        Self { plural, reads: Reads::Objects { kind, has_status: true }, fields: None }
    }

    /// The versions that it may be had in, the best one first.
    pub(super) fn versions(&self) -> &'static [&'static str] {
        match self.reads {
            // Of the same shape, and the only one up to release 1.4.
            Reads::Objects { kind: Kind::ReferenceGrant, .. } => &["v1", "v1beta1"],
            Reads::Objects { kind: Kind::GatewayParameters, .. } => &["v1alpha1"],
            _ => &["v1"],
        }
    }

    pub(super) fn resource(&self, version: &str) -> ApiResource {
        let (group, kind) = match self.reads {
            Reads::Objects { kind, .. } => {
                (api_version_of(kind).rsplit_once('/').map_or("", |(group, _)| group), kind.as_str())
            }
            Reads::Certificates | Reads::OtherSecrets => ("", "Secret"),
            Reads::Definitions => ("apiextensions.k8s.io", "CustomResourceDefinition"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), self.plural)
    }

    pub(super) fn is_namespaced(&self) -> bool {
        // The parameters of a class are with whoever runs the cluster: they are read in all namespaces, as classes are.
        let of_cluster = [Kind::GatewayClass, Kind::GatewayParameters, Kind::IngressClass, Kind::Namespace];
        match self.reads {
            Reads::Objects { kind, .. } => !of_cluster.contains(&kind),
            Reads::Certificates | Reads::OtherSecrets => true,
            Reads::Definitions => false,
        }
    }

    /// Its CRD's name, where it comes with one.
    pub(super) fn definition(&self) -> Option<String> {
        let Reads::Objects { kind, .. } = self.reads else { return None };
        let (group, _) = api_version_of(kind).rsplit_once('/')?;
        let is_built_in = matches!(group, "networking.k8s.io" | "discovery.k8s.io");
        (!is_built_in).then(|| format!("{}.{group}", self.plural))
    }

    /// Whether of each object its metadata is enough.
    pub(super) fn metadata_only(&self) -> bool {
        matches!(self.reads, Reads::OtherSecrets | Reads::Definitions)
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self.reads, Reads::Certificates | Reads::OtherSecrets)
    }

    /// Whether its objects name Secrets.
    pub(super) fn refers_to_secrets(&self) -> bool {
        matches!(self.reads, Reads::Objects { kind: Kind::Gateway | Kind::Ingress, .. })
    }
}

/// In the order in which the log names them.
///
/// ConfigMaps are not among them: nothing refers to one.
pub(super) const WATCHED: &[Watched] = &[
    Watched { plural: "customresourcedefinitions", reads: Reads::Definitions, fields: None },
    Watched::new(Kind::Namespace, "namespaces"),
    Watched::new(Kind::Service, "services"),
    Watched::new(Kind::EndpointSlice, "endpointslices"),
    Watched::new(Kind::IngressClass, "ingressclasses"),
    Watched::with_status(Kind::Ingress, "ingresses"),
    Watched::with_status(Kind::GatewayClass, "gatewayclasses"),
    Watched::with_status(Kind::Gateway, "gateways"),
    Watched::new(Kind::GatewayParameters, "gatewayparameters"),
    Watched::with_status(Kind::HttpRoute, "httproutes"),
    Watched::with_status(Kind::GrpcRoute, "grpcroutes"),
    Watched::new(Kind::ReferenceGrant, "referencegrants"),
];

/// Watched as soon as it is known to which of them somebody refers.
pub(super) const SECRETS: &[Watched] = &[
    Watched { plural: "secrets", reads: Reads::Certificates, fields: Some("type=kubernetes.io/tls") },
    Watched {
        plural: "secrets",
        reads: Reads::OtherSecrets,
        // Releases of Helm and tokens are many, large, and none of our business.
        fields: Some(
            "type!=kubernetes.io/tls,type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token",
        ),
    },
];

/// Of Secrets nothing else is ever used, and it is secret or large.
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
    if kind == Kind::Secret
        && let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut)
    {
        data.retain(|name, _| KEPT.contains(&name.as_str()));
    }
}
