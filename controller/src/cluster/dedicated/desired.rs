//! The desired Services: those of Gateways with addresses of their own, as translation determines them.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_routing::PortKey;

use crate::{
    ir::{Gateway, Kind, ObjectKey, gateway::GatewayListener, parameters::ServiceParameters},
    snapshot::Snapshot,
    translate::{
        Addressing, Dedicated, DedicatedState, GatewayState, ListenerState, Listeners, service_name,
    },
};

/// The desired Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredServices {
    /// By Gateway.
    pub services: BTreeMap<ObjectKey, DesiredService>,
    /// The uids of Gateways that no longer have a Service of their own: what was made for them is deleted. A Gateway
    /// whose class or parameters cannot be seen is not among them.
    pub left: BTreeSet<Box<str>>,
    /// The uids of all other Gateways, served or not, and namespace and name of the Service that each has or may have.
    pub kept: BTreeMap<Box<str>, (Box<str>, Box<str>)>,
}

/// The desired Service of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    pub uid: Box<str>,
    pub class: Box<str>,
    /// The name of the Service; its namespace is the Gateway's.
    pub service: Box<str>,
    pub parameters: ServiceParameters,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// The address that it asks for.
    pub address: Option<Box<str>>,
    /// The ports of its listeners, and of those of its ListenerSets.
    pub ports: BTreeSet<PortKey>,
}

impl DesiredServices {
    pub(crate) fn of(snapshot: &Snapshot, listeners: &Listeners) -> Self {
        let mut desired = Self::default();
        for (key, gateway) in &snapshot.gateways {
            match listeners.gateway(key) {
                Some(state) => desired.add(key, state),
                None => {
                    let class = ObjectKey::new(Kind::GatewayClass, "", &gateway.class);
                    match snapshot.gateway_classes.contains_key(&class) {
                        true => drop(desired.left.insert(gateway.meta.uid().into())),
                        false => desired.keep(gateway),
                    }
                }
            }
        }
        for (_, state) in listeners.sets().filter(|(_, state)| state.refused.is_none()) {
            if let Some(service) = desired.services.get_mut(&state.gateway) {
                service.ports.extend(accepted_ports(&state.set.listeners, &state.listeners));
            }
        }
        // A Service needs a port. Without one an existing Service is left as it is and keeps its address.
        desired.services.retain(|_, service| !service.ports.is_empty());
        desired
    }

    fn keep(&mut self, gateway: &Gateway) {
        let service = (gateway.meta.namespace().into(), service_name(gateway.meta.name()).into());
        self.kept.insert(gateway.meta.uid().into(), service);
    }

    fn add(&mut self, key: &ObjectKey, state: &GatewayState) {
        match &state.addressing {
            Addressing::Unknown => self.keep(&state.gateway),
            Addressing::Shared | Addressing::SharedInstead => {
                self.left.insert(state.gateway.meta.uid().into());
            }
            Addressing::Dedicated(dedicated) => {
                self.keep(&state.gateway);
                if state.refused.is_none() && dedicated.state != DedicatedState::Foreign {
                    self.services.insert(key.clone(), spec(state, dedicated));
                }
            }
        }
    }
}

fn spec(state: &GatewayState, dedicated: &Dedicated) -> DesiredService {
    let gateway = &state.gateway;
    let address = gateway.addresses.iter().filter(|address| &*address.kind == "IPAddress");
    DesiredService {
        uid: gateway.meta.uid().into(),
        class: gateway.class.clone(),
        service: dedicated.service.name.clone(),
        parameters: dedicated.parameters.clone(),
        labels: gateway.labels.clone(),
        annotations: gateway.annotations.clone(),
        address: address.into_iter().find_map(|address| address.value.clone()),
        ports: accepted_ports(&gateway.listeners, &state.listeners).collect(),
    }
}

fn accepted_ports<'l>(
    listeners: &'l [GatewayListener],
    states: &'l [ListenerState],
) -> impl Iterator<Item = PortKey> + 'l {
    let accepted = listeners.iter().zip(states).filter(|(_, state)| state.refused.is_none());
    accepted.map(|(listener, _)| listener.port_key())
}
