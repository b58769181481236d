//! Addresses that no request may be carried to.

use std::{net::SocketAddr, sync::Arc};

use crate::support::{
    Running,
    client::{self, connect},
    raw::RawBackend,
    site::{Site, backend, listener, rule, share, to},
    start, start_with, until,
};
use portcullis_proxy::{LocalBackends, Own};
use portcullis_routing::{Backend, EndpointPool, Endpoints, ExternalNames, Rule, Step, Steps, step::Mirror};

/// A backend that is found by this name.
fn named(host: &str, port: u16) -> Backend {
    let endpoints = Arc::new(EndpointPool::new(Endpoints::Name { host: host.into(), port }));
    Backend { endpoints, ..backend(&[]) }
}

/// This rule, with a copy to a backend.
fn mirrored(rule: Rule, backend: Backend) -> Rule {
    let mirror = Mirror { backend: Ok(Arc::new(backend)), numerator: 1, denominator: 1 };
    Rule { steps: Steps::new([Step::Mirror(Box::new(mirror))]), ..rule }
}

/// The answer to a request on a connection of its own.
async fn get(at: SocketAddr, path: &str) -> client::Raw {
    client::get(&mut connect(at).await, "a.example", path).await
}

fn refused(proxy: &Running, reason: &str) -> u64 {
    let all = proxy.proxy.refused_addresses();
    all.iter().find(|(name, _)| *name == reason).unwrap().1
}

#[tokio::test]
async fn nothing_is_carried_to_this_machine_where_others_write_the_objects() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|o| o.local_backends = LocalBackends::Refused);
    let port = up.address.port();
    let at = Site::http()
        .add("", listener("all"), "/address", to(up.address))
        .add("", listener("all"), "/name", rule([share(1, Ok(named("localhost", port)))]))
        .add("", listener("all"), "/mirror", mirrored(to(up.address), named("localhost", port)))
        .serve(&proxy)
        .await;
    for (path, refusals) in [("/address", 1), ("/name", 2), ("/mirror", 3)] {
        let got = get(at, path).await;
        assert_eq!((got.status, refused(&proxy, "loopback")), (503, refusals), "{path}: {}", got.body);
    }
    assert!(up.seen().is_empty());
}

#[tokio::test]
async fn a_mirror_goes_nowhere_that_a_request_may_not_go() {
    let (up, copy) = (RawBackend::saying("up").await, RawBackend::saying("copy").await);
    let link_local = SocketAddr::from(([169, 254, 169, 254], 80));
    let proxy = start();
    let at = Site::http()
        .add("", listener("all"), "/refused", mirrored(to(up.address), backend(&[link_local])))
        .add("", listener("all"), "/copied", mirrored(to(up.address), backend(&[copy.address])))
        .serve(&proxy)
        .await;
    for path in ["/refused", "/copied"] {
        assert_eq!(get(at, path).await.body, "up");
    }
    until("the mirror is refused", || refused(&proxy, "link-local") == 1).await;
    assert_eq!(copy.has_seen(1).await[0].line(), "GET /copied HTTP/1.1");
}

#[tokio::test]
async fn where_this_machine_may_be_a_backend_our_own_ports_are_none() {
    let (up, admin) = (RawBackend::saying("up").await, RawBackend::saying("secrets").await);
    let proxy = start();
    proxy.proxy.set_own(Own { admin: Some(admin.address), ..Own::default() });
    let port = proxy.port();
    let table = Site::http()
        .add("", listener("all"), "/up", to(up.address))
        .add("", listener("all"), "/admin", to(admin.address))
        .add("", listener("all"), "/listener", to(proxy.at(port)))
        .table(port);
    proxy.serve_http(table).await;
    let at = proxy.at(port);
    for (path, status) in [("/up", 200), ("/admin", 503), ("/listener", 503)] {
        assert_eq!(get(at, path).await.status, status, "{path}");
    }
    assert!(admin.seen().is_empty());
    assert_eq!(refused(&proxy, "own"), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_refused_leaves_its_requests_to_the_others() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let link_local: Vec<SocketAddr> =
        (1..=20).map(|host| SocketAddr::from(([169, 254, 0, host], 80))).chain([up.address]).collect();
    let at = Site::of(rule([share(1, Ok(backend(&link_local)))])).serve(&proxy).await;
    for _ in 0..50 {
        assert_eq!(get(at, "/").await.body, "up");
    }
}

#[tokio::test]
async fn names_lead_nowhere_where_they_may_not() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|o| o.external_names = ExternalNames::None);
    let at = Site::http()
        .add("", listener("all"), "/name", rule([share(1, Ok(named("localhost", up.address.port())))]))
        .add("", listener("all"), "/address", to(up.address))
        .serve(&proxy)
        .await;
    assert_eq!(get(at, "/name").await.status, 503);
    assert_eq!(get(at, "/address").await.status, 200);
    assert_eq!(refused(&proxy, "external-name"), 1);
}
