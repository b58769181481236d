//! The status of a Gateway and its listeners.

use portcullis_routing::RouteKind;

use super::{
    Condition, ConditionType, GatewayStatus, GatewayStatusAddress, ListenerStatus, Message, Report,
    RouteGroupKind, Status, bounded, list, sentences, types::condition,
};
use crate::translate::{
    Address, Addressing, Attached, Binding, CertificateRefError, Dedicated, DedicatedState, FirstOf,
    GatewayRefusal, GatewayState, HostRefusal, ListenerRefusal, ListenerState, Reader, SharedHosts,
};

/// What is said about a Gateway.
///
/// Where nothing runs, as in a check of a folder, ports and addresses are taken for granted.
pub fn gateway(
    state: &GatewayState,
    reader: &Reader<'_>,
    attached: &Attached,
    shared: &SharedHosts,
) -> Report {
    let generation = state.gateway.meta.generation;
    let key = &state.gateway.meta.key;
    let addresses = addresses(state, reader);
    let own = Own::of(state, reader.provisioning_error(key));
    let programmed = |listener: &ListenerState| programmed(listener, own, reader);
    let listeners = state.listeners.iter().map(|listener| ListenerStatus {
        name: listener.point.section.clone(),
        supported_kinds: listener.point.kinds.iter().map(|kind| group_kind(*kind)).collect(),
        attached_routes: attached.to(reader, key, &listener.point.id),
        conditions: listener_conditions(listener, generation, programmed(listener)),
    });
    let accepted = accepted(state);
    let is_accepted = accepted.is_true();
    let waits: Vec<_> = state.listeners.iter().filter_map(|l| Some((l, programmed(l).err()?))).collect();
    let programmed = gateway_programmed(state, is_accepted, own, &addresses, &waits, reader.runs());
    let mut messages: Vec<_> = state.listeners.iter().flat_map(|l| beside_ingresses(l, shared)).collect();
    messages.extend(Message::warnings(&state.gateway.meta));
    if state.addressing == Addressing::SharedInstead {
        messages.push(Message::note(
            "addressing Dedicated: served at the addresses of all others, since a Gateway has its own in a cluster alone",
        ));
    }
    Report {
        status: Status::Listeners(Box::new(GatewayStatus {
            listeners: listeners.collect(),
            conditions: [accepted, programmed].into_iter().chain(own_references(state)).collect(),
            addresses: if is_accepted { bounded::addresses(addresses.usable) } else { Vec::new() },
        })),
        messages: bounded::messages(messages),
    }
}

/// What Ingresses have to do with a listener.
fn beside_ingresses(listener: &ListenerState, shared: &SharedHosts) -> Vec<Message> {
    let (name, port, before) = (&listener.point.section, listener.point.port, &listener.ingress_before);
    let mut messages = Vec::new();
    if listener.ingress_behind {
        let text = format!("listener {name}: Ingresses answer on port {port} what its routes leave");
        messages.push(Message::note(text));
    }
    let mut of_both = FirstOf::default();
    shared.of_gateway(&listener.point.id).for_each(|host| of_both.add(|| host.clone()));
    if of_both.count > 0 {
        messages.push(Message::note(format!(
            "listener {name}: on port {port} Ingresses answer what its routes for these hosts leave: {of_both}"
        )));
    }
    if before.count > 0 {
        let rest = match listener.point.takes_requests() {
            true => "of its routes only those that name such a host get its requests",
            false => "its routes get none of their connections",
        };
        messages.push(Message::note(format!(
            "listener {name}: on port {port} hosts of Ingresses ({before}) are more specific than its hostname; {rest}"
        )));
    }
    messages
}

fn accepted(state: &GatewayState) -> Condition {
    let condition = condition(state.gateway.meta.generation, ConditionType::Accepted);
    let refused: Vec<_> = state.listeners.iter().filter(|l| l.refused.is_some()).collect();
    let names = || list(refused.iter().map(|l| &l.point.section));
    match &state.refused {
        Some(why @ GatewayRefusal::InvalidParameters(_)) => {
            condition.no("InvalidParameters", why.to_string())
        }
        Some(why @ GatewayRefusal::UnsupportedAddress(_)) => {
            condition.no("UnsupportedAddress", why.to_string())
        }
        Some(why @ GatewayRefusal::UnsupportedValue(_)) => condition.no("UnsupportedValue", why.to_string()),
        None if refused.is_empty() => condition.yes("Accepted", "every listener is accepted"),
        None if refused.len() == state.listeners.len() => {
            condition.no("ListenersNotValid", format!("no listener is accepted: {}", names()))
        }
        None => condition.yes("ListenersNotValid", format!("not accepted: {}", names())),
    }
}

/// What is said about the references of the Gateway itself; nothing if it has none. Its listeners say what is to be said
/// about theirs.
fn own_references(state: &GatewayState) -> Option<Condition> {
    let condition = condition(state.gateway.meta.generation, ConditionType::ResolvedRefs);
    Some(match state.backend_certificate.as_ref()? {
        Ok(_) => condition.yes("ResolvedRefs", "every reference of the Gateway itself is resolved"),
        Err(error) => {
            let why = format!("tls.backend.clientCertificateRef: {error}");
            match error {
                CertificateRefError::Pending(_) => condition.unknown("Pending", why),
                CertificateRefError::NotPermitted { .. } | CertificateRefError::OverLimit(_) => {
                    condition.no("RefNotPermitted", why)
                }
                CertificateRefError::InvalidKind(_)
                | CertificateRefError::NotFound(_)
                | CertificateRefError::Missing(..)
                | CertificateRefError::Invalid(..) => condition.no("InvalidClientCertificateRef", why),
            }
        }
    })
}

fn gateway_programmed(
    state: &GatewayState,
    accepted: bool,
    own: Own<'_>,
    addresses: &Addresses,
    waits: &[(&ListenerState, NotProgrammed)],
    runs: bool,
) -> Condition {
    let condition = condition(state.gateway.meta.generation, ConditionType::Programmed);
    let why =
        || sentences(waits.iter().map(|(l, why)| format!("listener {}: {}", l.point.section, why.message)));
    if !accepted {
        return condition.no("Invalid", "the Gateway is not accepted");
    }
    if let Some(why) = own.missing().filter(|_| runs) {
        return condition.no("Pending", why);
    }
    // A check of a folder runs nowhere and knows of no address.
    let known = runs || !addresses.all.is_empty();
    if known && !addresses.unusable.is_empty() {
        let (not, have) = (list(&addresses.unusable), list(&addresses.all));
        return condition.no("AddressNotUsable", format!("cannot be used: {not}; there is {have}"));
    }
    if known && addresses.usable.is_empty() {
        return condition.no("AddressNotAssigned", "no address is known yet at which clients reach it");
    }
    let out_of_sync = own.out_of_sync();
    match waits {
        [] if out_of_sync.is_some() => condition
            .yes("Programmed", format!("every listener is served; {}", out_of_sync.unwrap_or_default())),
        [] => condition.yes("Programmed", "every listener is served"),
        [(_, first), ..] if waits.len() == state.listeners.len() => {
            condition.no(first.gateway_reason(), why())
        }
        _ => condition.yes("Programmed", format!("not served: {}", why())),
    }
}

fn listener_conditions(
    listener: &ListenerState,
    generation: i64,
    programmed: Result<(), NotProgrammed>,
) -> Vec<Condition> {
    let named = |kind| condition(generation, kind);
    let conflict = listener.refused.as_ref().filter(|refused| refused.is_conflict());
    let mut conditions = vec![
        match &listener.refused {
            None => named(ConditionType::Accepted).yes("Accepted", "the listener is valid"),
            Some(why) => named(ConditionType::Accepted).no(why.reason(), why.to_string()),
        },
        match programmed {
            Ok(()) => named(ConditionType::Programmed).yes("Programmed", "the listener is served"),
            Err(why) => named(ConditionType::Programmed).no(why.reason, why.message),
        },
        resolved_refs(listener, named(ConditionType::ResolvedRefs)),
        match conflict {
            None => {
                named(ConditionType::Conflicted).no("NoConflicts", "no other listener is at odds with it")
            }
            Some(why) => named(ConditionType::Conflicted).yes(why.reason(), why.to_string()),
        },
    ];
    if listener.overlaps.count > 0 {
        let others = listener.overlaps.to_string();
        let message = format!(
            "has hosts in common with {others}; a connection made for one of them gets 421 for the hosts of another"
        );
        conditions.push(named(ConditionType::OverlappingTlsConfig).yes("OverlappingHostnames", message));
    }
    conditions
}

fn resolved_refs(listener: &ListenerState, condition: Condition) -> Condition {
    let errors: Vec<_> = listener.certificates.iter().flatten().filter_map(|c| c.as_ref().err()).collect();
    if let Some(first) = errors.iter().find(|error| !error.is_pending()) {
        return condition.no(first.reason(), sentences(&errors));
    }
    if let Some(pending) = errors.first() {
        return condition.unknown(pending.reason(), sentences(&errors));
    }
    if listener.certificates.as_ref().is_some_and(Vec::is_empty) {
        return condition.no("InvalidCertificateRef", "tls.certificateRefs names no certificate");
    }
    if !listener.unknown_kinds.is_empty() {
        let kinds = list(&listener.unknown_kinds);
        return condition
            .no("InvalidRouteKinds", format!("not a kind of route that is served here: {kinds}"));
    }
    condition.yes("ResolvedRefs", "every reference is resolved")
}

/// The Service of a Gateway with addresses of its own, and what keeps it from being as it should be.
#[derive(Clone, Copy)]
struct Own<'s>(Option<(&'s Dedicated, Option<&'s str>)>);

impl<'s> Own<'s> {
    fn of(state: &'s GatewayState, error: Option<&'s str>) -> Self {
        match &state.addressing {
            Addressing::Dedicated(dedicated) => Self(Some((dedicated, error))),
            _ => Self(None),
        }
    }

    /// Why there is no such Service.
    fn missing(self) -> Option<String> {
        let (dedicated, error) = self.0?;
        let service = &dedicated.service;
        match (&dedicated.state, error) {
            (DedicatedState::Made(_), _) => None,
            (DedicatedState::Foreign, _) => {
                Some(format!("{service} exists and is not this Gateway's: rename it, or the Gateway"))
            }
            (DedicatedState::Missing, Some(why)) => Some(format!("{service} cannot be made: {why}")),
            (DedicatedState::Missing, None) => Some(format!("{service} is not there yet")),
        }
    }

    /// Why it is out of sync.
    fn out_of_sync(self) -> Option<String> {
        let (dedicated, error) = self.0?;
        Some(format!("{} is out of sync: {}", dedicated.service, error?))
    }

    /// Why a port has none of ours behind it.
    fn unbound(self, port: u16) -> String {
        let Some((dedicated, _)) = self.0 else { return format!("port {port} is not bound yet") };
        let none = || format!("no port has been allocated to port {port} of {} yet", dedicated.service);
        self.missing().or_else(|| self.out_of_sync()).unwrap_or_else(none)
    }
}

/// Why a listener is not served.
struct NotProgrammed {
    reason: &'static str,
    message: String,
}

impl NotProgrammed {
    /// A Gateway's condition has no reasons of its own for conflicts.
    fn gateway_reason(&self) -> &'static str {
        if self.reason == "Pending" { "Pending" } else { "Invalid" }
    }
}

fn programmed(listener: &ListenerState, own: Own<'_>, reader: &Reader<'_>) -> Result<(), NotProgrammed> {
    let not = |reason, message: String| Err(NotProgrammed { reason, message });
    if let Some(why) = &listener.refused {
        let reason = if why.is_conflict() { why.reason() } else { "Invalid" };
        return not(reason, why.to_string());
    }
    if !listener.point.served {
        return not("Invalid", "the Gateway is not accepted".into());
    }
    if listener.certificates.is_some() && listener.usable_certificates().next().is_none() {
        let mut errors = listener.certificates.iter().flatten().filter_map(|c| c.as_ref().err());
        return match errors.find(|error| error.is_pending()) {
            Some(pending) => not(pending.reason(), pending.to_string()),
            None => not("Invalid", "no certificate can be loaded".into()),
        };
    }
    let port = listener.point.port;
    if !reader.runs() {
        return Ok(());
    }
    let Some(bound) = listener.point.bound() else { return not("Pending", own.unbound(port)) };
    match reader.binding(bound) {
        // Nobody comes there.
        Binding::Bound if own.missing().is_some() => not("Pending", own.unbound(port)),
        Binding::Bound | Binding::Assumed => Ok(()),
        Binding::Failed(why) => not("Pending", format!("port {port} cannot be bound: {why}")),
        Binding::Pending => not("Pending", format!("port {port} is not bound yet")),
    }
}

impl ListenerRefusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::UnsupportedProtocol(_) => "UnsupportedProtocol",
            Self::UnsupportedValue(_) => "UnsupportedValue",
            Self::HostnameConflict { .. } | Self::HostnameRefused(_) => "HostnameConflict",
            Self::ProtocolConflict { .. } | Self::PortTaken { .. } => "ProtocolConflict",
            // "The port is not supported by the implementation": no protocol is, and no other listener is at odds with it.
            Self::PortUnavailable(_) | Self::PortSpeaks { .. } | Self::OverLimit { .. } => "PortUnavailable",
        }
    }

    fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::HostnameConflict { .. }
                | Self::HostnameRefused(HostRefusal::Owned { .. } | HostRefusal::OwnedBelow { .. })
                | Self::ProtocolConflict { .. }
                | Self::PortTaken { .. }
        )
    }
}

/// The addresses of a Gateway, out of those that there are.
struct Addresses {
    usable: Vec<GatewayStatusAddress>,
    /// Asked for, and not to be had.
    unusable: Vec<Box<str>>,
    all: Vec<String>,
}

/// All that there are, unless it asks for some; one that it asks for without a value is any of its type.
fn addresses(state: &GatewayState, reader: &Reader<'_>) -> Addresses {
    let gateway = &state.gateway;
    let all = match &state.addressing {
        Addressing::Dedicated(dedicated) => match &dedicated.state {
            DedicatedState::Made(addresses) => &**addresses,
            // Where nothing runs, they are taken for granted.
            DedicatedState::Missing | DedicatedState::Foreign if !reader.runs() => reader.addresses(),
            DedicatedState::Missing | DedicatedState::Foreign => &[],
        },
        _ => reader.addresses(),
    };
    let all: Vec<_> = all.iter().map(status_address).collect();
    let mut found = Addresses {
        usable: Vec::new(),
        unusable: Vec::new(),
        all: all.iter().map(|address| address.value.clone()).collect(),
    };
    if gateway.addresses.is_empty() {
        return Addresses { usable: all, ..found };
    }
    for asked in &gateway.addresses {
        let fits = |have: &&GatewayStatusAddress| {
            *have.kind == *asked.kind && asked.value.as_ref().is_none_or(|value| **value == have.value)
        };
        let fitting: Vec<_> = all.iter().filter(fits).cloned().collect();
        if let (true, Some(value)) = (fitting.is_empty(), &asked.value) {
            found.unusable.push(value.clone());
        }
        found.usable.extend(fitting.into_iter().filter(|a| !found.usable.contains(a)).collect::<Vec<_>>());
    }
    found
}

fn status_address(address: &Address) -> GatewayStatusAddress {
    match address {
        Address::Ip(ip) => GatewayStatusAddress { kind: "IPAddress", value: ip.to_string() },
        Address::Hostname(name) => GatewayStatusAddress { kind: "Hostname", value: name.to_string() },
    }
}

fn group_kind(kind: RouteKind) -> RouteGroupKind {
    let kind = match kind {
        RouteKind::Http => "HTTPRoute",
        RouteKind::Grpc => "GRPCRoute",
        RouteKind::Tls => "TLSRoute",
        RouteKind::Tcp => "TCPRoute",
        RouteKind::Udp => "UDPRoute",
        RouteKind::Ingress => "Ingress",
    };
    RouteGroupKind { group: "gateway.networking.k8s.io", kind }
}
