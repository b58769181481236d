//! Rude clients: slow, silent, endless.

use std::time::Duration;

use crate::support::{
    Running,
    backend::TestBackend,
    client::{connect, exchange, finish, get, h2, is_closed, response},
    start_with, table, until, within,
};
use portcullis_proxy::Options;
use portcullis_routing::{Protocol, Table, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough for a request on a busy machine.
const SHORT: Duration = Duration::from_millis(1500);
const LONG: Duration = Duration::from_secs(600);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

async fn http(change: impl FnOnce(&mut Options)) -> (Running, u16, TestBackend) {
    let (running, backend) = (start_with(change), TestBackend::start("a").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    (running, port, backend)
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_answered_408() {
    let (running, port, _backend) = http(|o| o.header_timeout = SHORT).await;
    for before in ["", REQUEST] {
        let mut client = connect(running.at(port)).await;
        if !before.is_empty() {
            assert_eq!(exchange(&mut client, before).await.status, 200);
        }
        client.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
        let (mut read, mut write) = client.split();
        // Each byte is in time; the head as a whole is not.
        let drip = async {
            while write.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let answer = tokio::select! { answer = response(&mut read) => answer, () = drip => unreachable!() };
        assert!(answer.status == 408 && answer.closes(), "{answer:?}");
        assert!(is_closed(&mut client).await);
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered_431() {
    let (running, port, _backend) = http(|o| o.max_header_bytes = 8 << 10).await;
    let filler = "a".repeat(7 << 10);
    let mut client = connect(running.at(port)).await;
    let fits = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Long: {filler}\r\n\r\n");
    assert_eq!(exchange(&mut client, &fits).await.status, 200);
    // Never ends: the answer comes in the middle.
    let endless = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Long: {filler}{filler}");
    let answer = exchange(&mut client, &endless).await;
    assert!(answer.status == 431 && answer.closes(), "{answer:?}");
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_body_is_no_part_of_the_head() {
    let (running, port, _backend) = http(|o| o.max_header_bytes = 4 << 10).await;
    let mut client = connect(running.at(port)).await;
    let body = "b\r\n\r\n".repeat(100_000);
    for _ in 0..2 {
        let head = format!("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(exchange(&mut client, &(head + &body)).await.body, "a /x 500000");
    }
}

#[tokio::test]
async fn a_connection_without_a_request_ends() {
    let (running, port, _backend) = http(|o| o.keepalive_timeout = SHORT).await;
    let mut fresh = connect(running.at(port)).await;
    let mut used = connect(running.at(port)).await;
    assert_eq!(get(&mut used, "a.example", "/").await.status, 200);
    let mut http2 = h2(connect(running.at(port)).await).await;
    assert_eq!(http2.get("http://a.example/").await.unwrap().0, 200);
    assert!(is_closed(&mut fresh).await);
    assert!(is_closed(&mut used).await);
    within(http2.driver).await.unwrap().ok();
    until("all connections are gone", || running.proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_preface_that_stops_half_way_ends_the_connection() {
    let (running, port, _backend) = http(|o| o.header_timeout = SHORT).await;
    let mut client = connect(running.at(port)).await;
    client.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_long_answer_outlives_the_limits_of_heads_and_idleness() {
    let (running, port, backend) = http(|o| {
        o.header_timeout = SHORT;
        o.keepalive_timeout = SHORT;
    })
    .await;
    let mut client = connect(running.at(port)).await;
    client.write_all(b"GET /hold HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    backend.request_is_held().await;
    let mut http2 = h2(connect(running.at(port)).await).await;
    let held = http2.start("http://a.example/hold").await.unwrap();
    backend.request_is_held().await;
    // Longer than every limit above: the sleep is the subject here, not a way to wait for something.
    tokio::time::sleep(SHORT * 2).await;
    backend.release();
    backend.release();
    assert_eq!(response(&mut client).await.body, "a /hold 0");
    assert_eq!(finish(held).await.unwrap(), (200, "a /hold 0".to_owned()));
}

#[tokio::test]
async fn a_request_that_runs_out_of_time_ends_and_the_rest_goes_on() {
    let running = start_with(|_| {});
    let backend = TestBackend::start("a").await;
    let port = running.port();
    let timeouts = Timeouts { request: Some(SHORT), ..Timeouts::default() };
    let rule = table::rule(backend.address, timeouts);
    running.serve_http(table::with_rule(Table::default(), port, Protocol::Http, rule)).await;
    let mut client = connect(running.at(port)).await;
    assert_eq!(get(&mut client, "a.example", "/hold").await.status, 504);
    let mut http2 = h2(connect(running.at(port)).await).await;
    assert_eq!(http2.get("http://a.example/hold").await.unwrap().0, 504);
    assert_eq!(http2.get("http://a.example/").await.unwrap().0, 200);
}

#[tokio::test]
async fn an_answer_reaches_a_client_that_is_still_sending() {
    let (running, port, _backend) = http(|o| o.max_header_bytes = 4 << 10).await;
    // More than the proxy will ever read: were the socket just closed, the reset would overtake the answer.
    let endless = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Long: {}", "a".repeat(300 << 10));
    for _ in 0..20 {
        let mut client = connect(running.at(port)).await;
        within(client.write_all(endless.as_bytes())).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        within(client.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{:?}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn clients_that_vanish_leave_nothing_behind() {
    let (running, port, _backend) = http(|o| o.header_timeout = LONG).await;
    let upload = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nab";
    for rude in
        ["", "G", "GET / HTTP/1.1\r\n", "\r\n", "PRI * HTTP", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", upload]
    {
        let mut client = connect(running.at(port)).await;
        client.write_all(rude.as_bytes()).await.unwrap();
        drop(client);
        let proxy = &running.proxy;
        until(&format!("gone after {rude:?}"), || proxy.connections() == 0 && proxy.in_flight() == 0).await;
    }
}
