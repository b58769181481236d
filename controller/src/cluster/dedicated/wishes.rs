//! What is to be: the Gateways with addresses of their own, as translation has them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ir::{Gateway, Kind, ObjectKey, parameters::ServiceParameters},
    snapshot::Snapshot,
    translate::{Addressing, Dedicated, DedicatedState, GatewayState, Listeners, service_name},
};

/// What is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// By Gateway.
    pub wishes: BTreeMap<ObjectKey, Wish>,
    /// The uids of Gateways that have no Service by themselves any more: what was made for them goes. Of those whose
    /// class or parameters cannot be seen nothing is known, so that they are not among them.
    pub left: BTreeSet<Box<str>>,
    /// The uids of all others, served or not, and namespace and name of the Service that each has or may have.
    pub kept: BTreeMap<Box<str>, (Box<str>, Box<str>)>,
}

/// A Gateway that is to have a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub uid: Box<str>,
    pub class: Box<str>,
    /// What the Service is called; its namespace is the Gateway's.
    pub service: Box<str>,
    pub parameters: ServiceParameters,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// The address that it asks for.
    pub address: Option<Box<str>>,
    /// The ports of its listeners.
    pub ports: BTreeSet<u16>,
}

impl Wishes {
    pub(crate) fn of(snapshot: &Snapshot, listeners: &Listeners) -> Self {
        let mut wishes = Self::default();
        for (key, gateway) in &snapshot.gateways {
            match listeners.gateways.get(key) {
                Some(state) => wishes.add(key, state),
                None => {
                    let class = ObjectKey::new(Kind::GatewayClass, "", &gateway.class);
                    match snapshot.gateway_classes.contains_key(&class) {
                        true => drop(wishes.left.insert(gateway.meta.uid().into())),
                        false => wishes.keep(gateway),
                    }
                }
            }
        }
        wishes
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
                let wish = (state.refused.is_none() && dedicated.state != DedicatedState::Foreign)
                    .then(|| wish(state, dedicated));
                // Without a port there can be no Service; one that is there keeps its address meanwhile.
                if let Some(wish) = wish.filter(|wish| !wish.ports.is_empty()) {
                    self.wishes.insert(key.clone(), wish);
                }
            }
        }
    }
}

fn wish(state: &GatewayState, dedicated: &Dedicated) -> Wish {
    let gateway = &state.gateway;
    let accepted = state.listeners.iter().filter(|listener| listener.refused.is_none());
    let address = gateway.addresses.iter().filter(|address| &*address.kind == "IPAddress");
    Wish {
        uid: gateway.meta.uid().into(),
        class: gateway.class.clone(),
        service: dedicated.service.name.clone(),
        parameters: dedicated.parameters.clone(),
        labels: gateway.labels.clone(),
        annotations: gateway.annotations.clone(),
        address: address.into_iter().find_map(|address| address.value.clone()),
        ports: accepted.map(|listener| listener.point.port).collect(),
    }
}
