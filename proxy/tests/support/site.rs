//! Tables of several listeners and rules, and the rules of one test.

use std::{net::SocketAddr, sync::Arc};

use portcullis_routing::{
    Backend, BackendError, BackendKey, BackendObject, BackendProtocol, BackendTls, Backends, EndpointPool,
    Endpoints, Entry, HeaderMatch, HostMap, HostPattern, HostTable, HttpRoutes, Listener, ListenerId,
    PathMatch, Port, PortKey, Precedence, Protocol, RouteId, RouteKind, RouteMatch, Rule, Serves, Step,
    Steps, Table, Template, TlsMode, WeightedBackend,
    step::{AuthProtocol, Check, ExternalAuth, IngressAuth, Satisfy, ServiceUrl},
};

use super::{Running, table};

/// One port under construction.
pub struct Site {
    protocol: Protocol,
    entries: Vec<(HostPattern, ListenerId, Entry)>,
    /// What the listener of each host checks before a rule is chosen.
    filters: Vec<(HostPattern, Check)>,
}

/// The Gateway listener of this name.
pub fn listener(name: &str) -> ListenerId {
    ListenerId::gateway("test", "gateway", name)
}

/// The listener of this host of Ingresses.
pub fn ingress(host: &str) -> ListenerId {
    ListenerId::ingress(HostPattern::parse_ingress(host).unwrap())
}

impl Site {
    pub fn http() -> Self {
        Self { protocol: Protocol::Http, entries: Vec::new(), filters: Vec::new() }
    }

    pub fn https() -> Self {
        Self { protocol: Protocol::Tls, entries: Vec::new(), filters: Vec::new() }
    }

    /// A site where this rule takes every request.
    pub fn of(rule: Rule) -> Self {
        Self::http().add("", listener("all"), "/", rule)
    }

    /// A rule for a path prefix, on the listener of this host.
    pub fn add(self, host: &str, id: ListenerId, prefix: &str, rule: Rule) -> Self {
        self.add_where(host, id, prefix, [], rule)
    }

    /// The same for requests with these headers.
    pub fn add_where(
        mut self,
        host: &str,
        id: ListenerId,
        prefix: &str,
        headers: impl Into<Box<[HeaderMatch]>>,
        rule: Rule,
    ) -> Self {
        let host = HostPattern::parse(host).unwrap();
        let path = PathMatch::Prefix(prefix.trim_end_matches('/').into());
        let route_match = RouteMatch { path, method: None, headers: headers.into(), query: Box::default() };
        let place = (self.entries.len(), 0);
        let precedence = Precedence::of(&route_match, 0, "test/route".into(), place);
        self.entries.push((
            host,
            id,
            Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) },
        ));
        self
    }

    /// Adds a filter to the listener of this host: a service at this address authorizes its requests.
    pub fn filtered(mut self, host: &str, service: SocketAddr, protocol: AuthProtocol) -> Self {
        self.filters.push((HostPattern::parse(host).unwrap(), authorized(service, protocol)));
        self
    }

    /// The table of this port.
    pub fn table(self, port: u16) -> Table {
        let mut served = Port::new(self.protocol, port);
        let mut hosts: Vec<(HostPattern, ListenerId, Vec<Entry>)> = Vec::new();
        for (host, id, entry) in self.entries {
            match hosts.iter_mut().find(|(h, _, _)| *h == host) {
                Some((_, _, entries)) => entries.push(entry),
                None => hosts.push((host, id, vec![entry])),
            }
        }
        for (host, id, entries) in hosts {
            let filters = self.filters.iter().filter(|(h, _)| *h == host);
            let filters = filters.map(|(_, filter)| filter.clone()).collect();
            let mut routes = HttpRoutes { filters, ..HttpRoutes::default() };
            routes.hosts.insert(host.clone(), Arc::new(HostTable::compile(entries)));
            let listener = Listener { tls: table::tls_of(self.protocol), ..Listener::http(id, routes) };
            served.listeners.insert(host, Arc::new(listener));
        }
        let mut table = Table::default();
        table.ports.insert(PortKey::tcp(port), Arc::new(served));
        table
    }

    /// Serves it in plain text; its address.
    pub async fn serve(self, proxy: &Running) -> SocketAddr {
        let port = proxy.port();
        proxy.serve_http(self.table(port)).await;
        proxy.at(port)
    }
}

/// A backend of these endpoints.
pub fn backend(addresses: &[SocketAddr]) -> Backend {
    let endpoints = Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default())));
    endpoints.store_addresses(addresses);
    Backend {
        key: BackendKey {
            kind: BackendObject::Service,
            namespace: "test".into(),
            service: "backend".into(),
            port: PortKey::tcp(80),
        },
        protocol: BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        endpoints,
    }
}

pub fn h2(backend: Backend) -> Backend {
    Backend { protocol: BackendProtocol::Http2, ..backend }
}

pub fn tls(backend: Backend, tls: BackendTls) -> Backend {
    Backend { tls: Some(Arc::new(tls)), ..backend }
}

/// The backend's share.
pub fn share(weight: u32, backend: Result<Backend, BackendError>) -> WeightedBackend {
    WeightedBackend {
        weight,
        backend: backend.map(Arc::new).map_err(Box::new),
        steps: Steps::default(),
        balance: Default::default(),
    }
}

/// A rule of an HTTPRoute with these backends.
pub fn rule(backends: impl IntoIterator<Item = WeightedBackend>) -> Rule {
    Rule {
        route: Arc::new(RouteId { kind: RouteKind::Http, namespace: "test".into(), name: "route".into() }),
        index: 0,
        name: None,
        steps: Steps::default(),
        backends: Backends::new(backends),
        timeouts: None,
        retry: None,
        labels: None,
    }
}

/// A rule with one backend of one endpoint.
pub fn to(address: SocketAddr) -> Rule {
    rule([share(1, Ok(backend(&[address])))])
}

/// A rule whose requests a service at this address authorizes.
pub fn guarded(service: SocketAddr, protocol: AuthProtocol, rule: Rule) -> Rule {
    Rule { steps: Steps::new([Step::Check(authorized(service, protocol))]), ..rule }
}

/// A rule of an Ingress whose requests are checked in this way (`auth-url`).
pub fn checked(auth: IngressAuth, rule: Rule) -> Rule {
    let steps = Steps::new([Step::Check(Check::IngressAuth(Arc::new(auth)))]);
    Rule { steps, ..of_ingress(rule) }
}

/// The rule, as one of an Ingress.
pub fn of_ingress(rule: Rule) -> Rule {
    let route = RouteId { kind: RouteKind::Ingress, ..RouteId::clone(&rule.route) };
    Rule { route: Arc::new(route), ..rule }
}

/// A check by a service at this address.
pub fn auth_url(service: SocketAddr, target: &str) -> IngressAuth {
    let text = |text: &str| Template::parse(text, &[]).unwrap();
    IngressAuth {
        url: ServiceUrl {
            tls: false,
            host: text(&service.ip().to_string()),
            port: service.port(),
            target: text(target),
        },
        method: None,
        sign_in: None,
        answer_headers: Box::default(),
        redirect: None,
        set_headers: Box::default(),
        always_set_cookie: false,
        caching: None,
        namespace: Some("test".into()),
        satisfy: Satisfy::All,
    }
}

fn authorized(service: SocketAddr, protocol: AuthProtocol) -> Check {
    let to = match protocol {
        AuthProtocol::Http(_) => backend(&[service]),
        AuthProtocol::Grpc { .. } => h2(backend(&[service])),
    };
    Check::ExternalAuth(Arc::new(ExternalAuth { backend: Ok(Arc::new(to)), protocol, body: 0 }))
}

/// A table of one port with these listeners, each with its hostname.
pub fn port_of(
    key: PortKey,
    protocol: Protocol,
    listeners: impl IntoIterator<Item = (&'static str, TlsMode, Serves)>,
) -> Table {
    let mut served = Port::new(protocol, key.number);
    for (n, (host, tls, serves)) in listeners.into_iter().enumerate() {
        let id = Arc::new(listener(&format!("l{n}")));
        served.listeners.insert(HostPattern::parse(host).unwrap(), Arc::new(Listener { id, tls, serves }));
    }
    let mut table = Table::default();
    table.ports.insert(key, Arc::new(served));
    table
}

/// Routes for streams, by server name.
pub fn streams<const N: usize>(routes: [(&str, Rule); N]) -> Serves {
    let mut map = HostMap::default();
    for (host, rule) in routes {
        map.insert(HostPattern::parse(host).unwrap(), Arc::new(rule));
    }
    Serves::Stream(map)
}

/// A table of one plain TCP port with this rule.
pub fn tcp(port: u16, rule: Rule) -> Table {
    port_of(PortKey::tcp(port), Protocol::Tcp, [("", TlsMode::None, streams([("", rule)]))])
}

/// An address where nobody listens.
pub fn refusing() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
