//! What Ingresses change of answers: headers of every answer, places and cookies; and the `Connection` of requests.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use portcullis_routing::{
    HostMap, Rule, Step, Steps,
    step::{AddedHeaders, AnswerRewrite, BackendConnection, HeaderModifier},
};

use crate::support::{
    client::{self, connect, exchange},
    raw::{RawBackend, Reply, ok, status},
    site::{Site, backend, rule, share, to},
    start,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn with(step: Step, rule: Rule) -> Rule {
    Rule { steps: Steps::new([step]), ..rule }
}

fn custom() -> Step {
    let set = (HeaderName::from_static("x-custom"), HeaderValue::from_static("one"));
    Step::AnswerHeaders(HeaderModifier::new([set], [], []).unwrap())
}

#[tokio::test]
async fn every_answer_has_the_headers() {
    let up = RawBackend::start(|_, _| {
        Reply::Bytes("HTTP/1.1 200 OK\r\nX-Custom: backend\r\nContent-Length: 0\r\n\r\n".into())
    })
    .await;
    let proxy = start();
    for (rule, want) in [(to(up.address), 200), (rule([share(1, Ok(backend(&[])))]), 503)] {
        let at = Site::of(with(custom(), rule)).serve(&proxy).await;
        let answer = exchange(&mut connect(at).await, GET).await;
        assert_eq!(answer.status, want);
        assert_eq!(answer.head.matches("x-custom: one").count(), 1, "{}", answer.head);
        assert!(!answer.head.contains("backend"), "{}", answer.head);
        let mut client = client::h2(connect(at).await).await;
        let response = client.start("http://a.example/").await.unwrap().await.unwrap();
        let values: Vec<_> = response.headers().get_all("x-custom").iter().collect();
        assert_eq!(values, ["one"], "{want}");
    }
}

#[tokio::test]
async fn an_answer_to_a_request_that_no_rule_takes_has_the_headers_of_the_port() {
    let proxy = start();
    let port = proxy.port();
    let mut table = Site::of(rule([])).table(port);
    let served = table.ports.values_mut().next().and_then(Arc::get_mut).unwrap();
    served.listeners = HostMap::default();
    let set = [("x-custom", "one"), ("content-type", "text/html")];
    let set = set.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let fixed = HeaderModifier::new(set, [], [HeaderName::from_static("x-content-type-options")]).ok();
    let added = AddedHeaders { fixed, varying: None };
    served.unmatched = Some(Arc::new(added));
    proxy.serve_http(table).await;
    let at = proxy.at(port);
    let answer = exchange(&mut connect(at).await, "GET / HTTP/1.1\r\nHost: none.example\r\n\r\n").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.head.matches("x-custom: one").count(), 1, "{}", answer.head);
    // They replace those of the proxy.
    assert_eq!(answer.head.matches("content-type: ").count(), 1, "{}", answer.head);
    assert!(answer.head.contains("content-type: text/html"), "{}", answer.head);
    assert!(!answer.head.contains("x-content-type-options"), "{}", answer.head);
    let mut client = client::h2(connect(at).await).await;
    let response = client.start("http://none.example/").await.unwrap().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-custom"]), (404, &"one".parse().unwrap()));
}

#[tokio::test]
async fn places_and_cookies_of_backends_are_rewritten() {
    let up = RawBackend::start(|_, _| {
        let lines = "Location: http://in/x\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n";
        Reply::Bytes(format!("HTTP/1.1 302 Found\r\n{lines}Content-Length: 0\r\n\r\n").into())
    })
    .await;
    let proxy = start();
    let pair = |from: &str, to: &str| Some((from.into(), to.into()));
    let rewrite = AnswerRewrite {
        location: pair("http://in/", "/"),
        cookie_path: pair("/", "/app/"),
        ..AnswerRewrite::default()
    };
    let step = Step::AnswerRewrite(Box::new(rewrite));
    let at = Site::of(with(step, to(up.address))).serve(&proxy).await;
    let answer = exchange(&mut connect(at).await, GET).await;
    for line in ["location: http://a.example/x", "set-cookie: a=1; path=/app/\r\n", "set-cookie: b=2\r\n"] {
        assert!(answer.head.contains(line), "{line}: {}", answer.head);
    }
    assert_eq!(answer.head.matches("set-cookie").count(), 2);
    let mut client = client::h2(connect(at).await).await;
    let response = client.start("http://a.example/").await.unwrap().await.unwrap();
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/app/", "b=2"]);
    assert_eq!(response.headers()["location"], "http://a.example/x");
}

#[tokio::test]
async fn a_request_has_the_connection_that_its_rule_says() {
    let up = RawBackend::start(|_, _| ok("up")).await;
    let proxy = start();
    for (connection, want) in [(BackendConnection::Close, 2), (BackendConnection::KeepAlive, 1)] {
        let at = Site::of(with(Step::Connection(connection), to(up.address))).serve(&proxy).await;
        let mut client = connect(at).await;
        let before = up.seen().len();
        for _ in 0..2 {
            assert_eq!(exchange(&mut client, GET).await.body, "up");
        }
        let seen = up.seen().split_off(before);
        assert!(seen.iter().all(|seen| seen.header("connection") == Some(connection.as_str())), "{seen:?}");
        let mut connections: Vec<_> = seen.iter().map(|seen| seen.connection).collect();
        connections.dedup();
        // pingora asks the backend to close it.
        assert!(connections.len() == want || connection == BackendConnection::Close, "{connection:?}");
    }
}

#[tokio::test]
async fn answers_without_such_a_step_stay_as_they_are() {
    let up = RawBackend::start(|_, _| status(204)).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let answer = exchange(&mut connect(at).await, GET).await;
    assert_eq!((answer.status, answer.head.contains("x-custom")), (204, false));
    assert_eq!(up.last().header("connection"), None);
}
