//! The end: what is in flight finishes, idle connections go, the rest is cut at the ceiling.

use std::{sync::Arc, time::Duration};

use crate::support::{
    Running,
    backend::TestBackend,
    client::{connect, exchange, finish, get, h2, is_closed},
    pki::{Key, any_client, certificate, client, on, tls},
    start, table, until, within,
};
use portcullis_routing::{Protocol, Table};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const LONG: Duration = Duration::from_secs(60);

async fn http() -> (Arc<Running>, u16, TestBackend) {
    let (running, backend) = (start(), TestBackend::start("a").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    (Arc::new(running), port, backend)
}

fn drain(running: &Arc<Running>, ceiling: Duration) -> tokio::task::JoinHandle<()> {
    let running = Arc::clone(running);
    tokio::spawn(async move { running.proxy.drain(ceiling).await })
}

#[tokio::test]
async fn idle_connections_go_at_once() {
    let (running, port, _backend) = http().await;
    let mut http1 = connect(running.at(port)).await;
    assert_eq!(get(&mut http1, "a.example", "/").await.status, 200);
    let mut http2 = h2(connect(running.at(port)).await).await;
    assert_eq!(http2.get("http://a.example/").await.unwrap().0, 200);
    within(drain(&running, LONG)).await.unwrap();
    assert!(is_closed(&mut http1).await);
    within(http2.driver).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.at(port)).await.is_err());
    assert!(running.proxy.bindings().borrow().is_empty());
}

#[tokio::test]
async fn idle_connections_over_tls_go_at_once() {
    let (running, backend) = (Arc::new(start()), TestBackend::start("a").await);
    let port = running.port();
    let shown = certificate(Key::Ecdsa, &["a.example.com"]);
    let table = table::to(Table::default(), port, Protocol::Tls, backend.address);
    running.serve(table, on(port, &[("", &[&shown])])).await;
    let mut http1 = tls(&any_client(), running.at(port), "a.example.com").await.unwrap();
    assert_eq!(get(&mut http1, "a.example.com", "/").await.status, 200);
    let config = Arc::new(client(rustls::ALL_VERSIONS, &["h2"]));
    let mut http2 = h2(tls(&config, running.at(port), "a.example.com").await.unwrap()).await;
    assert_eq!(http2.get("https://a.example.com/").await.unwrap().0, 200);
    within(drain(&running, LONG)).await.unwrap();
    assert!(is_closed(&mut http1).await);
    within(http2.driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_in_flight_finishes() {
    let (running, port, backend) = http().await;
    let mut http1 = connect(running.at(port)).await;
    let mut http2 = h2(connect(running.at(port)).await).await;
    let first = tokio::spawn(async move { (get(&mut http1, "a.example", "/hold").await, http1) });
    let second = http2.start("http://a.example/hold").await.unwrap();
    for _ in 0..2 {
        backend.request_is_held().await;
    }
    assert_eq!(running.proxy.in_flight(), 2);
    let draining = drain(&running, LONG);
    running.bindings(|bindings| bindings.is_empty()).await;
    assert!(TcpStream::connect(running.at(port)).await.is_err());
    assert!(!draining.is_finished());
    backend.release();
    backend.release();
    let (answer, mut http1) = first.await.unwrap();
    assert!(answer.body == "a /hold 0" && answer.closes(), "{answer:?}");
    assert!(is_closed(&mut http1).await);
    drop(http1);
    assert_eq!(finish(second).await.unwrap(), (200, "a /hold 0".to_owned()));
    within(http2.driver).await.unwrap().unwrap();
    within(draining).await.unwrap();
}

#[tokio::test]
async fn what_takes_too_long_is_cut_at_the_ceiling() {
    let (running, port, backend) = http().await;
    let mut http1 = connect(running.at(port)).await;
    tokio::io::AsyncWriteExt::write_all(&mut http1, b"GET /hold HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    let mut http2 = h2(connect(running.at(port)).await).await;
    let stream = http2.start("http://a.example/hold").await.unwrap();
    for _ in 0..2 {
        backend.request_is_held().await;
    }
    within(drain(&running, Duration::from_millis(100))).await.unwrap();
    assert!(is_closed(&mut http1).await);
    assert!(finish(stream).await.is_err());
}

#[tokio::test]
async fn nothing_is_bound_after_a_drain() {
    let (running, port, backend) = http().await;
    within(drain(&running, LONG)).await.unwrap();
    let table = table::to(Table::default(), port, Protocol::Http, backend.address);
    running.proxy.publish(Arc::new(table), Arc::default());
    assert!(TcpStream::connect(running.at(port)).await.is_err());
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_threads_and_sockets() {
    let (running, port, backend) = http().await;
    let mut client = connect(running.at(port)).await;
    assert_eq!(get(&mut client, "a.example", "/").await.status, 200);
    let address = running.at(port);
    let running = Arc::into_inner(running).unwrap();
    within(tokio::task::spawn_blocking(move || drop(running))).await.unwrap();
    assert!(is_closed(&mut client).await);
    assert!(TcpStream::connect(address).await.is_err());
    drop(backend);
}

#[tokio::test]
async fn a_client_that_has_just_connected_is_still_answered() {
    let (running, port, _backend) = http().await;
    // Its request is on its way while the drain begins.
    let mut client = connect(running.at(port)).await;
    until("the connection is in", || running.proxy.connections() == 1).await;
    let draining = drain(&running, LONG);
    running.bindings(|bindings| bindings.is_empty()).await;
    let answer = get(&mut client, "a.example", "/").await;
    assert!(answer.status == 200 && answer.closes(), "{answer:?}");
    drop(client);
    within(draining).await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_asks_does_not_hold_up_the_end() {
    let (running, port, _backend) = http().await;
    let mut silent = connect(running.at(port)).await;
    until("the connection is in", || running.proxy.connections() == 1).await;
    within(drain(&running, LONG)).await.unwrap();
    assert!(is_closed(&mut silent).await);
}

#[tokio::test]
async fn a_tunnel_outlives_edits_and_ends_at_the_ceiling() {
    let (running, port, backend) = http().await;
    let mut tunnel = connect(running.at(port)).await;
    let upgrade = "GET /echo HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let answer = exchange(&mut tunnel, upgrade).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    let echoes = async |tunnel: &mut TcpStream, text: &[u8]| {
        tunnel.write_all(text).await.unwrap();
        let mut back = vec![0; text.len()];
        within(tunnel.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, text);
    };
    echoes(&mut tunnel, b"before").await;
    let other = table::to(Table::default(), port, Protocol::Http, TestBackend::start("b").await.address);
    running.serve_http(other).await;
    echoes(&mut tunnel, b"after an edit").await;
    assert_eq!(running.proxy.in_flight(), 1);
    let draining = drain(&running, Duration::from_secs(2));
    running.bindings(|bindings| bindings.is_empty()).await;
    echoes(&mut tunnel, b"while draining").await;
    within(draining).await.unwrap();
    assert!(is_closed(&mut tunnel).await);
    drop(backend);
}
