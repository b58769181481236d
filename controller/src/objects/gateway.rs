//! Gateway.

mod listener;
pub(super) mod selector;

use std::collections::BTreeMap;

use gateway_api::experimental::gateways::{
    GatewayAddresses, GatewayAllowedListeners, GatewayDefaultScope, GatewayInfrastructure, GatewayListeners,
    GatewayTls, GatewayTlsFrontend,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    gateway_class::reference,
    names,
    part::{self, Part},
    typed,
};
use crate::ir::{
    Gateway, Meta,
    gateway::{ClientValidation, GatewayAddress, GatewayListener, Reference},
};

/// `spec`. Parts with values that later releases may add to are read by themselves.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewaySpec {
    gateway_class_name: String,
    listeners: Vec<Part<GatewayListeners>>,
    #[serde(default)]
    addresses: Vec<GatewayAddresses>,
    infrastructure: Option<GatewayInfrastructure>,
    allowed_listeners: Option<Part<GatewayAllowedListeners>>,
    tls: Option<Part<GatewayTls>>,
    default_scope: Option<Part<GatewayDefaultScope>>,
}

/// `validation` of a frontend. A macro, since the generated types of the default and of a port differ.
macro_rules! check_authorities {
    ($validation:expr, $checks:expr, $at:expr) => {{
        let (refs, at) = (&$validation.ca_certificate_refs, $at);
        let at = at.field("caCertificateRefs");
        $checks.entries(refs.len(), 1..=16, &at);
        for (i, r) in refs.iter().enumerate() {
            let authority = Reference {
                group: r.group.as_str().into(),
                kind: r.kind.as_str().into(),
                namespace: r.namespace.as_deref().map(Into::into),
                name: r.name.as_str().into(),
            };
            reference(authority, $checks, &at.index(i));
        }
    }};
}

/// Reads a Gateway.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<Gateway> {
    let spec: GatewaySpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    checks.form(&spec.gateway_class_name, names::OBJECT_NAME, &at.field("gatewayClassName"));
    let at_listeners = at.field("listeners");
    checks.entries(spec.listeners.len(), 1..=64, &at_listeners);
    let listeners = spec.listeners.iter().enumerate();
    let listeners: Vec<_> =
        listeners.filter_map(|(i, l)| listener::read(l, checks, &at_listeners.index(i))).collect();
    check_unique(&listeners, checks, &at_listeners);
    let infrastructure = spec.infrastructure.unwrap_or_default();
    check_infrastructure(&infrastructure, checks, &at.field("infrastructure"));
    if let Some(allowed) = &spec.allowed_listeners {
        check_allowed_listeners(allowed, checks, &at.field("allowedListeners"));
    }
    let tls = spec.tls.map(|tls| tls.read(checks, &at.field("tls")));
    if let Some(Ok(tls)) = &tls {
        check_tls(tls, checks, &at.field("tls"));
    }
    part::not_served(spec.default_scope.as_ref(), checks, &at.field("defaultScope"));
    let client_validation = match &tls {
        None => ClientValidation::default(),
        Some(Ok(tls)) => client_validation(tls),
        // It is unknown what it asks of clients, so no listener that it may apply to is served.
        Some(Err(_)) => ClientValidation { default: true, ports: BTreeMap::new() },
    };
    Some(Gateway {
        meta,
        class: spec.gateway_class_name.into(),
        listeners,
        addresses: addresses(spec.addresses, checks, &at.field("addresses")),
        parameters: infrastructure.parameters_ref.map(|r| Reference {
            group: r.group.into(),
            kind: r.kind.into(),
            namespace: None,
            name: r.name.into(),
        }),
        labels: texts(infrastructure.labels),
        annotations: texts(infrastructure.annotations),
        backend_certificate: tls.as_ref().and_then(|tls| backend_certificate(tls.as_ref().ok()?)),
        client_validation,
        refused: None,
    })
}

fn backend_certificate(tls: &GatewayTls) -> Option<Reference> {
    let r = tls.backend.as_ref()?.client_certificate_ref.as_ref()?;
    Some(Reference {
        group: r.group.as_deref().unwrap_or_default().into(),
        kind: r.kind.as_deref().unwrap_or("Secret").into(),
        namespace: r.namespace.as_deref().map(Into::into),
        name: r.name.as_str().into(),
    })
}

fn client_validation(tls: &GatewayTls) -> ClientValidation {
    let Some(frontend) = &tls.frontend else { return ClientValidation::default() };
    let ports = frontend.per_port.iter().flatten();
    ClientValidation {
        default: frontend.default.validation.is_some(),
        ports: ports
            .filter_map(|port| Some((u16::try_from(port.port).ok()?, port.tls.validation.is_some())))
            .collect(),
    }
}

fn check_unique(listeners: &[GatewayListener], checks: &mut Checks, at: &Path<'_>) {
    checks.unique(listeners.iter().map(|l| &l.name), at, |name| format!("listener {name} stands here twice"));
    let protocol = |l: &GatewayListener| format!("{:?}", l.protocol);
    let keys = listeners.iter().map(|l| (l.port, protocol(l), &l.hostname));
    checks.unique(keys, at, |(port, _, hostname)| {
        format!("another listener has the same port {port}, protocol and hostname {hostname}")
    });
}

fn addresses(addresses: Vec<GatewayAddresses>, checks: &mut Checks, at: &Path<'_>) -> Vec<GatewayAddress> {
    checks.entries(addresses.len(), 0..=16, at);
    let mut out: Vec<GatewayAddress> = Vec::with_capacity(addresses.len());
    for (i, address) in addresses.into_iter().enumerate() {
        let at = at.index(i);
        let kind = address.r#type.unwrap_or_else(|| "IPAddress".to_owned());
        let value = address.value.filter(|v| !v.is_empty());
        checks.require(
            is_address_type(&kind),
            &at.field("type"),
            "must be IPAddress, Hostname, NamedAddress or a type with a domain before it",
        );
        checks.length(value.as_deref().unwrap_or_default(), 0..=253, &at.field("value"));
        if kind == "Hostname" {
            checks.optional_form(value.as_deref(), names::HOSTNAME, &at.field("value"));
        }
        let read = GatewayAddress { kind: kind.into(), value: value.map(Into::into) };
        let told_apart = matches!(&*read.kind, "IPAddress" | "Hostname") && read.value.is_some();
        if told_apart && out.contains(&read) {
            checks.error(&at, "stands here twice");
        }
        out.push(read);
    }
    out
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

fn check_allowed_listeners(allowed: &Part<GatewayAllowedListeners>, checks: &mut Checks, at: &Path<'_>) {
    use gateway_api::experimental::gateways::GatewayAllowedListenersNamespacesFrom::None as NoNamespace;
    let has_effect = match allowed.read_unused(checks, at) {
        Ok(allowed) => {
            allowed.namespaces.and_then(|namespaces| namespaces.from).is_some_and(|from| from != NoNamespace)
        }
        Err(_) => true,
    };
    if has_effect {
        checks.warning(at, "is not served yet: ListenerSets have no effect");
    }
}

/// `spec.tls.frontend` is checked and not served yet: clients are not asked for certificates.
fn check_tls(tls: &GatewayTls, checks: &mut Checks, at: &Path<'_>) {
    if let Some(certificate) = backend_certificate(tls) {
        reference(certificate, checks, &at.field("backend").field("clientCertificateRef"));
    }
    if let Some(frontend) = &tls.frontend {
        let at = at.field("frontend");
        check_frontend(frontend, checks, &at);
        checks.warning(&at, "is not served yet; listeners that would ask for client certificates are closed");
    }
}

fn check_frontend(frontend: &GatewayTlsFrontend, checks: &mut Checks, at: &Path<'_>) {
    if let Some(validation) = &frontend.default.validation {
        let at = at.field("default");
        check_authorities!(validation, checks, at.field("validation"));
    }
    let (ports, at) = (frontend.per_port.as_deref().unwrap_or_default(), at.field("perPort"));
    checks.entries(ports.len(), 0..=64, &at);
    checks.unique(ports.iter().map(|p| p.port), &at, |port| format!("port {port} stands here twice"));
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        checks.port(port.port, &at.field("port"));
        if let Some(validation) = &port.tls.validation {
            let at = at.field("tls");
            check_authorities!(validation, checks, at.field("validation"));
        }
    }
}

#[cfg(test)]
mod tests;
