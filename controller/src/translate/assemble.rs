//! The table out of its parts: the frame that listeners give, and the host tables of slots.

mod slots;

use std::sync::Arc;

use portcullis_routing::{HostPattern, HttpRoutes, Listener, ListenerId, Port, PortKey, Serves, Table};

pub use slots::Slots;

use super::{ListenerKey, ListenerPlan, Listeners, PortPlan, RuleSource, SharedHosts};

/// The whole table; a listener without routes is in it too.
pub fn table(listeners: &Listeners, slots: &Slots, shared: &SharedHosts) -> Table {
    let ports = listeners.ports.iter().map(|(number, plan)| {
        let mut port = empty(plan);
        let default = default_listener(slots, *number);
        for (hostname, plan) in &plan.listeners {
            if let Some(made) = listener(slots, *number, hostname, plan, default.as_ref()) {
                port.listeners.insert(hostname.clone(), made);
            }
        }
        for (place, _) in shared.of_port(*number) {
            if let Some(made) = shared.listener(slots, place, plan, default.as_ref()) {
                port.listeners.insert(place.1.clone(), made);
            }
        }
        (*number, Arc::new(port))
    });
    Table { generation: 0, ports: ports.collect() }
}

/// A port without listeners.
pub fn empty(plan: &PortPlan) -> Port {
    Port { offset: plan.offset, ..Port::new(plan.protocol, plan.number) }
}

/// One listener of a port; `None` if neither a Gateway nor an Ingress has it. `default` is the port's [`default_listener`].
pub fn listener(
    slots: &Slots,
    port: PortKey,
    hostname: &HostPattern,
    plan: &ListenerPlan,
    default: Option<&Arc<Listener>>,
) -> Option<Arc<Listener>> {
    let routes = |owner, fallback| {
        let hosts = slots.hosts(&ListenerKey { port, listener: hostname.clone(), owner });
        HttpRoutes { hosts, fallback }
    };
    let made = |id: &Arc<ListenerId>, routes| {
        let serves = Serves::Http(routes);
        Arc::new(Listener { id: Arc::clone(id), tls: plan.tls.clone(), serves })
    };
    let of_ingresses =
        plan.ingress.as_ref().map(|id| made(id, routes(RuleSource::Ingress, default.cloned())));
    match &plan.gateway {
        Some(id) => Some(made(id, routes(RuleSource::Gateway(Arc::clone(id)), of_ingresses))),
        None => of_ingresses,
    }
}

/// What stands behind every Ingress host of a port: the default backend for what nothing matches.
pub fn default_listener(slots: &Slots, port: PortKey) -> Option<Arc<Listener>> {
    let at = ListenerKey { port, listener: HostPattern::Any, owner: RuleSource::IngressDefault };
    let hosts = slots.hosts(&at);
    let is_empty = hosts.is_empty();
    let made = || Listener::http(ListenerId::ingress(HostPattern::Any), HttpRoutes { hosts, fallback: None });
    (!is_empty).then(|| Arc::new(made()))
}
