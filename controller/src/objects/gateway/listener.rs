//! A listener of a Gateway.

use gateway_api::experimental::gateways::{
    GatewayListenersAllowedRoutes, GatewayListenersAllowedRoutesNamespaces,
    GatewayListenersAllowedRoutesNamespacesFrom as From, GatewayListenersTls,
    GatewayListenersTlsMode as Mode,
};
use portcullis_routing::HostPattern;
use serde::Deserialize;

use super::{
    filters::{self, PhasesOfFilters},
    selector,
};
use crate::{
    ir::gateway::{
        AllowedNamespaces, AllowedRoutes, GatewayListener, LabelSelector, ListenerProtocol, ListenerTls,
        Reference,
    },
    objects::{
        checks::{Checks, Path},
        gateway_class::reference,
        names,
        part::Part,
    },
};

/// `listeners[]` of a Gateway or a ListenerSet. The generated type of Gateways lacks `filters`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::objects) struct Listener {
    name: String,
    hostname: Option<String>,
    port: i32,
    protocol: String,
    tls: Option<GatewayListenersTls>,
    allowed_routes: Option<GatewayListenersAllowedRoutes>,
    filters: Option<Part<PhasesOfFilters>>,
}

/// What of a listener has no values that later releases may add to, or tolerates them.
#[derive(Debug, Deserialize)]
struct Outline {
    name: String,
    hostname: Option<String>,
    port: i32,
    protocol: String,
}

/// `None` where the Gateway is refused for it.
pub(super) fn read(written: &Part<Listener>, checks: &mut Checks, at: &Path<'_>) -> Option<GatewayListener> {
    match written.read(checks, at) {
        Ok(listener) => whole(listener, checks, at),
        Err(why) => outline(written.read_as()?, why.to_string(), checks, at),
    }
}

/// A listener that cannot be read as a whole: it is not served, and says why.
fn outline(outline: Outline, why: String, checks: &mut Checks, at: &Path<'_>) -> Option<GatewayListener> {
    checks.form(&outline.name, names::SUBDOMAIN, &at.field("name"));
    Some(GatewayListener {
        name: outline.name.into(),
        hostname: HostPattern::parse(&outline.hostname.unwrap_or_default()).ok()?,
        port: checks.port(outline.port, &at.field("port")),
        protocol: protocol(&outline.protocol),
        tls: None,
        allowed: AllowedRoutes { kinds: Vec::new(), namespaces: AllowedNamespaces::None },
        filters: Box::default(),
        unsupported: Some(why.into()),
    })
}

fn whole(listener: Listener, checks: &mut Checks, at: &Path<'_>) -> Option<GatewayListener> {
    checks.form(&listener.name, names::SUBDOMAIN, &at.field("name"));
    checks.form_or_unknown(&listener.protocol, names::PROTOCOL, &at.field("protocol"));
    checks.optional_form(listener.hostname.as_deref(), names::HOSTNAME, &at.field("hostname"));
    check_protocol(&listener, checks, at);
    Some(GatewayListener {
        name: listener.name.into(),
        hostname: HostPattern::parse(&listener.hostname.unwrap_or_default()).ok()?,
        port: checks.port(listener.port, &at.field("port")),
        protocol: protocol(&listener.protocol),
        tls: listener.tls.map(|t| tls(t, checks, &at.field("tls"))),
        allowed: allowed(listener.allowed_routes.unwrap_or_default(), checks, &at.field("allowedRoutes")),
        filters: filters::read(listener.filters, checks, &at.field("filters")),
        unsupported: None,
    })
}

/// What goes with which protocol (GatewaySpec `listeners`).
fn check_protocol(listener: &Listener, checks: &mut Checks, at: &Path<'_>) {
    let protocol = listener.protocol.as_str();
    match (&listener.tls, protocol) {
        (Some(_), "HTTP" | "TCP" | "UDP") => {
            checks.error(&at.field("tls"), format!("must not be set for protocol {protocol}"));
        }
        (Some(tls), "HTTPS") if tls.mode == Some(Mode::Passthrough) => {
            checks.error(&at.field("tls").field("mode"), "must be Terminate for protocol HTTPS");
        }
        (None, "TLS") => checks.error(&at.field("tls"), "is required for protocol TLS"),
        _ => {}
    }
    if listener.filters.is_some() && !matches!(protocol, "HTTP" | "HTTPS") {
        checks.error(&at.field("filters"), "can only be set for protocol HTTP or HTTPS");
    }
    if matches!(protocol, "TCP" | "UDP") && listener.hostname.is_some() {
        checks.error(&at.field("hostname"), format!("must not be set for protocol {protocol}"));
    }
}

fn protocol(text: &str) -> ListenerProtocol {
    match text {
        "HTTP" => ListenerProtocol::Http,
        "HTTPS" => ListenerProtocol::Https,
        "TLS" => ListenerProtocol::Tls,
        "TCP" => ListenerProtocol::Tcp,
        "UDP" => ListenerProtocol::Udp,
        other => ListenerProtocol::Other(other.into()),
    }
}

fn tls(tls: GatewayListenersTls, checks: &mut Checks, at: &Path<'_>) -> ListenerTls {
    let (refs, options) = (tls.certificate_refs.unwrap_or_default(), tls.options.unwrap_or_default());
    let (at_refs, at_options) = (at.field("certificateRefs"), at.field("options"));
    checks.entries(refs.len(), 0..=64, &at_refs);
    checks.entries(options.len(), 0..=16, &at_options);
    for (name, value) in &options {
        checks.form(name, names::QUALIFIED, &at_options.field(name));
        checks.length(value, 0..=4096, &at_options.field(name));
    }
    let passthrough = tls.mode == Some(Mode::Passthrough);
    if !passthrough && refs.is_empty() && options.is_empty() {
        checks.error(at, "must have certificateRefs or options if its mode is Terminate");
    }
    let certificates = refs.into_iter().enumerate().map(|(i, r)| {
        let certificate = Reference {
            group: r.group.unwrap_or_default().into(),
            kind: r.kind.unwrap_or_else(|| "Secret".to_owned()).into(),
            namespace: r.namespace.map(Into::into),
            name: r.name.into(),
        };
        reference(certificate, checks, &at_refs.index(i))
    });
    ListenerTls {
        passthrough,
        certificates: certificates.collect(),
        options: options.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
    }
}

fn allowed(allowed: GatewayListenersAllowedRoutes, checks: &mut Checks, at: &Path<'_>) -> AllowedRoutes {
    let (kinds, at_kinds) = (allowed.kinds.unwrap_or_default(), at.field("kinds"));
    checks.entries(kinds.len(), 0..=8, &at_kinds);
    let kinds = kinds.into_iter().enumerate().map(|(i, kind)| {
        let at = at_kinds.index(i);
        let group = kind.group.unwrap_or_else(|| "gateway.networking.k8s.io".to_owned());
        checks.form(&group, names::GROUP, &at.field("group"));
        checks.form(&kind.kind, names::KIND, &at.field("kind"));
        (group.into(), kind.kind.into())
    });
    AllowedRoutes {
        kinds: kinds.collect(),
        namespaces: namespaces(allowed.namespaces.unwrap_or_default(), checks, &at.field("namespaces")),
    }
}

fn namespaces(
    namespaces: GatewayListenersAllowedRoutesNamespaces,
    checks: &mut Checks,
    at: &Path<'_>,
) -> AllowedNamespaces {
    let selector = namespaces.selector.map(|s| selector::read(s, checks, &at.field("selector")));
    match namespaces.from.unwrap_or(From::Same) {
        From::Same => AllowedNamespaces::Same,
        From::All => AllowedNamespaces::All,
        From::Selector => selected(selector, checks, at),
    }
}

/// Returns the namespaces that a selector selects. `Some(None)` is a selector that cannot be used.
pub(super) fn selected(
    selector: Option<Option<LabelSelector>>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> AllowedNamespaces {
    match selector {
        Some(Some(selector)) => AllowedNamespaces::Selector(selector),
        Some(None) => AllowedNamespaces::None,
        // The API server takes it; a selector that is not there selects nothing (metav1.LabelSelectorAsSelector).
        None => {
            checks.warning(&at.field("selector"), "is missing, so that no namespace is allowed");
            AllowedNamespaces::None
        }
    }
}
