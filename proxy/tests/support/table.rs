//! Tables: what the controller would publish.

use std::{net::SocketAddr, sync::Arc};

use portcullis_routing::{
    Backend, BackendKey, BackendObject, BackendProtocol, Backends, ClientAuth, EndpointPool, Endpoints,
    Entry, HostPattern, HostTable, HttpRoutes, Listener, ListenerId, PathMatch, Port, PortKey, Precedence,
    Protocol, RouteId, RouteKind, RouteMatch, Rule, Steps, Table, Timeouts, TlsMode, WeightedBackend,
};

/// A port that sends every request to one backend.
pub fn to(table: Table, port: u16, protocol: Protocol, backend: SocketAddr) -> Table {
    with_rule(table, port, protocol, rule(backend, Timeouts::default()))
}

/// A port that sends every request to one rule.
pub fn with_rule(mut table: Table, port: u16, protocol: Protocol, rule: Rule) -> Table {
    let route_match = RouteMatch {
        path: PathMatch::Prefix("".into()),
        method: None,
        headers: Box::default(),
        query: Box::default(),
    };
    let precedence = Precedence::of(&route_match, 0, "test/all".into(), (0, 0));
    let entries = vec![Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }];
    let mut routes = HttpRoutes::default();
    routes.hosts.insert(HostPattern::Any, Arc::new(HostTable::compile(entries)));
    let mut listener = Listener::http(ListenerId::ingress(HostPattern::Any), routes);
    listener.tls = tls_of(protocol);
    let mut served = Port::new(protocol, port);
    served.listeners.insert(HostPattern::Any, Arc::new(listener));
    table.ports.insert(PortKey::tcp(port), Arc::new(served));
    table.generation += 1;
    table
}

/// What becomes of TLS at an HTTP listener of a port that speaks this.
pub fn tls_of(protocol: Protocol) -> TlsMode {
    if protocol == Protocol::Tls { TlsMode::Terminate(ClientAuth::Unasked) } else { TlsMode::None }
}

/// A rule with one backend.
pub fn rule(backend: SocketAddr, timeouts: Timeouts) -> Rule {
    let backend = Backend {
        key: BackendKey {
            kind: BackendObject::Service,
            namespace: "test".into(),
            service: "echo".into(),
            port: PortKey::tcp(backend.port()),
        },
        protocol: BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        endpoints: Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default()))),
    }
    .with_address(backend);
    let choice = WeightedBackend {
        weight: 1,
        backend: Ok(Arc::new(backend)),
        steps: Steps::default(),
        balance: Default::default(),
    };
    Rule {
        route: Arc::new(RouteId { kind: RouteKind::Ingress, namespace: "test".into(), name: "all".into() }),
        index: 0,
        name: None,
        steps: Steps::default(),
        backends: Backends::new([choice]),
        timeouts: timeouts.of_rule(),
        retry: None,
        labels: None,
    }
}

trait WithAddress {
    fn with_address(self, address: SocketAddr) -> Self;
}

impl WithAddress for Backend {
    fn with_address(self, address: SocketAddr) -> Self {
        self.endpoints.store_addresses(&[address]);
        self
    }
}
