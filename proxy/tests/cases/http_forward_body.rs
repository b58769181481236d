//! Services that authorize requests and are sent their bodies (`forwardBody` of an ExternalAuth filter).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use portcullis_routing::{
    Rule, Step, Steps, Timeouts,
    step::{AuthProtocol, Check, ExternalAuth, HttpAuth},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http_check::{field, grpc_service, service};
use crate::support::{
    client::{self, Raw, connect, exchange},
    raw::{H2Backend, RawBackend, status},
    site::{Site, backend, h2, rule, share, to},
    start, start_with, until, within,
};

const MOST: u32 = 100_000;

/// A rule whose requests the service authorizes by HTTP, with their bodies.
fn guarded(service: std::net::SocketAddr, rule: Rule) -> Rule {
    let protocol = AuthProtocol::Http(HttpAuth::default());
    guarded_by(ExternalAuth { backend: Ok(Arc::new(backend(&[service]))), protocol, body: MOST }, rule)
}

fn guarded_by(auth: ExternalAuth, rule: Rule) -> Rule {
    Rule { steps: Steps::new([Step::Check(Check::ExternalAuth(Arc::new(auth)))]), ..rule }
}

fn with_length(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(body: &str) -> String {
    let (first, rest) = body.split_at(body.len() / 2);
    let (n, m) = (first.len(), rest.len());
    format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
         {n:x}\r\n{first}\r\n{m:x}\r\n{rest}\r\n0\r\n\r\n"
    )
}

async fn send_h2(at: std::net::SocketAddr, body: &str) -> Result<(u16, String), ::h2::Error> {
    let client = client::h2(connect(at).await).await;
    let request = Request::post("http://a.example/").body(()).unwrap();
    let mut ready = within(client.send.clone().ready()).await.unwrap();
    let (response, mut stream) = ready.send_request(request, false)?;
    let (first, rest) = body.split_at(body.len() / 2);
    stream.send_data(Bytes::from(first.to_owned()), false)?;
    stream.send_data(Bytes::from(rest.to_owned()), true)?;
    client::finish(response).await
}

#[tokio::test]
async fn the_service_and_the_backend_get_the_whole_body() {
    let (auth, up) = (service(|_| None).await, RawBackend::saying("up").await);
    let proxy = start();
    let at = Site::of(guarded(auth.address, to(up.address))).serve(&proxy).await;
    for len in [2, 1000, 40_000, MOST as usize] {
        let body = "abcdefghij".repeat(len / 10 + 1)[..len].to_owned();
        for request in [with_length(&body), chunked(&body)] {
            let answer = exchange(&mut connect(at).await, &request).await;
            assert_eq!((answer.status, &*answer.body), (200, "up"), "{len}");
            for seen in [auth.last(), up.last()] {
                assert_eq!(seen.header("content-length"), Some(&*len.to_string()));
                assert!(seen.header("transfer-encoding").is_none());
                assert!(seen.body == body.as_bytes(), "{} of {len}", seen.body.len());
            }
        }
        // What a client sends at once fits the window.
        if len < 60_000 {
            assert_eq!(send_h2(at, &body).await.unwrap(), (200, "up".to_owned()), "{len}");
            assert!(auth.last().body == body.as_bytes() && up.last().body == body.as_bytes(), "{len}");
        }
    }
    // Without a body.
    assert_eq!(client::get(&mut connect(at).await, "a.example", "/").await.status, 200);
    assert_eq!(auth.last().header("content-length"), Some("0"));
    until("the budget to be given back", || proxy.proxy.spooled_bytes()[0].1 == 0).await;
}

#[tokio::test]
async fn a_body_that_is_larger_is_a_413_and_nobody_is_asked() {
    let (auth, up) = (service(|_| None).await, RawBackend::saying("up").await);
    let proxy = start();
    let at = Site::of(guarded(auth.address, to(up.address))).serve(&proxy).await;
    let body = "x".repeat(MOST as usize + 1);
    for request in [with_length(&body), chunked(&body)] {
        let mut client = connect(at).await;
        let (mut read, mut write) = client.split();
        let (_, answer) = tokio::join!(write.write_all(request.as_bytes()), client::response(&mut read));
        assert_eq!(answer.status, 413);
    }
    assert_eq!((auth.seen().len(), up.seen().len()), (0, 0));
    until("the budget to be given back", || proxy.proxy.spooled_bytes()[0].1 == 0).await;
}

#[tokio::test]
async fn a_denial_ends_the_request_and_the_connection_goes_on() {
    let (auth, up) = (service(|_| Some(status(403))).await, RawBackend::saying("up").await);
    let proxy = start();
    let at = Site::of(guarded(auth.address, to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    for _ in 0..2 {
        let Raw { status, .. } = exchange(&mut client, &chunked("hello")).await;
        assert_eq!(status, 403);
        assert_eq!(auth.last().body, b"hello");
    }
    assert_eq!(up.seen().len(), 0);
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_it_from_us() {
    let (auth, up) = (service(|_| None).await, RawBackend::saying("up").await);
    let proxy = start();
    let at = Site::of(guarded(auth.address, to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let head = "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut got = [0; 25];
    within(client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    assert_eq!(client::response(&mut client).await.status, 200);
    assert_eq!((up.last().header("expect"), &*up.last().body), (None, &b"hello"[..]));
}

#[tokio::test]
async fn h2_backends_get_the_body_too() {
    let (auth, up) = (service(|_| None).await, H2Backend::start().await);
    let proxy = start();
    let to = rule([share(1, Ok(h2(backend(&[up.address]))))]);
    let at = Site::of(guarded(auth.address, to)).serve(&proxy).await;
    for len in [10, 40_000] {
        let body = "abcdefghij".repeat(len / 10);
        assert_eq!(send_h2(at, &body).await.unwrap(), (200, body.clone()), "{len}");
        assert!(auth.last().body == body.as_bytes());
        // The backend echoes the body, whose answer has no length.
        for request in [with_length(&body), chunked(&body)] {
            let request = request.replacen("a.example", "a.example\r\nConnection: close", 1);
            let mut client = connect(at).await;
            within(client.write_all(request.as_bytes())).await.unwrap();
            let mut answer = Vec::new();
            within(client.read_to_end(&mut answer)).await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&body[..10]), "{answer:.100}");
            assert!(auth.last().body == body.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_service_is_sent_the_body_over_grpc() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    for (body, wanted) in [("hello", field(11, b"hello")), ("h\u{e9}llo", field(11, "h\u{e9}llo".as_bytes()))]
    {
        let service = grpc_service(vec![wanted], Vec::new()).await;
        let protocol = AuthProtocol::Grpc { request_headers: Box::default() };
        let auth = ExternalAuth { backend: Ok(Arc::new(h2(backend(&[service])))), protocol, body: MOST };
        let at = Site::of(guarded_by(auth, to(up.address))).serve(&proxy).await;
        assert_eq!(exchange(&mut connect(at).await, &chunked_bytes(body)).await.status, 200);
        assert_eq!(up.last().body, body.as_bytes());
    }
    // Bytes that are no text.
    let service = grpc_service(vec![field(12, b"\xff\xfe")], Vec::new()).await;
    let protocol = AuthProtocol::Grpc { request_headers: Box::default() };
    let auth = ExternalAuth { backend: Ok(Arc::new(h2(backend(&[service])))), protocol, body: MOST };
    let at = Site::of(guarded_by(auth, to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let request = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\n\xff\xfe";
    client.write_all(request).await.unwrap();
    assert_eq!(client::response(&mut client).await.status, 200);
    assert_eq!(up.last().body, b"\xff\xfe");
}

/// A request whose body is one chunk.
fn chunked_bytes(body: &str) -> String {
    let n = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{body}\r\n0\r\n\r\n"
    )
}

#[tokio::test]
async fn the_time_for_a_request_includes_its_body() {
    let (auth, up) = (service(|_| None).await, RawBackend::saying("up").await);
    let proxy = start();
    let timeouts = Timeouts { request: Some(Duration::from_millis(500)), ..Timeouts::default() }.of_rule();
    let at = Site::of(Rule { timeouts, ..guarded(auth.address, to(up.address)) }).serve(&proxy).await;
    let mut client = connect(at).await;
    let request = with_length("hello");
    within(client.write_all(&request.as_bytes()[..request.len() - 1])).await.unwrap();
    assert_eq!(client::response(&mut client).await.status, 504);
    let client = client::h2(connect(at).await).await;
    let (response, mut stream) = client.post("http://a.example/").await;
    stream.send_data(Bytes::from_static(b"x"), false).unwrap();
    assert_eq!(client::finish(response).await.unwrap().0, 504);
    assert_eq!((auth.seen().len(), up.seen().len()), (0, 0));
}

#[tokio::test]
async fn a_body_for_which_there_is_no_room_is_a_503() {
    let (auth, up) = (service(|_| None).await, RawBackend::saying("up").await);
    let proxy = start_with(|options| options.spool_memory = 50_000);
    let at = Site::of(guarded(auth.address, to(up.address))).serve(&proxy).await;
    assert_eq!(exchange(&mut connect(at).await, &with_length(&"x".repeat(60_000))).await.status, 503);
    assert_eq!(exchange(&mut connect(at).await, &with_length("x")).await.status, 200);
    assert_eq!((auth.seen().len(), up.seen().len()), (1, 1));
}
