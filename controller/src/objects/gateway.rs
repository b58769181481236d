//! Gateway.

mod filters;
mod listener;
pub(super) mod selector;

use std::collections::BTreeMap;

use gateway_api::experimental::gateways::{
    GatewayAllowedListenersNamespacesFrom as ListenersFrom, GatewayDefaultScope, GatewayInfrastructure,
    GatewayListenersAllowedRoutesNamespacesSelector, GatewayTlsBackend,
    GatewayTlsFrontendDefault as FrontendTls, GatewayTlsFrontendDefaultValidationMode as ValidationMode,
};
use serde::Deserialize;
use serde_json::Value;

pub(super) use self::listener::Listener;
use super::{
    checks::{Checks, Path},
    gateway_class::reference,
    names,
    part::{self, Part},
    typed,
};
use crate::ir::{
    Gateway, Meta,
    gateway::{
        AllowedNamespaces, ClientCertificates, ClientValidation, GatewayAddress, GatewayListener, Reference,
        Routability,
    },
};

/// `spec`. Parts with values that later releases may add to are read by themselves.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewaySpec {
    gateway_class_name: String,
    listeners: Vec<Part<Listener>>,
    #[serde(default)]
    addresses: Vec<Address>,
    infrastructure: Option<GatewayInfrastructure>,
    allowed_listeners: Option<Part<AllowedListeners>>,
    tls: Option<Part<GatewayTls>>,
    default_scope: Option<Part<GatewayDefaultScope>>,
}

/// `spec.addresses[]`. The generated type lacks `routability`.
#[derive(Debug, Deserialize)]
struct Address {
    r#type: Option<String>,
    value: Option<String>,
    routability: Option<String>,
}

/// `spec.allowedListeners`. Its label selector is read as that of `allowedRoutes`.
#[derive(Debug, Deserialize)]
struct AllowedListeners {
    namespaces: Option<ListenersNamespaces>,
}

#[derive(Debug, Deserialize)]
struct ListenersNamespaces {
    from: Option<ListenersFrom>,
    selector: Option<GatewayListenersAllowedRoutesNamespacesSelector>,
}

/// `spec.tls`. The TLS of a port has the same fields as the default one.
#[derive(Debug, Deserialize)]
struct GatewayTls {
    backend: Option<GatewayTlsBackend>,
    frontend: Option<Frontend>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frontend {
    default: FrontendTls,
    #[serde(default)]
    per_port: Vec<FrontendPort>,
}

#[derive(Debug, Deserialize)]
struct FrontendPort {
    port: i32,
    tls: FrontendTls,
}

/// Reads the listeners of a Gateway or a ListenerSet.
pub(super) fn listeners(
    parts: &[Part<Listener>],
    checks: &mut Checks,
    at: &Path<'_>,
) -> Vec<GatewayListener> {
    checks.entries(parts.len(), 1..=64, at);
    let listeners = parts.iter().enumerate();
    let listeners: Vec<_> =
        listeners.filter_map(|(i, part)| listener::read(part, checks, &at.index(i))).collect();
    check_unique(&listeners, checks, at);
    listeners
}

/// Reads a Gateway.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<Gateway> {
    let spec: GatewaySpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    checks.form(&spec.gateway_class_name, names::OBJECT_NAME, &at.field("gatewayClassName"));
    let listeners = listeners(&spec.listeners, checks, &at.field("listeners"));
    let infrastructure = spec.infrastructure.unwrap_or_default();
    check_infrastructure(&infrastructure, checks, &at.field("infrastructure"));
    let at_allowed = at.field("allowedListeners");
    let allowed_listeners = spec.allowed_listeners.map(|part| allowed_listeners(&part, checks, &at_allowed));
    let at_tls = at.field("tls");
    let (backend_certificate, client_validation) = match spec.tls.map(|tls| tls.read(checks, &at_tls)) {
        None => (None, Ok(ClientValidation::default())),
        Some(Ok(GatewayTls { backend, frontend })) => {
            let (at_backend, at_frontend) = (at_tls.field("backend"), at_tls.field("frontend"));
            let certificate = backend.and_then(|backend| backend_certificate(backend, checks, &at_backend));
            let validation = frontend.map(|frontend| client_validation(frontend, checks, &at_frontend));
            (certificate, Ok(validation.unwrap_or_default()))
        }
        Some(Err(why)) => (None, Err(why.to_string().into())),
    };
    part::not_served(spec.default_scope.as_ref(), checks, &at.field("defaultScope"));
    Some(Gateway {
        meta,
        class: spec.gateway_class_name.into(),
        listeners,
        allowed_listeners: allowed_listeners.unwrap_or_default(),
        addresses: addresses(spec.addresses, checks, &at.field("addresses")),
        parameters: infrastructure.parameters_ref.map(|r| Reference {
            group: r.group.into(),
            kind: r.kind.into(),
            namespace: None,
            name: r.name.into(),
        }),
        labels: texts(infrastructure.labels),
        annotations: texts(infrastructure.annotations),
        backend_certificate,
        client_validation,
        refused: None,
    })
}

fn client_validation(frontend: Frontend, checks: &mut Checks, at: &Path<'_>) -> ClientValidation {
    let default = client_certificates(frontend.default, checks, &at.field("default"));
    let at = at.field("perPort");
    checks.entries(frontend.per_port.len(), 0..=64, &at);
    checks.unique(frontend.per_port.iter().map(|p| p.port), &at, |port| format!("port {port} is duplicated"));
    let ports = frontend.per_port.into_iter().enumerate().map(|(i, of_port)| {
        let at = at.index(i);
        let port = checks.port(of_port.port, &at.field("port"));
        (port, client_certificates(of_port.tls, checks, &at.field("tls")))
    });
    ClientValidation { default, ports: ports.collect() }
}

fn client_certificates(tls: FrontendTls, checks: &mut Checks, at: &Path<'_>) -> Option<ClientCertificates> {
    let validation = tls.validation?;
    let at = at.field("validation");
    let at = at.field("caCertificateRefs");
    checks.entries(validation.ca_certificate_refs.len(), 1..=16, &at);
    let authorities = validation.ca_certificate_refs.into_iter().enumerate().map(|(i, r)| {
        let authority = Reference {
            group: r.group.into(),
            kind: r.kind.into(),
            namespace: r.namespace.map(Into::into),
            name: r.name.into(),
        };
        reference(authority, checks, &at.index(i))
    });
    Some(ClientCertificates {
        authorities: authorities.collect(),
        is_required: validation.mode != Some(ValidationMode::AllowInsecureFallback),
    })
}

fn check_unique(listeners: &[GatewayListener], checks: &mut Checks, at: &Path<'_>) {
    checks.unique(listeners.iter().map(|l| &l.name), at, |name| format!("listener {name} is duplicated"));
    let protocol = |l: &GatewayListener| format!("{:?}", l.protocol);
    let keys = listeners.iter().map(|l| (l.port, protocol(l), &l.hostname));
    checks.unique(keys, at, |(port, _, hostname)| {
        format!("another listener has the same port {port}, protocol and hostname {hostname}")
    });
}

fn addresses(addresses: Vec<Address>, checks: &mut Checks, at: &Path<'_>) -> Vec<GatewayAddress> {
    checks.entries(addresses.len(), 0..=16, at);
    let mut out: Vec<GatewayAddress> = Vec::with_capacity(addresses.len());
    for (i, address) in addresses.into_iter().enumerate() {
        let at = at.index(i);
        let kind = address.r#type.unwrap_or_else(|| "IPAddress".to_owned());
        let value = address.value.filter(|v| !v.is_empty());
        if !is_address_type(&kind) {
            let message = "must be IPAddress, Hostname, NamedAddress or a type with a domain before it";
            checks.unknown_value(&at.field("type"), message);
        }
        checks.length(value.as_deref().unwrap_or_default(), 0..=253, &at.field("value"));
        if kind == "Hostname" {
            checks.optional_form(value.as_deref(), names::HOSTNAME, &at.field("value"));
        }
        let routability =
            routability(address.routability.unwrap_or_default(), checks, &at.field("routability"));
        let read = GatewayAddress { kind: kind.into(), value: value.map(Into::into), routability };
        let told_apart = matches!(&*read.kind, "IPAddress" | "Hostname") && read.value.is_some();
        if told_apart && out.iter().any(|other| (&other.kind, &other.value) == (&read.kind, &read.value)) {
            checks.error(&at, "is duplicated");
        }
        out.push(read);
    }
    out
}

fn routability(text: String, checks: &mut Checks, at: &Path<'_>) -> Routability {
    checks.length(&text, 0..=253, at);
    match &*text {
        "" => Routability::Default,
        "Cluster" => Routability::Cluster,
        other => {
            let domain = other.split_once('/').filter(|(_, name)| !name.is_empty()).map(|(domain, _)| domain);
            let is_reserved = |domain: &str| domain == "k8s.io" || domain.ends_with(".k8s.io");
            if domain.is_none_or(|domain| !names::SUBDOMAIN.fits(domain) || is_reserved(domain)) {
                let message =
                    "must be empty, Cluster, or a value with a domain before it that is not below k8s.io";
                checks.unknown_value(at, message);
            }
            Routability::Other(text.into())
        }
    }
}

fn is_address_type(kind: &str) -> bool {
    matches!(kind, "IPAddress" | "Hostname" | "NamedAddress")
        || (kind.len() <= 253 && names::CONTROLLER.fits(kind))
}

fn texts(of: Option<BTreeMap<String, String>>) -> BTreeMap<Box<str>, Box<str>> {
    of.into_iter().flatten().map(|(name, value)| (name.into(), value.into())).collect()
}

fn check_infrastructure(infrastructure: &GatewayInfrastructure, checks: &mut Checks, at: &Path<'_>) {
    let (at_labels, at_annotations) = (at.field("labels"), at.field("annotations"));
    let labels = infrastructure.labels.iter().flatten();
    checks.entries(labels.clone().count(), 0..=8, &at_labels);
    for (name, value) in labels {
        checks.form(name, names::QUALIFIED, &at_labels.field(name));
        checks.form(value, names::LABEL_VALUE, &at_labels.field(name));
    }
    let annotations = infrastructure.annotations.iter().flatten();
    checks.entries(annotations.clone().count(), 0..=16, &at_annotations);
    for (name, value) in annotations {
        checks.form(name, names::QUALIFIED, &at_annotations.field(name));
        checks.length(value, 0..=4096, &at_annotations.field(name));
    }
    if let Some(to) = &infrastructure.parameters_ref {
        let at = at.field("parametersRef");
        checks.form(&to.group, names::GROUP, &at.field("group"));
        checks.form(&to.kind, names::KIND, &at.field("kind"));
        checks.form(&to.name, names::OBJECT_NAME, &at.field("name"));
    }
}

/// Returns the namespaces whose ListenerSets may attach: none where they cannot be read.
fn allowed_listeners(part: &Part<AllowedListeners>, checks: &mut Checks, at: &Path<'_>) -> AllowedNamespaces {
    let Some(namespaces) = part.read(checks, at).ok().and_then(|allowed| allowed.namespaces) else {
        return AllowedNamespaces::None;
    };
    let at = at.field("namespaces");
    let selector = namespaces.selector.map(|s| selector::read(s, checks, &at.field("selector")));
    match namespaces.from.unwrap_or(ListenersFrom::None) {
        ListenersFrom::Same => AllowedNamespaces::Same,
        ListenersFrom::All => AllowedNamespaces::All,
        ListenersFrom::None => AllowedNamespaces::None,
        ListenersFrom::Selector => listener::selected(selector, checks, &at),
    }
}

/// Reads `spec.tls.backend.clientCertificateRef`.
fn backend_certificate(backend: GatewayTlsBackend, checks: &mut Checks, at: &Path<'_>) -> Option<Reference> {
    let r = backend.client_certificate_ref?;
    let certificate = Reference {
        group: r.group.unwrap_or_default().into(),
        kind: r.kind.unwrap_or_else(|| "Secret".to_owned()).into(),
        namespace: r.namespace.map(Into::into),
        name: r.name.into(),
    };
    Some(reference(certificate, checks, &at.field("clientCertificateRef")))
}

#[cfg(test)]
mod tests;
