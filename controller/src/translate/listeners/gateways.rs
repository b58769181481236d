//! Gateways of our classes and the ListenerSets that name them, each with its listeners as they stand alone.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::ListenerOwner;

use super::{
    Addressing, GatewayRefusal, GatewayState, ListenerSetRefusal, ListenerSetState,
    alone::{Place, alone},
    states::States,
};
use crate::{
    ir::{Gateway, GatewayClass, ListenerSet, gateway::GatewayListener, parameters::Addressing as Asked},
    translate::{DedicatedPorts, Pools, Reader, dedicated::dedicated, parameters},
};

pub(super) fn ours(reader: &Reader<'_>, pools: &Pools) -> States {
    let settings = reader.settings();
    let class_of = |gateway: &Gateway| {
        let class = reader.gateway_class(&gateway.class)?;
        (*class.controller == *settings.gateway_controller).then_some(class)
    };
    let ours: Vec<_> = reader.gateways().filter_map(|gateway| Some((gateway, class_of(gateway)?))).collect();
    let mut sets_of = BTreeMap::<_, Vec<_>>::new();
    for set in reader.listener_sets() {
        if let Some(gateway) = &set.gateway {
            sets_of.entry(gateway).or_default().push(set);
        }
    }
    let mut states = States::default();
    for (gateway, class) in ours {
        let key = &gateway.meta.key;
        let sets = sets_of.remove(key).unwrap_or_default();
        let sets: Vec<_> = sets.into_iter().map(|set| (set, refusal(reader, gateway, set))).collect();
        let (addressing, refused) = addressing(reader, gateway, class, &sets);
        let backend_certificate = gateway.backend_certificate.as_ref();
        let backend_certificate = backend_certificate.map(|r| pools.certificates.resolve(reader, key, r));
        let presented =
            backend_certificate.iter().flatten().next().map(|certificate| certificate.to_material());
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        let own = Place {
            key,
            owner: &ListenerOwner::Gateway { namespace, name },
            gateway,
            addressing: &addressing,
            backend_certificate: presented.as_ref(),
            is_allowed: true,
            is_refused: refused.is_some(),
        };
        for (set, set_refused) in sets {
            let is_parent_refused =
                refused.is_some().then(|| ListenerSetRefusal::ParentNotAccepted(key.clone()));
            let refused = set_refused.or(is_parent_refused);
            let (namespace, name) = (set.meta.namespace().into(), set.meta.name().into());
            let owner = ListenerOwner::ListenerSet { namespace, name };
            let is_allowed = !matches!(refused, Some(ListenerSetRefusal::NotAllowed { .. }));
            let is_refused = refused.is_some();
            let place = Place { key: &set.meta.key, owner: &owner, is_allowed, is_refused, ..own };
            let listeners = set.listeners.iter().map(|listener| alone(reader, pools, place, listener));
            let state = ListenerSetState {
                listeners: listeners.collect(),
                set: Arc::clone(set),
                gateway: key.clone(),
                refused,
                addressing: addressing.clone(),
                since: set.meta.created.max(gateway.meta.created),
            };
            states.sets.insert(set.meta.key.clone(), state);
        }
        let listeners = gateway.listeners.iter().map(|listener| alone(reader, pools, own, listener));
        let listeners = listeners.collect();
        let gateway = Arc::clone(gateway);
        let state =
            GatewayState { gateway, listeners, addressing, refused, backend_certificate, attached_sets: 0 };
        states.gateways.insert(key.clone(), state);
    }
    states
}

/// Why a ListenerSet may not add listeners to its Gateway.
fn refusal(reader: &Reader<'_>, gateway: &Gateway, set: &ListenerSet) -> Option<ListenerSetRefusal> {
    let namespace = set.meta.namespace();
    if !reader.allows(&gateway.allowed_listeners, gateway.meta.namespace(), namespace) {
        let gateway = gateway.meta.key.clone();
        return Some(ListenerSetRefusal::NotAllowed { gateway, namespace: namespace.into() });
    }
    set.refused.clone().map(ListenerSetRefusal::Invalid)
}

fn addressing(
    reader: &Reader<'_>,
    gateway: &Gateway,
    class: &GatewayClass,
    sets: &[(&Arc<ListenerSet>, Option<ListenerSetRefusal>)],
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
            let sets = sets.iter().filter(|(_, refused)| refused.is_none());
            let of_sets = sets.flat_map(|(set, _)| &set.listeners);
            let ports = gateway.listeners.iter().chain(of_sets).map(GatewayListener::port_key);
            Addressing::Dedicated(Arc::new(dedicated(reader, gateway, ports, parameters.service, range)))
        }
    };
    let address = gateway.addresses.iter().find(|a| !matches!(&*a.kind, "IPAddress" | "Hostname"));
    (addressing, address.map(|a| GatewayRefusal::UnsupportedAddress(a.kind.clone())))
}
