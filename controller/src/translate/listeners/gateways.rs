//! Gateways of our classes, and each listener as it stands alone.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{ListenerId, PortKey, Protocol, Transport};

use super::{
    Addressing, AttachPoint, FirstOf, GatewayRefusal, GatewayState, ListenerRefusal, ListenerState, Mode,
    WayOut,
    mode::{kinds, passes_through},
};
use crate::{
    ir::{
        Gateway, GatewayClass, ObjectKey,
        gateway::{GatewayListener, ListenerProtocol},
        parameters::Addressing as Asked,
    },
    translate::{
        CertificatePool, DedicatedPorts, ListenerKey, Reader, RuleSource, Settings, dedicated::dedicated,
        parameters,
    },
};

pub(super) type States = BTreeMap<ObjectKey, GatewayState>;

pub(super) fn ours(reader: &Reader<'_>, certificates: &CertificatePool) -> States {
    let settings = reader.settings();
    let class_of = |gateway: &Gateway| {
        let class = reader.gateway_class(&gateway.class)?;
        (*class.controller == *settings.gateway_controller).then_some(class)
    };
    let ours: Vec<_> = reader.gateways().filter_map(|gateway| Some((gateway, class_of(gateway)?))).collect();
    let states = ours.into_iter().map(|(gateway, class)| {
        let (addressing, refused) = addressing(reader, gateway, class);
        let backend_certificate = gateway.backend_certificate.as_ref();
        let backend_certificate =
            backend_certificate.map(|r| certificates.resolve(reader, gateway.meta.namespace(), r));
        let presented =
            backend_certificate.iter().flatten().map(|certificate| certificate.to_material()).next();
        let listeners = gateway.listeners.iter().map(|listener| {
            let mut state = alone(reader, certificates, gateway, &addressing, listener);
            Arc::make_mut(&mut state.point).backend_certificate.clone_from(&presented);
            if refused.is_some() {
                Arc::make_mut(&mut state.point).served = false;
            }
            state
        });
        let listeners = listeners.collect();
        let gateway = Arc::clone(gateway);
        let state = GatewayState { gateway, listeners, addressing, refused, backend_certificate };
        (state.gateway.meta.key.clone(), state)
    });
    states.collect()
}

fn addressing(
    reader: &Reader<'_>,
    gateway: &Gateway,
    class: &GatewayClass,
) -> (Addressing, Option<GatewayRefusal>) {
    if let Some(why) = &gateway.refused {
        return (Addressing::Unknown, Some(GatewayRefusal::UnsupportedValue(why.clone())));
    }
    if class.refused.is_some() {
        let text = format!("{} is refused; its status says why", class.meta.key);
        return (Addressing::Unknown, Some(GatewayRefusal::InvalidParameters(text)));
    }
    let parameters = match parameters::of_gateway(reader, class, gateway) {
        Ok(parameters) => parameters,
        Err((whose, why)) => {
            let text = format!("parametersRef of {whose}: {why}");
            return (Addressing::Unknown, Some(GatewayRefusal::InvalidParameters(text)));
        }
    };
    let addressing = match (parameters.addressing.unwrap_or(Asked::Shared), reader.settings().dedicated) {
        (Asked::Shared, _) => Addressing::Shared,
        (Asked::Dedicated, DedicatedPorts::AsShared) => Addressing::SharedInstead,
        // At the shared addresses clients would reach it that it is not meant for.
        (Asked::Dedicated, DedicatedPorts::Refused) => {
            let why = "addressing Dedicated is not offered by this installation (--dedicated-ports none)";
            return (Addressing::Shared, Some(GatewayRefusal::InvalidParameters(why.to_owned())));
        }
        (Asked::Dedicated, DedicatedPorts::Of(range)) => {
            Addressing::Dedicated(Arc::new(dedicated(reader, gateway, parameters.service, range)))
        }
    };
    let address = gateway.addresses.iter().find(|a| !matches!(&*a.kind, "IPAddress" | "Hostname"));
    (addressing, address.map(|a| GatewayRefusal::UnsupportedAddress(a.kind.clone())))
}

/// The state of a listener, regardless of all others.
fn alone(
    reader: &Reader<'_>,
    certificates: &CertificatePool,
    gateway: &Gateway,
    addressing: &Addressing,
    listener: &GatewayListener,
) -> ListenerState {
    let namespace = gateway.meta.namespace();
    let id = ListenerId::gateway(namespace, gateway.meta.name(), &listener.name);
    let key = listener.port_key();
    let (bound, unavailable) = match addressing {
        Addressing::Dedicated(dedicated) => {
            let bound = dedicated.bound.get(&key);
            (bound.map(|number| PortKey { number: *number, ..key }), None)
        }
        Addressing::Shared | Addressing::SharedInstead => match reader.settings().bound(key) {
            Ok(bound) => (Some(bound), speaks_otherwise(reader.settings(), listener)),
            Err(why) => (None, Some(ListenerRefusal::from(why))),
        },
        Addressing::Unknown => (None, None),
    };
    let refused = check(gateway, listener).or(unavailable);
    let (kinds, unknown_kinds) = kinds(listener);
    let references = listener.tls.as_ref().map(|tls| &*tls.certificates).unwrap_or_default();
    let mode = Mode::of(listener);
    let ends_tls = mode.as_ref().is_some_and(Mode::ends_tls) && refused.is_none();
    let id = Arc::new(id);
    let slot = |port| {
        let (listener, owner) = (listener.hostname.clone(), RuleSource::Gateway(Arc::clone(&id)));
        Arc::new(ListenerKey { port, listener, owner })
    };
    let point = AttachPoint {
        slot: bound.map(slot),
        id,
        section: listener.name.clone(),
        port: listener.port,
        hostname: listener.hostname.clone(),
        mode,
        kinds,
        namespaces: listener.allowed.namespaces.clone(),
        backend_certificate: None,
        shared: !matches!(addressing, Addressing::Dedicated(_)),
        served: refused.is_none(),
    };
    ListenerState {
        point: Arc::new(point),
        refused,
        certificates: ends_tls
            .then(|| references.iter().map(|r| certificates.resolve(reader, namespace, r)).collect()),
        unknown_kinds,
        overlaps: FirstOf::default(),
        ingress_behind: false,
        ingress_before: FirstOf::default(),
    }
}

fn check(gateway: &Gateway, listener: &GatewayListener) -> Option<ListenerRefusal> {
    if let Some(why) = &listener.unsupported {
        return Some(ListenerRefusal::UnsupportedValue(why.clone()));
    }
    let passthrough = passes_through(listener);
    match &listener.protocol {
        ListenerProtocol::Http | ListenerProtocol::Tcp | ListenerProtocol::Udp => None,
        ListenerProtocol::Https if passthrough => Some(ListenerRefusal::UnsupportedValue(
            "tls.mode Passthrough is not for protocol HTTPS; use TLS, or Terminate".into(),
        )),
        ListenerProtocol::Tls if passthrough => None,
        // Served without client certificates, it would let anybody in.
        ListenerProtocol::Https | ListenerProtocol::Tls if gateway.client_validation.on(listener.port) => {
            Some(ListenerRefusal::UnsupportedValue(
                "spec.tls.frontend asks for client certificates, which is not served yet".into(),
            ))
        }
        ListenerProtocol::Https | ListenerProtocol::Tls => None,
        ListenerProtocol::Other(protocol) => Some(ListenerRefusal::UnsupportedProtocol(protocol.clone())),
    }
}

/// Why a listener may not have its port at the shared addresses, regardless of all others.
fn speaks_otherwise(settings: &Settings, listener: &GatewayListener) -> Option<ListenerRefusal> {
    if listener.protocol.transport() != Transport::Tcp {
        return None;
    }
    let (speaks, fits) = match settings.always_speaks(listener.port)? {
        Protocol::Http => ("HTTP", listener.protocol == ListenerProtocol::Http),
        Protocol::Tls => {
            ("TLS", matches!(listener.protocol, ListenerProtocol::Https | ListenerProtocol::Tls))
        }
        Protocol::Tcp | Protocol::Udp => return None,
    };
    let asked = listener.protocol.as_str().into();
    let (port, way_out) = (listener.port, WayOut::of(settings));
    (!fits).then_some(ListenerRefusal::PortSpeaks { port, speaks, asked, way_out })
}
