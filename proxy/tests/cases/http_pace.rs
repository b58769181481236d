//! Answers that are sent at a limited pace.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis_routing::{Rule, Step, Steps, step::Pace};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::support::{
    client::{self, connect},
    kernel_holds,
    raw::{RawBackend, Reply},
    site::{Site, backend, h2, rule, share, to},
    stalls, start, until, within,
};

/// A rule whose answers are sent at so many KiB per second after so many.
fn paced(rate: u32, after: u32, rule: Rule) -> Rule {
    let rate = NonZeroU32::new(rate).unwrap();
    Rule { steps: Steps::new([Step::Pace(Pace { rate, after })]), ..rule }
}

/// Answers with so many KiB, in chunks or not.
async fn with_body(kib: usize, chunked: bool) -> RawBackend {
    let body = "x".repeat(kib << 10);
    let answer = match chunked {
        false => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        true => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
    };
    RawBackend::start(move |_, _| Reply::Bytes(answer.clone().into_bytes())).await
}

/// Asks by HTTP/1; how long the answer took, and how many bytes came before so many milliseconds had passed.
async fn get(at: SocketAddr, early: u64) -> (Duration, usize, usize) {
    let mut client = connect(at).await;
    let begin = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut all, mut first) = (Vec::new(), 0);
    while within(client.read_buf(&mut all)).await.unwrap() > 0 {
        if begin.elapsed() < Duration::from_millis(early) {
            first = all.len();
        }
    }
    (begin.elapsed(), first, all.len())
}

#[tokio::test]
async fn an_answer_is_sent_at_the_pace_of_its_rule() {
    for chunked in [false, true] {
        let up = with_body(150, chunked).await;
        let proxy = start();
        // 100 at once, and 50 for which half a second is needed.
        let at = Site::of(paced(100, 0, to(up.address))).serve(&proxy).await;
        let (took, first, all) = get(at, 250).await;
        assert!(took >= Duration::from_millis(450), "{took:?}");
        assert!(first < 130 << 10, "{first}");
        assert!(all > 150 << 10, "{all}: nothing is lost");
        // All of it comes before the pace, which would take minutes.
        let at = Site::of(paced(1, 150, to(up.address))).serve(&proxy).await;
        let (_, _, all) = within(get(at, 0)).await;
        assert!(all > 150 << 10);
        let mut h2 = client::h2(connect(at).await).await;
        let (status, body) = within(h2.get("http://a.example/")).await.unwrap();
        assert_eq!((status, body.len()), (200, 150 << 10));
    }
}

#[tokio::test]
async fn a_stream_is_sent_at_the_pace_of_its_rule() {
    let up = with_body(150, false).await;
    let proxy = start();
    let at = Site::of(paced(100, 0, to(up.address))).serve(&proxy).await;
    let mut h2 = client::h2(connect(at).await).await;
    let begin = Instant::now();
    let (status, body) = h2.get("http://a.example/").await.unwrap();
    assert_eq!((status, body.len()), (200, 150 << 10));
    assert!(begin.elapsed() >= Duration::from_millis(450), "{:?}", begin.elapsed());
}

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, close\r\nUpgrade: chat\r\n\r\n";

#[tokio::test]
async fn a_refused_upgrade_is_paced() {
    let up = with_body(150, false).await;
    let proxy = start();
    let at = Site::of(paced(100, 0, to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    let begin = Instant::now();
    client.write_all(UPGRADE).await.unwrap();
    let answer = client::response(&mut client).await;
    assert_eq!((answer.status, answer.body.len()), (200, 150 << 10));
    assert!(up.last().header("upgrade").is_some());
    assert!(begin.elapsed() >= Duration::from_millis(450), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_tunnel_is_not_paced() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    let up = RawBackend::start(|_, _| Reply::Echo(switch.to_vec())).await;
    let proxy = start();
    let at = Site::of(paced(1, 0, to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    client.write_all(UPGRADE).await.unwrap();
    assert_eq!(client::response(&mut client).await.status, 101);
    // At the pace, it would take minutes.
    within(async {
        for _ in 0..20 {
            client.write_all(&[b'x'; 10 << 10]).await.unwrap();
            client.read_exact(&mut [0; 10 << 10]).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn the_time_before_the_body_is_not_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.read(&mut [0; 1024]).await;
        sleep(Duration::from_millis(700)).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 153600\r\n\r\n").await;
        sleep(Duration::from_millis(700)).await;
        let _ = tcp.write_all(&[b'x'; 150 << 10]).await;
    });
    let proxy = start();
    let at = Site::of(paced(100, 0, to(address))).serve(&proxy).await;
    let (took, _, all) = get(at, 0).await;
    assert!(took >= Duration::from_millis(1850) && all > 150 << 10, "{took:?} {all}");
}

#[tokio::test]
async fn answers_of_h2_backends_are_paced_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2_server(tcp).await;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().body(()).unwrap();
                    let mut body = respond.send_response(head, false).unwrap();
                    body.send_data(bytes::Bytes::from(vec![b'x'; 150 << 10]), true).unwrap();
                }
            });
        }
    });
    let proxy = start();
    let at = Site::of(paced(100, 0, rule([share(1, Ok(h2(backend(&[address]))))]))).serve(&proxy).await;
    let (took, _, all) = get(at, 0).await;
    assert!(took >= Duration::from_millis(450) && all > 150 << 10, "{took:?} {all}");
    let mut client = client::h2(connect(at).await).await;
    let begin = Instant::now();
    let (status, body) = client.get("http://a.example/").await.unwrap();
    assert_eq!((status, body.len()), (200, 150 << 10));
    assert!(begin.elapsed() >= Duration::from_millis(450), "{:?}", begin.elapsed());
}

async fn h2_server(
    tcp: tokio::net::TcpStream,
) -> ::h2::server::Connection<tokio::net::TcpStream, bytes::Bytes> {
    ::h2::server::handshake(tcp).await.unwrap()
}

#[tokio::test]
async fn the_backend_waits_for_a_paced_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.read(&mut [0; 1024]).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n").await;
        while tcp.write_all(&[b'x'; 16 << 10]).await.is_ok() {
            counting.fetch_add(16 << 10, Ordering::Relaxed);
        }
    });
    let proxy = start();
    let at = Site::of(paced(1, 0, to(address))).serve(&proxy).await;
    let mut client = connect(at).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    // The client takes whatever comes.
    let reading =
        tokio::spawn(async move { while client.read(&mut [0; 16 << 10]).await.is_ok_and(|n| n > 0) {} });
    // The proxy holds far less than 4 MiB, and the client's connection next to nothing.
    let most = kernel_holds() + (4 << 20);
    stalls("the backend", most, || sent.load(Ordering::Relaxed)).await;
    // The client leaves while the answer waits.
    reading.abort();
    until("the request to end", || proxy.proxy.in_flight() == 0).await;
}
