//! Mirrors that cannot keep up: what they hold is bounded, and counted.

use std::{net::SocketAddr, sync::Arc};

use crate::support::{
    Running,
    client::{connect, exchange},
    raw::RawBackend,
    site::{Site, backend, listener, of_ingress, to},
    start_with, until, within,
};
use portcullis_routing::{
    Rule, Step, Steps, Template,
    step::{HeaderModifier, IngressMirror, Mirror, PathRewrite, ServiceUrl, UrlRewrite},
};

fn mirrored(to_backend: SocketAddr, to_mirror: SocketAddr) -> Rule {
    let mirror = Mirror { backend: Ok(Arc::new(backend(&[to_mirror]))), numerator: 1, denominator: 1 };
    Rule { steps: Steps::new([Step::Mirror(Box::new(mirror))]), ..to(to_backend) }
}

fn lost(proxy: &Running, reason: &str) -> u64 {
    proxy.proxy.lost_mirrors().into_iter().find(|(name, _)| *name == reason).unwrap().1
}

#[tokio::test]
async fn mirrors_that_take_nothing_hold_no_more_than_the_budget() {
    let (up, copy) = (RawBackend::saying("up").await, RawBackend::saying("copy").await);
    // The kernel accepts for it, and nobody reads.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    // A quarter is for the namespace: one mirror and a few chunks, far less than the chunks that it may be behind.
    let proxy = start_with(|options| options.mirror_bytes = 1 << 20);
    let at = Site::http()
        .add("", listener("all"), "/silent", mirrored(up.address, silent_at))
        .add("", listener("all"), "/copied", mirrored(up.address, copy.address))
        .serve(&proxy)
        .await;
    // More than the kernel takes for a socket that nobody reads.
    let body = "x".repeat(16 << 20);
    for count in 1..=5 {
        let head =
            format!("POST /silent HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(exchange(&mut connect(at).await, &(head + &body)).await.body, "up");
        assert_eq!(lost(&proxy, "memory"), count);
    }
    // What they held is free, long before any of their limits of time.
    let small = "POST /copied HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
    within(async {
        while copy.seen().is_empty() {
            assert_eq!(exchange(&mut connect(at).await, small).await.body, "up");
        }
    })
    .await;
    assert_eq!(copy.last().body, b"hello");
}

#[tokio::test]
async fn a_mirror_that_cannot_be_reached_is_counted() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let at = Site::of(mirrored(up.address, crate::support::site::refusing())).serve(&proxy).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(exchange(&mut connect(at).await, request).await.body, "up");
    until("it is counted", || lost(&proxy, "failed") == 1).await;
}

/// A rule of an Ingress that copies requests to a URL (`mirror-target`), and changes what its backend gets.
fn copied(to_backend: SocketAddr, url: ServiceUrl, host: Option<&str>, body: bool) -> Rule {
    let mirror = IngressMirror { url, host: host.map(Into::into), body, namespace: "test".into() };
    let set = [("x-set".parse().unwrap(), "1".parse().unwrap())];
    let path = Some(PathRewrite::Full("/rewritten".into()));
    let steps = [
        Step::RequestHeaders(HeaderModifier::new(set, [], []).unwrap()),
        Step::Rewrite(Box::new(UrlRewrite { hostname: None, path })),
        Step::IngressMirror(Arc::new(mirror)),
    ];
    Rule { steps: Steps::new(steps), ..of_ingress(to(to_backend)) }
}

fn url(at: SocketAddr, target: &str) -> ServiceUrl {
    let text = |text: &str| Template::parse(text, &[]).unwrap();
    ServiceUrl { tls: false, host: text(&at.ip().to_string()), port: at.port(), target: text(target) }
}

#[tokio::test]
async fn the_copy_of_an_ingress_is_what_the_client_sent() {
    let (up, copy) = (RawBackend::saying("up").await, RawBackend::saying("copy").await);
    let proxy = start_with(|_| {});
    let to_copy = |host, body| copied(up.address, url(copy.address, "$request_uri"), host, body);
    let at = Site::http()
        .add("", listener("all"), "/with", to_copy(None, true))
        .add("", listener("all"), "/without", to_copy(Some("mirror.test"), false))
        .serve(&proxy)
        .await;
    for (path, host, body) in [("/with", "127.0.0.1", "hello"), ("/without", "mirror.test", "")] {
        let request = format!(
            "POST {path}/a?b=c HTTP/1.1\r\nHost: a.example\r\nX-Mine: 1\r\nCookie: d=e\r\nContent-Length: 5\r\n\r\nhello"
        );
        let before = copy.seen().len();
        assert_eq!(exchange(&mut connect(at).await, &request).await.body, "up");
        assert_eq!(
            (up.last().line(), up.last().header("x-set")),
            ("POST /rewritten?b=c HTTP/1.1", Some("1"))
        );
        until("it is copied", || copy.seen().len() > before).await;
        let seen = copy.last();
        assert_eq!(seen.line(), format!("POST {path}/a?b=c HTTP/1.1"));
        assert_eq!((seen.header("host"), seen.header("x-mine")), (Some(host), Some("1")), "{path}");
        assert_eq!((seen.header("cookie"), &*seen.body), (Some("d=e"), body.as_bytes()), "{path}");
        for name in ["x-set", "x-forwarded-for", "x-real-ip", "x-request-id", "x-scheme"] {
            assert_eq!(seen.header(name), None, "{path}: {name}");
        }
    }
}

/// Its copy would be copied, and so on.
#[tokio::test]
async fn nothing_is_copied_to_a_listener_of_ours() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let port = proxy.port();
    let at = proxy.at(port);
    proxy.serve_http(Site::of(copied(up.address, url(at, "/"), None, true)).table(port)).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(exchange(&mut connect(at).await, request).await.body, "up");
    until("it is counted", || lost(&proxy, "failed") == 1).await;
    assert_eq!(up.seen().len(), 1);
}

/// A copy for an address outside the cluster may come back through a load balancer that we do not know.
#[tokio::test]
async fn a_copy_that_comes_back_is_not_copied_for_ever() {
    let (up, copy) = (RawBackend::saying("up").await, RawBackend::saying("copy").await);
    let proxy = start_with(|_| {});
    let rule = copied(up.address, url(copy.address, "/copy"), Some("a.example"), true);
    let at = Site::http().add("a.example", listener("site"), "/", rule).serve(&proxy).await;
    let mut copies = 0;
    let mut marks = String::new();
    loop {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Portcullis-Copied: {marks}\r\n\r\n");
        assert_eq!(exchange(&mut connect(at).await, &request).await.body, "up");
        if copies == 2 {
            break;
        }
        copies += 1;
        until("it is copied", || copy.seen().len() == copies).await;
        marks = copy.last().header("x-portcullis-copied").unwrap().to_owned();
    }
    // A request without the mark is copied after it: what came before would have been seen.
    assert_eq!(
        exchange(&mut connect(at).await, "GET /end HTTP/1.1\r\nHost: a.example\r\n\r\n").await.body,
        "up"
    );
    until("it is copied", || copy.seen().len() > copies).await;
    assert_eq!(copy.seen().len(), copies + 1);
}
