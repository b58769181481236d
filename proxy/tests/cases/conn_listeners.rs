//! Ports come and go with the table, and nothing else does.

use std::sync::Arc;

use crate::support::{
    backend::TestBackend,
    client::{connect, exchange, get, h2, is_closed, response},
    start, start_with, table,
};
use portcullis_routing::{
    HostMap, HostPattern, Listener, ListenerId, Port, PortKey, Protocol, Serves, Table, TlsMode,
};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_port_is_bound_closed_and_bound_again_with_the_table() {
    let (running, backend) = (start(), TestBackend::start("a").await);
    let (first, second) = (running.port(), running.port());
    let one = table::to(Table::default(), first, Protocol::Http, backend.address);
    let both = table::to(one.clone(), second, Protocol::Http, backend.address);
    for _ in 0..3 {
        running.serve_http(both.clone()).await;
        for port in [first, second] {
            assert_eq!(get(&mut connect(running.at(port)).await, "a.example", "/x").await.body, "a /x 0");
        }
        running.serve_http(one.clone()).await;
        assert!(TcpStream::connect(running.at(second)).await.is_err());
        assert_eq!(get(&mut connect(running.at(first)).await, "a.example", "/y").await.body, "a /y 0");
    }
}

#[tokio::test]
async fn an_edit_moves_no_connection_of_another_port() {
    let (running, backend) = (start(), TestBackend::start("a").await);
    let (kept, other) = (running.port(), running.port());
    let one = table::to(Table::default(), kept, Protocol::Http, backend.address);
    running.serve_http(one.clone()).await;
    let mut held = connect(running.at(kept)).await;
    for _ in 0..3 {
        for edit in [table::to(one.clone(), other, Protocol::Http, backend.address), one.clone()] {
            running.serve_http(edit).await;
            let answer = get(&mut held, "a.example", "/").await;
            assert!(answer.body == "a / 0" && !answer.closes(), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_removed_port_lets_idle_connections_go_and_finishes_requests() {
    let (running, backend) = (start(), TestBackend::start("a").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    let (mut idle, mut busy) = (connect(running.at(port)).await, connect(running.at(port)).await);
    assert_eq!(get(&mut idle, "a.example", "/").await.status, 200);
    let answer = tokio::spawn(async move {
        let answer = get(&mut busy, "a.example", "/hold").await;
        (answer, is_closed(&mut busy).await)
    });
    backend.request_is_held().await;
    running.serve_http(Table::default()).await;
    assert!(is_closed(&mut idle).await);
    backend.release();
    let (answer, closed) = answer.await.unwrap();
    assert!(answer.body == "a /hold 0" && answer.closes() && closed, "{answer:?}");
}

#[tokio::test]
async fn what_a_removed_port_leaves_behind_is_cut_in_the_end() {
    use tokio::io::AsyncWriteExt;
    let running = start_with(|options| options.port_drain = std::time::Duration::from_millis(100));
    let backend = TestBackend::start("a").await;
    let (removed, kept) = (running.port(), running.port());
    let one = table::to(Table::default(), kept, Protocol::Http, backend.address);
    running.serve_http(table::to(one.clone(), removed, Protocol::Http, backend.address)).await;
    let [mut lost, mut safe] = [connect(running.at(removed)).await, connect(running.at(kept)).await];
    for client in [&mut lost, &mut safe] {
        client.write_all(b"GET /hold HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
        backend.request_is_held().await;
    }
    running.serve_http(one).await;
    assert!(is_closed(&mut lost).await);
    // One permit may be taken by the request that nobody waits for any more.
    backend.release();
    backend.release();
    assert_eq!(response(&mut safe).await.body, "a /hold 0");
}

#[tokio::test]
async fn a_port_in_use_is_reported_and_taken_when_it_is_free() {
    let (running, backend) = (start(), TestBackend::start("a").await);
    let (good, taken) = (running.port(), running.port());
    let foreign = std::net::TcpListener::bind(running.at(taken)).unwrap();
    let one = table::to(Table::default(), good, Protocol::Http, backend.address);
    let both = table::to(one, taken, Protocol::Http, backend.address);
    running.proxy.publish(both.into(), Arc::default());
    running
        .bindings(|bindings| {
            let text = bindings.get(&PortKey::tcp(taken)).and_then(|b| b.as_ref().err());
            text.is_some_and(|t| t.starts_with(&format!("port {taken}: ")) && t.contains("in use"))
                && bindings.get(&PortKey::tcp(good)) == Some(&Ok(()))
        })
        .await;
    assert_eq!(get(&mut connect(running.at(good)).await, "a.example", "/").await.body, "a / 0");
    drop(foreign);
    running.bindings(|bindings| bindings.values().all(Result::is_ok)).await;
    assert_eq!(get(&mut connect(running.at(taken)).await, "a.example", "/").await.body, "a / 0");
}

#[tokio::test]
async fn a_port_of_udp_is_another_than_that_of_tcp() {
    let (running, backend) = (start(), TestBackend::start("a").await);
    let number = running.port();
    let mut table = table::to(Table::default(), number, Protocol::Http, backend.address);
    let udp = PortKey::udp(number);
    table.ports.insert(udp, Arc::new(Port::new(Protocol::Udp, 53)));
    running.proxy.publish(table.into(), Arc::default());
    running
        .bindings(|bindings| {
            [PortKey::tcp(number), udp].iter().all(|port| bindings.get(port) == Some(&Ok(())))
        })
        .await;
    assert_eq!(get(&mut connect(running.at(number)).await, "a.example", "/").await.body, "a / 0");
    let socket = std::net::UdpSocket::bind(running.at(number));
    assert_eq!(socket.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_port_whose_connections_are_passed_on_as_a_whole_closes_those_that_no_route_takes() {
    let running = start();
    let number = running.port();
    let mut port = Port::new(Protocol::Tcp, number);
    let serves = Serves::Stream(HostMap::default());
    let id = ListenerId::gateway("test", "gateway", "tcp").into();
    port.listeners.insert(HostPattern::Any, Arc::new(Listener { id, tls: TlsMode::None, serves }));
    let mut table = Table::default();
    table.ports.insert(PortKey::tcp(number), Arc::new(port));
    running.serve_http(table).await;
    let mut client = connect(running.at(number)).await;
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_port_is_called_what_its_listeners_call_it() {
    let running = start();
    let taken = running.port();
    let _foreign = std::net::TcpListener::bind(running.at(taken)).unwrap();
    let mut table = Table::default();
    table.ports.insert(PortKey::tcp(taken), Arc::new(Port::new(Protocol::Http, 80)));
    running.proxy.publish(table.into(), Arc::default());
    running
        .bindings(|b| {
            let text = b.get(&PortKey::tcp(taken)).and_then(|bound| bound.as_ref().err());
            text.is_some_and(|text| {
                text.starts_with("port 80: ") && text.contains(&running.at(taken).to_string())
            })
        })
        .await;
}

#[tokio::test]
async fn the_next_request_of_a_connection_is_answered_by_the_new_table() {
    let (running, a, b) = (start(), TestBackend::start("a").await, TestBackend::start("b").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, a.address)).await;
    let mut http1 = connect(running.at(port)).await;
    let mut http2 = h2(connect(running.at(port)).await).await;
    for (backend, want) in [(&a, "a / 0"), (&b, "b / 0"), (&a, "a / 0")] {
        running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
        assert_eq!(get(&mut http1, "a.example", "/").await.body, want);
        assert_eq!(http2.get("http://a.example/").await.unwrap(), (200, want.to_owned()));
    }
}

#[tokio::test]
async fn a_request_finishes_on_the_table_that_it_began_with() {
    let (running, a, b) = (start(), TestBackend::start("a").await, TestBackend::start("b").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, a.address)).await;
    let mut client = connect(running.at(port)).await;
    let answer = tokio::spawn(async move { get(&mut client, "a.example", "/hold").await });
    a.request_is_held().await;
    running.serve_http(table::to(Table::default(), port, Protocol::Http, b.address)).await;
    a.release();
    assert_eq!(answer.await.unwrap().body, "a /hold 0");
}

#[tokio::test]
async fn one_port_speaks_http_1_0_and_1_1_and_2() {
    let (running, backend) = (start(), TestBackend::start("a").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    // Shorter than the preface of HTTP/2, for which the proxy must not wait. What it is answered without a Host
    // is not the matter here.
    assert_ne!(exchange(&mut connect(running.at(port)).await, "GET / HTTP/1.0\r\n\r\n").await.status, 0);
    assert_eq!(get(&mut connect(running.at(port)).await, "a.example", "/1").await.body, "a /1 0");
    let mut http2 = h2(connect(running.at(port)).await).await;
    assert_eq!(http2.get("http://a.example/2").await.unwrap(), (200, "a /2 0".to_owned()));
}

#[tokio::test]
async fn a_head_may_come_in_pieces() {
    use tokio::io::AsyncWriteExt;
    let (running, backend) = (start(), TestBackend::start("a").await);
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    // The first letters are those of the preface of HTTP/2.
    for pieces in [
        &["P", "O", "ST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\na", "bc"][..],
        &["PRINT /x HTTP/1.1\r\nHo", "st: a.example\r\n", "Content-Length: 3\r\n\r", "\nabc"],
    ] {
        let mut client = connect(running.at(port)).await;
        client.set_nodelay(true).unwrap();
        for piece in &pieces[..pieces.len() - 1] {
            client.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let answer = exchange(&mut client, pieces[pieces.len() - 1]).await;
        assert_eq!(answer.body, "a /x 3", "{pieces:?}");
    }
}

#[tokio::test]
async fn a_load_balancer_says_whose_connection_it_is() {
    use tokio::io::AsyncWriteExt;
    let running = start_with(|options| options.live.proxy_protocol = vec![([127, 0, 0, 0].into(), 8)]);
    let backend = TestBackend::start("a").await;
    let port = running.port();
    running.serve_http(table::to(Table::default(), port, Protocol::Http, backend.address)).await;
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xc3\x50\x01\xbb";
    for header in [&b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n"[..], v2] {
        let mut client = connect(running.at(port)).await;
        client.write_all(header).await.unwrap();
        for _ in 0..2 {
            assert_eq!(get(&mut client, "a.example", "/client").await.body, "192.0.2.7");
        }
        let mut http2 = connect(running.at(port)).await;
        http2.write_all(header).await.unwrap();
        let answer = h2(http2).await.get("http://a.example/client").await.unwrap();
        assert_eq!(answer, (200, "192.0.2.7".to_owned()));
    }
    let mut without = connect(running.at(port)).await;
    without.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut without).await);
}

#[tokio::test]
async fn every_address_is_bound_and_one_that_fails_costs_itself_only() {
    let running = start_with(|options| {
        options.bind.extend(["::1", "192.0.2.1"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()))
    });
    let backend = TestBackend::start("a").await;
    let port = running.port();
    let table = table::to(Table::default(), port, Protocol::Http, backend.address);
    running.proxy.publish(table.into(), Arc::default());
    running
        .bindings(|b| {
            let text = b.get(&PortKey::tcp(port)).and_then(|b| b.as_ref().err());
            text.is_some_and(|text| text.contains("192.0.2.1 is not an address of this machine"))
        })
        .await;
    for address in [running.at(port), (std::net::Ipv6Addr::LOCALHOST, port).into()] {
        assert_eq!(get(&mut connect(address).await, "a.example", "/").await.body, "a / 0");
    }
}
