//! What an object is and is called: `apiVersion`, `kind` and `metadata`.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    core,
    names::{self, Form, quoted},
    typed,
};
use crate::{
    ir::{Kind, Meta, ObjectKey},
    kinds::{NameForm, StatusUse},
};

/// What a document says that it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// An object that is read.
    Served(Kind),
    /// A kind that means nothing here.
    Foreign,
    /// Another version of a kind that is read; the one to use.
    Version(&'static str),
}

/// The group that Ingresses were in before.
const FORMER_GROUP: (&str, Kind) = ("extensions", Kind::Ingress);

/// What a document of this `apiVersion` and `kind` is.
pub(crate) fn identify(api_version: &str, kind: &str) -> Identity {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let named = |known: &&Kind| known.as_str() == kind;
    if let Some(known) = Kind::ALL.iter().filter(named).find(|known| known.resource().group() == group) {
        let resource = known.resource();
        let is_read = version == resource.version() || resource.other_versions.contains(&version);
        return if is_read { Identity::Served(*known) } else { Identity::Version(resource.api_version) };
    }
    let (former, known) = FORMER_GROUP;
    if group == former && kind == known.as_str() {
        return Identity::Version(known.resource().api_version);
    }
    Identity::Foreign
}

/// The key of an object, with the namespace that the API server's default would be. Says nothing of its form.
pub(crate) fn key(kind: Kind, name: &str, namespace: Option<&str>) -> ObjectKey {
    let namespace = match (kind.resource().is_namespaced(), namespace) {
        (false, _) => "",
        (true, None | Some("")) => "default",
        (true, Some(namespace)) => namespace,
    };
    ObjectKey::new(kind, namespace, name)
}

/// What `metadata` says that some kinds alone read.
pub(crate) struct Annotated {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Reads `metadata` with its defaults. The problems are in `checks`.
pub(crate) fn meta(document: &Value, key: ObjectKey, checks: &mut Checks) -> (Meta, Annotated) {
    let metadata: ObjectMeta = typed::field(document, "metadata", checks).unwrap_or_default();
    let at = Path::Root.field("metadata");
    check_name(&metadata, &key, checks, &at);
    let labels = metadata.labels.unwrap_or_default();
    for (name, value) in &labels {
        let at = at.field("labels");
        checks.form(name, names::QUALIFIED, &at.field(name));
        checks.form(value, names::LABEL_VALUE, &at.field(name));
    }
    let annotations = metadata.annotations.unwrap_or_default();
    check_annotations(&annotations, checks, &at.field("annotations"));
    let meta = Meta {
        uid: metadata.uid.filter(|uid| !uid.is_empty()).map(Into::into),
        generation: 1,
        version: version_of(document, key.kind),
        created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
        warnings: Box::default(),
        key,
    };
    (meta, Annotated { labels, annotations })
}

fn check_name(metadata: &ObjectMeta, key: &ObjectKey, checks: &mut Checks, at: &Path<'_>) {
    let name = metadata.name.as_deref().unwrap_or_default();
    match (name, &metadata.generate_name) {
        ("", Some(_)) => {
            checks.error(&at.field("generateName"), "requires an API server; set metadata.name");
        }
        ("", None) => checks.error(&at.field("name"), "is required"),
        (name, _) => checks.form(name, name_form(key.kind), &at.field("name")),
    }
    let namespace = at.field("namespace");
    match metadata.namespace.as_deref() {
        Some(text) if !text.is_empty() && !key.kind.resource().is_namespaced() => {
            checks.warning(&namespace, format!("{} has no namespace; the field is ignored", key.kind));
        }
        Some(text) if !text.is_empty() => checks.form(text, names::LABEL, &namespace),
        _ => {}
    }
}

fn name_form(kind: Kind) -> Form {
    match kind.resource().name_form {
        NameForm::Subdomain => names::SUBDOMAIN,
        NameForm::Label => names::LABEL,
        NameForm::Label1035 => names::LABEL_1035,
        NameForm::SignedSubdomain => names::SIGNED_SUBDOMAIN,
    }
}

fn check_annotations(annotations: &BTreeMap<String, String>, checks: &mut Checks, at: &Path<'_>) {
    for name in annotations.keys() {
        // Keys of annotations may be written in capitals (apimachinery, ValidateAnnotations).
        checks.form(&name.to_ascii_lowercase(), names::QUALIFIED, &at.field(name));
    }
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.len()).sum();
    checks.require(size <= 256 * 1024, at, "must have at most 256 KiB in all");
}

/// Of everything that an edit can change; what a server writes is left out.
fn version_of(document: &Value, kind: Kind) -> u64 {
    if kind == Kind::Pod {
        return core::pod::version_of(document);
    }
    let mut hasher = DefaultHasher::new();
    let Some(fields) = document.as_object() else { return 0 };
    let reads_status = kind.resource().status == StatusUse::Read;
    for (name, value) in fields.iter().filter(|(name, _)| reads_status || *name != "status") {
        name.hash(&mut hasher);
        match (name.as_str(), value.as_object()) {
            ("status", Some(status)) => status.get("loadBalancer").hash(&mut hasher),
            ("metadata", Some(metadata)) => {
                for part in ["labels", "annotations", "creationTimestamp", "ownerReferences"] {
                    metadata.get(part).hash(&mut hasher);
                }
            }
            _ => value.hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// What a document is called in messages as long as its key is not known.
pub(crate) fn title(document: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let metadata = document.get("metadata");
    let kind = text(document.get("kind"));
    let name = text(metadata.and_then(|m| m.get("name")));
    let namespace = text(metadata.and_then(|m| m.get("namespace")));
    let title = match (kind, namespace, name) {
        (Some(kind), Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (Some(kind), None, Some(name)) => format!("{kind} {name}"),
        (Some(kind), _, None) => format!("{kind} without a name"),
        (None, ..) => "document".to_owned(),
    };
    if title.len() > 400 { quoted(&title) } else { title }
}
