//! Resolves conflicts: of several listeners that want a port or a hostname on it, the oldest gets it. Conflicting
//! listeners of one Gateway are all refused (GatewaySpec `listeners`, "Handling indistinct Listeners"); between
//! Gateways, the older one keeps what it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostPattern, ListenerId, PortKey, Protocol};

use super::{Addressing, GatewayState, ListenerRefusal, Mode, WayOut, gateways::States};
use crate::{
    ir::{Ingress, gateway::GatewayListener},
    translate::Settings,
};

/// The holder of each bound port.
#[derive(Debug, Default)]
pub(super) struct PortHolders {
    pub(super) ports: BTreeMap<PortKey, PortHolder>,
    /// Why Ingresses are not served on a port that should be theirs.
    pub(super) lost_by_ingress: BTreeMap<u16, String>,
}

/// A port, and who holds it and the hostnames on it.
#[derive(Debug)]
pub(super) struct PortHolder {
    pub(super) protocol: Protocol,
    /// The port that listeners name.
    pub(super) number: u16,
    /// The offset that clients add to the number.
    pub(super) offset: u16,
    holder: Box<str>,
    pub(super) hosts: BTreeMap<HostPattern, HostHolder>,
    pub(super) ingress: bool,
}

/// A Gateway's listener that holds a hostname.
#[derive(Debug)]
pub(super) struct HostHolder {
    pub(super) id: Arc<ListenerId>,
    pub(super) mode: Mode,
}

/// Decides who holds which port and hostname, and refuses the other listeners.
pub(super) fn resolve(gateways: &mut States, ingresses: &[Arc<Ingress>], settings: &Settings) -> PortHolders {
    let mut holders = PortHolders::default();
    let mut oldest_first: Vec<_> = gateways.values_mut().filter(|state| state.refused.is_none()).collect();
    oldest_first.sort_by_key(|state| {
        let meta = &state.gateway.meta;
        (meta.created, meta.key.clone())
    });
    if !ingresses.is_empty() {
        holders.add_ingresses(settings);
    }
    for state in oldest_first {
        refuse_conflicting(state);
        holders.add_gateway(state, settings);
    }
    holders
}

impl PortHolders {
    fn add_gateway(&mut self, state: &mut GatewayState, settings: &Settings) {
        // To a Gateway's own Service clients come at the port itself.
        let offset = match state.addressing {
            Addressing::Dedicated(_) => 0,
            _ => settings.offset_for_clients(),
        };
        let way_out = WayOut::of(settings);
        for (index, listener) in state.gateway.listeners.iter().enumerate() {
            let slot = &mut state.listeners[index];
            let Some(mode) = slot.point.mode.clone().filter(|_| slot.refused.is_none()) else { continue };
            let protocol = mode.protocol;
            // A listener without a port conflicts with nobody.
            let Some(bound) = slot.point.bound() else { continue };
            let held = self.ports.entry(bound).or_insert_with(|| PortHolder {
                protocol,
                number: listener.port,
                offset,
                holder: slot.point.id.to_string().into(),
                hosts: BTreeMap::new(),
                ingress: false,
            });
            let refusal = if held.protocol != protocol {
                let (with, port) = (held.holder.clone(), listener.port);
                Some(ListenerRefusal::ProtocolConflict { with, port, way_out })
            } else {
                let holder = held.hosts.get(&listener.hostname);
                holder.map(|holder| taken(listener, &holder.id.to_string(), way_out))
            };
            match refusal {
                Some(refusal) => slot.refuse(refusal),
                None => {
                    let id = Arc::clone(&slot.point.id);
                    held.hosts.insert(listener.hostname.clone(), HostHolder { id, mode });
                }
            }
        }
    }

    /// Returns the holder of a port that Ingresses are served on.
    pub(super) fn of_ingress(&self, port: u16, settings: &Settings) -> Option<&PortHolder> {
        self.ports.get(&settings.bound(PortKey::tcp(port)).ok()?).filter(|held| held.ingress)
    }

    fn add_ingresses(&mut self, settings: &Settings) {
        for (port, protocol) in [(settings.http_port, Protocol::Http), (settings.https_port, Protocol::Tls)] {
            let bound = match settings.bound(PortKey::tcp(port)) {
                Ok(bound) => bound,
                Err(why) => {
                    self.lost_by_ingress.insert(port, format!("not served on port {port}: {why}"));
                    continue;
                }
            };
            let held = self.ports.entry(bound).or_insert_with(|| PortHolder {
                protocol,
                number: port,
                offset: settings.offset_for_clients(),
                holder: "Ingresses".into(),
                hosts: BTreeMap::new(),
                ingress: false,
            });
            // No listener of these ports speaks anything else (`Settings::always_speaks`).
            held.ingress = true;
        }
    }
}

impl super::ListenerState {
    pub(super) fn refuse(&mut self, refusal: ListenerRefusal) {
        self.refused = Some(refusal);
        Arc::make_mut(&mut self.point).served = false;
    }
}

fn refuse_conflicting(state: &mut GatewayState) {
    let served = |index: usize| {
        let (listener, slot) = (&state.gateway.listeners[index], &state.listeners[index]);
        let mode = slot.point.mode.as_ref().filter(|_| slot.refused.is_none())?;
        Some((listener, mode.protocol))
    };
    let mut refusals = BTreeMap::new();
    for one in 0..state.listeners.len() {
        let Some((listener, protocol)) = served(one) else { continue };
        let same_port = (0..state.listeners.len())
            .filter(|other| *other != one)
            .filter_map(|other| served(other).filter(|(o, _)| o.port_key() == listener.port_key()));
        let (mut protocols, mut same) = (BTreeSet::new(), BTreeSet::new());
        for (other, other_protocol) in same_port {
            if other_protocol != protocol {
                protocols.insert(format!("listener {}", other.name));
            } else if other.hostname == listener.hostname {
                same.insert(format!("listener {}", other.name));
            }
        }
        let with = |names: BTreeSet<String>| crate::status::list(names);
        if !protocols.is_empty() {
            refusals.insert(
                one,
                ListenerRefusal::ProtocolConflict {
                    with: with(protocols).into(),
                    port: listener.port,
                    way_out: WayOut::Nothing,
                },
            );
        } else if !same.is_empty() {
            refusals.insert(one, taken(listener, &with(same), WayOut::Nothing));
        }
    }
    for (index, refusal) in refusals {
        state.listeners[index].refuse(refusal);
    }
}

/// Returns the refusal of a listener whose port and hostname another listener holds.
fn taken(listener: &GatewayListener, with: &str, way_out: WayOut) -> ListenerRefusal {
    let (with, port) = (with.into(), listener.port);
    if listener.protocol.has_hostnames() {
        ListenerRefusal::HostnameConflict { with, hostname: listener.hostname.clone(), port, way_out }
    } else {
        ListenerRefusal::PortTaken { with, port, way_out }
    }
}
