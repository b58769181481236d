//! A table whose routes forward everything, and who asks.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderName, HeaderValue};
use portcullis_routing::{
    Backend, BackendKey, BackendObject, BackendProtocol, Backends, EndpointPool, Endpoints, Entry,
    HostPattern, HostTable, HttpRoutes, Listener, ListenerId, PathMatch, Port, PortKey, Precedence, Protocol,
    RouteId, RouteKind, RouteMatch, Rule, Step, Steps, Table, WeightedBackend,
    step::{HeaderModifier, PathRewrite, UrlRewrite},
};

use crate::{
    HeaderNames, Options,
    conn::{ConnInfo, Requests},
    http::forwarded,
    limits::Limits,
    shared::Shared,
};

/// A client, and the route that takes its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// Whether it is a trusted proxy.
    pub(super) trusted: bool,
    /// Whether the route changes requests: Host is [`HOST`], the path [`PATH`], [`SET`] is set, [`ADDED`] added and
    /// [`REMOVED`] removed.
    pub(super) changes: bool,
    /// Whether it is that of an Ingress.
    pub(super) ingress: bool,
}

pub(super) const HOST: &str = "backend.example";
pub(super) const PATH: &str = "/path";
pub(super) const SET: &str = "x-set";
pub(super) const ADDED: &str = "x-added";
pub(super) const REMOVED: &str = "x-removed";
/// The value of what is set and added.
pub(super) const VALUE: &str = "ours";

const TRUSTED: [u8; 4] = [192, 0, 2, 1];
const OTHER: [u8; 4] = [192, 0, 2, 2];

impl Asker {
    /// By the bits of a byte.
    pub(super) fn of(byte: u8) -> Self {
        let [trusted, changes, ingress] = [1, 2, 4].map(|bit| byte & bit != 0);
        Self { trusted, changes, ingress }
    }

    /// The address of the client.
    pub(super) fn address(self) -> String {
        let [a, b, c, d] = if self.trusted { TRUSTED } else { OTHER };
        format!("{a}.{b}.{c}.{d}")
    }

    /// Its connection.
    pub(super) fn conn(self) -> Arc<ConnInfo> {
        let peer = SocketAddr::from((if self.trusted { TRUSTED } else { OTHER }, 50_000));
        let (client, client_port_text) = (forwarded::address(peer.ip()), forwarded::port(80));
        Arc::new(ConnInfo {
            port: PortKey::tcp(self.port()),
            client_port: 80,
            offset: 0,
            peer,
            forwarded: forwarded::of_connection(&client, &client_port_text, "http"),
            client,
            client_port_text,
            local: SocketAddr::from(([192, 0, 2, 3], 80)),
            tls: None,
            is_tls_before: false,
            limits: Limits::new(&Options::default()),
            header_names: HeaderNames::default(),
            draining: Arc::default(),
            requests: Requests::default(),
            without_request_ids: false,
            load: Arc::default(),
            buffered: None,
        })
    }

    fn port(self) -> u16 {
        80 + u16::from(self.changes) + 2 * u16::from(self.ingress)
    }

    fn rule(self) -> Rule {
        let endpoints = Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default())));
        endpoints.store_addresses(&[SocketAddr::from(([192, 0, 2, 4], 80))]);
        let backend = Backend {
            key: BackendKey {
                kind: BackendObject::Service,
                namespace: "fuzz".into(),
                service: "backend".into(),
                port: PortKey::tcp(80),
            },
            protocol: BackendProtocol::Http1,
            tls: None,
            proxy_protocol: None,
            endpoints,
        };
        let backend = WeightedBackend {
            weight: 1,
            backend: Ok(Arc::new(backend)),
            steps: Steps::default(),
            balance: Default::default(),
        };
        let kind = if self.ingress { RouteKind::Ingress } else { RouteKind::Http };
        Rule {
            route: Arc::new(RouteId { kind, namespace: "fuzz".into(), name: "route".into() }),
            index: 0,
            name: None,
            steps: if self.changes { changes() } else { Steps::default() },
            backends: Backends::new([backend]),
            timeouts: None,
            retry: None,
            labels: None,
        }
    }
}

fn changes() -> Steps {
    let header = |name| (HeaderName::from_static(name), HeaderValue::from_static(VALUE));
    let removed = [HeaderName::from_static(REMOVED)];
    let headers = HeaderModifier::new([header(SET)], [header(ADDED)], removed).expect("they may be changed");
    let rewrite = UrlRewrite { hostname: Some(HOST.into()), path: Some(PathRewrite::Full(PATH.into())) };
    Steps::new([Step::RequestHeaders(headers), Step::Rewrite(Box::new(rewrite))])
}

/// What serves all of them.
pub(super) fn shared() -> Arc<Shared> {
    thread_local! {
        static SHARED: Arc<Shared> = make();
    }
    SHARED.with(Arc::clone)
}

fn make() -> Arc<Shared> {
    let mut options = Options { workers: 1, ..Options::default() };
    options.live.trusted = vec![(TRUSTED.into(), 32)];
    let shared = Shared::new(options);
    let mut table = Table::default();
    for asker in (0..8).map(Asker::of) {
        let host = HostPattern::parse("").expect("any host");
        let path = PathMatch::Prefix("".into());
        let route_match = RouteMatch { path, method: None, headers: Box::default(), query: Box::default() };
        let precedence = Precedence::of(&route_match, 0, "fuzz/route".into(), (0, 0));
        let entry = Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(asker.rule()) };
        let mut routes = HttpRoutes::default();
        routes.hosts.insert(host.clone(), Arc::new(HostTable::compile(vec![entry])));
        let mut port = Port::new(Protocol::Http, asker.port());
        let listener = Listener::http(ListenerId::gateway("fuzz", "gateway", "all"), routes);
        port.listeners.insert(host, Arc::new(listener));
        table.ports.insert(PortKey::tcp(asker.port()), Arc::new(port));
    }
    shared.table.store(Arc::new(table));
    shared
}
