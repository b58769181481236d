//! Who has a port, and a hostname on it: the oldest. Listeners of one Gateway that are at odds all lose
//! (GatewaySpec `listeners`, "Handling indistinct Listeners"); between Gateways, the older one keeps what it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostPattern, ListenerId, PortKey, Protocol};

use super::{Addressing, GatewayState, ListenerRefusal, WayOut, gateways::States};
use crate::{
    ir::{Ingress, gateway::ListenerProtocol},
    translate::Settings,
};

/// Who has which of the ports that are bound.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) ports: BTreeMap<PortKey, Claim>,
    /// Why Ingresses are not served on a port that should be theirs.
    pub(super) lost_by_ingress: BTreeMap<u16, String>,
}

/// A port that somebody has.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) protocol: Protocol,
    /// The port that listeners name.
    pub(super) number: u16,
    /// What clients add to it.
    pub(super) offset: u16,
    holder: Box<str>,
    pub(super) hosts: BTreeMap<HostPattern, Arc<ListenerId>>,
    pub(super) ingress: bool,
}

/// Settles who has what, and refuses the listeners that lose.
pub(super) fn settle(gateways: &mut States, ingresses: &[Arc<Ingress>], settings: &Settings) -> Claims {
    let mut claims = Claims::default();
    let mut oldest_first: Vec<_> = gateways.values_mut().filter(|state| state.refused.is_none()).collect();
    oldest_first.sort_by_key(|state| {
        let meta = &state.gateway.meta;
        (meta.created, meta.key.clone())
    });
    if !ingresses.is_empty() {
        claims.claim_for_ingress(settings);
    }
    for state in oldest_first {
        refuse_at_odds(state);
        claims.claim(state, settings);
    }
    claims
}

impl Claims {
    fn claim(&mut self, state: &mut GatewayState, settings: &Settings) {
        // To a Gateway's own Service clients come at the port itself.
        let offset = match state.addressing {
            Addressing::Dedicated(_) => 0,
            _ => settings.offset_for_clients(),
        };
        let way_out = WayOut::of(settings);
        for (index, listener) in state.gateway.listeners.iter().enumerate() {
            let slot = &mut state.listeners[index];
            let Some(protocol) = protocol(&listener.protocol).filter(|_| slot.refused.is_none()) else {
                continue;
            };
            // Whoever has none yet is at odds with nobody.
            let Some(bound) = slot.point.bound() else { continue };
            let claim = self.ports.entry(bound).or_insert_with(|| Claim {
                protocol,
                number: listener.port,
                offset,
                holder: slot.point.id.to_string().into(),
                hosts: BTreeMap::new(),
                ingress: false,
            });
            let refusal = if claim.protocol != protocol {
                let (with, port) = (claim.holder.clone(), listener.port);
                Some(ListenerRefusal::ProtocolConflict { with, port, way_out })
            } else {
                claim.hosts.get(&listener.hostname).map(|holder| ListenerRefusal::HostnameConflict {
                    with: holder.to_string().into(),
                    hostname: listener.hostname.clone(),
                    port: listener.port,
                    way_out,
                })
            };
            match refusal {
                Some(refusal) => slot.refuse(refusal),
                None => drop(claim.hosts.insert(listener.hostname.clone(), Arc::clone(&slot.point.id))),
            }
        }
    }

    /// Who has a port that Ingresses are served on.
    pub(super) fn of_ingress(&self, port: u16, settings: &Settings) -> Option<&Claim> {
        self.ports.get(&settings.bound(PortKey::tcp(port)).ok()?).filter(|claim| claim.ingress)
    }

    fn claim_for_ingress(&mut self, settings: &Settings) {
        for (port, protocol) in [(settings.http_port, Protocol::Http), (settings.https_port, Protocol::Tls)] {
            let bound = match settings.bound(PortKey::tcp(port)) {
                Ok(bound) => bound,
                Err(why) => {
                    self.lost_by_ingress.insert(port, format!("not served on port {port}: {why}"));
                    continue;
                }
            };
            let claim = self.ports.entry(bound).or_insert_with(|| Claim {
                protocol,
                number: port,
                offset: settings.offset_for_clients(),
                holder: "Ingresses".into(),
                hosts: BTreeMap::new(),
                ingress: false,
            });
            // No listener of these ports speaks anything else (`Settings::always_speaks`).
            claim.ingress = true;
        }
    }
}

impl super::ListenerState {
    pub(super) fn refuse(&mut self, refusal: ListenerRefusal) {
        self.refused = Some(refusal);
        Arc::make_mut(&mut self.point).served = false;
    }
}

fn refuse_at_odds(state: &mut GatewayState) {
    let served = |index: usize| {
        let listener = &state.gateway.listeners[index];
        protocol(&listener.protocol)
            .filter(|_| state.listeners[index].refused.is_none())
            .map(|p| (listener, p))
    };
    let mut refusals = BTreeMap::new();
    for one in 0..state.listeners.len() {
        let Some((listener, protocol)) = served(one) else { continue };
        let same_port = (0..state.listeners.len())
            .filter(|other| *other != one)
            .filter_map(|other| served(other).filter(|(o, _)| o.port == listener.port));
        let (mut protocols, mut hostnames) = (BTreeSet::new(), BTreeSet::new());
        for (other, other_protocol) in same_port {
            if other_protocol != protocol {
                protocols.insert(format!("listener {}", other.name));
            } else if other.hostname == listener.hostname {
                hostnames.insert(format!("listener {}", other.name));
            }
        }
        let with = |names: BTreeSet<String>| crate::status::list(names).into();
        if !protocols.is_empty() {
            refusals.insert(
                one,
                ListenerRefusal::ProtocolConflict {
                    with: with(protocols),
                    port: listener.port,
                    way_out: WayOut::Nothing,
                },
            );
        } else if !hostnames.is_empty() {
            let hostname = listener.hostname.clone();
            let (with, port, way_out) = (with(hostnames), listener.port, WayOut::Nothing);
            let refusal = ListenerRefusal::HostnameConflict { with, hostname, port, way_out };
            refusals.insert(one, refusal);
        }
    }
    for (index, refusal) in refusals {
        state.listeners[index].refuse(refusal);
    }
}

/// What a port speaks for listeners of this protocol, where it is served.
fn protocol(protocol: &ListenerProtocol) -> Option<Protocol> {
    match protocol {
        ListenerProtocol::Http => Some(Protocol::Http),
        ListenerProtocol::Https => Some(Protocol::Tls),
        _ => None,
    }
}
