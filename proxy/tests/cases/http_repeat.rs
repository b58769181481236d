//! Which requests are sent again when a connection to a backend breaks, and how often backends see them.

use std::net::SocketAddr;

use crate::support::{
    Running,
    breaking::{Deed, Frames},
    client::{self, connect, exchange, get},
    raw::{RawBackend, Reply, ok},
    site::{Site, backend, h2, rule, share, to},
    start_with, until, within,
};
use http::{Method, Request};
use portcullis_routing::{Retry, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const IDEMPOTENT: [Method; 5] = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS];
const OTHERS: [Method; 2] = [Method::POST, Method::PATCH];

/// One worker, so that a request finds the connection that the one before has left.
fn start() -> Running {
    start_with(|options| options.workers = 1)
}

fn two(addresses: &[SocketAddr]) -> Rule {
    rule([share(1, Ok(h2(backend(addresses))))])
}

/// The status that an HTTP/1 client is told at last.
async fn over_http_1(at: SocketAddr, method: &Method, path: &str) -> u16 {
    let mut tcp = connect(at).await;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n");
    tcp.write_all(format!("{head}Content-Length: 2\r\n\r\nhi").as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let _ = within(tcp.read_to_end(&mut all)).await;
    let all = String::from_utf8(all).unwrap();
    let status = all.rsplit("HTTP/1.1 ").next().unwrap();
    status.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no status: {all:?}"))
}

/// The status that an h2 client is told.
async fn over_h2(at: SocketAddr, method: &Method, path: &str) -> u16 {
    let mut client = client::h2(connect(at).await).await;
    let uri = format!("http://a.example{path}");
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let (answer, _) = client.send.send_request(request, true).unwrap();
    client::finish(answer).await.unwrap().0
}

async fn over(version: u8, at: SocketAddr, method: &Method, path: &str) -> u16 {
    match version {
        1 => over_http_1(at, method, path).await,
        _ => over_h2(at, method, path).await,
    }
}

#[tokio::test]
async fn a_pooled_http_1_connection_that_breaks_is_another_attempt_where_the_method_is_idempotent() {
    let proxy = start();
    let half = "HTTP/1.1 200 O";
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    for (reply, again) in [
        (Reply::Close, true),
        (Reply::Reset, true),
        // The backend has begun to answer.
        (Reply::Last(half.into()), false),
        (Reply::Last(head.into()), false),
        (Reply::Last(hints.into()), false),
    ] {
        for method in IDEMPOTENT.iter().chain(&OTHERS) {
            for version in [1, 2] {
                let what = format!("{method} from HTTP/{version}, {reply:?}");
                let breaks = reply.clone();
                let up = RawBackend::start(move |n, _| if n == 1 { breaks.clone() } else { ok("up") }).await;
                let at = Site::of(to(up.address)).serve(&proxy).await;
                assert_eq!(get(&mut connect(at).await, "a.example", "/first").await.status, 200);
                let again = again && IDEMPOTENT.contains(method);
                let status = over(version, at, method, "/x").await;
                let seen = up.seen();
                assert_eq!((status, seen.len()), if again { (200, 3) } else { (502, 2) }, "{what}");
                if IDEMPOTENT.contains(method) {
                    // On the pooled one, and then on one of its own.
                    let connections: Vec<_> = seen.iter().map(|seen| seen.connection).collect();
                    assert!([0, 0, 1].starts_with(&connections), "{what}: {connections:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_no_other_attempt() {
    let proxy = start();
    for method in IDEMPOTENT.iter().chain(&OTHERS) {
        for reply in [Reply::Close, Reply::Reset] {
            let breaks = reply.clone();
            let up = RawBackend::start(move |_, _| breaks.clone()).await;
            let at = Site::of(to(up.address)).serve(&proxy).await;
            let status = over_http_1(at, method, "/x").await;
            assert_eq!((status, up.seen().len()), (502, 1), "{method} {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_pooled_h2_connection_that_breaks_is_another_attempt_where_the_method_is_idempotent() {
    let proxy = start();
    for (deed, again) in [
        (Deed::Close, true),
        (Deed::Reset, true),
        (Deed::GoAway, true),
        (Deed::GoAwayInError, true),
        // The stream alone has failed.
        (Deed::Fail, false),
        (Deed::Head, false),
    ] {
        for method in IDEMPOTENT.iter().chain(&OTHERS) {
            for version in [1, 2] {
                let what = format!("{method} from HTTP/{version}, {deed:?}");
                let up = Frames::start(move |n| if n == 1 { deed } else { Deed::Answer }).await;
                let at = Site::of(two(&[up.address])).serve(&proxy).await;
                assert_eq!(over_h2(at, &Method::GET, "/first").await, 200, "{what}");
                let again = again && IDEMPOTENT.contains(method);
                // An answer that had begun cannot be taken back.
                let status = match deed {
                    Deed::Head => begun(version, at, method).await,
                    _ => over(version, at, method, "/x").await,
                };
                let want = if again || deed == Deed::Head { 200 } else { 502 };
                assert_eq!((status, up.requests()), (want, if again { 3 } else { 2 }), "{what}");
            }
        }
    }
}

/// The status of an answer that does not end.
async fn begun(version: u8, at: SocketAddr, method: &Method) -> u16 {
    if version == 1 {
        return over_http_1(at, method, "/x").await;
    }
    let mut client = client::h2(connect(at).await).await;
    let request = Request::builder().method(method).uri("http://a.example/x").body(()).unwrap();
    let (answer, _) = client.send.send_request(request, true).unwrap();
    within(answer).await.unwrap().status().as_u16()
}

/// A head that is cut in the middle is no answer, and h2 knows no bytes below its frames.
#[tokio::test]
async fn half_a_head_of_an_h2_backend_is_no_other_attempt_but_for_idempotent_methods() {
    let proxy = start();
    for method in IDEMPOTENT.iter().chain(&OTHERS) {
        let up = Frames::start(|n| if n == 1 { Deed::HalfAHead } else { Deed::Answer }).await;
        let at = Site::of(two(&[up.address])).serve(&proxy).await;
        assert_eq!(over_h2(at, &Method::GET, "/first").await, 200, "{method}");
        let want = if IDEMPOTENT.contains(method) { (200, 3) } else { (502, 2) };
        assert_eq!((over_h2(at, method, "/x").await, up.requests()), want, "{method}");
    }
}

#[tokio::test]
async fn what_an_h2_backend_has_not_processed_is_another_attempt_whatever_the_method() {
    let proxy = start();
    for deed in [Deed::Refuse, Deed::GoAwayBefore] {
        for method in IDEMPOTENT.iter().chain(&OTHERS) {
            for pooled in [true, false] {
                let what = format!("{method} {deed:?} pooled {pooled}");
                let first = usize::from(pooled);
                let up = Frames::start(move |n| if n == first { deed } else { Deed::Answer }).await;
                let at = Site::of(two(&[up.address])).serve(&proxy).await;
                if pooled {
                    assert_eq!(over_h2(at, &Method::GET, "/first").await, 200, "{what}");
                }
                assert_eq!((over_h2(at, method, "/x").await, up.requests()), (200, first + 2), "{what}");
            }
        }
    }
    // Not for ever.
    let up = Frames::start(|_| Deed::Refuse).await;
    let at = Site::of(two(&[up.address])).serve(&proxy).await;
    assert_eq!((over_h2(at, &Method::POST, "/x").await, up.requests()), (502, 3));
}

#[tokio::test]
async fn a_grpc_call_is_made_once() {
    let proxy = start();
    for deed in [Deed::Close, Deed::Reset, Deed::GoAway, Deed::GoAwayInError, Deed::HalfAHead, Deed::Fail] {
        for pooled in [true, false] {
            let what = format!("{deed:?} pooled {pooled}");
            let first = usize::from(pooled);
            let up = Frames::start(move |n| if n == first { deed } else { Deed::Answer }).await;
            let at = Site::of(two(&[up.address])).serve(&proxy).await;
            if pooled {
                assert_eq!(over_h2(at, &Method::GET, "/first").await, 200, "{what}");
            }
            let mut client = client::h2(connect(at).await).await;
            let request = Request::post("http://a.example/test.Echo/Once")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .unwrap();
            let (answer, mut send) = client.send.send_request(request, false).unwrap();
            send.send_data(b"\0\0\0\0\0"[..].into(), true).unwrap();
            let answer = within(answer).await.unwrap();
            assert_eq!(answer.headers().get("grpc-status").map(|v| v.as_bytes()), Some(&b"14"[..]), "{what}");
            assert_eq!(up.requests(), first + 1, "{what}");
        }
    }
}

/// Each endpoint has a pooled connection, and dies of the request.
#[tokio::test]
async fn a_request_that_kills_backends_kills_no_more_than_it_has_to() {
    let proxy = start();
    for (method, most) in [(Method::GET, 2), (Method::PUT, 2), (Method::POST, 1)] {
        let mut ups = Vec::new();
        for _ in 0..3 {
            let kills = |_, seen: &crate::support::raw::Seen| match seen.line().contains("/deadly") {
                true => Reply::Close,
                false => ok("up"),
            };
            ups.push(RawBackend::start(kills).await);
        }
        let addresses: Vec<_> = ups.iter().map(|up| up.address).collect();
        let at = Site::of(rule([share(1, Ok(backend(&addresses)))])).serve(&proxy).await;
        while ups.iter().any(|up| up.seen().is_empty()) {
            assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 200);
        }
        assert_eq!(over_http_1(at, &method, "/deadly").await, 502, "{method}");
        let killed = ups.iter().filter(|up| up.last().line().contains("/deadly")).count();
        assert_eq!(killed, most, "{method}");
    }
    for (method, most) in [(Method::GET, 2), (Method::POST, 1)] {
        let mut ups = Vec::new();
        let armed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        for _ in 0..3 {
            let armed = std::sync::Arc::clone(&armed);
            ups.push(
                Frames::start(move |_| match armed.load(std::sync::atomic::Ordering::SeqCst) {
                    true => Deed::Close,
                    false => Deed::Answer,
                })
                .await,
            );
        }
        let addresses: Vec<_> = ups.iter().map(|up| up.address).collect();
        let at = Site::of(two(&addresses)).serve(&proxy).await;
        while ups.iter().any(|up| up.requests() == 0) {
            assert_eq!(over_h2(at, &Method::GET, "/").await, 200);
        }
        let before: usize = ups.iter().map(Frames::requests).sum();
        armed.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(over_h2(at, &method, "/deadly").await, 502, "{method}");
        assert_eq!(ups.iter().map(Frames::requests).sum::<usize>() - before, most, "{method}");
    }
}

/// It might close the connection while the request is on its way.
#[tokio::test]
async fn what_cannot_be_repeated_keeps_off_connections_that_a_backend_is_about_to_close() {
    let proxy = start();
    let closing = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nup";
    let lasting = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nup";
    for (answer, method, connections) in [
        (closing, Method::GET, [0, 0, 0]),
        (closing, Method::POST, [0, 1, 2]),
        (lasting, Method::GET, [0, 0, 0]),
        (lasting, Method::POST, [0, 0, 0]),
    ] {
        let what = format!("{method} {answer:?}");
        let up = RawBackend::start(move |_, _| Reply::Bytes(answer.into())).await;
        let at = Site::of(to(up.address)).serve(&proxy).await;
        for _ in 0..3 {
            assert_eq!(over_http_1(at, &method, "/").await, 200, "{what}");
        }
        let seen: Vec<_> = up.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(seen, connections, "{what}");
    }
}

#[tokio::test]
async fn a_connection_that_the_backend_has_closed_costs_no_request_whatever_the_method() {
    // Each connection is closed after an answer that promised to keep it.
    let up = RawBackend::start(|_, _| {
        Reply::Last(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok".to_vec())
    })
    .await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    for n in 1..=50 {
        let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(exchange(&mut tcp, request).await.status, 200);
        until("the connection is closed", || up.closed() == n).await;
    }
    assert_eq!(up.seen().len(), 50);
}

#[tokio::test]
async fn a_policy_repeats_breaks_of_idempotent_methods_alone() {
    let proxy = start();
    for (method, want) in [(Method::GET, (200, 3)), (Method::PUT, (200, 3)), (Method::POST, (502, 1))] {
        for deed in [Deed::Close, Deed::GoAway, Deed::HalfAHead, Deed::Fail] {
            let up = Frames::start(move |n| if n < 2 { deed } else { Deed::Answer }).await;
            let mut rule = two(&[up.address]);
            rule.retry = Some(Retry { codes: Box::default(), attempts: 2, ..Retry::default() }.into());
            let at = Site::of(rule).serve(&proxy).await;
            assert_eq!((over_h2(at, &method, "/x").await, up.requests()), want, "{method} {deed:?}");
        }
        let half = "HTTP/1.1 200 O";
        for reply in [Reply::Close, Reply::Reset, Reply::Last(half.into())] {
            let breaks = reply.clone();
            let up = RawBackend::start(move |n, _| if n < 2 { breaks.clone() } else { ok("up") }).await;
            let mut rule = to(up.address);
            rule.retry = Some(Retry { codes: Box::default(), attempts: 2, ..Retry::default() }.into());
            let at = Site::of(rule).serve(&proxy).await;
            assert_eq!((over_http_1(at, &method, "/x").await, up.seen().len()), want, "{method} {reply:?}");
        }
    }
}
