//! What is said about a listener of a Gateway or a ListenerSet.

use portcullis_routing::{BackendError, RouteKind};

use super::{
    Condition, ConditionType, ListenerStatus, Message, RouteGroupKind, list, sentences, types::condition,
};
use crate::{
    ir::{Kind, ObjectKey, gateway::FilterFault},
    translate::{
        Addressing, Attached, Binding, Dedicated, DedicatedState, FilterError, FirstOf, HostRefusal,
        ListenerRefusal, ListenerState, Reader, SharedHosts, name_for,
    },
};

/// Returns the status of a listener of `owner`, a Gateway or a ListenerSet of this generation.
pub(super) fn listener(
    state: &ListenerState,
    owner: &ObjectKey,
    generation: i64,
    service: Own<'_>,
    reader: &Reader<'_>,
    attached: &Attached,
) -> ListenerStatus {
    ListenerStatus {
        name: state.point.section.clone(),
        supported_kinds: state.point.kinds.iter().map(|kind| group_kind(*kind)).collect(),
        attached_routes: attached.to(reader, owner, &state.point.id),
        conditions: listener_conditions(state, owner, generation, programmed(state, service, reader)),
    }
}

/// Listeners that are not served, and why.
pub(super) struct Waits<'l>(pub(super) Vec<(&'l ListenerState, NotProgrammed)>);

impl<'l> Waits<'l> {
    pub(super) fn of(listeners: &'l [ListenerState], service: Own<'_>, reader: &Reader<'_>) -> Self {
        let wait = |one| Some((one, programmed(one, service, reader).err()?));
        Self(listeners.iter().filter_map(wait).collect())
    }

    /// Returns why, as a sentence for each listener.
    pub(super) fn text(&self) -> String {
        sentences(self.0.iter().map(|(one, why)| format!("listener {}: {}", one.point.section, why.message)))
    }
}

/// What Ingresses have to do with a listener.
pub(super) fn beside_ingresses(listener: &ListenerState, shared: &SharedHosts) -> Vec<Message> {
    let (name, port, before) = (&listener.point.section, listener.point.port, &listener.ingress_before);
    let mut messages = Vec::new();
    if listener.ingress_behind {
        let text = format!(
            "listener {name}: on port {port}, Ingresses handle requests that its routes do not match"
        );
        messages.push(Message::note(text));
    }
    let mut of_both = FirstOf::default();
    shared.of_gateway(&listener.point.id).for_each(|host| of_both.add(|| host.clone()));
    if of_both.count > 0 {
        messages.push(Message::note(format!(
            "listener {name}: on port {port}, Ingresses handle requests for these hosts that its routes do not match: {of_both}"
        )));
    }
    if before.count > 0 {
        let rest = match listener.point.takes_requests() {
            true => "only routes that name such a host receive its requests",
            false => "its routes receive no connections for these hosts",
        };
        messages.push(Message::note(format!(
            "listener {name}: on port {port} hosts of Ingresses ({before}) are more specific than its hostname; {rest}"
        )));
    }
    messages
}

fn listener_conditions(
    listener: &ListenerState,
    owner: &ObjectKey,
    generation: i64,
    programmed: Result<(), NotProgrammed>,
) -> Vec<Condition> {
    let named = |kind| condition(generation, kind);
    let conflict = listener.refused.as_ref().filter(|refused| refused.is_conflict());
    let mut conditions = vec![
        match &listener.refused {
            Some(why) => named(ConditionType::Accepted).no(why.reason(), why.to_string()),
            None if listener.lacks_authorities() => {
                named(ConditionType::Accepted).no("NoValidCACertificate", NO_AUTHORITY)
            }
            None if listener.filters.are_refused() => {
                let errors = || listener.filters.errors.iter().filter_map(|e| Some((e.refusal_reason()?, e)));
                let reason = errors().next().map_or("UnsupportedValue", |(reason, _)| reason);
                named(ConditionType::Accepted).no(reason, sentences(errors().map(|(_, error)| error)))
            }
            None => named(ConditionType::Accepted).yes("Accepted", "the listener is valid"),
        },
        match programmed {
            Ok(()) => named(ConditionType::Programmed).yes("Programmed", "the listener is served"),
            Err(why) => named(ConditionType::Programmed).no(why.reason, why.message),
        },
        resolved_refs(listener, named(ConditionType::ResolvedRefs)),
        match conflict {
            None => named(ConditionType::Conflicted).no("NoConflicts", "no other listener conflicts with it"),
            Some(why) => named(ConditionType::Conflicted).yes(why.reason(), why.to_string()),
        },
    ];
    if listener.overlaps.count > 0 {
        let of_set = (owner.kind == Kind::ListenerSet).then_some(&*owner.namespace);
        let FirstOf { first, count } = &listener.overlaps;
        let first = first.iter().map(|other| name_for(of_set, other)).collect();
        let others = FirstOf { first, count: *count };
        let message = format!(
            "has hosts in common with {others}; on a connection for one of them, requests for hosts of another receive 421"
        );
        conditions.push(named(ConditionType::OverlappingTlsConfig).yes("OverlappingHostnames", message));
    }
    conditions
}

/// Why a listener that has to ask for client certificates is not served.
const NO_AUTHORITY: &str =
    "client certificates cannot be verified, because no caCertificateRef of spec.tls.frontend can be used";

fn resolved_refs(listener: &ListenerState, condition: Condition) -> Condition {
    let certificates = listener.certificates.iter().flatten().filter_map(|c| c.as_ref().err());
    let certificates = certificates.map(|error| (error.is_pending(), error.reason(), error.to_string()));
    let authorities = listener.authority_errors.iter();
    let authorities =
        authorities.map(|error| (error.is_pending(), error.listener_reason(), error.to_string()));
    let filters = listener.filters.errors.iter();
    let filters = filters.filter_map(|error| Some((false, error.reference_reason()?, error.to_string())));
    let errors: Vec<_> = certificates.chain(authorities).chain(filters).collect();
    let text = || sentences(errors.iter().map(|(.., text)| text));
    if let Some((_, reason, _)) = errors.iter().find(|(is_pending, ..)| !is_pending) {
        return condition.no(reason, text());
    }
    if let Some((_, reason, _)) = errors.first() {
        return condition.unknown(reason, text());
    }
    if listener.certificates.as_ref().is_some_and(Vec::is_empty) {
        return condition.no("InvalidCertificateRef", "tls.certificateRefs is empty");
    }
    if !listener.unknown_kinds.is_empty() {
        let kinds = list(&listener.unknown_kinds);
        return condition.no("InvalidRouteKinds", format!("unsupported kinds of routes: {kinds}"));
    }
    condition.yes("ResolvedRefs", "all references are resolved")
}

/// The Service of a Gateway with addresses of its own, and what keeps it from being as it should be.
#[derive(Clone, Copy)]
pub(super) struct Own<'s>(Option<(&'s Dedicated, Option<&'s str>)>);

impl<'s> Own<'s> {
    /// Returns the Service of this addressing; `error` is why it could not be brought to its desired state.
    pub(super) fn of(addressing: &'s Addressing, error: Option<&'s str>) -> Self {
        match addressing {
            Addressing::Dedicated(dedicated) => Self(Some((dedicated, error))),
            _ => Self(None),
        }
    }

    /// Why there is no such Service.
    pub(super) fn missing(self) -> Option<String> {
        let (dedicated, error) = self.0?;
        let service = &dedicated.service;
        match (&dedicated.state, error) {
            (DedicatedState::Made { .. }, _) => None,
            (DedicatedState::Foreign, _) => Some(format!(
                "{service} exists and does not belong to this Gateway: rename it or the Gateway"
            )),
            (DedicatedState::Missing, Some(why)) => Some(format!("{service} cannot be created: {why}")),
            (DedicatedState::Missing, None) => Some(format!("{service} does not exist yet")),
        }
    }

    /// Why it is out of sync.
    pub(super) fn out_of_sync(self) -> Option<String> {
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
pub(super) struct NotProgrammed {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

pub(super) fn programmed(
    listener: &ListenerState,
    own: Own<'_>,
    reader: &Reader<'_>,
) -> Result<(), NotProgrammed> {
    let not = |reason, message: String| Err(NotProgrammed { reason, message });
    if let Some(why) = &listener.refused {
        let reason = if why.is_conflict() { why.reason() } else { "Invalid" };
        return not(reason, why.to_string());
    }
    if !listener.point.served {
        return not("Invalid", "its Gateway or ListenerSet is not accepted".into());
    }
    if listener.lacks_authorities() {
        return not("Invalid", NO_AUTHORITY.into());
    }
    if listener.is_closed {
        return not("Pending", sentences(&listener.authority_errors));
    }
    if !listener.filters.errors.is_empty() {
        let errors = sentences(&listener.filters.errors);
        return not("Invalid", format!("all requests receive 500: {errors}"));
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
            // "The port is not supported by the implementation": no protocol is, and no other listener conflicts with it.
            Self::PortUnavailable(_)
            | Self::PortSpeaks { .. }
            | Self::PortOfService { .. }
            | Self::OverLimit { .. } => "PortUnavailable",
            Self::TooManyPorts { .. } => "TooManyListeners",
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

impl FilterError {
    /// The reason of `Accepted`, if the listener is not accepted with the filter.
    fn refusal_reason(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(invalid) => Some(match invalid.fault {
                FilterFault::Unserved | FilterFault::Extension => "UnsupportedValue",
                FilterFault::Invalid => "InvalidListenerFilter",
            }),
            Self::Unresolved { .. } => None,
        }
    }

    /// The reason of `ResolvedRefs`, if the filter has a reference that cannot be used.
    fn reference_reason(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(invalid) => match invalid.fault {
                FilterFault::Extension => Some("InvalidListenerFilterRef"),
                FilterFault::Unserved | FilterFault::Invalid => None,
            },
            Self::Unresolved { error, .. } => Some(match error {
                BackendError::NotPermitted { .. }
                | BackendError::ExternalName(_)
                | BackendError::OtherNamespace(_)
                | BackendError::ExternalHostname(_) => "RefNotPermitted",
                BackendError::NotFound(_)
                | BackendError::XBackendNotFound(_)
                | BackendError::InvalidXBackend { .. }
                | BackendError::PodsNotRead(_)
                | BackendError::XBackendProtocol { .. }
                | BackendError::InvalidTls { .. }
                | BackendError::PortNotFound { .. }
                | BackendError::PortMissing(_)
                | BackendError::InvalidKind(_)
                | BackendError::UnsupportedProtocol { .. }
                | BackendError::OtherTransport { .. }
                | BackendError::InvalidAnnotation { .. }
                | BackendError::InvalidFilter(_)
                | BackendError::Closed(_)
                | BackendError::Unprotected(_)
                | BackendError::Missing(_)
                | BackendError::NoPath
                | BackendError::InvalidPolicy { .. } => "InvalidListenerFilterRef",
            }),
        }
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
        RouteKind::TcpServices | RouteKind::UdpServices => "ConfigMap",
    };
    RouteGroupKind { group: "gateway.networking.k8s.io", kind }
}
