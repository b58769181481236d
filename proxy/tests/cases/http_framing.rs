//! Bodies of HTTP/2 requests as HTTP/1 backends get them: chunk by chunk, and one end.

use std::net::SocketAddr;

use crate::support::{
    Running,
    client::{self, H2, connect, get},
    raw::{RawBackend, Seen, ok, status},
    site::{Site, backend, to},
    start_with, within,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use portcullis_routing::{Retry, Rule, Step, Steps, step::Mirror};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One worker, so that all requests share its connections to backends.
fn start() -> Running {
    start_with(|options| options.workers = 1)
}

/// Payloads of the DATA frames of a request; the last one ends the stream.
const BODIES: [&[&str]; 9] = [
    &[""],
    &["", ""],
    &["ab"],
    &["ab", ""],
    &["", "ab"],
    &["ab", "", "cd"],
    &["ab", "", "", "cd", ""],
    &["", "", "ab", "cd", "", ""],
    &["ab", "cd", "", "", ""],
];

/// What frames become in the chunked coding, whatever chunks they arrive in.
fn content(frames: &[&str]) -> Vec<u8> {
    frames.concat().into_bytes()
}

/// Every chunk has content, and there is one last chunk.
fn assert_well_framed(seen: &Seen, frames: &[&str], what: &str) {
    assert_eq!(seen.body, content(frames), "{what}");
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"), "{what}");
    assert_eq!(
        seen.wire.windows(3).filter(|w| w == b"0\r\n").count(),
        1,
        "{what}: {}",
        seen.wire.escape_ascii()
    );
    assert!(seen.wire.ends_with(b"0\r\n\r\n"), "{what}");
}

/// Sends a body in these frames, the last of which ends it.
fn send_frames(stream: &mut h2::SendStream<Bytes>, frames: &[&'static str]) {
    for (i, frame) in frames.iter().enumerate() {
        // The other side may have gone; whoever waits for its answer notices.
        let _ = stream.send_data(Bytes::from_static(frame.as_bytes()), i + 1 == frames.len());
    }
}

/// Reads on until what lies behind `from` ends with this.
async fn read_until(io: &mut TcpStream, got: &mut Vec<u8>, from: usize, end: &[u8], what: &str) {
    while !got[from..].ends_with(end) {
        assert_ne!(within(io.read_buf(got)).await.unwrap(), 0, "{what}: {}", got.escape_ascii());
    }
}

/// Sends a request in these frames.
async fn send(client: &mut H2, request: Request<()>, frames: &[&'static str]) -> (u16, String) {
    let mut ready = within(client.send.clone().ready()).await.unwrap();
    let (answer, mut stream) = ready.send_request(request, false).unwrap();
    send_frames(&mut stream, frames);
    client::finish(answer).await.unwrap()
}

fn request(method: &Method) -> Request<()> {
    Request::builder().method(method).uri("http://a.example/streamed").body(()).unwrap()
}

/// Another client's request on the same pooled connection is served.
async fn assert_pool_is_clean(at: SocketAddr, up: &RawBackend, what: &str) {
    let before = up.last().connection;
    let got = get(&mut connect(at).await, "a.example", "/next").await;
    assert_eq!((got.status, &*got.body), (200, "up"), "{what}");
    let next = up.last();
    assert_eq!((next.line(), next.connection), ("GET /next HTTP/1.1", before), "{what}");
}

#[tokio::test]
async fn empty_data_frames_are_no_chunks() {
    let proxy = start();
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        for frames in BODIES {
            let what = format!("{method} {frames:?}");
            let up = RawBackend::saying("up").await;
            let at = Site::of(to(up.address)).serve(&proxy).await;
            let mut client = client::h2(connect(at).await).await;
            assert_eq!(send(&mut client, request(&method), frames).await, (200, "up".into()), "{what}");
            assert_well_framed(&up.last(), frames, &what);
            assert_pool_is_clean(at, &up, &what).await;
            assert_eq!(up.seen().len(), 2, "{what}: {:?}", up.seen());
        }
    }
}

/// Each frame is on its way through the proxy before the next one is sent.
#[tokio::test]
async fn empty_data_frames_are_no_chunks_when_they_come_one_by_one() {
    let proxy = start();
    for frames in BODIES {
        let what = format!("{frames:?}");
        let up = RawBackend::saying("up").await;
        let at = Site::of(to(up.address)).serve(&proxy).await;
        let (mut send, mut connection) = within(h2::client::handshake(connect(at).await)).await.unwrap();
        let mut ping = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        let (answer, mut stream) = send.send_request(request(&Method::POST), false).unwrap();
        for (i, frame) in frames.iter().enumerate() {
            within(ping.ping(h2::Ping::opaque())).await.unwrap();
            stream.send_data(Bytes::from_static(frame.as_bytes()), i + 1 == frames.len()).unwrap();
        }
        assert_eq!(client::finish(answer).await.unwrap(), (200, "up".into()), "{what}");
        assert_well_framed(&up.last(), frames, &what);
        assert_pool_is_clean(at, &up, &what).await;
    }
}

#[tokio::test]
async fn a_body_that_trailers_end_has_one_end() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut client = client::h2(connect(at).await).await;
    for frames in [&[][..], &[""], &["ab"], &["ab", ""]] {
        let what = format!("{frames:?}");
        let (answer, mut stream) = client.send.send_request(request(&Method::POST), false).unwrap();
        for frame in frames {
            stream.send_data(Bytes::from_static(frame.as_bytes()), false).unwrap();
        }
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
        stream.send_trailers(trailers).unwrap();
        assert_eq!(client::finish(answer).await.unwrap().0, 200, "{what}");
        assert_well_framed(&up.last(), frames, &what);
        assert_pool_is_clean(at, &up, &what).await;
    }
}

#[tokio::test]
async fn a_body_with_a_length_is_sent_as_long_as_it_is() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut client = client::h2(connect(at).await).await;
    for frames in BODIES {
        let what = format!("{frames:?}");
        let mut request = request(&Method::PUT);
        request.headers_mut().insert("content-length", content(frames).len().into());
        assert_eq!(send(&mut client, request, frames).await.0, 200, "{what}");
        let seen = up.last();
        let length = content(frames).len().to_string();
        assert_eq!((&seen.wire, seen.header("content-length")), (&content(frames), Some(&*length)), "{what}");
        assert_eq!(seen.header("transfer-encoding"), None, "{what}");
        assert_pool_is_clean(at, &up, &what).await;
    }
}

#[tokio::test]
async fn a_body_that_waits_for_a_100_has_one_end() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut client = client::h2(connect(at).await).await;
    for frames in BODIES {
        let what = format!("{frames:?}");
        let mut request = request(&Method::POST);
        request.headers_mut().insert("expect", http::HeaderValue::from_static("100-continue"));
        assert_eq!(send(&mut client, request, frames).await.0, 200, "{what}");
        assert_well_framed(&up.last(), frames, &what);
        assert_pool_is_clean(at, &up, &what).await;
    }
}

fn with(rule: Rule, change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = rule;
    change(&mut rule);
    rule
}

#[tokio::test]
async fn every_attempt_gets_the_body_once() {
    let proxy = start();
    for frames in BODIES {
        let what = format!("{frames:?}");
        let up = RawBackend::start(|n, _| if n < 2 { status(503) } else { ok("up") }).await;
        let rule = with(to(up.address), |rule| {
            rule.retry = Some(Retry { codes: [503].into(), attempts: 2, ..Retry::default() }.into());
        });
        let at = Site::of(rule).serve(&proxy).await;
        let mut client = client::h2(connect(at).await).await;
        assert_eq!(send(&mut client, request(&Method::POST), frames).await.0, 200, "{what}");
        let seen = up.seen();
        assert_eq!(seen.len(), 3, "{what}");
        assert_well_framed(&seen[0], frames, &what);
        for again in &seen[1..] {
            assert_eq!(again.body, content(frames), "{what}");
            let ends = again.wire.windows(3).filter(|w| w == b"0\r\n").count();
            // A body that turned out to be empty is none when it is repeated.
            assert!(
                ends == 1 || (ends == 0 && content(frames).is_empty()),
                "{what}: {}",
                again.wire.escape_ascii()
            );
        }
        assert_pool_is_clean(at, &up, &what).await;
    }
}

#[tokio::test]
async fn a_mirror_gets_the_body_once_too() {
    let proxy = start();
    for frames in BODIES {
        let what = format!("{frames:?}");
        let (up, copy) = (RawBackend::saying("up").await, RawBackend::saying("copy").await);
        let rule = with(to(up.address), |rule| {
            let backend = Ok(backend(&[copy.address]).into());
            rule.steps =
                Steps::new([Step::Mirror(Box::new(Mirror { backend, numerator: 1, denominator: 1 }))]);
        });
        let at = Site::of(rule).serve(&proxy).await;
        let mut client = client::h2(connect(at).await).await;
        for n in 1..3 {
            assert_eq!(send(&mut client, request(&Method::POST), frames).await.0, 200, "{what}");
            assert_well_framed(&copy.has_seen(n).await[n - 1], frames, &what);
            assert_well_framed(&up.last(), frames, &what);
        }
    }
}

/// The backend answers as soon as it has the head; what follows comes on the same connection as the next request.
#[tokio::test]
async fn an_early_answer_leaves_the_connection_in_order() {
    let proxy = start();
    for frames in BODIES {
        let what = format!("{frames:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = Site::of(to(listener.local_addr().unwrap())).serve(&proxy).await;
        let (mut send, connection) = within(h2::client::handshake(connect(at).await)).await.unwrap();
        tokio::spawn(connection);
        let (answer, mut stream) = send.send_request(request(&Method::POST), false).unwrap();
        let (mut up, _) = within(listener.accept()).await.unwrap();
        let mut got = Vec::new();
        read_until(&mut up, &mut got, 0, b"\r\n\r\n", &what).await;
        got.clear();
        up.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await.unwrap();
        let mut early = within(answer).await.unwrap().into_body();
        assert_eq!(within(early.data()).await.unwrap().unwrap(), "early", "{what}");
        send_frames(&mut stream, frames);
        read_until(&mut up, &mut got, 0, b"0\r\n\r\n", &what).await;
        let request = Request::get("http://a.example/next").body(()).unwrap();
        let (answer, _) = within(send.clone().ready()).await.unwrap().send_request(request, true).unwrap();
        let next = tokio::spawn(client::finish(answer));
        let body = got.len();
        read_until(&mut up, &mut got, body, b"\r\n\r\n", &what).await;
        assert!(got[body..].starts_with(b"GET /next HTTP/1.1\r\n"), "{what}: {}", got.escape_ascii());
        up.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await.unwrap();
        assert_eq!(within(next).await.unwrap().unwrap(), (200, "next".into()), "{what}");
    }
}

/// The other way: empty frames of an h2 backend's answer are no chunks for an HTTP/1 client.
#[tokio::test]
async fn empty_frames_of_an_answer_are_no_chunks() {
    let proxy = start();
    for frames in BODIES {
        let what = format!("{frames:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut up = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            while let Some(Ok((_, mut respond))) = up.accept().await {
                let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
                send_frames(&mut stream, frames);
            }
        });
        let two = crate::support::site::h2(backend(&[address]));
        let at = Site::of(crate::support::site::rule([crate::support::site::share(1, Ok(two))]))
            .serve(&proxy)
            .await;
        let mut tcp = connect(at).await;
        for _ in 0..2 {
            tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
            let mut got = Vec::new();
            read_until(&mut tcp, &mut got, 0, b"0\r\n\r\n", &what).await;
            let head = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(got[head..].windows(3).filter(|w| w == b"0\r\n").count(), 1, "{what}: {got:?}");
        }
    }
}

/// What an HTTP/1 client sends in chunks reaches the backend with one end as well.
#[tokio::test]
async fn chunks_of_an_http_1_client_have_one_end() {
    let up = RawBackend::saying("up").await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let mut tcp = connect(at).await;
    for (body, frames) in [("0\r\n\r\n", &[""][..]), ("2\r\nab\r\n0\r\n\r\n", &["ab"])] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(client::exchange(&mut tcp, &request).await.status, 200, "{body:?}");
        assert_well_framed(&up.last(), frames, body);
        assert_pool_is_clean(at, &up, body).await;
    }
}
