//! Error pages: a default backend is asked in place of answers with an error status.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request};
use portcullis_routing::{
    Backends, Networks, Rule, Step, Steps,
    step::{AccessList, BodySize, ErrorOrigin, ErrorPages, Satisfy},
};
use tokio::io::AsyncWriteExt;

use crate::support::{
    client::{self, connect, exchange},
    raw::{RawBackend, Reply, Seen, ok, status},
    site::{Site, backend, refusing, share, to},
    start, within,
};

const GET: &str = "GET /p?q=1 HTTP/1.1\r\nHost: a.example\r\nAccept: text/html\r\nX-Code: 200\r\n\r\n";
const POST: &str = "POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc";
const CHUNKED: &str =
    "POST /p HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";

fn origin() -> Arc<ErrorOrigin> {
    let value = |text| Some(HeaderValue::from_static(text));
    Arc::new(ErrorOrigin {
        namespace: value("n"),
        ingress: value("i"),
        service: value("s"),
        port: value("80"),
    })
}

fn pages(statuses: &[u16], by: SocketAddr) -> Step {
    let rule = Arc::new(to(by));
    Step::ErrorPages(Box::new(ErrorPages {
        statuses: statuses.into(),
        of_backends: true,
        rule,
        origin: origin(),
    }))
}

fn with(steps: impl IntoIterator<Item = Step>, rule: Rule) -> Rule {
    Rule { steps: Steps::new(steps), ..rule }
}

/// A default backend: it answers with the status that it is told, and says so.
async fn default_backend() -> RawBackend {
    RawBackend::start(|_, seen| {
        let code = seen.header("x-code").unwrap_or("404");
        Reply::Bytes(format!("HTTP/1.1 {code} X\r\nContent-Length: 4\r\nX-By: errs\r\n\r\npage").into())
    })
    .await
}

async fn ask(at: SocketAddr, request: &str) -> (u16, String) {
    let answer = exchange(&mut connect(at).await, request).await;
    (answer.status, answer.body)
}

fn page(status: u16) -> (u16, String) {
    (status, "page".into())
}

#[tokio::test]
async fn an_answer_with_a_listed_status_is_replaced() {
    let (up, errs) = (RawBackend::start(|_, _| status(404)).await, default_backend().await);
    let proxy = start();
    let at = Site::of(with([pages(&[404, 503], errs.address)], to(up.address))).serve(&proxy).await;
    let answer = exchange(&mut connect(at).await, GET).await;
    assert_eq!((answer.status, &*answer.body), (404, "page"));
    assert!(answer.head.contains("x-by: errs") && !answer.closes(), "{}", answer.head);
    let asked = errs.last();
    assert_eq!(asked.line(), "GET /?q=1 HTTP/1.1");
    for (name, want) in [
        ("x-code", Some("404")),
        ("x-format", Some("text/html")),
        ("x-original-uri", Some("/p?q=1")),
        ("x-namespace", Some("n")),
        ("x-ingress-name", Some("i")),
        ("x-service-name", Some("s")),
        ("x-service-port", Some("80")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("host", Some("a.example")),
        ("accept", Some("text/html")),
        ("x-real-ip", None),
        ("x-forwarded-host", None),
        ("x-forwarded-proto", None),
    ] {
        let all = asked.all(name);
        let want: Vec<_> = want.into_iter().collect();
        assert_eq!(if name == "x-forwarded-for" { want.clone() } else { all }, want, "{name}");
    }
    assert_eq!(asked.header("x-request-id"), up.last().header("x-request-id"));
}

#[tokio::test]
async fn other_answers_and_those_of_backends_if_they_are_passed_stay_as_they_are() {
    let (up, errs) = (RawBackend::start(|_, _| status(404)).await, default_backend().await);
    let proxy = start();
    let Step::ErrorPages(mut passing) = pages(&[404], errs.address) else { unreachable!() };
    passing.of_backends = false;
    for step in [pages(&[403, 405], errs.address), Step::ErrorPages(passing)] {
        let at = Site::of(with([step], to(up.address))).serve(&proxy).await;
        assert_ne!(ask(at, GET).await, page(404));
        assert_eq!(errs.seen().len(), 0);
    }
}

#[tokio::test]
async fn the_body_is_sent_to_the_default_backend_too() {
    let (up, errs) = (RawBackend::start(|_, _| status(500)).await, default_backend().await);
    let proxy = start();
    for (n, at) in [up.address, refusing()].into_iter().enumerate() {
        let code = [500, 502][n];
        let at = Site::of(with([pages(&[500, 502], errs.address)], to(at))).serve(&proxy).await;
        for request in [POST, CHUNKED] {
            assert_eq!(ask(at, request).await, page(code), "{request}");
            let asked = errs.last();
            assert_eq!((asked.line(), &*asked.body), ("POST / HTTP/1.1", &b"abc"[..]), "{code} {request}");
        }
        let client = client::h2(connect(at).await).await;
        let request = Request::post("http://a.example/p").body(()).unwrap();
        let mut ready = within(client.send.clone().ready()).await.unwrap();
        let (response, mut body) = ready.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), true).unwrap();
        assert_eq!(client::finish(response).await.unwrap(), page(code));
        assert_eq!(&*errs.last().body, b"abc");
    }
}

/// It is not there to be sent once more.
#[tokio::test]
async fn after_a_long_body_the_answer_stays_as_it_is() {
    let (up, errs) = (RawBackend::start(|_, _| status(500)).await, default_backend().await);
    let proxy = start();
    let at = Site::of(with([pages(&[500], errs.address)], to(up.address))).serve(&proxy).await;
    let long = format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 200000\r\n\r\n{}",
        "x".repeat(200_000)
    );
    assert_eq!(ask(at, &long).await.0, 500);
    assert_eq!((errs.seen().len(), up.last().body.len()), (0, 200_000));
}

#[tokio::test]
async fn what_the_proxy_refuses_is_replaced() {
    let (up, errs) = (RawBackend::saying("up").await, default_backend().await);
    let proxy = start();
    let nobody = Step::AccessList(Arc::new(AccessList {
        deny: None,
        allow: Some(Arc::new(Networks::default())),
        satisfy: Satisfy::All,
    }));
    let at = Site::of(with([nobody, pages(&[403], errs.address)], to(up.address))).serve(&proxy).await;
    for request in [GET, POST] {
        assert_eq!(ask(at, request).await, page(403));
    }
    assert_eq!(&*errs.last().body, b"abc");
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap(), page(403));
    assert_eq!(up.seen().len(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_sent_to_nobody() {
    let (up, errs) = (RawBackend::saying("up").await, default_backend().await);
    let proxy = start();
    let steps = [Step::BodySize(BodySize(2)), pages(&[413], errs.address)];
    let at = Site::of(with(steps, to(up.address))).serve(&proxy).await;
    for (request, want) in
        [(POST, true), ("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nab", false)]
    {
        let answer = exchange(&mut connect(at).await, request).await;
        assert_eq!(answer.status == 413, want, "{request}");
        assert_eq!(answer.closes(), want, "the rest of the body is no request");
    }
    let asked = errs.last();
    assert_eq!((asked.body.len(), asked.header("content-length").unwrap_or("0")), (0, "0"));
    let mut client = connect(at).await;
    let waits = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(exchange(&mut client, waits).await.status, 413);
    assert_eq!(errs.last().header("expect"), None);
}

/// There is no page in place of a page.
#[tokio::test]
async fn a_default_backend_that_fails_is_asked_once() {
    let up = RawBackend::start(|_, _| status(503)).await;
    let errs =
        RawBackend::start(|_, _| Reply::Bytes("HTTP/1.1 503 X\r\nContent-Length: 3\r\n\r\nbad".into())).await;
    let proxy = start();
    let at = Site::of(with([pages(&[502, 503], errs.address)], to(up.address))).serve(&proxy).await;
    assert_eq!(ask(at, GET).await, (503, "bad".into()));
    assert_eq!((up.seen().len(), errs.seen().len()), (1, 1));
    let at = Site::of(with([pages(&[502, 503], refusing())], to(up.address))).serve(&proxy).await;
    assert_eq!(ask(at, GET).await.0, 502);
    assert_eq!(up.seen().len(), 2);
}

#[tokio::test]
async fn without_an_endpoint_of_the_default_backend_nothing_is_replaced() {
    let up =
        RawBackend::start(|_, _| Reply::Bytes("HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\nup".into())).await;
    let proxy = start();
    let none = crate::support::site::rule([share(1, Ok(backend(&[])))]);
    let pages =
        ErrorPages { statuses: [404].into(), of_backends: true, rule: Arc::new(none), origin: origin() };
    let at = Site::of(with([Step::ErrorPages(Box::new(pages))], to(up.address))).serve(&proxy).await;
    assert_eq!(ask(at, GET).await, (404, "up".into()));
}

#[tokio::test]
async fn a_refused_upgrade_is_replaced_without_asking_for_one() {
    let (up, errs) = (RawBackend::start(|_, _| status(403)).await, default_backend().await);
    let proxy = start();
    let at = Site::of(with([pages(&[403], errs.address)], to(up.address))).serve(&proxy).await;
    let request = "GET /p HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    assert_eq!(ask(at, request).await, page(403));
    assert_eq!((errs.last().header("upgrade"), up.last().header("upgrade")), (None, Some("chat")));
}

#[tokio::test]
async fn requests_of_one_connection_follow_a_page() {
    let up =
        RawBackend::start(|_, seen| if seen.line().contains("bad") { status(404) } else { ok("up") }).await;
    let errs = default_backend().await;
    let proxy = start();
    let at = Site::of(with([pages(&[404], errs.address)], to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    for (path, want) in [("bad", "page"), ("good", "up"), ("bad", "page"), ("good", "up")] {
        let request = format!("POST /{path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc");
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(client::response(&mut client).await.body, want, "{path}");
    }
}

#[tokio::test]
async fn a_fallback_gets_the_requests_of_a_backend_without_endpoints() {
    let errs = default_backend().await;
    let proxy = start();
    let backends = Backends::new([share(1, Ok(backend(&[])))]);
    let backends = backends.with_fallback(share(1, Ok(backend(&[errs.address]))), origin());
    let rule = Rule { backends, ..to(refusing()) };
    let at = Site::of(with([Step::Endpoints], rule)).serve(&proxy).await;
    assert_eq!(ask(at, GET).await, page(503));
    let asked: Seen = errs.last();
    assert_eq!(asked.line(), "GET /p?q=1 HTTP/1.1");
    for (name, want) in [
        ("x-code", Some("503")),
        ("x-format", Some("text/html")),
        ("x-original-uri", None),
        ("x-ingress-name", Some("i")),
        ("x-forwarded-host", Some("a.example")),
    ] {
        assert_eq!(asked.header(name), want, "{name}");
    }
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap(), page(503));
}
