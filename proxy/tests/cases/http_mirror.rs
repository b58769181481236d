//! Mirrors that cannot keep up: what they hold is bounded, and counted.

use std::{net::SocketAddr, sync::Arc};

use crate::support::{
    Running,
    client::{connect, exchange},
    raw::RawBackend,
    site::{Site, backend, listener, to},
    start_with, until, within,
};
use portcullis_routing::{Rule, Step, Steps, step::Mirror};

fn mirrored(to_backend: SocketAddr, to_mirror: SocketAddr) -> Rule {
    let mirror = Mirror { backend: Ok(Arc::new(backend(&[to_mirror]))), numerator: 1, denominator: 1 };
    Rule { steps: Steps::new([Step::Mirror(mirror)]), ..to(to_backend) }
}

fn lost(proxy: &Running, reason: &str) -> u64 {
    proxy.proxy.lost_mirrors().into_iter().find(|(name, _)| *name == reason).unwrap().1
}

#[tokio::test]
async fn mirrors_that_take_nothing_hold_no_more_than_the_budget() {
    let (up, copy) = (RawBackend::saying("up").await, RawBackend::saying("copy").await);
    // The kernel accepts for it, and nobody reads.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    // A quarter is for the namespace: one mirror and a few chunks, far less than the chunks that it may be behind.
    let proxy = start_with(|options| options.mirror_bytes = 1 << 20);
    let at = Site::http()
        .add("", listener("all"), "/silent", mirrored(up.address, silent_at))
        .add("", listener("all"), "/copied", mirrored(up.address, copy.address))
        .serve(&proxy)
        .await;
    // More than the kernel takes for a socket that nobody reads.
    let body = "x".repeat(16 << 20);
    for count in 1..=5 {
        let head =
            format!("POST /silent HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(exchange(&mut connect(at).await, &(head + &body)).await.body, "up");
        assert_eq!(lost(&proxy, "memory"), count);
    }
    // What they held is free, long before any of their limits of time.
    let small = "POST /copied HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
    within(async {
        while copy.seen().is_empty() {
            assert_eq!(exchange(&mut connect(at).await, small).await.body, "up");
        }
    })
    .await;
    assert_eq!(copy.last().body, b"hello");
}

#[tokio::test]
async fn a_mirror_that_cannot_be_reached_is_counted() {
    let up = RawBackend::saying("up").await;
    let proxy = start_with(|_| {});
    let at = Site::of(mirrored(up.address, crate::support::site::refusing())).serve(&proxy).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(exchange(&mut connect(at).await, request).await.body, "up");
    until("it is counted", || lost(&proxy, "failed") == 1).await;
}
