//! Streams of plain TCP: the choice of an endpoint, both directions, how streams end, and the limits.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use portcullis_routing::{
    Backend, BackendError, BackendProtocol, PortKey, Protocol, ProxyProtocol, Table, TlsMode,
};
use portcullis_tls::Certificates;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    Running,
    client::{connect, is_closed},
    kernel_holds,
    site::{backend, port_of, refusing, rule, share, streams, tcp, to},
    start, start_with, until, within,
};

/// A backend whose connections the test accepts and controls.
pub(crate) struct Peer(TcpListener);

impl Peer {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        within(self.0.accept()).await.unwrap().0
    }
}

/// Serves a TCP port with one backend.
async fn served(proxy: &Running) -> (SocketAddr, Peer) {
    let (port, peer) = (proxy.port(), Peer::start().await);
    proxy.serve_http(tcp(port, to(peer.address()))).await;
    (proxy.at(port), peer)
}

/// Opens a stream and returns both its ends.
async fn stream(proxy: &Running) -> (TcpStream, TcpStream) {
    let (at, peer) = served(proxy).await;
    let client = connect(at).await;
    (client, peer.accept().await)
}

pub(crate) async fn send(io: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    within(io.write_all(bytes)).await.unwrap();
    within(io.flush()).await.unwrap();
}

pub(crate) async fn receives(io: &mut (impl AsyncReadExt + Unpin), want: &[u8]) {
    let mut got = vec![0; want.len()];
    within(io.read_exact(&mut got)).await.unwrap();
    assert!(got == want, "the {} bytes received differ from those expected", got.len());
}

pub(crate) async fn passes(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    send(from, text).await;
    receives(to, text).await;
}

/// The number of streams of a protocol that have ended in this way.
pub(crate) fn ended(proxy: &Running, protocol: &str, end: &str) -> u64 {
    let all = proxy.proxy.streams();
    let of = all.iter().find(|streams| streams.protocol == protocol).unwrap();
    of.ended.iter().find(|(name, _)| *name == end).unwrap().1
}

pub(crate) async fn ends(proxy: &Running, protocol: &str, end: &str) {
    until(&format!("{protocol} ends as {end}: {:?}", proxy.proxy.streams()), || {
        ended(proxy, protocol, end) == 1
    })
    .await;
}

/// Pseudo-random bytes.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn each_side_may_end_first_and_the_other_goes_on() {
    for client_first in [true, false] {
        let proxy = start();
        let (mut client, mut peer) = stream(&proxy).await;
        let (first, second) = if client_first { (&mut client, &mut peer) } else { (&mut peer, &mut client) };
        passes(first, second, b"the last words").await;
        first.shutdown().await.unwrap();
        assert_eq!(within(second.read(&mut [0; 1])).await.unwrap(), 0);
        for text in [&b"one"[..], b"two"] {
            passes(second, first, text).await;
        }
        assert_eq!((proxy.proxy.in_flight(), ended(&proxy, "tcp", "done")), (1, 0));
        second.shutdown().await.unwrap();
        assert_eq!(within(first.read(&mut [0; 1])).await.unwrap(), 0);
        ends(&proxy, "tcp", "done").await;
        until("nothing is left", || proxy.proxy.in_flight() == 0 && proxy.proxy.connections() == 0).await;
        let of = proxy.proxy.streams().remove(0);
        let want = if client_first { (14, 6) } else { (6, 14) };
        assert_eq!((of.received, of.sent), want);
    }
}

#[tokio::test]
async fn much_goes_both_ways_at_a_time_unchanged() {
    const LENGTH: usize = 24 << 20;
    for pipes in [0, 1, 64] {
        let proxy = start_with(|options| options.pipes = pipes);
        let (client, peer) = stream(&proxy).await;
        let whole = |io: TcpStream, seed: u32| async move {
            let (mut read, mut write) = io.into_split();
            let sending = tokio::spawn(async move {
                // Pieces of several sizes, so that the bytes go through pipes and buffers in turn.
                for (n, piece) in noise(seed, LENGTH).chunks(1 << 20).enumerate() {
                    for part in piece.chunks(if n % 4 == 3 { 3000 } else { 1 << 18 }) {
                        within(write.write_all(part)).await.unwrap();
                    }
                }
                write.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            while within(read.read_buf(&mut got)).await.unwrap() > 0 {}
            sending.await.unwrap();
            got
        };
        let (at_client, at_peer) = tokio::join!(whole(client, 1), whole(peer, 2));
        assert!(at_client == noise(2, LENGTH) && at_peer == noise(1, LENGTH), "pipes: {pipes}");
        ends(&proxy, "tcp", "done").await;
    }
}

#[tokio::test]
async fn a_side_that_does_not_read_makes_the_other_one_wait() {
    for pipes in [0, 64] {
        for client_stalls in [true, false] {
            let proxy = start_with(|options| options.pipes = pipes);
            let (mut client, mut peer) = stream(&proxy).await;
            let (reader, writer) =
                if client_stalls { (&mut client, &mut peer) } else { (&mut peer, &mut client) };
            let (piece, mut written) = (noise(3, 1 << 20), 0);
            let quiet = Duration::from_millis(500);
            while let Ok(n) = tokio::time::timeout(quiet, writer.write(&piece[written % piece.len()..])).await
            {
                written += n.unwrap();
                // The proxy holds 256 KiB.
                assert!(written < 2 * kernel_holds() + (1 << 20), "the writer never waits");
            }
            // The other direction continues.
            passes(reader, writer, b"still here").await;
            let mut left = written;
            let mut got = vec![0; 1 << 20];
            while left > 0 {
                let n = within(reader.read(&mut got)).await.unwrap();
                let at = written - left;
                assert!((0..n).all(|i| got[i] == piece[(at + i) % piece.len()]), "after {at} bytes");
                left -= n;
            }
            passes(writer, reader, b"and on").await;
        }
    }
}

#[tokio::test]
async fn a_stream_on_which_nothing_moves_ends() {
    let proxy = start_with(|options| options.tcp_idle_timeout = Duration::from_secs(2));
    let (mut client, mut peer) = stream(&proxy).await;
    // Bytes in one direction are enough to keep the stream open for longer than the limit.
    for _ in 0..12 {
        passes(&mut peer, &mut client, b"x").await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(is_closed(&mut client).await && is_closed(&mut peer).await);
    ends(&proxy, "tcp", "idle").await;
}

#[tokio::test]
async fn a_side_that_breaks_off_is_not_taken_for_one_that_has_ended() {
    for client_breaks in [true, false] {
        let proxy = start();
        let (mut client, mut peer) = stream(&proxy).await;
        passes(&mut client, &mut peer, b"some").await;
        let (mut other, end) = if client_breaks {
            client.set_zero_linger().unwrap();
            drop(client);
            (peer, "client")
        } else {
            peer.set_zero_linger().unwrap();
            drop(peer);
            (client, "backend")
        };
        let error = within(other.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        ends(&proxy, "tcp", end).await;
    }
}

#[tokio::test]
async fn what_a_backend_said_before_it_left_reaches_a_client_that_still_sends() {
    let proxy = start();
    let (mut client, mut peer) = stream(&proxy).await;
    send(&mut client, &[1; 1000]).await;
    peer.readable().await.unwrap();
    send(&mut peer, b"too much").await;
    // The peer has not read all bytes, so the kernel sends a reset.
    drop(peer);
    let mut got = [0; 8];
    within(client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"too much");
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_followed_by_another() {
    let (proxy, peer) = (start(), Peer::start().await);
    let port = proxy.port();
    let endpoints = [refusing(), peer.address(), refusing()];
    proxy.serve_http(tcp(port, rule([share(1, Ok(backend(&endpoints)))]))).await;
    for _ in 0..12 {
        let mut client = connect(proxy.at(port)).await;
        passes(&mut client, &mut peer.accept().await, b"hello").await;
    }
    assert_eq!(ended(&proxy, "tcp", "unreachable"), 0);
}

#[tokio::test]
async fn weights_share_out_connections() {
    let (proxy, one, two) = (start(), Peer::start().await, Peer::start().await);
    let port = proxy.port();
    let shares = [
        share(3, Ok(backend(&[one.address()]))),
        share(0, Err(BackendError::NotFound("never".into()))),
        share(1, Ok(backend(&[two.address()]))),
    ];
    proxy.serve_http(tcp(port, rule(shares))).await;
    let mut counts = [0; 2];
    for _ in 0..200 {
        let _client = connect(proxy.at(port)).await;
        tokio::select! {
            _ = one.accept() => counts[0] += 1,
            _ = two.accept() => counts[1] += 1,
        }
    }
    // The expected 150, plus or minus 6 standard deviations.
    assert!((113..=187).contains(&counts[0]), "{counts:?}");
}

#[tokio::test]
async fn a_connection_that_can_go_nowhere_is_closed_and_counted() {
    let proxy = start();
    let missing = || Err(BackendError::NotFound("shop/db".into()));
    let h2 = |mut backend: portcullis_routing::Backend| {
        backend.protocol = BackendProtocol::Http2;
        backend
    };
    for (end, rule) in [
        ("no-backend", rule([share(1, missing())])),
        ("no-backend", rule([share(0, Ok(backend(&[refusing()])))])),
        ("no-backend", rule([])),
        ("closed", rule([share(1, Err(BackendError::Closed("auth-url".into())))])),
        ("no-endpoint", rule([share(1, Ok(backend(&[])))])),
        ("unreachable", rule([share(1, Ok(h2(backend(&[refusing()]))))])),
        ("refused-address", rule([share(1, Ok(backend(&["169.254.169.254:80".parse().unwrap()])))])),
    ] {
        let (port, before) = (proxy.port(), ended(&proxy, "tcp", end));
        proxy.serve_http(tcp(port, rule)).await;
        assert!(is_closed(&mut connect(proxy.at(port)).await).await, "{end}");
        until(end, || ended(&proxy, "tcp", end) == before + 1).await;
    }
    for routes in [streams([]), streams([("db.example.com", to(refusing()))])] {
        let (port, before) = (proxy.port(), ended(&proxy, "tcp", "no-route"));
        let table = port_of(PortKey::tcp(port), Protocol::Tcp, [("", TlsMode::None, routes)]);
        proxy.serve_http(table).await;
        assert!(is_closed(&mut connect(proxy.at(port)).await).await);
        until("no-route", || ended(&proxy, "tcp", "no-route") == before + 1).await;
    }
}

#[tokio::test]
async fn a_listener_of_ours_is_no_backend() {
    let proxy = start();
    let port = proxy.port();
    proxy.serve_http(tcp(port, to(proxy.at(port)))).await;
    assert!(is_closed(&mut connect(proxy.at(port)).await).await);
    ends(&proxy, "tcp", "refused-address").await;
}

#[tokio::test]
async fn streams_outlive_the_tables_that_they_began_with() {
    let (proxy, old, new) = (start(), Peer::start().await, Peer::start().await);
    let port = proxy.port();
    proxy.serve_http(tcp(port, to(old.address()))).await;
    let mut first = connect(proxy.at(port)).await;
    let mut first_peer = old.accept().await;
    proxy.serve_http(tcp(port, to(new.address()))).await;
    let mut second = connect(proxy.at(port)).await;
    let mut second_peer = new.accept().await;
    // First the route is removed, then the listener.
    let none = port_of(PortKey::tcp(port), Protocol::Tcp, [("", TlsMode::None, streams([]))]);
    proxy.serve_http(none).await;
    assert!(is_closed(&mut connect(proxy.at(port)).await).await);
    proxy.serve_http(Table::default()).await;
    assert!(TcpStream::connect(proxy.at(port)).await.is_err());
    for (client, peer) in [(&mut first, &mut first_peer), (&mut second, &mut second_peer)] {
        passes(client, peer, b"to the backend").await;
        passes(peer, client, b"to the client").await;
    }
    proxy.serve_http(tcp(port, to(old.address()))).await;
    let mut third = connect(proxy.at(port)).await;
    passes(&mut third, &mut old.accept().await, b"again").await;
}

#[tokio::test]
async fn a_drain_waits_for_streams_up_to_the_ceiling() {
    let proxy = Arc::new(start());
    let (mut client, mut peer) = stream(&proxy).await;
    passes(&mut client, &mut peer, b"before").await;
    let draining = Arc::clone(&proxy);
    let draining = tokio::spawn(async move { draining.proxy.drain(Duration::from_secs(3600)).await });
    proxy.bindings(|bindings| bindings.is_empty()).await;
    passes(&mut peer, &mut client, b"while it drains").await;
    assert!(!draining.is_finished());
    drop((client, peer));
    within(draining).await.unwrap();
    ends(&proxy, "tcp", "done").await;

    let proxy = start();
    let (mut client, mut peer) = stream(&proxy).await;
    passes(&mut client, &mut peer, b"before").await;
    within(proxy.proxy.drain(Duration::from_millis(200))).await;
    assert!(is_closed(&mut client).await && is_closed(&mut peer).await);
    ends(&proxy, "tcp", "cut").await;
}

#[tokio::test]
async fn a_proxy_header_is_read_and_not_passed_on() {
    let proxy = start_with(|options| options.live.proxy_protocol = vec![("127.0.0.0".parse().unwrap(), 8)]);
    let (at, peer) = served(&proxy).await;
    let mut client = connect(at).await;
    send(&mut client, b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 5432\r\nhello").await;
    receives(&mut peer.accept().await, b"hello").await;
    let mut other = connect(at).await;
    send(&mut other, b"no such header, and then some").await;
    assert!(is_closed(&mut other).await);
}

#[tokio::test]
async fn a_proxy_header_is_read_on_the_ports_that_require_it() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 5432\r\n";
    let (loopback, other) = (("127.0.0.0".parse().unwrap(), 8), ("192.0.2.0".parse().unwrap(), 24));
    for (is_of_port, proxies, is_read) in
        [(true, loopback, true), (false, loopback, false), (false, other, false)]
    {
        let proxy = start_with(|options| options.live.port_proxies = vec![proxies]);
        let (port, peer) = (proxy.port(), Peer::start().await);
        let told = Backend { proxy_protocol: Some(ProxyProtocol::V1), ..backend(&[peer.address()]) };
        let mut table = tcp(port, rule([share(1, Ok(told))]));
        let of_port = table.ports.values_mut().next().unwrap();
        Arc::get_mut(of_port).unwrap().proxy_protocol = is_of_port;
        proxy.serve_http(table).await;
        let mut client = connect(proxy.at(port)).await;
        send(&mut client, &[HEADER, b"hello"].concat()).await;
        let mut up = peer.accept().await;
        let own = client.local_addr().unwrap();
        let (from, rest) = match is_read {
            true => ("192.0.2.7".to_owned(), b"hello".to_vec()),
            false => (own.ip().to_string(), [HEADER, b"hello"].concat()),
        };
        receives(&mut up, format!("PROXY TCP4 {from} ").as_bytes()).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n") {
            head.push(within(up.read_u8()).await.unwrap());
        }
        receives(&mut up, &rest).await;
    }
}

#[tokio::test]
async fn a_backend_is_told_of_the_client_before_the_first_byte() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let (proxy, peer) = (start(), Peer::start().await);
        let told = Backend { proxy_protocol: Some(version), ..backend(&[peer.address()]) };
        let port = proxy.port();
        proxy.serve_http(tcp(port, rule([share(1, Ok(told))]))).await;
        let at = proxy.at(port);
        let mut client = connect(at).await;
        let mut up = peer.accept().await;
        let own = client.local_addr().unwrap();
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (own, at) else { panic!("{own} {at}") };
        let header = match version {
            ProxyProtocol::V1 => {
                let (ips, ports) = ([from.ip(), to.ip()], [from.port(), to.port()]);
                format!("PROXY TCP4 {} {} {} {}\r\n", ips[0], ips[1], ports[0], ports[1]).into_bytes()
            }
            ProxyProtocol::V2 => {
                let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
                let ports = [from.port(), to.port()].map(u16::to_be_bytes).concat();
                [&start[..], &from.ip().octets(), &to.ip().octets(), &ports].concat()
            }
        };
        // A backend that speaks first knows whom it speaks to.
        receives(&mut up, &header).await;
        passes(&mut client, &mut up, b"to the backend").await;
        passes(&mut up, &mut client, b"and back").await;
    }
}

#[tokio::test]
async fn streams_count_as_connections_and_as_requests_in_flight() {
    let proxy = start_with(|options| {
        options.live.connections.port = 2;
        options.max_requests = 1;
    });
    let (at, peer) = served(&proxy).await;
    let mut first = connect(at).await;
    let mut first_peer = peer.accept().await;
    // The limit of requests applies to both workers together, and a worker checks it once it has more than its share.
    let mut refused = 0;
    for _ in 0..8 {
        let mut more = connect(at).await;
        tokio::select! {
            biased;
            _ = peer.accept() => {}
            closed = is_closed(&mut more) => refused += u64::from(closed),
        }
    }
    assert!(refused > 0);
    passes(&mut first, &mut first_peer, b"nobody made room of it").await;
}

#[tokio::test]
async fn beyond_the_limit_of_streams_none_begins_and_the_others_go_on() {
    let proxy = start_with(|options| {
        options.workers = 1;
        options.max_streams = 2;
    });
    let (at, peer) = served(&proxy).await;
    let (mut first, mut first_peer) = (connect(at).await, peer.accept().await);
    let (second, second_peer) = (connect(at).await, peer.accept().await);
    assert!(is_closed(&mut connect(at).await).await);
    ends(&proxy, "tcp", "overloaded").await;
    passes(&mut first, &mut first_peer, b"goes on").await;
    drop((second, second_peer));
    until("the second one has ended", || proxy.proxy.in_flight() == 1).await;
    let (mut third, mut third_peer) = (connect(at).await, peer.accept().await);
    passes(&mut third, &mut third_peer, b"has its place").await;
}

#[tokio::test]
async fn a_port_may_change_what_it_speaks() {
    let (proxy, peer) = (start(), Peer::start().await);
    let port = proxy.port();
    proxy.serve_http(crate::support::site::Site::of(to(peer.address())).table(port)).await;
    proxy.serve(tcp(port, to(peer.address())), Certificates::default()).await;
    let mut client = connect(proxy.at(port)).await;
    passes(&mut client, &mut peer.accept().await, b"\0 not HTTP").await;
}
