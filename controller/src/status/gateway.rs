//! The status of a Gateway and its listeners.

use super::{
    Condition, ConditionType, GatewayStatus, GatewayStatusAddress, Message, Report, Status, bounded, list,
    listener::{NotProgrammed, Own, Waits, beside_ingresses, listener},
    types::condition,
};
use crate::ir::gateway::Routability;
use crate::translate::{
    Address, Addressing, Attached, CertificateRefError, DedicatedState, GatewayRefusal, GatewayState,
    ListenerState, Reader, SharedHosts,
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
    let key = &state.gateway.meta.key;
    let addresses = addresses(state, reader);
    let own = Own::of(&state.addressing, reader.provisioning_error(key));
    let listeners = state
        .listeners
        .iter()
        .map(|one| listener(one, key, state.gateway.meta.generation, own, reader, attached));
    let accepted = accepted(state);
    let is_accepted = accepted.is_true();
    let waits = Waits::of(&state.listeners, own, reader);
    let programmed = gateway_programmed(state, is_accepted, own, &addresses, &waits, reader.runs());
    let mut messages: Vec<_> = state.listeners.iter().flat_map(|l| beside_ingresses(l, shared)).collect();
    messages.extend(Message::warnings(&state.gateway.meta));
    if state.addressing == Addressing::SharedInstead {
        messages.push(Message::note(
            "addressing Dedicated: served at the shared addresses, because dedicated addresses require a cluster",
        ));
    }
    Report {
        status: Status::Listeners(Box::new(GatewayStatus {
            listeners: listeners.collect(),
            conditions: [Some(accepted), Some(programmed), own_references(state), insecure(state)]
                .into_iter()
                .flatten()
                .collect(),
            addresses: if is_accepted { bounded::addresses(addresses.usable) } else { Vec::new() },
            attached_listener_sets: state.attached_sets,
        })),
        messages: bounded::messages(messages),
    }
}

/// Present while clients without a valid certificate are accepted though they are asked for one.
fn insecure(state: &GatewayState) -> Option<Condition> {
    let validation =
        state.gateway.client_validation.as_ref().ok().filter(|validation| validation.is_insecure());
    let condition = condition(state.gateway.meta.generation, ConditionType::InsecureFrontendValidationMode);
    validation.map(|_| {
        let message = "mode AllowInsecureFallback: clients without a valid certificate are accepted, too";
        condition.yes("ConfigurationChanged", message)
    })
}

fn accepted(state: &GatewayState) -> Condition {
    let condition = condition(state.gateway.meta.generation, ConditionType::Accepted);
    let is_refused = |l: &&ListenerState| !l.is_accepted();
    let refused: Vec<_> = state.listeners.iter().filter(is_refused).collect();
    let names = || list(refused.iter().map(|l| &l.point.section));
    match &state.refused {
        Some(why @ GatewayRefusal::InvalidParameters(_)) => {
            condition.no("InvalidParameters", why.to_string())
        }
        Some(why @ GatewayRefusal::UnsupportedAddress(_)) => {
            condition.no("UnsupportedAddress", why.to_string())
        }
        Some(why @ GatewayRefusal::UnsupportedRoutability(_)) => {
            condition.no("UnsupportedRoutability", why.to_string())
        }
        Some(why @ GatewayRefusal::UnsupportedValue(_)) => condition.no("UnsupportedValue", why.to_string()),
        None if refused.is_empty() => condition.yes("Accepted", "all listeners are accepted"),
        // The listeners of its ListenerSets are its own, too (ListenerSetSpec `listeners`).
        None if refused.len() == state.listeners.len() && state.attached_sets == 0 => {
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
        Ok(_) => condition.yes("ResolvedRefs", "all references of the Gateway itself are resolved"),
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
    waits: &Waits<'_>,
    runs: bool,
) -> Condition {
    let condition = condition(state.gateway.meta.generation, ConditionType::Programmed);
    if let Some(why @ GatewayRefusal::UnsupportedRoutability(_)) = &state.refused {
        return condition.no("UnsupportedRoutability", why.to_string());
    }
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
        return condition.no("AddressNotUsable", format!("cannot be used: {not}; available: {have}"));
    }
    if known && addresses.usable.is_empty() {
        return condition.no("AddressNotAssigned", "no address has been assigned yet");
    }
    let out_of_sync = own.out_of_sync();
    let is_pending = || waits.0.iter().any(|(_, why)| why.reason == "Pending");
    match &waits.0[..] {
        [] if out_of_sync.is_some() => condition
            .yes("Programmed", format!("all listeners are served; {}", out_of_sync.unwrap_or_default())),
        [] => condition.yes("Programmed", "all listeners are served"),
        // Where all its own listeners are refused, those of its ListenerSets are served.
        all @ [(_, first), ..]
            if all.len() == state.listeners.len() && (state.attached_sets == 0 || is_pending()) =>
        {
            condition.no(reason(first), waits.text())
        }
        _ => condition.yes("Programmed", format!("not served: {}", waits.text())),
    }
}

/// Returns the reason of a Gateway's condition, which has no reasons of its own for conflicts.
fn reason(why: &NotProgrammed) -> &'static str {
    if why.reason == "Pending" { "Pending" } else { "Invalid" }
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
    let mut cluster: &[Address] = &[];
    let all = match &state.addressing {
        Addressing::Dedicated(dedicated) => match &dedicated.state {
            DedicatedState::Made { addresses, cluster: inside } => {
                cluster = inside;
                &**addresses
            }
            // Where nothing runs, they are taken for granted; those of ours are not in the cluster's network.
            DedicatedState::Missing | DedicatedState::Foreign
                if !reader.runs() && !gateway.is_for_cluster_alone() =>
            {
                reader.addresses()
            }
            DedicatedState::Missing | DedicatedState::Foreign => &[],
        },
        _ => reader.addresses(),
    };
    let all = all.iter().filter(|address| !cluster.contains(address)).map(status_address);
    let inside = cluster
        .iter()
        .map(|address| GatewayStatusAddress { routability: Some("Cluster"), ..status_address(address) });
    let all: Vec<_> = all.chain(inside).collect();
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
            let is_inside = asked.routability == Routability::Cluster;
            let fits_type = *have.kind == *asked.kind && have.routability.is_some() == is_inside;
            fits_type && asked.value.as_ref().is_none_or(|value| **value == have.value)
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
        Address::Ip(ip) => {
            GatewayStatusAddress { kind: "IPAddress", value: ip.to_string(), routability: None }
        }
        Address::Hostname(name) => {
            GatewayStatusAddress { kind: "Hostname", value: name.to_string(), routability: None }
        }
    }
}
