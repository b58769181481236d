//! Limits of what a client may send to an owner's rules.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::StatusCode;
use portcullis_routing::{
    Rule, Step, Steps,
    step::{Check, Counts, Limits, Rate, Rates},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::support::{
    client::{connect, exchange, get, h2 as h2_client},
    raw::{H2Backend, RawBackend, Reply, ok},
    site::{Site, backend, h2, rule, share, to},
    start_with, within,
};

fn limited(rates: Rates, in_flight: Option<u32>, rule: Rule) -> Rule {
    let limits = Limits {
        owner: "test/limited".into(),
        rates,
        in_flight,
        ipv6_prefix: 128,
        exempt: None,
        rate_status: StatusCode::TOO_MANY_REQUESTS,
        in_flight_status: StatusCode::SERVICE_UNAVAILABLE,
        counts: Counts::default(),
    };
    Rule { steps: Steps::new([Step::Check(Check::Limits(Arc::new(limits)))]), ..rule }
}

fn one_a_minute() -> Rates {
    Rates { minute: Some(Rate::new(1, 60, 3)), ..Rates::default() }
}

/// A backend that answers nothing to requests for `/hang`.
async fn hanging() -> RawBackend {
    RawBackend::start(|_, seen| match seen.line().contains("/hang") {
        true => Reply::Hang(Vec::new()),
        false => ok("up"),
    })
    .await
}

/// Sends a request that hangs. The end of another is noticed a moment after it, so it may take several.
async fn hang(at: SocketAddr, up: &RawBackend) -> TcpStream {
    within(async {
        let seen = up.seen().len();
        loop {
            let mut client = connect(at).await;
            client.write_all(b"GET /hang HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
            let mut answered = [0];
            while up.seen().len() == seen {
                if timeout(Duration::from_millis(5), client.peek(&mut answered)).await.is_ok() {
                    break;
                }
            }
            if up.seen().len() > seen {
                return client;
            }
        }
    })
    .await
}

/// Sends requests until one passes: the end of another is noticed a moment after it.
async fn passes(at: SocketAddr) {
    within(async {
        while get(&mut connect(at).await, "a.example", "/").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Neither another connection, nor HTTP/2, nor another backend's protocol gives a client more requests.
#[tokio::test]
async fn a_client_has_one_burst_however_it_connects() {
    let (up, up2) = (RawBackend::saying("up").await, H2Backend::start().await);
    let to_h2 = || rule([share(1, Ok(h2(backend(&[up2.address]))))]);
    let proxy = start_with(|_| {});
    let site = |first: Rule, second: Rule| {
        Site::of(limited(one_a_minute(), None, first)).add(
            "b.example",
            crate::support::site::listener("b"),
            "/",
            limited(one_a_minute(), None, second),
        )
    };
    let at = site(to(up.address), to_h2()).serve(&proxy).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 200);
    assert_eq!(get(&mut connect(at).await, "b.example", "/").await.status, 200);
    let mut client = h2_client(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 200);
    assert_eq!(client.get("http://b.example/").await.unwrap().0, 200);
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 429);
    let mut client = connect(at).await;
    for host in ["a.example", "b.example", "a.example"] {
        let answer = get(&mut client, host, "/").await;
        assert_eq!((answer.status, answer.closes()), (429, false), "the connection goes on");
    }
    // A new table counts on.
    let at = site(to_h2(), to(up.address)).serve(&proxy).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 429);
    assert_eq!((up.seen().len(), up2.seen().len()), (2, 2));
}

#[tokio::test]
async fn requests_in_flight_are_counted_until_their_end() {
    let up = hanging().await;
    let proxy = start_with(|_| {});
    let at = Site::of(limited(Rates::default(), Some(1), to(up.address))).serve(&proxy).await;
    let mut client = connect(at).await;
    for _ in 0..3 {
        assert_eq!(get(&mut client, "a.example", "/").await.status, 200, "one after another");
    }
    // The client leaves.
    let leaving = hang(at, &up).await;
    assert_eq!(get(&mut client, "a.example", "/").await.status, 503);
    let posted = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(exchange(&mut client, posted).await.status, 503);
    drop(leaving);
    passes(at).await;
    // Each stream is a request.
    let mut streams = h2_client(connect(at).await).await;
    let mut hanging = streams.start("http://a.example/hang").await.unwrap();
    within(async {
        while !up.last().line().contains("/hang") {
            // The end of the request before is noticed a moment after it.
            if timeout(Duration::from_millis(20), &mut hanging).await.is_ok() {
                hanging = streams.start("http://a.example/hang").await.unwrap();
            }
        }
    })
    .await;
    assert_eq!(streams.get("http://a.example/").await.unwrap().0, 503);
    drop(hanging);
    passes(at).await;
}

#[tokio::test]
async fn a_tunnel_is_in_flight_as_long_as_it_is_open() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let up = RawBackend::start(|_, seen| match seen.header("upgrade") {
        Some(_) => Reply::Hang(switch.into()),
        None => ok("up"),
    })
    .await;
    let proxy = start_with(|_| {});
    let at = Site::of(limited(Rates::default(), Some(1), to(up.address))).serve(&proxy).await;
    let mut tunnel = connect(at).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(exchange(&mut tunnel, upgrade).await.status, 101);
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 503);
    drop(tunnel);
    passes(at).await;
}
