//! The table out of its parts: the frame that listeners give, and the host tables of slots.

mod slots;

use std::sync::Arc;

use portcullis_routing::{HostPattern, Listener, ListenerId, Port, PortKey, Table};

pub use slots::Slots;

use super::{ListenerPlan, ListenerSlot, Listeners, Owner, PortPlan};

/// The whole table; a listener without routes is in it too.
pub fn table(listeners: &Listeners, slots: &Slots) -> Table {
    let ports = listeners.ports.iter().map(|(number, plan)| {
        let mut port = empty(plan);
        let default = default_listener(slots, *number);
        for (hostname, plan) in &plan.listeners {
            let made = listener(slots, *number, hostname, plan, default.as_ref());
            port.listeners.insert(hostname.clone(), made);
        }
        (*number, Arc::new(port))
    });
    Table { generation: 0, ports: ports.collect() }
}

/// A port without listeners.
pub fn empty(plan: &PortPlan) -> Port {
    Port { offset: plan.offset, ..Port::new(plan.protocol, plan.number) }
}

/// One listener of a port. `default` is the port's [`default_listener`].
pub fn listener(
    slots: &Slots,
    port: PortKey,
    hostname: &HostPattern,
    plan: &ListenerPlan,
    default: Option<&Arc<Listener>>,
) -> Arc<Listener> {
    let hosts = |owner| slots.hosts(&ListenerSlot { port, listener: hostname.clone(), owner });
    let of_ingresses = || {
        let made = Listener {
            id: Arc::new(ListenerId::Ingress),
            hosts: hosts(Owner::Ingress),
            fallback: default.cloned(),
        };
        Arc::new(made)
    };
    match &plan.gateway {
        None => of_ingresses(),
        Some(id) => Arc::new(Listener {
            id: Arc::clone(id),
            hosts: hosts(Owner::Gateway(Arc::clone(id))),
            fallback: plan.ingress.then(of_ingresses),
        }),
    }
}

/// What stands behind every Ingress host of a port: the default backend for what nothing matches.
pub fn default_listener(slots: &Slots, port: PortKey) -> Option<Arc<Listener>> {
    let at = ListenerSlot { port, listener: HostPattern::Any, owner: Owner::IngressDefault };
    let hosts = slots.hosts(&at);
    let made =
        || Arc::new(Listener { id: Arc::new(ListenerId::Ingress), hosts: hosts.clone(), fallback: None });
    (!hosts.is_empty()).then(made)
}
