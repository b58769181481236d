//! What is kept of an object that is refused as a whole: enough to report the refusal in its status, and to keep its
//! hostnames, targets and protections. Nothing of it is served.

use std::sync::Arc;

use portcullis_routing::{HostPattern, RouteKind};
use serde_json::Value;

use super::{
    backend_tls_policy,
    head::Annotated,
    ingress::{self, LEGACY_CLASS},
    listener_set, parent_refs,
};
use crate::ir::{
    Gateway, GatewayClass, Ingress, Kind, ListenerSet, Meta, Object, Route, XBackend,
    gateway::{AllowedNamespaces, ClientValidation},
    ingress::Annotations,
    route::ParentRef,
};

/// The object in place of one that is refused; `None` for a kind whose status we do not write.
pub(super) fn object(
    kind: Kind,
    document: &Value,
    meta: Meta,
    Annotated { annotations, .. }: &Annotated,
    why: Box<str>,
) -> Option<Object> {
    let spec = document.get("spec").unwrap_or(&Value::Null);
    let text = |name: &str| spec.get(name).and_then(Value::as_str).map(Box::<str>::from);
    let refused = Some(why.clone());
    Some(match kind {
        Kind::GatewayClass => {
            let controller = text("controllerName").unwrap_or_default();
            GatewayClass { meta, controller, parameters: None, refused }.into()
        }
        Kind::Gateway => Gateway {
            meta,
            class: text("gatewayClassName").unwrap_or_default(),
            listeners: Vec::new(),
            allowed_listeners: AllowedNamespaces::None,
            addresses: Vec::new(),
            parameters: None,
            labels: Default::default(),
            annotations: Default::default(),
            backend_certificate: None,
            client_validation: Ok(ClientValidation::default()),
            refused,
        }
        .into(),
        Kind::ListenerSet => {
            let gateway = listener_set::gateway(spec, &meta);
            ListenerSet { meta, gateway, listeners: Vec::new(), refused }.into()
        }
        Kind::HttpRoute => route(RouteKind::Http, spec, meta, refused).into(),
        Kind::GrpcRoute => route(RouteKind::Grpc, spec, meta, refused).into(),
        Kind::TlsRoute => route(RouteKind::Tls, spec, meta, refused).into(),
        Kind::TcpRoute => route(RouteKind::Tcp, spec, meta, refused).into(),
        Kind::UdpRoute => route(RouteKind::Udp, spec, meta, refused).into(),
        Kind::BackendTlsPolicy => backend_tls_policy::refused(spec, meta, why).into(),
        Kind::XBackend => XBackend { meta, spec: Err(why) }.into(),
        Kind::Ingress => {
            let (unserved, rules) = ingress::protected(spec, annotations);
            Ingress {
                meta,
                class: text("ingressClassName"),
                legacy_class: annotations.get(LEGACY_CLASS).map(|class| class.as_str().into()),
                default_backend: None,
                tls: Default::default(),
                rules: rules.into(),
                annotations: Arc::new(Annotations { unserved, ..Default::default() }),
                refused,
            }
            .into()
        }
        Kind::GatewayParameters
        | Kind::ReferenceGrant
        | Kind::IngressClass
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Pod
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::ClusterTrustBundle
        | Kind::Namespace => return None,
    })
}

/// Whether an object stands for one that is refused.
pub(crate) fn is_refused(object: &Object) -> bool {
    match object {
        Object::GatewayClass(class) => class.refused.is_some(),
        Object::Gateway(gateway) => gateway.refused.is_some(),
        Object::ListenerSet(set) => set.refused.is_some(),
        Object::Route(route) => route.refused.is_some(),
        Object::BackendTlsPolicy(policy) => policy.validation.is_err(),
        Object::XBackend(backend) => backend.spec.is_err(),
        Object::Ingress(ingress) => ingress.refused.is_some(),
        Object::GatewayParameters(_)
        | Object::ReferenceGrant(_)
        | Object::IngressClass(_)
        | Object::Service(_)
        | Object::EndpointSlice(_)
        | Object::Pod(_)
        | Object::Secret(_)
        | Object::ConfigMap(_)
        | Object::ClusterTrustBundle(_)
        | Object::Namespace(_) => false,
    }
}

fn route(kind: RouteKind, spec: &Value, meta: Meta, refused: Option<Box<str>>) -> Route {
    Route {
        kind,
        parents: parents(spec),
        hostnames: if kind.has_hostnames() { hostnames(spec) } else { Box::default() },
        rules: Box::default(),
        patterns: Box::default(),
        meta,
        refused,
    }
}

/// The hostnames that can be read: a namespace keeps them while one of its routes is refused.
fn hostnames(spec: &Value) -> Box<[HostPattern]> {
    let written = spec.get("hostnames").and_then(Value::as_array).into_iter().flatten();
    written.filter_map(|host| HostPattern::parse(host.as_str()?).ok()).collect()
}

/// The parents that can be read; the problems of the object already say what is wrong with the others.
fn parents(spec: &Value) -> Box<[Arc<ParentRef>]> {
    let written = spec.get("parentRefs").and_then(Value::as_array);
    let refs = written.into_iter().flatten().take(parent_refs::MOST);
    refs.filter_map(parent_refs::parse).map(Arc::new).collect()
}
