//! Gateways of our classes and the ListenerSets that name them, each with its listeners as they stand alone.

use std::sync::Arc;

use portcullis_routing::{ListenerOwner, TlsMaterial};

use super::{
    Addressing, GatewayRefusal, GatewayState, ListenerSetRefusal, ListenerSetState, Listeners,
    alone::{Place, alone},
};
use crate::{
    ir::{
        Gateway, GatewayClass, ListenerSet, ObjectKey,
        gateway::{GatewayAddress, Routability},
        parameters::Addressing as Asked,
    },
    translate::{DedicatedPorts, Pools, Reader, dedicated::dedicated, parameters},
};

/// Returns a Gateway with its own listeners; `None` if it is not of our classes, or there is none.
pub(super) fn gateway(reader: &Reader<'_>, pools: &Pools, key: &ObjectKey) -> Option<GatewayState> {
    let gateway = reader.gateway(key)?;
    let class = reader.gateway_class(&gateway.class)?;
    if *class.controller != *reader.settings().gateway_controller {
        return None;
    }
    let (addressing, refused) = addressing(reader, gateway, class);
    let backend_certificate = gateway.backend_certificate.as_ref();
    let backend_certificate = backend_certificate.map(|r| pools.certificates.resolve(reader, key, r));
    let mut state = GatewayState {
        gateway: Arc::clone(gateway),
        listeners: Vec::new(),
        addressing,
        refused,
        backend_certificate,
        attached_sets: 0,
    };
    let (namespace, name) = (key.namespace.clone(), key.name.clone());
    let owner = ListenerOwner::Gateway { namespace, name };
    let presented = presented(&state);
    let place = Place {
        key,
        owner: &owner,
        gateway,
        addressing: &state.addressing,
        backend_certificate: presented.as_ref(),
        is_allowed: true,
        is_refused: state.refused.is_some(),
        since: gateway.meta.created,
    };
    state.listeners = gateway.listeners.iter().map(|one| alone(reader, pools, place, one)).collect();
    Some(state)
}

/// Returns a ListenerSet with its listeners; `None` if it does not name a Gateway of our classes, or there is none.
pub(super) fn listener_set(
    reader: &Reader<'_>,
    pools: &Pools,
    listeners: &Listeners,
    key: &ObjectKey,
) -> Option<ListenerSetState> {
    let set = reader.listener_set(key)?;
    let parent = listeners.for_set(reader, set.gateway.as_ref()?)?;
    let GatewayState { gateway, refused: parent_refused, addressing, .. } = parent;
    let is_parent_refused =
        || parent_refused.is_some().then(|| ListenerSetRefusal::ParentNotAccepted(gateway.meta.key.clone()));
    let refused = refusal(reader, gateway, set).or_else(is_parent_refused);
    let (namespace, name) = (key.namespace.clone(), key.name.clone());
    let since = set.meta.created.max(gateway.meta.created);
    let presented = presented(parent);
    let place = Place {
        key,
        owner: &ListenerOwner::ListenerSet { namespace, name },
        gateway,
        addressing,
        backend_certificate: presented.as_ref(),
        is_allowed: !matches!(refused, Some(ListenerSetRefusal::NotAllowed { .. })),
        is_refused: refused.is_some(),
        since,
    };
    Some(ListenerSetState {
        listeners: set.listeners.iter().map(|one| alone(reader, pools, place, one)).collect(),
        set: Arc::clone(set),
        gateway: gateway.meta.key.clone(),
        refused,
        addressing: addressing.clone(),
        since,
    })
}

/// Returns whether a Gateway's ListenerSets read the same of it.
pub(super) fn is_same_for_sets(one: &GatewayState, other: &GatewayState) -> bool {
    let for_sets = |state: &'_ GatewayState| {
        let GatewayState { gateway, refused, addressing, .. } = state;
        let uid = gateway.meta.uid().into_owned();
        let Gateway { meta, allowed_listeners, client_validation, .. } = &**gateway;
        let of_gateway = (uid, meta.created, allowed_listeners.clone(), client_validation.clone());
        (of_gateway, refused.clone(), addressing.clone(), presented(state))
    };
    for_sets(one) == for_sets(other)
}

/// Returns the certificate that a Gateway presents to backends.
fn presented(state: &GatewayState) -> Option<TlsMaterial> {
    state.backend_certificate.iter().flatten().next().map(|certificate| certificate.to_material())
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
) -> (Addressing, Option<GatewayRefusal>) {
    if let Some(why) = &gateway.refused {
        return (Addressing::Unknown, Some(GatewayRefusal::UnsupportedValue(why.clone())));
    }
    if class.refused.is_some() {
        let text = format!("{} is rejected; see its status", class.meta.key);
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
            let why = "addressing Dedicated is disabled in this installation (--dedicated-ports none)";
            return (Addressing::Shared, Some(GatewayRefusal::InvalidParameters(why.to_owned())));
        }
        (Asked::Dedicated, DedicatedPorts::Of(_)) => {
            Addressing::Dedicated(Arc::new(dedicated(reader, gateway, parameters.service)))
        }
    };
    let address = gateway.addresses.iter().find(|a| !matches!(&*a.kind, "IPAddress" | "Hostname"));
    let refused = address.map(|a| GatewayRefusal::UnsupportedAddress(a.kind.clone()));
    let refused = refused.or_else(|| unsupported_routability(gateway, &addressing));
    (addressing, refused)
}

/// Why a Gateway cannot be reached from where it asks to be.
fn unsupported_routability(gateway: &Gateway, addressing: &Addressing) -> Option<GatewayRefusal> {
    let why = |address: &GatewayAddress| {
        match (&address.routability, addressing) {
        (Routability::Default, _) => None,
        (Routability::Other(other), _) => Some(format!("routability {other} is not supported; use Cluster")),
        (Routability::Cluster, _) if &*address.kind != "IPAddress" => {
            Some(format!("routability Cluster is for addresses of type IPAddress and not {}", address.kind))
        }
        (Routability::Cluster, Addressing::Dedicated(_)) => None,
        // Clients from everywhere come to those.
        (Routability::Cluster, Addressing::Shared | Addressing::SharedInstead | Addressing::Unknown) => Some(
            "routability Cluster requires dedicated addresses: use a Gateway with addressing Dedicated (GatewayParameters) in \
             a cluster"
                .to_owned(),
        ),
    }
    };
    gateway.addresses.iter().find_map(why).map(GatewayRefusal::UnsupportedRoutability)
}
