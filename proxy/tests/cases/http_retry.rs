//! Limits of time, and which attempts are followed by others.

use std::{net::SocketAddr, time::Duration};

use crate::support::{
    client::{self, connect, exchange, get},
    raw::{RawBackend, Reply, ok, status},
    site::{Site, backend, h2, listener, refusing, rule, share, to},
    start, within,
};
use portcullis_routing::{Retry, Rule, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// For what does not answer.
const SHORT: Duration = Duration::from_millis(300);
/// Short enough for a test, long enough for an answer on a busy machine.
const AMPLE: Duration = Duration::from_millis(1500);

fn limited(rule: Rule, request: Option<Duration>, backend_request: Option<Duration>) -> Rule {
    Rule { timeouts: Timeouts { request, backend_request, ..Timeouts::default() }.of_rule(), ..rule }
}

fn retried(rule: Rule, codes: &[u16], attempts: u32) -> Rule {
    Rule { retry: Some(Retry { codes: codes.into(), attempts, ..Retry::default() }.into()), ..rule }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";

async fn ask(at: SocketAddr, request: &str) -> (u16, String) {
    let got = exchange(&mut connect(at).await, request).await;
    (got.status, got.body)
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_is_a_504() {
    let silent = RawBackend::start(|_, _| Reply::Hang(Vec::new())).await;
    let proxy = start();
    for (request, backend_request) in [(Some(SHORT), None), (None, Some(SHORT)), (Some(SHORT), Some(SHORT))] {
        let rule = limited(to(silent.address), request, backend_request);
        let at = Site::of(rule).serve(&proxy).await;
        for request in [GET, POST] {
            assert_eq!(ask(at, request).await.0, 504);
        }
        let mut client = client::h2(connect(at).await).await;
        assert_eq!(client.get("http://a.example/").await.unwrap().0, 504);
    }
}

#[tokio::test]
async fn an_h2_backend_that_does_not_answer_in_time_is_a_504() {
    let two = crate::support::backend::TestBackend::start("two").await;
    let proxy = start();
    let rule = limited(rule([share(1, Ok(h2(backend(&[two.address]))))]), Some(AMPLE), None);
    let at = Site::of(rule).serve(&proxy).await;
    assert_eq!(get(&mut connect(at).await, "a.example", "/hold").await.status, 504);
    assert_eq!(get(&mut connect(at).await, "a.example", "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_uploads_too_slowly_gets_a_504() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(limited(to(up.address), Some(SHORT), None)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    tcp.write_all(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    assert_eq!(client::response(&mut tcp).await.status, 504);
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_cut() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin";
    let slow = RawBackend::start(move |_, _| Reply::Hang(head.into())).await;
    let proxy = start();
    for (request, backend_request) in [(Some(AMPLE), None), (None, Some(AMPLE))] {
        let at = Site::of(limited(to(slow.address), request, backend_request)).serve(&proxy).await;
        let mut tcp = connect(at).await;
        tcp.write_all(GET.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let _ = within(tcp.read_to_end(&mut all)).await;
        let all = String::from_utf8(all).unwrap();
        assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("begin"), "{all}");
    }
}

#[tokio::test]
async fn a_tunnel_outlives_the_limits_of_its_request() {
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    let up = RawBackend::start(move |_, _| Reply::Echo(upgraded.into())).await;
    let proxy = start();
    let at = Site::of(limited(to(up.address), Some(AMPLE), Some(AMPLE))).serve(&proxy).await;
    let mut tcp = connect(at).await;
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    assert_eq!(exchange(&mut tcp, request).await.status, 101);
    // Busy, and then silent.
    for pause in [SHORT / 10, SHORT / 10, AMPLE * 4 / 3, SHORT / 10] {
        tokio::time::sleep(pause).await;
        tcp.write_all(b"x").await.unwrap();
        assert_eq!(within(tcp.read_u8()).await.unwrap(), b'x');
    }
}

#[tokio::test]
async fn an_idle_backend_is_given_up() {
    let silent = RawBackend::start(|_, _| Reply::Hang(Vec::new())).await;
    let proxy = crate::support::start_with(|options| options.idle_timeout = SHORT);
    let at = Site::of(to(silent.address)).serve(&proxy).await;
    assert_eq!(ask(at, GET).await.0, 504);
}

#[tokio::test]
async fn codes_of_the_policy_are_worth_another_attempt() {
    for (codes, attempts, fails, want, requests) in [
        (&[503][..], 2, 2, 200, 3),
        (&[500, 503], 3, 1, 200, 2),
        (&[503], 1, 2, 503, 2),
        (&[500], 3, 1, 503, 1),
        (&[503], 0, 1, 503, 1),
        (&[], 3, 1, 503, 1),
    ] {
        let up = RawBackend::start(move |n, _| if n < fails { status(503) } else { ok("up") }).await;
        let proxy = start();
        let at = Site::of(retried(to(up.address), codes, attempts)).serve(&proxy).await;
        assert_eq!(ask(at, POST).await.0, want, "{codes:?} {attempts} {fails}");
        let seen = up.seen();
        assert_eq!(seen.len(), requests, "{codes:?} {attempts} {fails}");
        assert!(seen.iter().all(|s| s.body == b"hi"));
    }
}

#[tokio::test]
async fn another_attempt_goes_to_another_endpoint() {
    let (bad, good) = (RawBackend::start(|_, _| status(503)).await, RawBackend::saying("good").await);
    let proxy = start();
    let rule = rule([share(1, Ok(backend(&[bad.address, good.address])))]);
    let at = Site::of(retried(rule, &[503], 1)).serve(&proxy).await;
    for _ in 0..20 {
        assert_eq!(ask(at, GET).await, (200, "good".into()));
    }
    assert!(!bad.seen().is_empty());
}

#[tokio::test]
async fn connections_that_break_are_worth_another_attempt_where_the_method_is_idempotent() {
    for (reply, request, policy, want) in [
        (Reply::Reset, GET, true, 200),
        (Reply::Close, GET, true, 200),
        // It may have been carried out.
        (Reply::Reset, POST, true, 502),
        (Reply::Close, POST, true, 502),
        (Reply::Reset, GET, false, 502),
        (Reply::Close, POST, false, 502),
    ] {
        let text = format!("{reply:?} {request} {policy}");
        let up = RawBackend::start(move |n, _| if n == 0 { reply.clone() } else { ok("up") }).await;
        let proxy = start();
        let rule = to(up.address);
        let rule = if policy { retried(rule, &[], 1) } else { rule };
        let at = Site::of(rule).serve(&proxy).await;
        assert_eq!(ask(at, request).await.0, want, "{text}");
    }
}

#[tokio::test]
async fn no_connection_is_worth_another_attempt_with_any_method() {
    let good = RawBackend::saying("good").await;
    let proxy = start();
    let rule = rule([share(1, Ok(backend(&[refusing(), good.address])))]);
    let at = Site::of(retried(rule, &[], 1)).serve(&proxy).await;
    for _ in 0..10 {
        assert_eq!(ask(at, POST).await, (200, "good".into()));
    }
}

#[tokio::test]
async fn a_policy_of_no_attempts_makes_none() {
    let good = RawBackend::saying("good").await;
    let proxy = start();
    let rule = rule([share(1, Ok(backend(&[refusing(), good.address])))]);
    let at = Site::of(retried(rule, &[], 0)).serve(&proxy).await;
    let mut refused = 0;
    for _ in 0..40 {
        refused += u32::from(ask(at, GET).await.0 == 502);
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_followed_by_another_where_the_method_is_idempotent() {
    // The backend may have carried it out all the same.
    for (request, want) in [(GET, (200, 2)), (POST, (504, 1))] {
        let up = RawBackend::start(|n, _| if n == 0 { Reply::Hang(Vec::new()) } else { ok("up") }).await;
        let proxy = start();
        let rule = limited(to(up.address), None, Some(AMPLE));
        let at = Site::of(retried(rule, &[], 1)).serve(&proxy).await;
        let status = ask(at, request).await.0;
        assert_eq!((status, up.seen().len()), want, "{request}");
    }
}

#[tokio::test]
async fn a_backend_that_is_silent_for_too_long_is_asked_again_where_the_method_is_idempotent() {
    for (request, want) in [(GET, (200, 2)), (POST, (504, 1))] {
        let up = RawBackend::start(|n, _| if n == 0 { Reply::Hang(Vec::new()) } else { ok("up") }).await;
        let proxy = crate::support::start_with(|options| options.idle_timeout = AMPLE);
        let at = Site::of(retried(to(up.address), &[], 1)).serve(&proxy).await;
        let status = ask(at, request).await.0;
        assert_eq!((status, up.seen().len()), want, "{request}");
    }
}

#[tokio::test]
async fn the_limit_of_the_request_holds_for_all_attempts_together() {
    let up = RawBackend::start(|_, _| status(503)).await;
    let proxy = start();
    let mut rule = retried(limited(to(up.address), Some(Duration::from_secs(2)), None), &[503], 1000);
    std::sync::Arc::make_mut(rule.retry.as_mut().unwrap()).backoff = Some(Duration::from_millis(300));
    let at = Site::of(rule).serve(&proxy).await;
    assert_eq!(ask(at, GET).await.0, 504);
    let count = up.seen().len();
    assert!((2..=7).contains(&count), "{count}");
}

#[tokio::test]
async fn a_body_too_long_to_be_repeated_is_sent_once() {
    let up = RawBackend::start(|_, _| status(503)).await;
    let proxy = start();
    let at = Site::of(retried(to(up.address), &[503], 3)).serve(&proxy).await;
    for (length, want) in [(60_000, 4), (200_000, 1)] {
        let body = "x".repeat(length);
        let request = format!("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n{body}");
        let before = up.seen().len();
        assert_eq!(ask(at, &request).await.0, 503);
        let seen = &up.seen()[before..];
        assert_eq!(seen.len(), want, "{length}");
        assert!(seen.iter().all(|s| s.body.len() == length));
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_never_repeated() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin";
    let up = RawBackend::start(move |_, _| Reply::Last(cut.into())).await;
    let proxy = start();
    let at = Site::of(retried(to(up.address), &[503], 3))
        .add("", listener("all"), "/other", to(up.address))
        .serve(&proxy)
        .await;
    let mut tcp = connect(at).await;
    tcp.write_all(GET.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let _ = within(tcp.read_to_end(&mut all)).await;
    assert!(String::from_utf8(all).unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(up.seen().len(), 1);
}
