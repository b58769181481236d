//! More connections than there is room for: idle ones go, and where none is idle the new one does.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::support::{
    Running,
    backend::TestBackend,
    client::{connect, finish, get, h2, is_closed, response},
    pki, start_with, table, until, within,
};
use portcullis_proxy::{ConnectionLimits, Limit, LiveOptions, Options, OverLimit};
use portcullis_routing::{PortKey, Protocol, Table};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

const HOLD: &[u8] = b"GET /hold HTTP/1.1\r\nHost: a.example\r\n\r\n";
const MANY: ConnectionLimits =
    ConnectionLimits { process: 1000, port: 1000, client: None, descriptors: 1000 };

async fn http(limits: ConnectionLimits) -> (Running, u16, TestBackend) {
    http_by(2, limits).await
}

/// With one worker, connections are accepted and become idle in the order in which the test causes it.
async fn http_by(workers: usize, limits: ConnectionLimits) -> (Running, u16, TestBackend) {
    let change = |options: &mut Options| {
        options.workers = workers;
        options.live.connections = limits;
        options.keepalive_timeout = Duration::from_secs(600);
    };
    let (running, backend) = (start_with(change), TestBackend::start("a").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    (running, port, backend)
}

fn over_limit(running: &Running, limit: Limit) -> (u64, u64) {
    let OverLimit { shed, refused } = running.proxy.over_limit()[&limit];
    (shed, refused)
}

async fn from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(source), 0).into()).unwrap();
    within(socket.connect(to)).await.unwrap()
}

/// A connection is idle shortly after its client has the answer.
async fn is_idle(running: &Running, busy: usize) {
    until("it is idle", || running.proxy.in_flight() == busy).await;
}

async fn is_answered(tcp: &mut TcpStream) {
    assert_eq!(get(tcp, "a.example", "/").await.status, 200);
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_makes_room() {
    let (running, port, backend) = http_by(1, ConnectionLimits { process: 3, ..MANY }).await;
    let at = running.at(port);
    let mut busy = connect(at).await;
    busy.write_all(HOLD).await.unwrap();
    backend.request_is_held().await;
    let mut oldest = connect(at).await;
    is_answered(&mut oldest).await;
    is_idle(&running, 1).await;
    let mut http2 = h2(connect(at).await).await;
    assert_eq!(http2.get("http://a.example/").await.unwrap().0, 200);
    is_idle(&running, 1).await;
    // What has sent nothing yet is idle, too, but not for as long.
    let mut silent = connect(at).await;
    assert!(is_closed(&mut oldest).await);
    until("it is in", || running.proxy.connections() == 3).await;
    let mut new = connect(at).await;
    is_answered(&mut new).await;
    within(http2.driver).await.unwrap().ok();
    let mut newer = connect(at).await;
    is_answered(&mut newer).await;
    assert!(is_closed(&mut silent).await);
    assert_eq!(over_limit(&running, Limit::Process), (3, 0));
    backend.release();
    assert_eq!(response(&mut busy).await.status, 200);
}

#[tokio::test]
async fn where_none_is_idle_the_new_one_is_closed() {
    for limits in [
        ConnectionLimits { process: 2, ..MANY },
        ConnectionLimits { port: 2, ..MANY },
        // Two sockets listen.
        ConnectionLimits { descriptors: 4, ..MANY },
    ] {
        let (running, port, backend) = http(limits).await;
        let at = running.at(port);
        let mut http1 = connect(at).await;
        http1.write_all(HOLD).await.unwrap();
        let mut http2 = h2(connect(at).await).await;
        let stream = http2.start("http://a.example/hold").await.unwrap();
        backend.request_is_held().await;
        backend.request_is_held().await;
        let mut refused = connect(at).await;
        assert!(is_closed(&mut refused).await, "{limits:?}");
        let limit = if limits.port == 2 { Limit::Port } else { Limit::Process };
        assert_eq!(over_limit(&running, limit), (0, 1), "{limits:?}");
        backend.release();
        backend.release();
        assert_eq!(response(&mut http1).await.status, 200);
        assert_eq!(finish(stream).await.unwrap().0, 200);
        is_idle(&running, 0).await;
        let mut new = connect(at).await;
        is_answered(&mut new).await;
    }
}

#[tokio::test]
async fn a_port_takes_no_room_from_another() {
    let (running, crowded, backend) = http(ConnectionLimits { port: 1, ..MANY }).await;
    let free = running.port();
    let table = table::to(Table::default(), crowded, Protocol::Http, backend.address);
    running.serve_http(table::to(table, free, Protocol::Http, backend.address)).await;
    let mut first = connect(running.at(crowded)).await;
    is_answered(&mut first).await;
    is_idle(&running, 0).await;
    let mut other = connect(running.at(free)).await;
    is_answered(&mut other).await;
    let mut second = connect(running.at(crowded)).await;
    is_answered(&mut second).await;
    assert!(is_closed(&mut first).await);
    is_answered(&mut other).await;
    assert_eq!(
        running.proxy.connections_by_port(),
        [(PortKey::tcp(crowded), 1), (PortKey::tcp(free), 1)].into()
    );
}

#[tokio::test]
async fn a_client_takes_no_room_from_another() {
    let (running, port, backend) = http(ConnectionLimits { client: Some(1), ..MANY }).await;
    let at = running.at(port);
    let [one, other] = [[127, 0, 0, 1], [127, 0, 0, 2]];
    let mut others = from(other, at).await;
    is_answered(&mut others).await;
    let mut first = from(one, at).await;
    is_answered(&mut first).await;
    is_idle(&running, 0).await;
    let mut second = from(one, at).await;
    second.write_all(HOLD).await.unwrap();
    backend.request_is_held().await;
    assert!(is_closed(&mut first).await);
    let mut refused = from(one, at).await;
    assert!(is_closed(&mut refused).await);
    is_answered(&mut others).await;
    assert_eq!(over_limit(&running, Limit::Client), (1, 1));
    backend.release();
    assert_eq!(response(&mut second).await.status, 200);
}

#[tokio::test]
async fn a_trusted_proxy_may_have_more_than_a_client() {
    let limits = ConnectionLimits { client: Some(1), ..MANY };
    let running = start_with(|options| {
        options.live.connections = limits;
        options.live.trusted = vec![([127, 0, 0, 2].into(), 32)];
    });
    let (backend, port) = (TestBackend::start("a").await, running.port());
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut tcp = from([127, 0, 0, 2], running.at(port)).await;
        is_answered(&mut tcp).await;
        connections.push(tcp);
    }
    for tcp in &mut connections {
        is_answered(tcp).await;
    }
}

#[tokio::test]
async fn idle_connections_over_tls_and_handshakes_make_room() {
    let running = start_with(|options| options.live.connections = ConnectionLimits { process: 2, ..MANY });
    let (backend, port) = (TestBackend::start("a").await, running.port());
    let shown = pki::certificate(pki::Key::Ecdsa, &["a.example"]);
    let table = table::to(Table::default(), port, Protocol::Tls, backend.address);
    running.serve(table, pki::on(port, &[("", &[&shown])])).await;
    let config = Arc::new(pki::client(rustls::ALL_VERSIONS, &["http/1.1"]));
    let tls = async || pki::tls(&config, running.at(port), "a.example").await.unwrap();
    let mut first = tls().await;
    assert_eq!(get(&mut first, "a.example", "/").await.status, 200);
    is_idle(&running, 0).await;
    let mut handshake = connect(running.at(port)).await;
    until("it is in", || running.proxy.connections() == 2).await;
    let mut second = tls().await;
    assert!(is_closed(&mut first).await);
    assert_eq!(get(&mut second, "a.example", "/").await.status, 200);
    let mut third = tls().await;
    assert_eq!(get(&mut third, "a.example", "/").await.status, 200);
    assert!(is_closed(&mut handshake).await);
}

#[tokio::test]
async fn requests_beyond_what_descriptors_allow_are_answered_503() {
    let running = start_with(|options| options.max_requests = 1);
    let (backend, port) = (TestBackend::start("a").await, running.port());
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    let mut held = connect(running.at(port)).await;
    held.write_all(HOLD).await.unwrap();
    backend.request_is_held().await;
    let mut other = connect(running.at(port)).await;
    assert_eq!(get(&mut other, "a.example", "/").await.status, 503);
    backend.release();
    assert_eq!(response(&mut held).await.status, 200);
    is_idle(&running, 0).await;
    let mut other = connect(running.at(port)).await;
    is_answered(&mut other).await;
}

#[tokio::test]
async fn a_limit_that_changes_holds_for_new_connections() {
    let (running, port, _backend) = http_by(1, MANY).await;
    let at = running.at(port);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut tcp = connect(at).await;
        is_answered(&mut tcp).await;
        open.push(tcp);
    }
    let set = |connections| {
        let live = LiveOptions { connections, ..Options::default().live };
        running.proxy.set_live_options(live);
    };
    set(ConnectionLimits { process: 2, ..MANY });
    for tcp in &mut open {
        is_answered(tcp).await;
    }
    is_idle(&running, 0).await;
    // The two that were idle for longest make room for one.
    let mut new = connect(at).await;
    is_answered(&mut new).await;
    until("there are as many as may be", || running.proxy.connections() == 2).await;
    is_answered(&mut open[2]).await;
    // Those that were open before are nobody's.
    set(ConnectionLimits { client: Some(1), ..MANY });
    let mut counted = connect(at).await;
    is_answered(&mut counted).await;
    is_idle(&running, 0).await;
    is_answered(&mut connect(at).await).await;
    assert!(is_closed(&mut counted).await);
    assert_eq!(over_limit(&running, Limit::Client), (1, 0));
    is_answered(&mut open[2]).await;
}
