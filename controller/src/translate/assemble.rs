//! The table out of its parts: the frame that listeners give, and the host tables of slots.

mod slots;

use std::sync::Arc;

use portcullis_routing::{
    HostMap, HostPattern, HttpRoutes, Listener, ListenerId, ListenerOwner, Port, PortKey, Serves, Table,
};

pub use slots::Slots;

use super::{GatewayPart, ListenerKey, ListenerPlan, Listeners, PortPlan, RuleSource, SharedHosts, Traffic};

/// Builds the whole table, including the listeners without routes.
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
    let PortPlan { protocol, number, offset, proxy_protocol, listeners: _, unmatched } = plan;
    let (offset, proxy_protocol, unmatched) = (*offset, *proxy_protocol, unmatched.clone());
    Port { offset, proxy_protocol, unmatched, ..Port::new(*protocol, *number) }
}

/// One listener of a port; `None` if neither a Gateway nor an Ingress has it. `default` is the port's
/// [`default_listener`].
pub fn listener(
    slots: &Slots,
    port: PortKey,
    hostname: &HostPattern,
    plan: &ListenerPlan,
    default: Option<&Arc<Listener>>,
) -> Option<Arc<Listener>> {
    let routes = |owner, fallback| {
        let hosts = slots.hosts(&ListenerKey { port, listener: hostname.clone(), owner });
        HttpRoutes { hosts, fallback, ..HttpRoutes::default() }
    };
    let serving = |id: &Arc<ListenerId>, serves| {
        Arc::new(Listener { id: Arc::clone(id), tls: plan.tls.clone(), serves })
    };
    let made = |id: &Arc<ListenerId>, routes| serving(id, Serves::Http(routes));
    let streams = |owner| slots.streams(&ListenerKey { port, listener: hostname.clone(), owner });
    let datagrams = |owner| streams(owner).get(&HostPattern::Any).cloned();
    if let (None, Some(id)) = (&plan.gateway, &plan.ingress) {
        let owner = if id.is_service() { RuleSource::Services } else { RuleSource::Ingress };
        match plan.traffic {
            Traffic::Requests => {}
            Traffic::Streams => return Some(serving(id, Serves::Stream(streams(owner)))),
            Traffic::Datagrams => return Some(serving(id, Serves::Datagram(datagrams(owner)))),
        }
    }
    let of_ingresses = plan.ingress.as_ref().map(|id| {
        let fallback = default_within(id, hostname, default);
        made(id, HttpRoutes { hsts: plan.hsts.clone(), ..routes(RuleSource::Ingress, fallback) })
    });
    let Some(GatewayPart { id, filters }) = plan.gateway.as_deref() else { return of_ingresses };
    let owner = RuleSource::Gateway(Arc::clone(id));
    Some(match plan.traffic {
        Traffic::Requests => {
            made(id, HttpRoutes { filters: Arc::clone(filters), ..routes(owner, of_ingresses) })
        }
        Traffic::Streams => serving(id, Serves::Stream(streams(owner))),
        Traffic::Datagrams => serving(id, Serves::Datagram(datagrams(owner))),
    })
}

/// Returns the listener behind every Ingress host of a port: the default backend, for requests that no rule matches.
pub fn default_listener(slots: &Slots, port: PortKey) -> Option<Arc<Listener>> {
    let at = ListenerKey { port, listener: HostPattern::Any, owner: RuleSource::IngressDefault };
    let hosts = slots.hosts(&at);
    let is_empty = hosts.is_empty();
    let made = || {
        Listener::http(ListenerId::ingress(HostPattern::Any), HttpRoutes { hosts, ..HttpRoutes::default() })
    };
    (!is_empty).then(|| Arc::new(made()))
}

/// The default backend behind an Ingress host. A Gateway's listener of the same name may cover more hosts: there `*` is
/// any number of labels, in an Ingress it is one. Hosts that the Ingress does not cover are the Gateway's alone.
fn default_within(
    id: &ListenerId,
    hostname: &HostPattern,
    default: Option<&Arc<Listener>>,
) -> Option<Arc<Listener>> {
    let default = default?;
    match &id.owner {
        ListenerOwner::IngressHost(host) if host != hostname => {
            let table = default.http_routes()?.hosts.get(&HostPattern::Any)?;
            let mut hosts = HostMap::default();
            hosts.insert(host.clone(), Arc::clone(table));
            let routes = HttpRoutes { hosts, ..HttpRoutes::default() };
            Some(Arc::new(Listener::http(Arc::clone(&default.id), routes)))
        }
        _ => Some(Arc::clone(default)),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use portcullis_routing::{RequestView, path::RequestPath};

    use crate::translate::{
        Pools, Settings, full,
        testing::{CLASS, snapshot},
    };

    const DEFAULT: &str = "
kind: Ingress
metadata: { namespace: rest, name: default }
spec: { ingressClassName: portcullis, defaultBackend: { service: { name: rest, port: { number: 80 } } } }
---
";
    const WILDCARD: &str = "
kind: Ingress
metadata: { name: wild }
spec:
  ingressClassName: portcullis
  rules:
  - { host: '*.example.com', http: { paths: [{ path: /shop, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }
---
";

    fn gateway(hostname: &str) -> String {
        format!(
            "{CLASS}
kind: Gateway
metadata: {{ namespace: infra, name: public }}
spec:
  gatewayClassName: portcullis
  listeners: [{{ name: http, port: 80, protocol: HTTP, hostname: '{hostname}' }}]
---
"
        )
    }

    #[test]
    fn the_default_backend_answers_hosts_that_no_ingress_has_and_none_that_are_a_gateways_alone() {
        let (label, deep, apex) = ("a.example.com", "a.b.example.com", "example.com");
        for (gateway, ingress, host, path, want) in [
            (Some("*.example.com"), WILDCARD, label, "/shop", Some("wild")),
            (Some("*.example.com"), WILDCARD, label, "/", Some("wild")),
            (Some("*.example.com"), WILDCARD, deep, "/shop", None),
            (Some("*.example.com"), WILDCARD, deep, "/", None),
            (Some("*.example.com"), WILDCARD, apex, "/", Some("default")),
            (Some("*.example.com"), "", label, "/", None),
            (Some("*.com"), WILDCARD, label, "/", Some("wild")),
            (Some("*.com"), WILDCARD, deep, "/", None),
            (None, WILDCARD, deep, "/", Some("default")),
        ] {
            let row = format!("{host}{path} at a Gateway's {gateway:?}, {ingress}");
            let gateway = gateway.map(self::gateway).unwrap_or_default();
            let snapshot = snapshot(&format!("{gateway}{ingress}{DEFAULT}"));
            let table = full(&snapshot, &Settings::default(), None, &Pools::default()).table;
            let port = table.ports.values().find(|port| port.number == 80).expect("a port");
            let path = RequestPath::parse(path).unwrap();
            let headers = HeaderMap::new();
            let request = RequestView { method: &Method::GET, path: &path, query: None, headers: &headers };
            let found = port.listener(host).and_then(|listener| listener.route(host, &request).unwrap());
            assert_eq!(found.map(|selected| &*selected.rule.route.name), want, "{row}");
        }
    }
}
