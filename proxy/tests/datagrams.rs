//! Datagrams: flows, their ends and limits, and where answers come from.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use portcullis_routing::{
    Backend, BackendError, EndpointPool, Endpoints, PortKey, Protocol, Rule, Serves, Table, TlsMode,
};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    streams::{Peer, ended, ends, passes},
    support::{
        BOUND, Running,
        client::connect,
        site::{backend, port_of, rule, share, tcp, to},
        start, start_with, until, within,
    },
};

/// A table of one port of UDP.
fn udp(port: u16, rule: Option<Rule>) -> Table {
    let serves = Serves::Datagram(rule.map(Arc::new));
    port_of(PortKey::udp(port), Protocol::Udp, [("", TlsMode::None, serves)])
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// A client of this address, from a port of its own.
async fn client(at: SocketAddr) -> UdpSocket {
    let client = socket().await;
    client.connect(at).await.unwrap();
    client
}

/// A backend that answers each datagram with its name and the datagram.
async fn echo(name: &'static str) -> SocketAddr {
    let socket = socket().await;
    let address = socket.local_addr().unwrap();
    tokio::spawn(echo_on(socket, name));
    address
}

async fn echo_on(socket: UdpSocket, name: &'static str) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let Ok((n, from)) = socket.recv_from(&mut bytes).await else { continue };
        let answer = [name.as_bytes(), &bytes[..n]].concat();
        let _ = socket.send_to(&answer, from).await;
    }
}

async fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 16];
    let n = within(socket.recv(&mut bytes)).await.unwrap();
    bytes.truncate(n);
    bytes
}

/// Sends a datagram and returns the answer.
async fn ask(client: &UdpSocket, text: &[u8]) -> Vec<u8> {
    client.send(text).await.unwrap();
    received(client).await
}

/// Sends until there is an answer: a datagram may be lost, to a backend that is gone for instance.
async fn ask_again(client: &UdpSocket, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 16];
    let asking = async {
        loop {
            let _ = client.send(text).await;
            if let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(100), client.recv(&mut bytes)).await
            {
                return bytes[..n].to_vec();
            }
        }
    };
    within(asking).await
}

fn port() -> u16 {
    // Free for datagrams too, as far as anybody can know.
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn serve(proxy: &Running, rule: Rule) -> SocketAddr {
    let port = port();
    proxy.serve_http(udp(port, Some(rule))).await;
    proxy.at(port)
}

fn dropped(proxy: &Running, reason: &str) -> u64 {
    let all = proxy.proxy.dropped_datagrams();
    all.iter().find(|(name, _)| *name == reason).unwrap().1
}

#[tokio::test]
async fn each_client_has_a_flow_of_its_own() {
    let proxy = start();
    let seen = socket().await;
    let at = serve(&proxy, to(seen.local_addr().unwrap())).await;
    let clients = [client(at).await, client(at).await, client(at).await];
    let mut flows = Vec::new();
    for (n, client) in clients.iter().enumerate() {
        client.send(&[n as u8]).await.unwrap();
        let mut byte = [9];
        flows.push(within(seen.recv_from(&mut byte)).await.unwrap().1);
        assert_eq!(byte, [n as u8]);
    }
    assert_eq!(flows.iter().collect::<BTreeSet<_>>().len(), 3);
    // Answers in another order, several to one question, and none at all.
    for (n, count) in [(2, 1), (0, 3)] {
        for i in 0..count {
            seen.send_to(&[n as u8, i], flows[n]).await.unwrap();
        }
        for i in 0..count {
            assert_eq!(received(&clients[n]).await, [n as u8, i]);
        }
    }
    assert!(clients[1].try_recv(&mut [0]).is_err());
    // The same flow, whatever comes between.
    clients[1].send(b"again").await.unwrap();
    assert_eq!(within(seen.recv_from(&mut [0; 9])).await.unwrap(), (5, flows[1]));
    assert_eq!(proxy.proxy.in_flight(), 3);
}

#[tokio::test]
async fn datagrams_of_every_length_are_carried_whole() {
    let proxy = start();
    let at = serve(&proxy, to(echo("").await)).await;
    let client = client(at).await;
    for length in [0, 1, 512, 1472, 1473, 9000, 65_507] {
        let sent: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        assert!(ask(&client, &sent).await == sent, "{length}");
    }
}

#[tokio::test]
async fn many_at_once_are_carried_in_batches() {
    let proxy = start();
    let at = serve(&proxy, to(echo("").await)).await;
    let clients = [client(at).await, client(at).await];
    for round in 0..10_u8 {
        for client in &clients {
            for n in 0..50_u8 {
                client.send(&[round, n]).await.unwrap();
            }
        }
        for client in &clients {
            let mut got = BTreeSet::new();
            for _ in 0..50 {
                got.insert(received(client).await);
            }
            assert_eq!(got, (0..50).map(|n| vec![round, n]).collect());
        }
    }
}

#[tokio::test]
async fn nobody_else_can_answer() {
    let proxy = start();
    let seen = socket().await;
    let at = serve(&proxy, to(seen.local_addr().unwrap())).await;
    let client = client(at).await;
    client.send(b"who are you?").await.unwrap();
    let flow = within(seen.recv_from(&mut [0; 16])).await.unwrap().1;
    let other = socket().await;
    other.send_to(b"somebody else", flow).await.unwrap();
    seen.send_to(b"the backend", flow).await.unwrap();
    assert_eq!(received(&client).await, b"the backend");
}

#[tokio::test]
async fn answers_come_from_the_address_that_was_asked() {
    for (bind, asked) in [
        ("0.0.0.0", &["127.0.0.1", "127.9.8.7", "127.0.0.9"][..]),
        ("::", &["::1"]),
        ("127.0.0.1", &["127.0.0.1"]),
    ] {
        let proxy = start_with(|options| options.bind = vec![bind.parse().unwrap()]);
        let port = serve(&proxy, to(echo("").await)).await.port();
        for ip in asked {
            let ip: IpAddr = ip.parse().unwrap();
            // Connected: it takes nothing from another address.
            let local = if ip.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
            let client = UdpSocket::bind(local).await.unwrap();
            client.connect((ip, port)).await.unwrap();
            for _ in 0..3 {
                assert_eq!(ask(&client, ip.to_string().as_bytes()).await, ip.to_string().as_bytes());
            }
        }
        // One client that asks two addresses has two flows.
        if let [one, two, _] = asked {
            let client = socket().await;
            for ip in [one, two] {
                client.send_to(ip.as_bytes(), (ip.parse::<IpAddr>().unwrap(), port)).await.unwrap();
                let mut bytes = [0; 64];
                let (n, from) = within(client.recv_from(&mut bytes)).await.unwrap();
                assert_eq!((&bytes[..n], from.ip().to_string().as_str()), (ip.as_bytes(), *ip));
            }
        }
    }
}

#[tokio::test]
async fn tcp_and_udp_of_one_number_are_two_ports() {
    let proxy = start();
    let (port, peer) = (port(), Peer::start().await);
    let mut table = udp(port, Some(to(echo("u").await)));
    table.ports.extend(tcp(port, to(peer.address())).ports);
    proxy.serve_http(table).await;
    let mut stream = connect(proxy.at(port)).await;
    passes(&mut stream, &mut peer.accept().await, b"over TCP").await;
    assert_eq!(ask(&client(proxy.at(port)).await, b"dp").await, b"udp");
}

#[tokio::test]
async fn a_flow_ends_when_it_is_idle_and_the_next_datagram_begins_another() {
    let proxy = start_with(|options| options.udp_idle_timeout = Duration::from_secs(2));
    let seen = socket().await;
    let at = serve(&proxy, to(seen.local_addr().unwrap())).await;
    let client = client(at).await;
    let flow = async || {
        client.send(b"x").await.unwrap();
        within(seen.recv_from(&mut [0; 1])).await.unwrap().1
    };
    let first = flow().await;
    // What comes keeps it, from either side.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        seen.send_to(b"y", first).await.unwrap();
        received(&client).await;
    }
    assert_eq!(flow().await, first);
    ends(&proxy, "udp", "idle").await;
    until("nothing is left", || proxy.proxy.in_flight() == 0).await;
    assert_ne!(flow().await, first);
    let streams = proxy.proxy.streams();
    let of = streams.iter().find(|streams| streams.protocol == "udp").unwrap();
    assert!(of.received >= 2 && of.sent == 12, "{of:?}");
}

#[tokio::test]
async fn beyond_the_limit_of_flows_none_begins_and_the_others_live() {
    let proxy = start_with(|options| {
        options.workers = 1;
        options.max_streams = 16;
    });
    let (one, other, echo) = (port(), port(), echo("").await);
    let pool = Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default())));
    pool.store_addresses(&[echo]);
    let served = Backend { endpoints: Arc::clone(&pool), ..backend(&[]) };
    let mut table = udp(one, Some(rule([share(1, Ok(served))])));
    table.ports.extend(udp(other, Some(to(echo))).ports);
    proxy.serve_http(table).await;
    let (at, other) = (proxy.at(one), proxy.at(other));
    let mut clients = Vec::new();
    let mut begin = async |at: SocketAddr, count: u32| {
        for _ in 0..count {
            let client = client(at).await;
            assert_eq!(ask(&client, b"in").await, b"in");
            clients.push(client);
        }
    };
    let late = client(at).await;
    begin(at, 12).await;
    for n in 1..=3 {
        late.send(b"out").await.unwrap();
        until("it is dropped", || dropped(&proxy, "full") == n).await;
    }
    // A quarter is left to other listeners.
    begin(other, 4).await;
    client(other).await.send(b"out").await.unwrap();
    until("it is dropped", || dropped(&proxy, "full") == 4).await;
    for client in &clients {
        assert_eq!(ask(client, b"still").await, b"still");
    }
    assert!(late.try_recv(&mut [0; 9]).is_err());
    // The first one's flow ends.
    pool.store_addresses(&[]);
    clients[0].send(b"ends").await.unwrap();
    until("its flow has ended", || proxy.proxy.in_flight() == 15).await;
    pool.store_addresses(&[echo]);
    assert_eq!(ask_again(&late, b"at last").await, b"at last");
}

#[tokio::test]
async fn a_backend_that_is_gone_ends_its_flows() {
    let proxy = start();
    let gone = socket().await;
    let (here, address) = (echo("here ").await, gone.local_addr().unwrap());
    let at = serve(&proxy, rule([share(1, Ok(backend(&[address, here])))])).await;
    // Somebody who got the one that will be gone.
    let (client, flow) = loop {
        let client = client(at).await;
        client.send(b"first").await.unwrap();
        let mut bytes = [0; 16];
        tokio::select! {
            seen = gone.recv_from(&mut bytes) => break (client, seen.unwrap().1),
            _ = received(&client) => {}
        }
    };
    gone.send_to(b"hello", flow).await.unwrap();
    assert_eq!(received(&client).await, b"hello");
    drop(gone);
    assert_eq!(ask_again(&client, b"second").await, b"here second");
    ends(&proxy, "udp", "backend").await;
}

#[tokio::test]
async fn an_endpoint_that_is_taken_off_gets_nothing_more() {
    let proxy = start();
    let (old, new) = (echo("old ").await, echo("new ").await);
    let pool = Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default())));
    pool.store_addresses(&[old]);
    let mut one = backend(&[]);
    one.endpoints = Arc::clone(&pool);
    let at = serve(&proxy, rule([share(1, Ok(one))])).await;
    let client = client(at).await;
    assert_eq!(ask(&client, b"1").await, b"old 1");
    pool.store_addresses(&[old, new]);
    for _ in 0..8 {
        assert_eq!(ask(&client, b"2").await, b"old 2", "a flow stays where it is");
    }
    pool.store_addresses(&[new]);
    assert_eq!(ask(&client, b"3").await, b"new 3");
}

#[tokio::test]
async fn datagrams_wait_while_a_name_is_looked_up() {
    let proxy = start();
    for (name, answers) in [("localhost", true), ("nobody.invalid", false)] {
        let named = backend(&[]);
        named.endpoints.store_name(name, echo("").await.port());
        let at = serve(&proxy, rule([share(1, Ok(named))])).await;
        let (client, before) = (client(at).await, dropped(&proxy, "no-endpoint"));
        for n in 0..3 {
            client.send(&[n]).await.unwrap();
        }
        if answers {
            // Localhost may be an address of IPv6, too, where nobody answers: clients of UDP ask again.
            let (mut got, mut bytes) = (BTreeSet::new(), [0; 1]);
            while got.len() < 3 {
                match timeout(Duration::from_millis(300), client.recv(&mut bytes)).await {
                    Ok(received) => drop(received.map(|_| got.insert(bytes[0]))),
                    Err(_) => {
                        client.send(&[(0_u8..3).find(|n| !got.contains(n)).unwrap()]).await.map(drop).unwrap()
                    }
                }
            }
        } else {
            until("they are dropped", || dropped(&proxy, "no-endpoint") == before + 3).await;
        }
    }
}

#[tokio::test]
async fn a_flow_outlives_its_route_and_no_other_begins() {
    let proxy = start();
    let (old, new) = (echo("old ").await, echo("new ").await);
    let at = serve(&proxy, to(old)).await;
    let first = client(at).await;
    assert_eq!(ask(&first, b"1").await, b"old 1");
    proxy.serve_http(udp(at.port(), Some(to(new)))).await;
    assert_eq!(ask(&first, b"2").await, b"old 2");
    assert_eq!(ask(&client(at).await, b"2").await, b"new 2");
    proxy.serve_http(udp(at.port(), None)).await;
    assert_eq!(ask(&first, b"3").await, b"old 3");
    client(at).await.send(b"3").await.unwrap();
    until("it is dropped", || dropped(&proxy, "no-route") == 1).await;
}

#[tokio::test]
async fn weights_are_those_of_flows() {
    let proxy = start();
    let (one, two) = (echo("one").await, echo("two").await);
    let shares = [share(1, Ok(backend(&[one]))), share(3, Ok(backend(&[two])))];
    let at = serve(&proxy, rule(shares)).await;
    let mut ones = 0;
    for _ in 0..200 {
        let client = client(at).await;
        let first = ask(&client, b"").await;
        assert_eq!(ask(&client, b"").await, first);
        ones += u32::from(first == b"one");
    }
    // 50 +- 6 standard deviations.
    assert!((13..=87).contains(&ones), "{ones}");
}

#[tokio::test]
async fn a_datagram_that_can_go_nowhere_is_dropped_and_counted() {
    let proxy = start();
    for (reason, rule) in [
        ("no-backend", rule([share(1, Err(BackendError::NotFound("shop/dns".into())))])),
        ("no-backend", rule([])),
        ("no-endpoint", rule([share(1, Ok(backend(&[])))])),
        ("refused-address", rule([share(1, Ok(backend(&["169.254.169.254:53".parse().unwrap()])))])),
    ] {
        let before = dropped(&proxy, reason);
        let at = serve(&proxy, rule).await;
        client(at).await.send(b"x").await.unwrap();
        until(reason, || dropped(&proxy, reason) == before + 1).await;
    }
    assert_eq!(proxy.proxy.in_flight(), 0);
}

#[tokio::test]
async fn we_do_not_answer_ourselves() {
    let proxy = start();
    // Our own port as a backend.
    let port = port();
    proxy.serve_http(udp(port, Some(to(proxy.at(port))))).await;
    client(proxy.at(port)).await.send(b"x").await.unwrap();
    until("it is dropped", || dropped(&proxy, "refused-address") == 1).await;
}

#[tokio::test]
async fn a_listener_may_go_and_come_again_at_once() {
    let proxy = start();
    let backend = echo("").await;
    let at = serve(&proxy, to(backend)).await;
    for n in 0..4_u8 {
        let client = client(at).await;
        assert_eq!(ask(&client, &[n]).await, [n]);
        proxy.serve_http(Table::default()).await;
        // Of a flow that there is, the next ones are carried, too; no other begins.
        assert_eq!(ask(&client, b"late").await, b"late");
        let late = self::client(at).await;
        late.send(b"too late").await.unwrap();
        until("it is dropped", || dropped(&proxy, "closing") == u64::from(n) + 1).await;
        proxy.serve_http(udp(at.port(), Some(to(backend)))).await;
        assert_eq!(ask(&client, b"again").await, b"again");
    }
    let problems = proxy.proxy.bindings().borrow().values().filter(|bound| bound.is_err()).count();
    assert_eq!(problems, 0);
}

#[tokio::test]
async fn a_drain_waits_for_answers_and_ends_with_the_last_flow() {
    let proxy = Arc::new(start());
    let seen = socket().await;
    let at = serve(&proxy, to(seen.local_addr().unwrap())).await;
    let client = client(at).await;
    client.send(b"slow").await.unwrap();
    let flow = within(seen.recv_from(&mut [0; 4])).await.unwrap().1;
    let draining = Arc::clone(&proxy);
    let draining = tokio::spawn(async move { draining.proxy.drain(BOUND * 10).await });
    proxy.bindings(|bindings| bindings.is_empty()).await;
    seen.send_to(b"answer", flow).await.unwrap();
    assert_eq!(received(&client).await, b"answer");
    // Long before a flow of a port that stays would end.
    within(draining).await.unwrap();
    ends(&proxy, "udp", "idle").await;

    let proxy = start();
    let at = serve(&proxy, to(seen.local_addr().unwrap())).await;
    client.connect(at).await.unwrap();
    client.send(b"slow").await.unwrap();
    within(seen.recv_from(&mut [0; 4])).await.unwrap();
    within(proxy.proxy.drain(Duration::from_millis(100))).await;
    until("it is cut", || ended(&proxy, "udp", "cut") == 1).await;
}
