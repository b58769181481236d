//! Limits of time that a rule has in place of the proxy's, and which attempts of an Ingress are followed by others.

use std::{net::SocketAddr, time::Duration};

use portcullis_routing::{Failures, OwnTimeouts, Repeats, Retry, Rule, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    backend::TestBackend,
    client::{self, connect, exchange},
    raw::{RawBackend, Reply, ok, status},
    site::{Site, backend, h2, refusing, rule, share, to},
    start, start_with, within,
};

/// For what does not answer.
const SHORT: Duration = Duration::from_millis(300);
/// Short enough for a test, long enough for an answer on a busy machine.
const AMPLE: Duration = Duration::from_millis(1500);
const LONG: Duration = Duration::from_secs(600);

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";

fn limited(rule: Rule, own: OwnTimeouts) -> Rule {
    Rule { timeouts: Timeouts { own, ..Timeouts::default() }.of_rule(), ..rule }
}

fn reads(rule: Rule, read: Duration) -> Rule {
    limited(rule, OwnTimeouts { read: Some(read), ..OwnTimeouts::default() })
}

async fn ask(at: SocketAddr, request: &str) -> u16 {
    exchange(&mut connect(at).await, request).await.status
}

/// A backend that answers each connection with these bytes, after a pause and without reading its request to the end.
async fn slow(pause: Duration, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                tcp.read_u8().await.ok()?;
                tokio::time::sleep(pause).await;
                tcp.write_all(answer.as_bytes()).await.ok()?;
                std::future::pending::<Option<()>>().await
            });
        }
    });
    address
}

#[tokio::test]
async fn a_backend_that_is_silent_longer_than_the_rule_permits_is_a_504() {
    let silent = slow(LONG, "").await;
    let proxy = start();
    for limit in [SHORT, Duration::ZERO] {
        let at = Site::of(reads(to(silent), limit)).serve(&proxy).await;
        for request in [GET, POST] {
            assert_eq!(ask(at, request).await, 504, "{limit:?}");
        }
        let mut client = client::h2(connect(at).await).await;
        assert_eq!(client.get("http://a.example/").await.unwrap().0, 504, "{limit:?}");
    }
}

#[tokio::test]
async fn an_h2_backend_that_is_silent_longer_than_the_rule_permits_is_a_504() {
    let two = TestBackend::start("two").await;
    let proxy = start();
    let rule = reads(rule([share(1, Ok(h2(backend(&[two.address]))))]), AMPLE);
    let at = Site::of(rule).serve(&proxy).await;
    let hold = "GET /hold HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(ask(at, hold).await, 504);
    assert_eq!(ask(at, GET).await, 200);
}

#[tokio::test]
async fn a_backend_may_be_silent_as_long_as_the_rule_permits() {
    let pause = SHORT * 6;
    let late = slow(pause, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = start_with(|options| options.idle_timeout = SHORT);
    let at = Site::of(reads(to(late), LONG)).serve(&proxy).await;
    for request in [GET, POST] {
        assert_eq!(ask(at, request).await, 200);
    }
    let mut client = client::h2(connect(at).await).await;
    assert_eq!(client.get("http://a.example/").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_tunnel_may_be_silent_as_long_as_the_rule_permits() {
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    let up = RawBackend::start(move |_, _| Reply::Echo(upgraded.into())).await;
    let proxy = start_with(|options| options.idle_timeout = AMPLE);
    for (limit, lasts) in [(LONG, true), (AMPLE, false)] {
        let at = Site::of(reads(to(up.address), limit)).serve(&proxy).await;
        let mut tcp = connect(at).await;
        let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
        assert_eq!(exchange(&mut tcp, request).await.status, 101);
        if lasts {
            // The sleep is the subject here, not a way to wait for something.
            tokio::time::sleep(AMPLE * 2).await;
            tcp.write_all(b"x").await.unwrap();
            assert_eq!(within(tcp.read_u8()).await.unwrap(), b'x');
        } else {
            assert!(client::is_closed(&mut tcp).await);
        }
    }
}

#[tokio::test]
async fn a_backend_that_takes_nothing_for_longer_than_the_rule_permits_is_a_504() {
    let deaf = slow(LONG, "").await;
    let proxy = start();
    // pingora waits for an answer all the same.
    let own = OwnTimeouts { send: Some(SHORT), read: Some(SHORT * 10), ..OwnTimeouts::default() };
    let at = Site::of(limited(to(deaf), own)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    let (mut read, mut write) = tcp.split();
    let upload = async {
        let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000000\r\n\r\n";
        write.write_all(head.as_bytes()).await.unwrap();
        while write.write_all(&[0; 1 << 16]).await.is_ok() {}
    };
    let answer = tokio::select! {
        answer = client::response(&mut read) => answer,
        () = async { upload.await; std::future::pending().await } => unreachable!(),
    };
    assert_eq!(answer.status, 504);
}

#[tokio::test]
async fn the_rule_says_what_is_worth_another_attempt_and_of_which_methods() {
    let none = Failures { error: false, timeout: false, invalid: false };
    let error = Failures { error: true, ..none };
    let (timeout, invalid) = (Failures { timeout: true, ..none }, Failures { invalid: true, ..none });
    let malformed = || Reply::Bytes("HTTP/1.1 2x0 What\r\n\r\n".into());
    let hang = || Reply::Hang(Vec::new());
    let rows = [
        (Reply::Close, error, &[][..], Repeats::Idempotent, GET, (200, 2)),
        (Reply::Close, error, &[], Repeats::Idempotent, PUT, (200, 2)),
        (Reply::Close, error, &[], Repeats::Idempotent, POST, (502, 1)),
        (Reply::Close, error, &[], Repeats::All, POST, (200, 2)),
        (Reply::Close, timeout, &[], Repeats::All, GET, (502, 1)),
        (hang(), timeout, &[], Repeats::Idempotent, GET, (200, 2)),
        (hang(), timeout, &[], Repeats::Idempotent, POST, (504, 1)),
        (hang(), timeout, &[], Repeats::All, POST, (200, 2)),
        (hang(), error, &[], Repeats::All, GET, (504, 1)),
        (malformed(), invalid, &[], Repeats::Idempotent, GET, (200, 2)),
        (malformed(), error, &[], Repeats::Idempotent, GET, (502, 1)),
        (status(503), none, &[503], Repeats::Idempotent, GET, (200, 2)),
        (status(503), none, &[503], Repeats::Idempotent, POST, (503, 1)),
        (status(503), none, &[503], Repeats::All, POST, (200, 2)),
        (status(503), none, &[503], Repeats::IdempotentOrAnswered, POST, (200, 2)),
        (status(502), none, &[503], Repeats::All, GET, (502, 1)),
    ];
    let rows = rows.map(async |(reply, failures, codes, repeats, request, want)| {
        let text = format!("{reply:?} {failures:?} {codes:?} {repeats:?} {request}");
        let up = RawBackend::start(move |n, _| if n == 0 { reply.clone() } else { ok("up") }).await;
        let proxy = start();
        let retry = Retry { failures, codes: codes.into(), repeats, ..Retry::of_ingresses() };
        let at =
            Site::of(Rule { retry: Some(retry.into()), ..reads(to(up.address), AMPLE) }).serve(&proxy).await;
        assert_eq!((ask(at, request).await, up.seen().len()), want, "{text}");
        assert!(up.seen().iter().all(|seen| seen.body.len() == usize::from(request != GET) * 2), "{text}");
    });
    futures_util::future::join_all(rows).await;
}

#[tokio::test]
async fn no_connection_is_worth_another_attempt_unless_the_rule_says_otherwise() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    for (error, want) in [(true, 0), (false, 1)] {
        let failures = Failures { error, timeout: true, invalid: false };
        let retry = Some(Retry { failures, ..Retry::of_ingresses() }.into());
        let backend = share(1, Ok(backend(&[refusing(), up.address])));
        let at = Site::of(Rule { retry, ..rule([backend]) }).serve(&proxy).await;
        let mut refused = 0;
        for _ in 0..20 {
            refused += usize::from(ask(at, POST).await == 502);
        }
        assert_eq!(refused.min(1), want, "{error}");
    }
}

#[tokio::test]
async fn no_other_attempt_is_begun_after_the_time_for_them() {
    let up = RawBackend::start(|_, _| Reply::Hang(Vec::new())).await;
    let proxy = start();
    for (within, want) in [(None, 3), (Some(SHORT), 1)] {
        let retry = Some(Retry { within, ..Retry::of_ingresses() }.into());
        let at = Site::of(Rule { retry, ..reads(to(up.address), SHORT) }).serve(&proxy).await;
        let before = up.seen().len();
        assert_eq!(ask(at, GET).await, 504);
        assert_eq!(up.seen().len() - before, want, "{within:?}");
    }
}
