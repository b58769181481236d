//! Bodies that are larger than the route permits.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use portcullis_routing::{Retry, Rule, Step, Steps, step::BodySize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    client::{self, connect, exchange},
    raw::{H2Backend, RawBackend, ok, status},
    site::{Site, backend, h2, rule, share, to},
    start, within,
};

/// A rule whose requests have bodies of ten bytes at most.
fn ten(rule: Rule) -> Rule {
    Rule { steps: Steps::new([Step::BodySize(BodySize(10))]), ..rule }
}

/// A request with a body of that length.
fn put(length: usize, chunked: bool) -> String {
    let body = "x".repeat(length);
    match chunked {
        false => format!("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n{body}"),
        true => {
            let (first, rest) = body.split_at(4);
            format!(
                "PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                 4;a=b\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
                rest.len()
            )
        }
    }
}

/// Sends a body of that length in frames, without saying how long it will be.
async fn put_frames(at: SocketAddr, length: usize) -> Result<(u16, String), h2::Error> {
    let client = client::h2(connect(at).await).await;
    let request = Request::put("http://a.example/").body(()).unwrap();
    let mut ready = within(client.send.clone().ready()).await.unwrap();
    let (response, mut body) = ready.send_request(request, false).unwrap();
    let _ = body.send_data(Bytes::from("x".repeat(4)), false);
    let _ = body.send_data(Bytes::from("x".repeat(length - 4)), true);
    client::finish(response).await
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413_however_it_comes() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(ten(to(up.address))).serve(&proxy).await;
    for chunked in [false, true] {
        assert_eq!(exchange(&mut connect(at).await, &put(10, chunked)).await.status, 200, "{chunked}");
        assert_eq!(exchange(&mut connect(at).await, &put(11, chunked)).await.status, 413, "{chunked}");
    }
    assert_eq!(put_frames(at, 10).await.unwrap().0, 200);
    assert_eq!(put_frames(at, 11).await.unwrap().0, 413);
    assert!(up.seen().iter().all(|seen| seen.body.len() == 10), "no other body is complete");
    assert_eq!(up.seen().len(), 3);
}

#[tokio::test]
async fn the_exchange_with_the_backend_is_broken_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = start();
    let at = Site::of(ten(to(listener.local_addr().unwrap()))).serve(&proxy).await;
    let mut client = connect(at).await;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut up, _) = within(listener.accept()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello\r\n") {
        assert_ne!(within(up.read_buf(&mut seen)).await.unwrap(), 0);
    }
    client.write_all(b"6\r\nworld!\r\n").await.unwrap();
    let answer = client::response(&mut client).await;
    assert_eq!(answer.status, 413);
    assert!(answer.closes());
    assert!(client::is_closed(&mut up).await, "nothing more is sent");
}

#[tokio::test]
async fn an_answer_that_has_begun_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let _ = tcp.read_u8().await;
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin").await;
            tokio::spawn(async move { while tcp.read(&mut [0; 512]).await.is_ok_and(|n| n > 0) {} });
        }
    });
    let proxy = start();
    let at = Site::of(ten(to(address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"begin") {
        assert_ne!(within(client.read_buf(&mut got)).await.unwrap(), 0);
    }
    client.write_all(b"6\r\nworld!\r\n0\r\n\r\n").await.unwrap();
    assert!(client::is_closed(&mut client).await);
}

#[tokio::test]
async fn a_body_for_an_h2_backend_is_held_to_it_too() {
    let up = H2Backend::start().await;
    let proxy = start();
    let at = Site::of(ten(rule([share(1, Ok(h2(backend(&[up.address]))))]))).serve(&proxy).await;
    assert_eq!(put_frames(at, 10).await.unwrap(), (200, "x".repeat(10)));
    // Its answer may have begun, and then it is cut.
    assert!(put_frames(at, 11).await.map_or(true, |(status, _)| status == 413));
    assert_eq!(exchange(&mut connect(at).await, &put(11, false)).await.status, 413);
    assert!(up.seen().len() <= 2, "what is announced never gets to the backend");
}

#[tokio::test]
async fn a_body_that_is_sent_again_counts_once() {
    let up = RawBackend::start(|n, _| if n % 3 < 2 { status(503) } else { ok("up") }).await;
    let proxy = start();
    let retry = Retry { codes: [503].into(), attempts: 2, ..Retry::default() };
    let at = Site::of(Rule { retry: Some(retry.into()), ..ten(to(up.address)) }).serve(&proxy).await;
    for chunked in [false, true] {
        assert_eq!(exchange(&mut connect(at).await, &put(10, chunked)).await.status, 200, "{chunked}");
    }
    assert_eq!(put_frames(at, 10).await.unwrap().0, 200);
}
