//! What a lookup costs, from host and path as they come to the rule: nanoseconds and allocations, by the number of
//! routes and by how they are spread. Each figure is the median of rounds of lookups of routes in random order.
#![allow(clippy::print_stdout)] // the table is its output

use std::{hint::black_box, sync::Arc, time::Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_routing::{
    Backends, Entry, HeaderMatch, HostPattern, HostTable, HttpRoutes, Listener, ListenerId, PathMatch, Port,
    Precedence, Protocol, RequestView, RouteId, RouteKind, RouteMatch, Rule, Steps, ValueMatch,
    path::RequestPath,
};

/// Short ones, so that most of them are not interrupted.
const ROUNDS: usize = 101;
const LOOKUPS: usize = 4_096;

fn main() {
    println!("| routes | spread | ns for each lookup | with no rule | allocations | bytes for each route |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: |");
    for routes in [1, 100, 10_000] {
        for spread in [Spread::Listeners, Spread::Hosts, Spread::OneHost] {
            let mut port = None;
            let memory = allocation_counter::measure(|| port = Some(spread.port(routes)));
            let Some(port) = port else { continue };
            let (hits, misses) = (requests(spread, routes, true), requests(spread, routes, false));
            let (hit, allocated) = measure(&port, &hits, true);
            let (miss, _) = measure(&port, &misses, false);
            println!(
                "| {routes} | {} | {hit:.0} | {miss:.0} | {allocated} | {} |",
                spread.name(),
                memory.bytes_current / i64::try_from(routes).unwrap_or(i64::MAX),
            );
        }
    }
}

/// How the routes are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// A listener for each, as with Ingresses.
    Listeners,
    /// A host for each under one listener of a Gateway.
    Hosts,
    /// All under one host.
    OneHost,
}

impl Spread {
    fn name(self) -> &'static str {
        match self {
            Self::Listeners => "a listener each (Ingress)",
            Self::Hosts => "a host each (Gateway)",
            Self::OneHost => "one host",
        }
    }

    fn host(self, route: usize) -> String {
        match self {
            Self::OneHost => "www.shop.example.com".into(),
            _ => format!("shop-{route}.example.com"),
        }
    }

    fn port(self, routes: usize) -> Port {
        let mut port = Port::new(Protocol::Http, 80);
        let mut shared = HttpRoutes::default();
        let hosts = if self == Self::OneHost { 1 } else { routes };
        for i in 0..hosts {
            let host = pattern(&self.host(i));
            let entries = if hosts == 1 { 0..routes } else { i..i + 1 }.map(entry);
            let table = Arc::new(HostTable::compile(entries.collect()));
            if self == Self::Listeners {
                let mut own = HttpRoutes::default();
                own.hosts.insert(host.clone(), table);
                let own = Listener::http(ListenerId::ingress(host.clone()), own);
                port.listeners.insert(host, Arc::new(own));
            } else {
                shared.hosts.insert(host, table);
            }
        }
        if self != Self::Listeners {
            let shared = Listener::http(ListenerId::ingress(HostPattern::Any), shared);
            port.listeners.insert(pattern("*.example.com"), Arc::new(shared));
        }
        port
    }
}

/// Nanoseconds for a lookup (the median of the rounds), and allocations of all.
fn measure(port: &Port, requests: &[(String, String)], expected: bool) -> (f64, u64) {
    let headers = HeaderMap::from_iter(
        [("host", "shop.example.com"), ("user-agent", "bench"), ("accept", "*/*"), ("x-canary", "always")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    );
    let lookup = |(host, path): &(String, String)| {
        let Ok(path) = RequestPath::parse(path) else { return false };
        let request =
            RequestView { method: &Method::GET, path: &path, query: Some("page=2"), headers: &headers };
        let rule = port.listener(host).map(|listener| listener.route(host, &request));
        matches!(black_box(rule), Some(Ok(Some(_))))
    };
    assert!(requests.iter().all(|request| lookup(request) == expected), "a lookup went astray");
    let mut rounds = [0.0; ROUNDS];
    let counted = allocation_counter::measure(|| {
        for round in &mut rounds {
            let begin = Instant::now();
            for request in requests.iter().cycle().take(LOOKUPS) {
                black_box(lookup(black_box(request)));
            }
            *round = begin.elapsed().as_nanos() as f64 / LOOKUPS as f64;
        }
    });
    rounds.sort_by(f64::total_cmp);
    (rounds[ROUNDS / 2], counted.count_total)
}

/// In random order, so that a large table is not read from the front to the back.
fn requests(spread: Spread, routes: usize, hit: bool) -> Vec<(String, String)> {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default()
    };
    let request = |i: usize| {
        let path = match (hit, i % 4) {
            (false, _) => format!("/absent/{i}/a/b"),
            (true, 0) => format!("/api/v1/item-{i}"),
            (true, _) => format!("/shop/{i}/cart/items/7"),
        };
        (spread.host(i), path)
    };
    (0..4096).map(|_| request(random() % routes)).collect()
}

/// By turns an exact path, a prefix, a longer prefix, a prefix with a header.
fn entry(i: usize) -> Entry {
    let canary =
        HeaderMatch { name: HeaderName::from_static("x-canary"), value: ValueMatch::Exact("always".into()) };
    let route_match = RouteMatch {
        path: match i % 4 {
            0 => PathMatch::Exact(format!("/api/v1/item-{i}").into()),
            2 => PathMatch::Prefix(format!("/shop/{i}/cart").into()),
            _ => PathMatch::Prefix(format!("/shop/{i}").into()),
        },
        method: None,
        headers: if i % 4 == 3 { [canary].into() } else { Box::default() },
        query: Box::default(),
    };
    let name = format!("shop/route-{i}");
    let rule = Rule {
        route: Arc::new(RouteId { kind: RouteKind::Http, namespace: "shop".into(), name: name[5..].into() }),
        index: 0,
        name: None,
        steps: Steps::default(),
        backends: Backends::default(),
        timeouts: None,
        retry: None,
        labels: None,
    };
    let precedence = Precedence::of(&route_match, 0, name.into(), (0, 0));
    Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }
}

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a hostname")
}
