//! The one place that knows the generated API types: documents in, objects of our own out.
//!
//! ```text
//! yaml::documents(text, file) -> [Document]     a file's documents; a syntax error costs its document alone
//! decode_document(Document)   -> Decoded        with lines: what a folder's reader calls
//! decode(Value, place)        -> Decoded        without them: what a watch of the API calls
//! ```
//!
//! Defaults are the API server's, and so is what is refused; what it would accept but cannot be served stays in
//! the object as a value.

mod annotations_prefix;
mod auth_values;
mod backend_object;
mod backend_tls_policy;
mod backends;
mod checks;
mod core;
mod filters;
mod gateway;
mod gateway_class;
mod gateway_parameters;
mod grpc_route;
mod guess;
mod head;
mod http_route;
mod ingress;
mod ingress_class;
mod invalid;
mod listener_set;
pub(crate) mod live_settings;
mod matches;
mod names;
mod parent_refs;
mod part;
mod patterns;
mod port_route;
pub(crate) mod port_services;
mod reference_grant;
mod refused;
mod routes;
mod session_persistence;
#[cfg(test)]
mod testing;
mod tls_route;
mod typed;
mod wire;
mod x_backend;

pub use annotations_prefix::AnnotationsPrefix;
pub use core::addresses::addresses_of_service;
pub(crate) use core::service::MARK;
pub(crate) use head::{Identity, identify, key, title};
pub(crate) use ingress::annotations::{
    NGINX as NGINX_PREFIX, about as known_annotations, forget_unused, snippet,
};
pub(crate) use live_settings::{nginx_keys, read as read_live_settings};
pub use live_settings::{parse_count, parse_network};
pub(crate) use names::{LABEL, SUBDOMAIN};
pub(crate) use parent_refs::parse as parse_parent_ref;
pub(crate) use refused::is_refused;

/// Whether a text is the name of a controller of classes: a domain and a path (`GatewayController` of the Gateway API).
pub fn is_controller_name(text: &str) -> bool {
    names::CONTROLLER.fits(text)
}

use std::hash::{DefaultHasher, Hash, Hasher};

use portcullis_routing::RouteKind;
use serde_json::Value;

use crate::{
    ir::{Kind, Meta, Object, ObjectKey, meta::Warning},
    kinds::StatusUse,
    problem::{Place, Problem, Topic},
    status::sentences,
    yaml::Document,
};
use checks::{Checks, Origin, Path};
use head::Annotated;

/// What became of one document.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The object; `None` where it is refused (an error is among the problems) or not of a kind that is read. A
    /// GatewayParameters that is refused is there as a value that says why.
    pub object: Option<Object>,
    /// An object in place of one that is refused, of the kinds whose status we write: it says whose the object is and why
    /// it is refused, and nothing of it is served.
    pub refused: Option<Object>,
    /// What is wrong with it; of most kinds warnings alone where there is an object.
    pub problems: Vec<Problem>,
    /// Which object it is; known for most refused ones too. `None` for a kind that is not read.
    pub key: Option<ObjectKey>,
}

/// Reads a document of a file; its problems say the line.
pub fn decode_document(document: Document<'_>) -> Decoded {
    let Document { place, content, text, lines } = document;
    match content {
        Err(mut problem) => {
            let key = guess::key(text);
            if let Some(key) = &key {
                problem.object = key.to_string().into();
            }
            Decoded { object: None, refused: None, problems: vec![*problem], key }
        }
        Ok(value) => {
            let mut decoded = decode(value, Some(place));
            lines.locate(&mut decoded.problems);
            decoded
        }
    }
}

/// Reads an object; its problems say the place.
pub fn decode(document: Value, place: Option<Place>) -> Decoded {
    let mut decoded = read(document, Origin::Document);
    for problem in &mut decoded.problems {
        problem.place.clone_from(&place);
    }
    decoded
}

/// Reads an object that an API server has: its identity is the server's, and a value that is not known here costs the part
/// that has it.
pub fn decode_live(object: Value) -> Decoded {
    let metadata = object.get("metadata");
    let uid: Box<str> =
        metadata.and_then(|m| m.get("uid")).and_then(Value::as_str).unwrap_or_default().into();
    let generation = metadata.and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or_default();
    let mut decoded = read(object, Origin::ApiServer);
    if let Some(meta) = decoded.object.as_mut().or(decoded.refused.as_mut()).map(Object::meta_mut) {
        // An object that was made anew is another one, whatever its content.
        let mut hasher = DefaultHasher::new();
        (meta.version, generation, &uid).hash(&mut hasher);
        (meta.uid, meta.generation, meta.version) = (Some(uid), generation, hasher.finish());
    }
    decoded
}

fn read(mut document: Value, origin: Origin) -> Decoded {
    if !document.is_object() {
        let mut checks = Checks::of("document", origin);
        checks.error(&Path::Root, "is not a Kubernetes object: apiVersion, kind and metadata are required");
        return without_object(checks, None);
    }
    strip_nulls(&mut document);
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let mut checks = Checks::of(title(&document), origin);
    if kind.is_empty() || api_version.is_empty() {
        let missing = if kind.is_empty() { "kind" } else { "apiVersion" };
        checks.error(&Path::Root.field(missing), "is required, as a text");
        return without_object(checks, None);
    }
    let identity = identify(api_version, kind);
    match identity {
        Identity::Served(kind) => served(kind, &document, origin),
        Identity::Foreign => {
            checks.warning(
                &Path::Root,
                format!("{api_version} {kind} is not a supported kind; it has no effect"),
            );
            without_object(checks, None)
        }
        Identity::Version(use_instead) => {
            let message = format!("{api_version} of {kind} is not served; use {use_instead}");
            checks.error(&Path::Root.field("apiVersion"), message);
            without_object(checks, None)
        }
    }
}

fn served(kind: Kind, document: &Value, origin: Origin) -> Decoded {
    let metadata = |name| document.get("metadata").and_then(|m| m.get(name)).and_then(Value::as_str);
    let name = metadata("name").unwrap_or_default();
    let key = head::key(kind, name, metadata("namespace"));
    let mut checks = Checks::of(if name.is_empty() { title(document) } else { key.to_string() }, origin);
    let (meta, annotated) = head::meta(document, key.clone(), &mut checks);
    check_top_level(kind, document, &mut checks);
    check_annotations(kind, &annotated, &mut checks);
    let mut object = convert(kind, document, meta.clone(), &annotated, &mut checks);
    let key = (!name.is_empty()).then_some(key);
    // Parameters that are wrong are kept as such, for the status of the objects that refer to them.
    if checks.refused() && (kind != Kind::GatewayParameters || key.is_none()) {
        let why = sentences(checks.errors()).into();
        let in_its_place = key.as_ref().and_then(|_| refused::object(kind, document, meta, &annotated, why));
        return Decoded { refused: in_its_place, ..without_object(checks, key) };
    }
    let problems = checks.into_problems();
    if has_status(kind)
        && let Some(object) = &mut object
    {
        object.meta_mut().warnings = Warning::of(&problems);
    }
    Decoded { object, refused: None, problems, key }
}

/// Whether its owner is told of it in the cluster.
fn has_status(kind: Kind) -> bool {
    matches!(kind.resource().status, StatusUse::Written(_))
}

/// Annotations with our prefix. Those of Ingresses are read with the others of theirs.
fn check_annotations(kind: Kind, annotated: &Annotated, checks: &mut Checks) {
    const AT: Path<'_> = Path::Field(&Path::Field(&Path::Root, "metadata"), "annotations");
    if !has_status(kind) || kind == Kind::Ingress {
        return;
    }
    for name in annotated.annotations.keys().filter(|name| name.starts_with("portcullis.dev/")) {
        let message = "is not a known annotation; it has no effect";
        checks.warning_of(Topic::UnknownAnnotation, &AT.field(name), message);
    }
}

/// Kinds that are read by their `spec` have nothing else at the top.
fn check_top_level(kind: Kind, document: &Value, checks: &mut Checks) {
    if !kind.resource().has_spec {
        return;
    }
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in document.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !known.contains(&name.as_str()) {
            checks.warning_of(Topic::UnknownField, &Path::Root.field(name), typed::UNKNOWN_FIELD);
        }
    }
}

fn convert(
    kind: Kind,
    document: &Value,
    meta: Meta,
    Annotated { labels, annotations }: &Annotated,
    checks: &mut Checks,
) -> Option<Object> {
    Some(match kind {
        Kind::GatewayClass => gateway_class::read(document, meta, checks)?.into(),
        Kind::Gateway => gateway::read(document, meta, checks)?.into(),
        Kind::ListenerSet => listener_set::read(document, meta, checks)?.into(),
        Kind::GatewayParameters => gateway_parameters::read(document, meta, checks).into(),
        Kind::HttpRoute => http_route::read(document, meta, checks)?.into(),
        Kind::GrpcRoute => grpc_route::read(document, meta, checks)?.into(),
        Kind::TlsRoute => tls_route::read(document, meta, checks)?.into(),
        Kind::TcpRoute => port_route::read(RouteKind::Tcp, document, meta, checks)?.into(),
        Kind::UdpRoute => port_route::read(RouteKind::Udp, document, meta, checks)?.into(),
        Kind::BackendTlsPolicy => backend_tls_policy::read(document, meta, checks)?.into(),
        Kind::XBackend => x_backend::read(document, meta, checks)?.into(),
        Kind::ReferenceGrant => reference_grant::read(document, meta, checks)?.into(),
        Kind::Ingress => ingress::read(document, meta, annotations, checks)?.into(),
        Kind::IngressClass => ingress_class::read(document, meta, annotations, checks)?.into(),
        Kind::Service => core::service::read(document, meta, labels, annotations, checks)?.into(),
        Kind::EndpointSlice => core::endpoint_slice::read(document, meta, labels, checks)?.into(),
        Kind::Pod => core::pod::read(document, meta, labels, checks).into(),
        Kind::Secret => core::secret::read(document, meta, checks)?.into(),
        Kind::ConfigMap => core::config_map::read(document, meta, checks)?.into(),
        Kind::ClusterTrustBundle => core::trust_bundle::read(document, meta, checks)?.into(),
        Kind::Namespace => core::namespace::read(meta, labels).into(),
    })
}

fn without_object(checks: Checks, key: Option<ObjectKey>) -> Decoded {
    Decoded { object: None, refused: None, problems: checks.into_problems(), key }
}

/// The API server takes a null for an absent field.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
