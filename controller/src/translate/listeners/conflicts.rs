//! Resolves conflicts: of several listeners that want a port or a hostname on it, that of the oldest object gets it.
//! Of those that are left of one Gateway or ListenerSet, the conflicting ones are all refused (GatewaySpec `listeners`,
//! "Handling indistinct Listeners").

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::{HostPattern, ListenerId, ListenerOwner, PortKey, Protocol};

use super::{
    Addressing, ListenerRefusal, Mode, WayOut,
    states::{Owner, States, UsedPorts},
};
use crate::{
    ir::{Ingress, ObjectKey, gateway::GatewayListener},
    translate::Settings,
};

/// The holder of each bound port.
#[derive(Debug, Default)]
pub(super) struct PortHolders {
    pub(super) ports: BTreeMap<PortKey, PortHolder>,
    /// The ports of Gateways with addresses of their own that are not bound yet, by Gateway and the port that listeners
    /// name.
    unbound: BTreeMap<(ObjectKey, PortKey), PortHolder>,
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
    /// The listener that was the first to have it; `None` for Ingresses.
    holder: Option<Arc<ListenerId>>,
    pub(super) hosts: BTreeMap<HostPattern, HostHolder>,
    pub(super) ingress: bool,
}

/// A listener of a Gateway or a ListenerSet that holds a hostname.
#[derive(Debug)]
pub(super) struct HostHolder {
    pub(super) id: Arc<ListenerId>,
    pub(super) mode: Mode,
}

/// Decides who holds which port and hostname, and refuses the other listeners.
pub(super) fn resolve(states: &mut States, ingresses: &[Arc<Ingress>], settings: &Settings) -> PortHolders {
    let mut holders = PortHolders::default();
    if !ingresses.is_empty() {
        holders.add_ingresses(settings);
    }
    let mut used = UsedPorts::default();
    for mut owner in states.by_precedence() {
        holders.refuse_taken(&mut owner, settings);
        refuse_conflicting(&mut owner);
        holders.add_owner(&mut owner, &mut used, settings);
    }
    holders
}

impl PortHolders {
    /// Refuses the listeners whose port or hostname an object with precedence has.
    fn refuse_taken(&self, owner: &mut Owner<'_>, settings: &Settings) {
        let is_set = owner.is_set();
        let of_set = is_set.then_some(owner.meta.namespace());
        // A ListenerSet cannot choose the addresses.
        let way_out = if is_set { WayOut::Nothing } else { WayOut::of(settings) };
        for (listener, slot) in owner.specs.iter().zip(&mut *owner.listeners) {
            let mode = slot.point.mode.as_ref().filter(|_| slot.refused.is_none());
            let held = match slot.point.bound() {
                Some(bound) => self.ports.get(&bound),
                None => self.unbound.get(&(owner.gateway.clone(), listener.port_key())),
            };
            let (Some(mode), Some(held)) = (mode, held) else { continue };
            if held.protocol != mode.protocol {
                let (with, port) = (with(held.holder.as_deref(), of_set), listener.port);
                slot.refuse(ListenerRefusal::ProtocolConflict { with, port, way_out });
            } else if let Some(holder) = held.hosts.get(&listener.hostname) {
                slot.refuse(taken(listener, with(Some(&holder.id), of_set), way_out));
            }
        }
    }

    /// Adds the listeners that are left.
    fn add_owner(&mut self, owner: &mut Owner<'_>, used: &mut UsedPorts, settings: &Settings) {
        // To a Gateway's own Service clients come at the port itself.
        let offset = match owner.addressing {
            Addressing::Dedicated(_) => 0,
            _ => settings.offset_for_clients(),
        };
        let is_set = owner.is_set();
        for (listener, slot) in owner.specs.iter().zip(&mut *owner.listeners) {
            let Some(mode) = slot.point.mode.clone().filter(|_| slot.refused.is_none()) else { continue };
            if let Err(refusal) = used.add(owner.gateway, is_set, listener) {
                slot.refuse(refusal);
                continue;
            }
            let new = || PortHolder {
                protocol: mode.protocol,
                number: listener.port,
                offset,
                holder: Some(Arc::clone(&slot.point.id)),
                hosts: BTreeMap::new(),
                ingress: false,
            };
            let held = match slot.point.bound() {
                Some(bound) => self.ports.entry(bound).or_insert_with(new),
                None => {
                    let place = (owner.gateway.clone(), listener.port_key());
                    self.unbound.entry(place).or_insert_with(new)
                }
            };
            let id = Arc::clone(&slot.point.id);
            held.hosts.insert(listener.hostname.clone(), HostHolder { id, mode });
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
                holder: None,
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

/// Names the holder of a port or hostname to the owner of a listener that wants it.
fn with(holder: Option<&ListenerId>, of_set: Option<&str>) -> Box<str> {
    holder.map_or_else(|| "Ingresses".into(), |holder| name_for(of_set, holder))
}

/// Names a listener to the owner of another one. `of_set` is the owner's namespace if that is a ListenerSet, which is not
/// told the names of ListenerSets in other namespaces.
pub(crate) fn name_for(of_set: Option<&str>, listener: &ListenerId) -> Box<str> {
    match (&listener.owner, of_set) {
        (ListenerOwner::ListenerSet { namespace, .. }, Some(own)) if **namespace != *own => {
            "a listener of another namespace".into()
        }
        _ => listener.to_string().into(),
    }
}

fn refuse_conflicting(owner: &mut Owner<'_>) {
    let served = |index: usize| {
        let (listener, slot) = (&owner.specs[index], &owner.listeners[index]);
        let mode = slot.point.mode.as_ref().filter(|_| slot.refused.is_none())?;
        Some((listener, mode.protocol))
    };
    let mut refusals = BTreeMap::new();
    for one in 0..owner.listeners.len() {
        let Some((listener, protocol)) = served(one) else { continue };
        let same_port = (0..owner.listeners.len())
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
        let list = |names: BTreeSet<String>| crate::status::list(names).into();
        if !protocols.is_empty() {
            refusals.insert(
                one,
                ListenerRefusal::ProtocolConflict {
                    with: list(protocols),
                    port: listener.port,
                    way_out: WayOut::Nothing,
                },
            );
        } else if !same.is_empty() {
            refusals.insert(one, taken(listener, list(same), WayOut::Nothing));
        }
    }
    for (index, refusal) in refusals {
        owner.listeners[index].refuse(refusal);
    }
}

/// Returns the refusal of a listener whose port and hostname another listener holds.
fn taken(listener: &GatewayListener, with: Box<str>, way_out: WayOut) -> ListenerRefusal {
    let port = listener.port;
    if listener.protocol.has_hostnames() {
        ListenerRefusal::HostnameConflict { with, hostname: listener.hostname.clone(), port, way_out }
    } else {
        ListenerRefusal::PortTaken { with, port, way_out }
    }
}
