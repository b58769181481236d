//! A lookup does not allocate, whatever the table; and a table of many hosts stays small.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_routing::{
    Backends, Entry, HeaderMatch, HostPattern, HostTable, HttpRoutes, Listener, ListenerId, PathMatch, Port,
    Precedence, Protocol, QueryMatch, RequestView, RouteId, RouteKind, RouteMatch, Rule, Steps, ValueMatch,
    path::RequestPath,
};

#[test]
fn a_lookup_does_not_allocate() {
    for layout in [Layout::HostEach, Layout::ListenerEach, Layout::OneHost] {
        for routes in [1, 100, 10_000] {
            let port = port(layout, routes);
            let headers = HeaderMap::from_iter([
                (HeaderName::from_static("x"), HeaderValue::from_static("1")),
                (HeaderName::from_static("x"), HeaderValue::from_static("2")),
            ]);
            let mut found = 0;
            let info = allocation_counter::measure(|| {
                for i in [0, routes / 3, routes / 2, routes - 1] {
                    for (host, path) in &opt_out(|| requests(layout, i)) {
                        let path = RequestPath::parse(path).unwrap();
                        let request = RequestView {
                            method: &Method::GET,
                            path: &path,
                            query: Some("a=%31&q=a+b"),
                            headers: &headers,
                        };
                        let listener = port.listener(host);
                        let selected = listener.and_then(|l| l.route(host, &request).unwrap());
                        found += usize::from(selected.is_some());
                    }
                }
            });
            assert!(found >= 4, "{layout:?}, {routes} routes: {found} found");
            assert_eq!(info.count_total, 0, "{layout:?}, {routes} routes");
        }
    }
}

#[test]
fn a_host_with_one_rule_is_small() {
    let hosts = 5_000;
    for layout in [Layout::HostEach, Layout::ListenerEach] {
        let mut port = None;
        let info = allocation_counter::measure(|| port = Some(self::port(layout, hosts)));
        let each = info.bytes_current / hosts as i64;
        assert!(each < 1200, "{layout:?}: {each} bytes for each host, with its rule");
        drop(port);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// A Gateway's listener with a host for each route.
    HostEach,
    /// Ingresses: a listener for each host.
    ListenerEach,
    /// All routes under one host.
    OneHost,
}

fn port(layout: Layout, routes: usize) -> Port {
    let mut port = Port::new(Protocol::Http, 80);
    let pattern = |i| host(&format!("h{i}.example"));
    match layout {
        Layout::HostEach => {
            let mut of_listener = HttpRoutes::default();
            for i in 0..routes {
                of_listener.hosts.insert(pattern(i), Arc::new(HostTable::compile(vec![entry(i)])));
            }
            port.listeners.insert(host("*.example"), at_any(of_listener));
        }
        Layout::ListenerEach => {
            for i in 0..routes {
                let mut of_listener = HttpRoutes::default();
                of_listener.hosts.insert(pattern(i), Arc::new(HostTable::compile(vec![entry(i)])));
                let listener = Listener::http(ListenerId::ingress(pattern(i)), of_listener);
                port.listeners.insert(pattern(i), Arc::new(listener));
            }
        }
        Layout::OneHost => {
            let mut of_listener = HttpRoutes::default();
            let entries = (0..routes).map(entry).collect();
            of_listener.hosts.insert(pattern(0), Arc::new(HostTable::compile(entries)));
            port.listeners.insert(HostPattern::Any, at_any(of_listener));
        }
    }
    port
}

fn at_any(routes: HttpRoutes) -> Arc<Listener> {
    Arc::new(Listener::http(ListenerId::ingress(HostPattern::Any), routes))
}

fn host(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a hostname")
}

/// By turns an exact path, a prefix, a prefix with a header, one with a query parameter, a gRPC method.
fn entry(i: usize) -> Entry {
    let exact = |text: &str| ValueMatch::Exact(text.into());
    let header = HeaderMatch { name: HeaderName::from_static("x"), value: exact("2") };
    let query = QueryMatch { name: "q".into(), value: exact("a b") };
    let route_match = RouteMatch {
        path: match i % 5 {
            0 => PathMatch::Exact(format!("/exact/{i}").into()),
            4 => PathMatch::GrpcMethod(format!("Method{i}").into()),
            _ => PathMatch::Prefix(format!("/prefix/{i}").into()),
        },
        method: None,
        headers: if i % 5 == 2 { [header].into() } else { Box::default() },
        query: if i % 5 == 3 { [query].into() } else { Box::default() },
    };
    let route = RouteId { kind: RouteKind::Http, namespace: "shop".into(), name: format!("r{i}").into() };
    let rule = Rule {
        route: Arc::new(route),
        index: i,
        name: None,
        steps: Steps::default(),
        backends: Backends::default(),
        timeouts: None,
        retry: None,
        labels: None,
    };
    let precedence = Precedence::of(&route_match, 0, format!("shop/r{i}").into(), (0, 0));
    Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }
}

/// Requests that fit route `i`, and some that fit none.
fn requests(layout: Layout, i: usize) -> Vec<(String, String)> {
    let host = if layout == Layout::OneHost { "h0.example".to_owned() } else { format!("h{i}.example") };
    let paths = [
        format!("/exact/{i}"),
        format!("/prefix/{i}/a/b"),
        format!("/svc/Method{i}"),
        "/none".to_owned(),
        "/a".repeat(250),
        "/a%20b|".replace('|', "%7C"),
    ];
    let mut requests: Vec<_> = paths.map(|path| (host.clone(), path)).into();
    requests.push(("a.b.c.d.e.f.absent.example".to_owned(), "/".to_owned()));
    requests
}

fn opt_out<T: Default>(f: impl FnOnce() -> T) -> T {
    let mut result = T::default();
    allocation_counter::opt_out(|| result = f());
    result
}
