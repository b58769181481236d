//! What is believed about clients, and what is asked of them, as the settings say.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use http::{HeaderName, header};
use portcullis_proxy::{ClientOptions, ForwardedFor, HeaderNames, LiveOptions, Options};
use portcullis_routing::{
    RouteId, RouteKind, Rule, Step, Steps,
    step::{BlockedValues, MapKeys, Spool},
};
use tokio::io::AsyncWriteExt;

use crate::support::{
    client::{connect, exchange, h2, is_closed, response},
    raw::{RawBackend, Seen},
    site::{Site, to},
    start, start_with, until, within,
};

fn loopback_network() -> Vec<(IpAddr, u8)> {
    vec![([127, 0, 0, 0].into(), 8)]
}

fn of_ingress(rule: Rule) -> Rule {
    let route = RouteId { kind: RouteKind::Ingress, ..RouteId::clone(&rule.route) };
    Rule { route: Arc::new(route), ..rule }
}

/// What a backend of an Ingress gets of a request with these headers, over HTTP/1 and HTTP/2.
async fn received(live: impl FnOnce(&mut LiveOptions), headers: &[(&str, &str)]) -> [Seen; 2] {
    let backend = RawBackend::saying("reached").await;
    let proxy = start_with(|options| live(&mut options.live));
    let at = Site::of(of_ingress(to(backend.address))).serve(&proxy).await;
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut tcp = connect(at).await;
    tcp.write_all(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n").as_bytes()).await.unwrap();
    assert_eq!(response(&mut tcp).await.status, 200);
    let first = backend.last();
    let client = h2(connect(at).await).await;
    let request = http::Request::get("http://a.example/");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let (answer, _) =
        client.send.clone().ready().await.unwrap().send_request(request.body(()).unwrap(), true).unwrap();
    crate::support::client::finish(answer).await.unwrap();
    [first, backend.last()]
}

#[track_caller]
fn check(seen: [Seen; 2], want: &[(&str, Option<&str>)]) {
    for (seen, version) in seen.iter().zip(["HTTP/1", "HTTP/2"]) {
        for (name, want) in want {
            // The client's own address is whatever loopback address the system gave it.
            let got = seen.header(name).map(|got| if got.starts_with("127.") { "own" } else { got });
            assert_eq!(got, *want, "{name}, {version}: {}", seen.head);
        }
    }
}

const SENT: [(&str, &str); 5] = [
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-for", "192.0.2.2"),
    ("x-forwarded-host", "other.example"),
    ("x-forwarded-proto", "https"),
    ("x-original-forwarded-for", "forged"),
];

#[tokio::test]
async fn backends_of_ingresses_get_what_the_client_sent_under_other_names() {
    let seen = received(|_| {}, &SENT).await;
    let want = [
        ("X-Forwarded-For", Some("own")),
        ("X-Real-IP", Some("own")),
        ("X-Forwarded-Host", Some("a.example")),
        ("X-Forwarded-Proto", Some("http")),
        ("X-Scheme", Some("http")),
        ("X-Original-Forwarded-For", Some("192.0.2.1, 192.0.2.2")),
        ("X-Original-Forwarded-Host", Some("other.example")),
    ];
    check(seen, &want);
    let seen = received(|_| {}, &[("x-original-forwarded-for", "forged")]).await;
    check(seen, &[("X-Original-Forwarded-For", None), ("X-Original-Forwarded-Host", None)]);
}

#[tokio::test]
async fn a_trusted_proxy_may_be_believed_as_to_the_address_alone() {
    let seen = received(|live| live.trusted_for_address = loopback_network(), &SENT).await;
    let want = [
        ("X-Forwarded-For", Some("192.0.2.2")),
        ("X-Real-IP", Some("192.0.2.2")),
        ("X-Forwarded-Host", Some("a.example")),
        ("X-Forwarded-Proto", Some("http")),
        ("X-Forwarded-Scheme", Some("http")),
        ("X-Original-Forwarded-For", Some("192.0.2.1, 192.0.2.2")),
    ];
    check(seen, &want);
}

#[tokio::test]
async fn backends_may_get_the_address_of_the_client_alone() {
    let live = |live: &mut LiveOptions| {
        live.trusted = loopback_network();
        live.forwarded_for = ForwardedFor::Client;
    };
    let want = [
        ("X-Forwarded-For", Some("192.0.2.2")),
        ("X-Forwarded-Host", Some("other.example")),
        ("X-Forwarded-Proto", Some("https")),
        ("X-Scheme", Some("https")),
        ("X-Forwarded-Scheme", Some("https")),
        ("X-Original-Forwarded-For", Some("192.0.2.1, 192.0.2.2")),
    ];
    check(received(live, &SENT).await, &want);
}

#[tokio::test]
async fn another_header_may_have_the_address() {
    let live = |live: &mut LiveOptions| {
        live.trusted_for_address = loopback_network();
        live.client_header = Some(HeaderName::from_static("cf-connecting-ip"));
    };
    let sent = [("x-forwarded-for", "192.0.2.1"), ("cf-connecting-ip", "192.0.2.9")];
    check(received(live, &sent).await, &[("X-Real-IP", Some("192.0.2.9"))]);
    let untrusted =
        |live: &mut LiveOptions| live.client_header = Some(HeaderName::from_static("cf-connecting-ip"));
    check(received(untrusted, &sent).await, &[("X-Real-IP", Some("own"))]);
}

#[tokio::test]
async fn a_load_balancer_that_ends_tls_says_so_by_the_port() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start_with(|options| options.live.proxy_protocol = loopback_network());
    let at = Site::of(of_ingress(to(backend.address))).serve(&proxy).await;
    for (port, scheme) in [(443, "https"), (80, "http")] {
        let mut tcp = connect(at).await;
        let head = format!(
            "PROXY TCP4 192.0.2.7 198.51.100.1 50000 {port}\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(response(&mut tcp).await.status, 200);
        let seen = backend.last();
        for name in ["X-Forwarded-Proto", "X-Scheme"] {
            assert_eq!(seen.header(name), Some(scheme), "{port}");
        }
        assert_eq!(seen.header("X-Forwarded-Port") == Some("443"), port == 443);
        assert_eq!(seen.header("X-Real-IP"), Some("192.0.2.7"));
    }
}

#[tokio::test]
async fn requests_get_an_identifier_unless_the_settings_say_otherwise() {
    for (is_off, sent, want) in
        [(false, None, None), (true, None, Some(None)), (true, Some("own"), Some(Some("own")))]
    {
        let headers: Vec<_> = sent.map(|id| ("x-request-id", id)).into_iter().collect();
        for seen in received(|live| live.clients.without_request_ids = is_off, &headers).await {
            let got = seen.header("x-request-id");
            match want {
                None => assert_eq!(got.map(str::len), Some(32)),
                Some(want) => assert_eq!(got, want),
            }
        }
    }
}

#[tokio::test]
async fn a_connection_ends_after_as_many_requests_as_it_may_have() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start_with(|options| options.live.clients.max_requests = NonZeroU32::new(2));
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    for is_last in [false, true] {
        let answer = exchange(&mut tcp, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!((answer.status, answer.closes()), (200, is_last));
    }
    assert!(is_closed(&mut tcp).await);
}

#[tokio::test]
async fn an_http2_connection_ends_after_as_many_requests_as_it_may_have() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start_with(|options| options.live.clients.max_requests = NonZeroU32::new(2));
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    let mut http2 = h2(connect(at).await).await;
    for _ in 0..2 {
        assert_eq!(http2.get("http://a.example/").await.unwrap().0, 200);
    }
    until("the connection ends", || proxy.proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_body_that_falls_silent_has_a_limit_of_its_own() {
    for is_spooled in [false, true] {
        let backend = RawBackend::saying("reached").await;
        let proxy = start_with(|options| {
            options.live.clients.body_timeout = Some(Duration::from_millis(300));
        });
        let spool = is_spooled.then(|| Step::Spool(Spool::default()));
        let rule = Rule { steps: Steps::new(spool), ..to(backend.address) };
        let at = Site::of(rule).serve(&proxy).await;
        let mut tcp = connect(at).await;
        let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhalf";
        tcp.write_all(head.as_bytes()).await.unwrap();
        let status = within(response(&mut tcp)).await.status;
        assert!(matches!(status, 408 | 504), "spooled: {is_spooled}: {status}");
    }
}

#[tokio::test]
async fn a_backend_of_an_ingress_receives_headers_with_plain_names_only() {
    let headers = [("x-plain", "1"), ("x_under", "1"), ("x.dot", "1"), ("x_forwarded_for", "192.0.2.9")];
    for (names, under, dot) in [
        (HeaderNames::Plain, None, None),
        (HeaderNames::WithUnderscores, Some("1"), None),
        (HeaderNames::Any, Some("1"), Some("1")),
    ] {
        let seen = received(|live| live.clients.header_names = names, &headers).await;
        // A name that backends may take for X-Forwarded-For is never forwarded.
        let want = [("x-plain", Some("1")), ("x_under", under), ("x.dot", dot), ("x_forwarded_for", None)];
        check(seen, &want);
    }
}

#[tokio::test]
async fn limits_of_clients_hold_for_connections_that_begin_then() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let at = Site::of(to(backend.address)).serve(&proxy).await;
    let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Large: {}\r\n\r\n", "x".repeat(2000));
    let status = async || {
        let mut tcp = connect(at).await;
        tcp.write_all(head.as_bytes()).await.unwrap();
        response(&mut tcp).await.status
    };
    assert_eq!(status().await, 200);
    let clients = ClientOptions {
        max_header_bytes: Some(1 << 10),
        keepalive_timeout: Some(std::time::Duration::from_millis(100)),
        without_http2: true,
        ..ClientOptions::default()
    };
    proxy.proxy.set_live_options(LiveOptions { clients, ..Options::default().live });
    assert_eq!(status().await, 431);
    assert!(is_closed(&mut connect(at).await).await, "without a request for too long");
    let mut preface = connect(at).await;
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut preface).await, "HTTP/2");
}

#[tokio::test]
async fn a_request_with_a_blocked_value_is_refused() {
    let backend = RawBackend::saying("reached").await;
    let proxy = start();
    let values = MapKeys::parse(["~*bad", "Worse"].into_iter()).unwrap();
    let values = BlockedValues::new(header::USER_AGENT, values);
    let rule = of_ingress(to(backend.address));
    let rule = Rule { steps: Steps::new([Step::Blocked(Arc::new(values))]), ..rule };
    let at = Site::of(rule).serve(&proxy).await;
    for (agent, want) in [("A Bad Bot", 403), ("worse", 403), ("worse one", 200), ("good", 200)] {
        let mut tcp = connect(at).await;
        let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {agent}\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(response(&mut tcp).await.status, want, "{agent}");
    }
    assert_eq!(backend.seen().len(), 2);
}
