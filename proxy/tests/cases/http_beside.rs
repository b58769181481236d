//! A Gateway's routes and the Ingresses of a host that both have.

use std::sync::Arc;

use crate::support::{
    client::{connect, get},
    pki::{self, Key},
    raw::RawBackend,
    site::{ingress, listener, to},
    start, table,
};
use portcullis_routing::{
    Entry, HostMap, HostPattern, HostTable, HttpRoutes, Listener, PathMatch, Port, PortKey, Precedence,
    Protocol, RouteMatch, Rule, Step, Steps, Table,
};

const SHOP: &str = "shop.example";

fn hosts(rules: Vec<(&str, Rule)>) -> HostMap<Arc<HostTable>> {
    let host = HostPattern::parse(SHOP).unwrap();
    let entry = |(number, (prefix, rule)): (usize, (&str, Rule))| {
        let path = PathMatch::Prefix(prefix.trim_end_matches('/').into());
        let route_match = RouteMatch { path, method: None, headers: Box::default(), query: Box::default() };
        let precedence = Precedence::of(&route_match, 0, "test/route".into(), (number, 0));
        Entry { route_match: Arc::new(route_match), precedence, rule: Arc::new(rule) }
    };
    let table = HostTable::compile(rules.into_iter().enumerate().map(entry).collect());
    let mut hosts = HostMap::default();
    hosts.insert(host, Arc::new(table));
    hosts
}

/// A port where the routes of a Gateway's listener are asked first and the Ingresses answer what they leave.
fn port(
    protocol: Protocol,
    number: u16,
    gateway: &RawBackend,
    ingresses: &RawBackend,
) -> (PortKey, Arc<Port>) {
    let of_ingress = || to(ingresses.address);
    let asking = Rule { steps: Steps::new([Step::OwnTls]), ..of_ingress() };
    let behind = hosts(vec![("/", of_ingress()), ("/asking", asking)]);
    let behind = Listener::http(ingress(SHOP), HttpRoutes { hosts: behind, ..HttpRoutes::default() });
    let routes = HttpRoutes {
        hosts: hosts(vec![("/moved", to(gateway.address))]),
        fallback: Some(Arc::new(behind)),
        ..HttpRoutes::default()
    };
    let served = Listener { tls: table::tls_of(protocol), ..Listener::http(listener("wide"), routes) };
    let mut port = Port::new(protocol, number);
    port.listeners.insert(HostPattern::parse(SHOP).unwrap(), Arc::new(served));
    (PortKey::tcp(number), Arc::new(port))
}

#[tokio::test]
async fn ingresses_answer_what_routes_leave_but_for_those_that_ask_for_tls_of_their_own() {
    let (gateway, ingresses) = (RawBackend::saying("gateway").await, RawBackend::saying("ingress").await);
    let proxy = start();
    let (plain, secure) = (proxy.port(), proxy.port());
    let mut table = Table::default();
    table.ports.extend([
        port(Protocol::Http, plain, &gateway, &ingresses),
        port(Protocol::Tls, secure, &gateway, &ingresses),
    ]);
    let shown = pki::certificate(Key::Ecdsa, &[SHOP]);
    proxy.serve(table, pki::on(secure, &[(SHOP, &[&shown])])).await;
    for (path, in_plain, over_tls) in [
        ("/moved/x", (200, "gateway"), (200, "gateway")),
        ("/rest", (200, "ingress"), (200, "ingress")),
        ("/asking", (200, "ingress"), (403, "403 Forbidden: ")),
        // One of them reads the escape as a slash.
        ("/moved%2Fx", (400, "400 Bad Request: "), (400, "400 Bad Request: ")),
        ("/x/..%2Fmoved", (400, "400 Bad Request: "), (400, "400 Bad Request: ")),
    ] {
        let got = get(&mut connect(proxy.at(plain)).await, SHOP, path).await;
        assert!((got.status, got.body.starts_with(in_plain.1)) == (in_plain.0, true), "{path}: {got:?}");
        let mut tls = pki::tls(&pki::any_client(), proxy.at(secure), SHOP).await.unwrap();
        let got = get(&mut tls, SHOP, path).await;
        assert!(
            (got.status, got.body.starts_with(over_tls.1)) == (over_tls.0, true),
            "{path} over TLS: {got:?}"
        );
    }
}
