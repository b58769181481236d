//! What is watched, and what of it is kept.

use std::borrow::Cow;

use kube::{
    Resource as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;

use crate::{
    ir::{ConfigMap, ObjectKey},
    kinds::{Kind, Scope, StatusUse},
};

/// A kind that is watched.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) plural: &'static str,
    pub(super) reads: Reads,
    /// A field selector.
    pub(super) fields: Option<Cow<'static, str>>,
}

/// What a watch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// Objects, all of them.
    Objects { kind: Kind, has_status: bool },
    /// Objects of a kind that is fetched on demand: whole, where many of them are wanted, or only which ones there are.
    OnDemand { kind: Kind, whole: bool },
    /// Which kinds there are, and of which release.
    Definitions,
    /// The ConfigMap of settings.
    Settings,
    /// A ConfigMap of TCP or UDP services.
    Services,
}

impl Watched {
    /// The versions that it may be had in, the best one first.
    pub(super) fn versions(&self) -> &'static [&'static str] {
        match self.reads {
            Reads::Objects { kind, .. } => kind.resource().watched_versions,
            Reads::OnDemand { .. } | Reads::Definitions | Reads::Settings | Reads::Services => &["v1"],
        }
    }

    pub(super) fn resource(&self, version: &str) -> ApiResource {
        let (group, kind) = match self.reads {
            Reads::Objects { kind, .. } | Reads::OnDemand { kind, .. } => {
                (kind.resource().group(), kind.as_str())
            }
            Reads::Definitions => ("apiextensions.k8s.io", "CustomResourceDefinition"),
            Reads::Settings | Reads::Services => ("", "ConfigMap"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), self.plural)
    }

    /// Whether it is watched in each namespace by itself where not all are watched.
    pub(super) fn is_namespaced(&self) -> bool {
        match self.reads {
            Reads::Objects { kind, .. } => kind.resource().scope == Scope::Namespace,
            Reads::OnDemand { .. } | Reads::Settings | Reads::Services => true,
            Reads::Definitions => false,
        }
    }

    /// Its CRD's name, where it comes with one.
    pub(super) fn definition(&self) -> Option<String> {
        match self.reads {
            Reads::Objects { kind, .. } => kind.resource().definition(),
            Reads::OnDemand { .. } | Reads::Definitions | Reads::Settings | Reads::Services => None,
        }
    }

    /// Whether Kubernetes itself may be without the kind.
    pub(super) fn is_optional(&self) -> bool {
        matches!(self.reads, Reads::Objects { kind, .. } if kind.resource().is_optional)
    }

    /// Whether of each object its metadata is enough.
    pub(super) fn metadata_only(&self) -> bool {
        matches!(self.reads, Reads::OnDemand { whole: false, .. } | Reads::Definitions)
    }

    /// The kind that is fetched on demand, if it is one.
    pub(super) fn on_demand(&self) -> Option<Kind> {
        match self.reads {
            Reads::OnDemand { kind, .. } => Some(kind),
            _ => None,
        }
    }

    pub(super) fn is_on_demand(&self) -> bool {
        self.on_demand().is_some()
    }

    /// Whether it is for Pods, which are watched only once an XBackend selects some.
    pub(super) fn is_of_pods(&self) -> bool {
        matches!(self.reads, Reads::Objects { kind: Kind::Pod, .. })
    }

    /// Whether it is not opened at the start.
    pub(super) fn is_opened_later(&self) -> bool {
        self.is_on_demand() || self.is_of_pods()
    }
}

/// Everything that is watched from the start.
pub(super) fn watched() -> Vec<Watched> {
    let definitions =
        Watched { plural: "customresourcedefinitions", reads: Reads::Definitions, fields: None };
    let kinds = Kind::ALL.iter().filter(|kind| !kind.resource().watched_versions.is_empty());
    let objects = kinds.map(|kind| {
        let resource = kind.resource();
        let reads = Reads::Objects { kind: *kind, has_status: resource.status_shape().is_some() };
        Watched { plural: resource.plural, reads, fields: None }
    });
    [definitions].into_iter().chain(objects).collect()
}

/// The ConfigMap of settings, by its name.
pub(super) fn settings(name: &str) -> Watched {
    config_map(name, Reads::Settings)
}

/// A ConfigMap of TCP or UDP services, by its name.
pub(super) fn services(name: &str) -> Watched {
    config_map(name, Reads::Services)
}

fn config_map(name: &str, reads: Reads) -> Watched {
    let fields = Some(format!("metadata.name={name}").into());
    Watched { plural: Kind::ConfigMap.resource().plural, reads, fields }
}

/// The kinds that are fetched on demand. They are watched as soon as it is known which of their objects are wanted.
pub(super) fn on_demand() -> impl Iterator<Item = Watched> {
    Kind::ALL.iter().flat_map(|kind| {
        kind.resource().on_demand.iter().map(|watch| Watched {
            plural: kind.resource().plural,
            reads: Reads::OnDemand { kind: *kind, whole: watch.whole },
            fields: (!watch.fields.is_empty()).then_some(Cow::Borrowed(watch.fields)),
        })
    })
}

/// The path of a single object in the API.
pub(super) fn path(key: &ObjectKey) -> String {
    let resource = key.kind.resource();
    let kind = GroupVersionKind::gvk(resource.group(), resource.version(), resource.name);
    let of_kind = ApiResource::from_gvk_with_plural(&kind, resource.plural);
    format!("{}/{}", DynamicObject::url_path(&of_kind, Some(&key.namespace)), key.name)
}

/// Keys that are used of Secrets and ConfigMaps, however long their values are: certificates, revocation lists (they close a
/// host, since they are not supported), and password files.
const FILES: [&str; 5] = ["tls.crt", "tls.key", "ca.crt", "ca.crl", "auth"];
/// Of other keys, which are names of users and of headers, only short values are used: hashes of passwords, and values of
/// headers. This is the limit in bytes, of Base64 or of plain text.
const SHORT: usize = ConfigMap::MAX_HEADER;

/// Takes out what nobody looks at, before anything is kept.
pub(super) fn reduce(kind: Kind, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if kind.resource().status != StatusUse::Read {
        fields.remove("status");
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    if kind == Kind::Secret {
        let is_tls = fields.get("type").is_some_and(|of| of == "kubernetes.io/tls");
        let is_used = |name: &str, value: &Value| FILES.contains(&name) || (!is_tls && is_short(value));
        if let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut) {
            data.retain(|name, value| is_used(name, value));
        }
    }
}

/// Shortens the data of a ConfigMap that an object refers to. The keys stay, since a key without a valid value is an error of
/// whoever refers to it.
pub(super) fn shorten(object: &mut Value) {
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        let long =
            data.iter_mut().filter(|(name, value)| !FILES.contains(&name.as_str()) && !is_short(value));
        long.for_each(|(_, value)| *value = ConfigMap::TOO_LONG.into());
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("binaryData");
    }
}

fn is_short(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() <= SHORT)
}
