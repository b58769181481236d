//! Gateways of our classes, and each listener as it stands alone.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{ListenerId, RouteKind};

use super::{AttachPoint, GatewayRefusal, GatewayState, ListenerRefusal, ListenerState};
use crate::{
    ir::{
        Gateway, GatewayClass, Kind, ObjectKey,
        gateway::{GatewayListener, ListenerProtocol, Reference},
    },
    snapshot::Snapshot,
    translate::{CertificatePool, Settings, grants::GATEWAY_GROUP},
};

pub(super) type States = BTreeMap<ObjectKey, GatewayState>;

pub(super) fn ours(snapshot: &Snapshot, settings: &Settings, certificates: &CertificatePool) -> States {
    let class_of = |gateway: &Gateway| {
        let class = snapshot.gateway_classes.get(&ObjectKey::new(Kind::GatewayClass, "", &gateway.class))?;
        (class.controller == settings.gateway_controller).then_some(class)
    };
    let states = snapshot.gateways.iter().filter_map(|(key, gateway)| {
        let refused = refusal(gateway, class_of(gateway)?);
        let listeners = gateway.listeners.iter().map(|listener| {
            let mut state = alone(snapshot, certificates, gateway, listener);
            if refused.is_some() {
                Arc::make_mut(&mut state.point).served = false;
            }
            state
        });
        Some((
            key.clone(),
            GatewayState { gateway: Arc::clone(gateway), listeners: listeners.collect(), refused },
        ))
    });
    states.collect()
}

fn refusal(gateway: &Gateway, class: &GatewayClass) -> Option<GatewayRefusal> {
    let parameters = |whose: &ObjectKey, to: &Reference| {
        let text = format!("parametersRef of {whose}: {} {} is not a kind that is served", to.kind, to.name);
        GatewayRefusal::InvalidParameters(text)
    };
    let of_class = class.parameters.as_ref().map(|p| parameters(&class.meta.key, p));
    let of_gateway = gateway.parameters.as_ref().map(|p| parameters(&gateway.meta.key, p));
    let address = gateway.addresses.iter().find(|a| !matches!(&*a.kind, "IPAddress" | "Hostname"));
    let of_address = address.map(|a| GatewayRefusal::UnsupportedAddress(a.kind.clone()));
    of_class.or(of_gateway).or(of_address)
}

/// A listener without a look at any other.
fn alone(
    snapshot: &Snapshot,
    certificates: &CertificatePool,
    gateway: &Gateway,
    listener: &GatewayListener,
) -> ListenerState {
    let namespace = gateway.meta.namespace();
    let id = ListenerId::Gateway {
        namespace: namespace.into(),
        name: gateway.meta.name().into(),
        section: listener.name.clone(),
    };
    let refused = check(gateway, listener);
    let (kinds, unknown_kinds) = kinds(listener);
    let references = listener.tls.as_ref().map(|tls| &*tls.certificates).unwrap_or_default();
    let ends_tls = listener.protocol == ListenerProtocol::Https && refused.is_none();
    let point = AttachPoint {
        id: Arc::new(id),
        section: listener.name.clone(),
        port: listener.port,
        hostname: listener.hostname.clone(),
        kinds,
        namespaces: listener.allowed.namespaces.clone(),
        served: refused.is_none(),
    };
    ListenerState {
        point: Arc::new(point),
        refused,
        certificates: ends_tls
            .then(|| references.iter().map(|r| certificates.resolve(snapshot, namespace, r)).collect()),
        unknown_kinds,
        overlaps: Vec::new(),
        ingress_behind: false,
        ingress_before: Vec::new(),
    }
}

fn check(gateway: &Gateway, listener: &GatewayListener) -> Option<ListenerRefusal> {
    let unsupported = |protocol: &str| Some(ListenerRefusal::UnsupportedProtocol(protocol.into()));
    let passthrough = listener.tls.as_ref().is_some_and(|tls| tls.passthrough);
    match &listener.protocol {
        ListenerProtocol::Http => None,
        ListenerProtocol::Https if passthrough => Some(ListenerRefusal::UnsupportedValue(
            "tls.mode Passthrough is not for protocol HTTPS; use Terminate".into(),
        )),
        // Served without, it would let anybody in.
        ListenerProtocol::Https if gateway.client_validation.on(listener.port) => {
            Some(ListenerRefusal::UnsupportedValue(
                "spec.tls.frontend asks for client certificates, which is not served yet".into(),
            ))
        }
        ListenerProtocol::Https => None,
        ListenerProtocol::Tls => unsupported("TLS"),
        ListenerProtocol::Tcp => unsupported("TCP"),
        ListenerProtocol::Udp => unsupported("UDP"),
        ListenerProtocol::Other(protocol) => unsupported(protocol),
    }
}

/// The kinds of routes that may attach, and those asked for that are not served.
fn kinds(listener: &GatewayListener) -> (Vec<RouteKind>, Vec<Box<str>>) {
    let served: &[RouteKind] = match listener.protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => &[RouteKind::Http, RouteKind::Grpc],
        _ => return (Vec::new(), Vec::new()),
    };
    if listener.allowed.kinds.is_empty() {
        return (served.to_vec(), Vec::new());
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (group, kind) in &listener.allowed.kinds {
        let found = served.iter().find(|k| &**group == GATEWAY_GROUP && k.to_string() == **kind);
        match found {
            Some(kind) if known.contains(kind) => {}
            Some(kind) => known.push(*kind),
            None if &**group == GATEWAY_GROUP => unknown.push(kind.clone()),
            None => unknown.push(format!("{group}/{kind}").into()),
        }
    }
    (known, unknown)
}
