//! Which listener, rule, backend and endpoint a request gets.

use std::collections::HashSet;

use crate::support::{
    Running,
    client::{connect, exchange, get},
    pki::{self, Key},
    raw::RawBackend,
    site::{self, Site, backend, listener, refusing, rule, share, to},
    start, start_with, until,
};
use portcullis_routing::{BackendError, Endpoints, RouteId, RouteKind, Rule, Table};

async fn status(proxy: &Running, site: Site, host: &str, path: &str) -> u16 {
    let at = site.serve(proxy).await;
    get(&mut connect(at).await, host, path).await.status
}

#[tokio::test]
async fn the_most_specific_listener_alone_takes_a_request() {
    let (a, b) = (RawBackend::saying("a").await, RawBackend::saying("any").await);
    let proxy = start();
    let at = Site::http()
        .add("a.example", listener("a"), "/a", to(a.address))
        .add("", listener("any"), "/", to(b.address))
        .serve(&proxy)
        .await;
    let mut tcp = connect(at).await;
    for (host, path, want) in [
        ("a.example", "/a/x", (200, "a")),
        ("A.EXAMPLE:99", "/a", (200, "a")),
        ("b.example", "/x", (200, "any")),
    ] {
        let got = get(&mut tcp, host, path).await;
        assert_eq!((got.status, &*got.body), want, "{host}{path}");
    }
    // No other listener answers for what this one leaves.
    assert_eq!(get(&mut tcp, "a.example", "/other").await.status, 404);
}

#[tokio::test]
async fn a_host_without_a_listener_is_a_404() {
    let proxy = start();
    let site = Site::http().add("a.example", listener("a"), "/", to(refusing()));
    assert_eq!(status(&proxy, site, "b.example", "/").await, 404);
}

#[tokio::test]
async fn a_rule_that_cannot_be_served_costs_its_own_requests() {
    let broken = || Err(BackendError::NotFound("test/gone".into()));
    let proxy = start();
    for (rule, want) in [
        (rule([]), 500),
        (rule([share(1, broken())]), 500),
        (rule([share(0, Ok(backend(&[refusing()])))]), 500),
        (rule([share(1, Ok(backend(&[])))]), 503),
        (rule([share(1, Err(BackendError::Closed("auth-url".into())))]), 503),
        (to(refusing()), 502),
    ] {
        let text = format!("{:?}", rule.backends);
        assert_eq!(status(&proxy, Site::of(rule), "a.example", "/").await, want, "{text}");
    }
}

#[tokio::test]
async fn backends_get_their_share_of_the_requests() {
    let (a, b, none) =
        (RawBackend::saying("a").await, RawBackend::saying("b").await, RawBackend::saying("none").await);
    let proxy = start();
    let backends = [
        share(3, Ok(backend(&[a.address]))),
        share(1, Ok(backend(&[b.address]))),
        share(0, Ok(backend(&[none.address]))),
        share(1, Err(BackendError::NotFound("test/gone".into()))),
    ];
    let at = Site::of(rule(backends)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    let mut broken = 0;
    for _ in 0..500 {
        broken += u32::from(get(&mut tcp, "a.example", "/").await.status == 500);
    }
    let (a, b) = (a.seen().len(), b.seen().len());
    // Of 500: 300, 100 and 100 on average; six standard deviations either way.
    assert!(
        (235..365).contains(&a) && (47..153).contains(&b) && (47..153).contains(&broken),
        "{a} {b} {broken}"
    );
    assert!(none.seen().is_empty());
}

#[tokio::test]
async fn requests_are_spread_over_endpoints_and_avoid_busy_ones() {
    let (idle, busy) =
        (RawBackend::saying("idle").await, crate::support::backend::TestBackend::start("busy").await);
    // Each worker chooses an endpoint by its own requests in flight only.
    let proxy = start_with(|options| options.workers = 1);
    let backend = backend(&[idle.address, busy.address]);
    let endpoints = std::sync::Arc::clone(&backend.endpoints);
    let at = Site::of(rule([share(1, Ok(backend))])).serve(&proxy).await;
    let in_flight = |address| match &**endpoints.load() {
        Endpoints::Addresses(all) => all.iter().find(|e| e.address == address).unwrap().in_flight(),
        Endpoints::Name { .. } => unreachable!(),
    };
    // One endpoint answers at once, the other holds: sooner or later a request is held.
    let holder = loop {
        let holder = tokio::spawn(async move { get(&mut connect(at).await, "a.example", "/hold").await });
        let count = idle.seen().len();
        until("the request is with an endpoint", || {
            in_flight(busy.address) == 1 || idle.seen().len() > count
        })
        .await;
        if in_flight(busy.address) == 1 {
            break holder;
        }
        assert_eq!(holder.await.unwrap().body, "idle");
    };
    let mut tcp = connect(at).await;
    for _ in 0..20 {
        assert_eq!(get(&mut tcp, "a.example", "/").await.body, "idle");
    }
    busy.release();
    assert_eq!(holder.await.unwrap().status, 200);
    until("nothing is in flight", || in_flight(busy.address) == 0 && in_flight(idle.address) == 0).await;
}

#[tokio::test]
async fn without_a_policy_another_endpoint_stands_in_for_one_that_refuses() {
    let live = RawBackend::saying("live").await;
    let proxy = start();
    let at = Site::of(rule([share(1, Ok(backend(&[refusing(), live.address])))])).serve(&proxy).await;
    let mut tcp = connect(at).await;
    for _ in 0..20 {
        let got =
            exchange(&mut tcp, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi").await;
        assert_eq!((got.status, &*got.body), (200, "live"));
    }
    assert!(live.seen().iter().all(|seen| seen.body == b"hi"));
}

#[tokio::test]
async fn new_endpoints_are_used_without_a_new_table() {
    let (a, b) = (RawBackend::saying("a").await, RawBackend::saying("b").await);
    let proxy = start();
    let backend = backend(&[a.address]);
    let endpoints = std::sync::Arc::clone(&backend.endpoints);
    let at = Site::of(rule([share(1, Ok(backend))])).serve(&proxy).await;
    let mut tcp = connect(at).await;
    assert_eq!(get(&mut tcp, "a.example", "/").await.body, "a");
    endpoints.store_addresses(&[b.address]);
    assert_eq!(get(&mut tcp, "a.example", "/").await.body, "b");
    endpoints.store_addresses(&[]);
    assert_eq!(get(&mut tcp, "a.example", "/").await.status, 503);
}

#[tokio::test]
async fn a_dns_name_is_looked_up() {
    let backend_ = RawBackend::saying("by name").await;
    let proxy = start();
    let by_name = |host: &str| {
        let named = backend(&[]);
        named.endpoints.store_name(host, backend_.address.port());
        rule([share(1, Ok(named))])
    };
    let at = Site::of(by_name("localhost")).serve(&proxy).await;
    let mut tcp = connect(at).await;
    for _ in 0..3 {
        assert_eq!(get(&mut tcp, "a.example", "/").await.body, "by name");
    }
    // Invalid names and names of nobody end in an answer too.
    assert_eq!(status(&proxy, Site::of(by_name("not..a name")), "a.example", "/").await, 503);
}

fn of_kind(rule: Rule, kind: RouteKind) -> Rule {
    let route = RouteId { kind, namespace: "test".into(), name: "route".into() };
    Rule { route: std::sync::Arc::new(route), ..rule }
}

async fn serve_tls(proxy: &Running, table: Table, port: u16) {
    let shown = pki::certificate(Key::Ecdsa, &["a.example", "b.example", "c.example", "d.example"]);
    let shown: &[_] = &[&shown];
    let certificates = pki::on(
        port,
        &[("a.example", shown), ("b.example", shown), ("c.example", shown), ("d.example", shown)],
    );
    proxy.serve(table, certificates).await;
}

#[tokio::test]
async fn a_connection_serves_the_listener_that_it_was_made_for() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let port = proxy.port();
    let ingress = || of_kind(to(up.address), RouteKind::Ingress);
    let table = Site::https()
        .add("a.example", listener("one"), "/", to(up.address))
        .add("b.example", listener("two"), "/", to(up.address))
        .add("c.example", site::ingress("c.example"), "/", ingress())
        .add("d.example", site::ingress("d.example"), "/", ingress())
        .table(port);
    serve_tls(&proxy, table, port).await;
    for (name, host, want) in [
        ("a.example", "a.example", 200),
        ("a.example", "b.example", 421),
        ("a.example", "c.example", 421),
        ("c.example", "a.example", 421),
        ("c.example", "d.example", 200),
        ("a.example", "nobody.example", 404),
    ] {
        let mut tls = pki::tls(&pki::any_client(), proxy.at(port), name).await.unwrap();
        assert_eq!(get(&mut tls, host, "/").await.status, want, "{name}, Host: {host}");
    }
    let seen: HashSet<_> =
        up.seen().iter().map(|s| s.header("x-forwarded-proto").unwrap().to_owned()).collect();
    assert_eq!(seen, HashSet::from(["https".to_owned()]));
    // What ingress-nginx says beside is said to the backends of an Ingress.
    assert!(up.seen().iter().any(|s| s.header("x-scheme") == Some("https")));
}

#[tokio::test]
async fn an_unknown_or_missing_server_name_gets_the_default_certificate_and_every_host_of_ingresses() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let port = proxy.port();
    let table = Site::https()
        .add("a.example", listener("one"), "/", to(up.address))
        .add("c.example", site::ingress("c.example"), "/", to(up.address))
        .add("d.example", site::ingress("d.example"), "/", to(up.address))
        .table(port);
    let [own, default] =
        [["c.example"], ["default.example"]].map(|names| pki::certificate(Key::Ecdsa, &names));
    let all: &[(_, &[_])] =
        &[("a.example", &[&own]), ("c.example", &[&own]), ("d.example", &[&own]), ("", &[&default])];
    proxy.serve(table, pki::on(port, all)).await;
    for (name, shown, host, want) in [
        ("nobody.example", &default, "c.example", 200),
        ("nobody.example", &default, "a.example", 421),
        ("nobody.example", &default, "nobody.example", 404),
        // An address is no server name, and none is sent.
        ("127.0.0.1", &default, "d.example", 200),
        ("127.0.0.1", &default, "a.example", 421),
        ("c.example", &own, "d.example", 200),
    ] {
        let mut tls = pki::tls(&pki::any_client(), proxy.at(port), name).await.unwrap();
        assert!(pki::shows(&tls, shown), "{name}");
        assert_eq!(get(&mut tls, host, "/").await.status, want, "{name}, Host: {host}");
    }
}
