//! Each listener as it stands alone: which port is bound for it, its certificates, and what refuses it regardless of
//! all others.

use std::sync::Arc;

use portcullis_routing::{ClientAuth, ListenerId, ListenerOwner, Protocol, TlsMaterial, TlsMode, Transport};

use super::{
    Addressing, AttachPoint, FirstOf, ListenerFilters, ListenerRefusal, ListenerState, Mode, WayOut,
    mode::{kinds, passes_through},
};
use crate::{
    ir::{
        Gateway, ObjectKey,
        gateway::{GatewayListener, ListenerProtocol},
    },
    translate::{
        AuthorityRefError, ListenerKey, Pools, Reader, RuleSource, Settings, Taker, backend_refs::Connecting,
        dedicated,
    },
};

/// The Gateway or ListenerSet of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) key: &'a ObjectKey,
    /// The same object as the owner of listeners.
    pub(super) owner: &'a ListenerOwner,
    /// The Gateway itself, or that of the ListenerSet.
    pub(super) gateway: &'a Gateway,
    pub(super) addressing: &'a Addressing,
    /// The certificate that the Gateway presents to backends.
    pub(super) backend_certificate: Option<&'a TlsMaterial>,
    /// Whether the Gateway allows the object.
    pub(super) is_allowed: bool,
    /// Whether the object is refused as a whole.
    pub(super) is_refused: bool,
    /// The time that counts as its age.
    pub(super) since: i64,
}

/// Returns the state of a listener, regardless of all others.
pub(super) fn alone(
    reader: &Reader<'_>,
    pools: &Pools,
    place: Place<'_>,
    listener: &GatewayListener,
) -> ListenerState {
    let mut state = served(reader, pools, place, listener);
    // A listener that is older than the owner of a hostname is allowed: the owner may attach to it.
    if state.point.served && state.point.shared && listener.protocol.has_hostnames() {
        let taker = Taker { key: place.key, since: place.since };
        if let Err(refusal) = reader.may_take(taker, &listener.hostname) {
            state.refuse(refusal.into());
        }
    }
    state
}

/// Returns the state of a listener that may have its hostname.
fn served(reader: &Reader<'_>, pools: &Pools, place: Place<'_>, listener: &GatewayListener) -> ListenerState {
    let Place {
        key: object, owner, gateway, addressing, backend_certificate, is_allowed, is_refused, ..
    } = place;
    let key = listener.port_key();
    let (bound, unavailable) = match addressing {
        Addressing::Dedicated(_) => (dedicated::bound(reader, gateway, key), None),
        Addressing::Shared | Addressing::SharedInstead => match reader.settings().bound(key) {
            Ok(bound) => (Some(bound), reserved(reader.settings(), listener)),
            Err(why) => (None, Some(ListenerRefusal::from(why))),
        },
        Addressing::Unknown => (None, None),
    };
    let refused = check(gateway, listener).or(unavailable);
    let (kinds, unknown_kinds) = kinds(listener);
    let references = listener.tls.as_ref().map(|tls| &*tls.certificates).unwrap_or_default();
    let mut mode = Mode::of(listener);
    let ends_tls = mode.as_ref().is_some_and(Mode::ends_tls) && refused.is_none() && !is_refused;
    let asked = if ends_tls { Asked::on(reader, pools, gateway, listener.port) } else { Asked::default() };
    if let Some(mode) = mode.as_mut().filter(|_| ends_tls) {
        mode.tls = TlsMode::Terminate(asked.policy);
    }
    let connecting = Connecting { by_policy: true, certificate: backend_certificate.cloned() };
    let filters = ListenerFilters::of(reader, pools, object, &connecting, listener);
    let id = Arc::new(ListenerId { owner: owner.clone(), section: listener.name.clone() });
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
        backend_certificate: backend_certificate.cloned(),
        is_allowed,
        shared: !matches!(addressing, Addressing::Dedicated(_)),
        served: refused.is_none() && !is_refused,
    };
    ListenerState {
        point: Arc::new(point),
        refused,
        certificates: ends_tls
            .then(|| references.iter().map(|r| pools.certificates.resolve(reader, object, r)).collect()),
        authority_errors: asked.errors,
        filters,
        is_closed: asked.is_closed,
        unknown_kinds,
        overlaps: FirstOf::default(),
        ingress_behind: false,
        ingress_before: FirstOf::default(),
    }
}

/// What the clients of a listener that terminates TLS are asked for.
#[derive(Default)]
struct Asked {
    policy: ClientAuth,
    /// The references to authorities that cannot be used.
    errors: Vec<AuthorityRefError>,
    /// Whether none can be used.
    is_closed: bool,
}

impl Asked {
    fn on(reader: &Reader<'_>, pools: &Pools, gateway: &Gateway, port: u16) -> Self {
        let validation = gateway.client_validation.as_ref().ok();
        let Some(certificates) = validation.and_then(|validation| validation.on(port)) else {
            return Self::default();
        };
        let (mut sets, mut errors) = (Vec::new(), Vec::new());
        for reference in &certificates.authorities {
            match pools.authorities.resolve_for_gateway(reader, &gateway.meta.key, reference) {
                Ok(set) => sets.push(set),
                Err(error) => errors.push(error),
            }
        }
        let is_closed = sets.is_empty();
        let policy = match certificates.is_required {
            true => ClientAuth::Required(sets.into()),
            false => ClientAuth::Optional(sets.into()),
        };
        Self { policy, errors, is_closed }
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
            "tls.mode Passthrough is not for protocol HTTPS; use protocol TLS or tls.mode Terminate".into(),
        )),
        ListenerProtocol::Tls if passthrough => None,
        // If it is unknown what clients are asked for, the listener could let anybody in.
        ListenerProtocol::Https | ListenerProtocol::Tls => {
            gateway.client_validation.as_ref().err().map(|why| ListenerRefusal::UnsupportedValue(why.clone()))
        }
        ListenerProtocol::Other(protocol) => Some(ListenerRefusal::UnsupportedProtocol(protocol.clone())),
    }
}

/// Returns why a listener may not have its port at the shared addresses, whatever other listeners there are.
fn reserved(settings: &Settings, listener: &GatewayListener) -> Option<ListenerRefusal> {
    let of_service = settings.port_services.services.get(&listener.port_key()).map(|service| {
        let (port, map) = (listener.port_key(), service.map.clone());
        ListenerRefusal::PortOfService { port, map, way_out: WayOut::of(settings) }
    });
    of_service.or_else(|| speaks_otherwise(settings, listener))
}

/// Returns why the protocol of a listener is not the one that its port always has.
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
