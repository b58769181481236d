//! Responses that are compressed.

use std::{io::Read, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use portcullis_proxy::Carriers;
use portcullis_routing::{
    Rule, Step, Steps,
    step::{Compress, MediaTypes, Pace},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::{
    CARRIERS,
    support::{
        client::{self, connect},
        kernel_holds,
        raw::{RawBackend, Reply},
        site::{Site, backend, h2, rule, share, to},
        stalls, start, start_with, until, within,
    },
};

/// A rule whose responses are compressed as this changes the defaults, with both codings on.
fn compressed(rule: Rule, change: impl FnOnce(&mut Compress)) -> Rule {
    let mut compress = Compress::default();
    (compress.gzip.is_on, compress.brotli.is_on) = (true, true);
    change(&mut compress);
    Rule { steps: Steps::new([Step::Compress(Arc::new(compress))]), ..rule }
}

/// A response as a client got it.
#[derive(Debug)]
struct Got {
    /// The status and the headers, in lower case.
    head: String,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Got {
    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|other| other == line)
    }

    fn lacks(&self, name: &str) -> bool {
        !self.head.lines().any(|line| line.starts_with(&format!("{name}:")))
    }

    /// The body, decoded by another implementation.
    fn decoded(&self) -> Vec<u8> {
        let mut all = Vec::new();
        if self.has("content-encoding: gzip") {
            flate2::read::MultiGzDecoder::new(&*self.body).read_to_end(&mut all).unwrap();
        } else if self.has("content-encoding: br") {
            brotli::Decompressor::new(&*self.body, 4096).read_to_end(&mut all).unwrap();
        } else {
            assert!(self.lacks("content-encoding"), "{}", self.head);
            all.clone_from(&self.body);
        }
        all
    }
}

/// Reads a response to its end; `None` if the connection ends before.
async fn response(io: &mut TcpStream, is_head: bool) -> Option<Got> {
    let mut bytes = Vec::new();
    loop {
        if let Some(got) = whole(&bytes, is_head, false) {
            return Some(got);
        }
        match within(io.read_buf(&mut bytes)).await {
            Ok(n) if n > 0 => {}
            _ => return whole(&bytes, is_head, true),
        }
    }
}

fn whole(bytes: &[u8], is_head: bool, ended: bool) -> Option<Got> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let got = |body| Some(Got { head: head.clone(), body, trailers: None });
    let mut body = &bytes[end..];
    if is_head || head.starts_with("http/1.1 304") {
        return got(Vec::new());
    }
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        let mut content = Vec::new();
        loop {
            let line = body.windows(2).position(|two| two == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
            let chunk = body.get(line + 2..line + 2 + size + 2)?;
            if size == 0 {
                return got(content);
            }
            content.extend_from_slice(&chunk[..size]);
            body = &body[line + 2 + size + 2..];
        }
    }
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => got(body.get(..length.parse().unwrap())?.to_vec()),
        None => ended.then(|| got(body.to_vec())).flatten(),
    }
}

async fn ask(io: &mut TcpStream, method: &str, headers: &str) -> Got {
    let request = format!("{method} / HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    response(io, method == "HEAD").await.unwrap()
}

async fn ask_h2(at: SocketAddr, accept: &str) -> Result<Got, h2::Error> {
    let client = client::h2(connect(at).await).await;
    let request = http::Request::get("http://a.example/").header("accept-encoding", accept).body(()).unwrap();
    let mut ready = within(client.send.clone().ready()).await?;
    let answer = within(ready.send_request(request, true)?.0).await?;
    let mut head = format!("{}\n", answer.status().as_u16());
    for (name, value) in answer.headers() {
        head.push_str(&format!("{name}: {}\n", value.to_str().unwrap().to_lowercase()));
    }
    let (mut stream, mut body) = (answer.into_body(), Vec::new());
    while let Some(data) = within(stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = within(stream.trailers()).await?;
    Ok(Got { head, body, trailers })
}

const TEXT: &str = "The quick brown fox jumps over the lazy dog, and then it does so once more. ";

fn text(len: usize) -> String {
    TEXT.repeat(len / TEXT.len() + 1)[..len].to_owned()
}

/// An answer with these header lines and this body, framed in this way.
fn answer(status: u16, headers: &str, framing: &str, body: &str) -> Reply {
    let head = format!("HTTP/1.1 {status} Said So\r\n{headers}");
    match framing {
        "length" => Reply::Bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into()),
        "chunks" => {
            let (a, b) = body.split_at(body.len() / 3);
            let chunks = format!("{:x};x=y\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", a.len(), b.len());
            Reply::Bytes(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}").into())
        }
        _ => Reply::Last(format!("{head}\r\n{body}").into()),
    }
}

#[tokio::test]
async fn a_response_is_compressed_as_the_client_accepts_it() {
    let body = text(300_000);
    for framing in ["length", "chunks", "close"] {
        let (sent, headers) = (
            body.clone(),
            "Content-Type: text/plain; charset=utf-8\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\n",
        );
        let up = RawBackend::start(move |_, _| answer(200, headers, framing, &sent)).await;
        let proxy = start();
        let at = Site::of(compressed(to(up.address), |_| ())).serve(&proxy).await;
        for (accept, want) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br", Some("br")),
            ("br;q=0, gzip;q=0.1", Some("gzip")),
            ("", None),
        ] {
            let mut io = connect(at).await;
            for _ in 0..2 {
                // The second request is on the same connection.
                let got = ask(&mut io, "GET", &format!("Accept-Encoding: {accept}\r\n")).await;
                let name = format!("{framing} {accept}: {}", got.head);
                assert!(got.head.starts_with("http/1.1 200") && got.has("vary: accept-encoding"), "{name}");
                assert!(got.decoded() == body.as_bytes(), "{name}");
                match want {
                    Some(coding) => {
                        assert!(got.has(&format!("content-encoding: {coding}")), "{name}");
                        assert!(got.has("etag: w/\"a\"") && got.lacks("accept-ranges"), "{name}");
                        assert!(got.lacks("content-length"), "{name}");
                        assert!(got.body.len() < body.len() / 20, "{name}: {}", got.body.len());
                    }
                    None => assert!(got.has("etag: \"a\"") && got.has("accept-ranges: bytes"), "{name}"),
                }
            }
            let got = ask_h2(at, accept).await.unwrap();
            let name = format!("{framing} {accept}: {}", got.head);
            assert!(got.decoded() == body.as_bytes(), "{name}");
            assert!(got.has("vary: accept-encoding") && got.lacks("transfer-encoding"), "{name}");
            assert_eq!(got.head.contains("content-encoding"), want.is_some(), "{name}");
        }
        // Backends may compress by themselves.
        assert!(up.seen().iter().any(|seen| seen.header("accept-encoding") == Some("gzip, deflate, br")));
    }
}

#[tokio::test]
async fn other_responses_are_sent_as_they_are() {
    let proxy = start();
    let long = text(1000);
    for (status, headers, body, varies) in [
        (200, "Content-Type: image/png\r\n", &*long, false),
        (200, "", &long, false),
        (200, "Content-Type: text/plain\r\nContent-Encoding: x\r\n", &long, false),
        (200, "Content-Type: text/plain\r\nCache-Control: no-transform\r\n", &long, false),
        (200, "Content-Type: application/grpc\r\n", &long, false),
        (500, "Content-Type: text/plain\r\n", &long, false),
        (206, "Content-Type: text/plain\r\nContent-Range: bytes 0-999/2000\r\n", &long, false),
        (304, "Content-Type: text/plain\r\nETag: \"a\"\r\n", "", false),
        (200, "Content-Type: text/plain\r\n", "short", false),
        (200, "Content-Type: text/plain\r\nVary: Accept-Encoding\r\n", "", false),
        (404, "Content-Type: text/plain\r\n", &long, true),
    ] {
        let sent = body.to_owned();
        let up = RawBackend::start(move |_, _| answer(status, headers, "length", &sent)).await;
        let at = Site::of(compressed(to(up.address), |_| ())).serve(&proxy).await;
        let got = ask(&mut connect(at).await, "GET", "").await;
        assert_eq!(got.body, body.as_bytes(), "{status} {headers}");
        let got = ask(&mut connect(at).await, "GET", "Accept-Encoding: gzip, br\r\n").await;
        let name = format!("{status} {headers}: {}", got.head);
        match varies {
            true => assert!(got.has("content-encoding: br") && got.decoded() == body.as_bytes(), "{name}"),
            false => {
                assert_eq!(got.body, body.as_bytes(), "{name}");
                assert!(got.has(&format!("content-length: {}", body.len())), "{name}");
                assert!(!got.has("content-encoding: br") && !got.has("content-encoding: gzip"), "{name}");
                assert_eq!(got.head.matches("vary:").count(), headers.matches("Vary:").count(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_response_without_a_body_or_chunks_is_not_compressed() {
    let up = RawBackend::start(|_, seen| {
        let head = "Content-Type: text/plain\r\nETag: \"a\"\r\n";
        match seen.line().starts_with("HEAD") {
            true => Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 1000\r\n\r\n").into()),
            false => answer(200, head, "length", &text(1000)),
        }
    })
    .await;
    let proxy = start();
    let at = Site::of(compressed(to(up.address), |_| ())).serve(&proxy).await;
    let got = ask(&mut connect(at).await, "HEAD", "Accept-Encoding: gzip\r\n").await;
    assert!(got.has("content-length: 1000") && got.has("etag: \"a\"") && got.lacks("vary"), "{}", got.head);
    let mut io = connect(at).await;
    io.write_all(b"GET / HTTP/1.0\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n").await.unwrap();
    let got = response(&mut io, false).await.unwrap();
    assert!(got.has("content-length: 1000") && got.has("vary: accept-encoding"), "{}", got.head);
    assert_eq!(got.body, text(1000).as_bytes());
}

/// Serves one connection: for each text it gets, a chunk of it; at the end, the last chunk.
async fn chunk_by_chunk(headers: &'static str) -> (SocketAddr, mpsc::UnboundedSender<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (send, mut texts) = mpsc::unbounded_channel::<String>();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.read(&mut [0; 4096]).await;
        let head = format!("HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
        let _ = tcp.write_all(head.as_bytes()).await;
        while let Some(text) = texts.recv().await {
            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
            let _ = tcp.write_all(chunk.as_bytes()).await;
        }
        let _ = tcp.write_all(b"0\r\nX-Sum: 1\r\n\r\n").await;
        let _ = tcp.read(&mut [0; 1]).await;
    });
    (address, send)
}

/// The content of the chunks that have come so far.
fn content(wire: &[u8]) -> Vec<u8> {
    let Some(end) = wire.windows(4).position(|four| four == b"\r\n\r\n") else { return Vec::new() };
    let (mut rest, mut content) = (&wire[end + 4..], Vec::new());
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let Some(chunk) = rest.get(line + 2..line + 2 + size + 2) else { break };
        content.extend_from_slice(&chunk[..size]);
        rest = &rest[line + 2 + size + 2..];
    }
    content
}

#[tokio::test]
async fn the_client_gets_what_the_backend_has_sent_before_it_pauses() {
    for coding in ["gzip", "br"] {
        let (address, send) = chunk_by_chunk("Content-Type: text/event-stream\r\n").await;
        let proxy = start();
        let any = |compress: &mut Compress| {
            (compress.gzip.types, compress.brotli.types) = (MediaTypes::Any, MediaTypes::Any);
        };
        let at = Site::of(compressed(to(address), any)).serve(&proxy).await;
        let mut io = connect(at).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: {coding}\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let (mut wire, mut want) = (Vec::new(), String::new());
        for event in 0..5 {
            let event = format!("data: {event}\n\n");
            want.push_str(&event);
            send.send(event).unwrap();
            let mut all = Vec::new();
            while all != want.as_bytes() {
                let n = within(io.read_buf(&mut wire)).await.unwrap();
                assert!(n > 0, "{coding}: the connection has ended");
                all.clear();
                // What is incomplete is an error after what can be decoded.
                let _ = match coding {
                    "gzip" => flate2::read::GzDecoder::new(&*content(&wire)).read_to_end(&mut all),
                    _ => brotli::Decompressor::new(&*content(&wire), 4096).read_to_end(&mut all),
                };
            }
        }
        drop(send);
        while !wire.ends_with(b"0\r\n\r\n") {
            assert!(within(io.read_buf(&mut wire)).await.unwrap() > 0);
        }
        let got = whole(&wire, false, false).unwrap();
        assert_eq!(got.decoded(), want.as_bytes());
        // The connection is good for another request.
        assert!(timeout(Duration::from_millis(50), io.read(&mut [0; 1])).await.is_err());
    }
}

#[tokio::test]
async fn a_response_that_ends_early_is_not_complete_for_the_client() {
    for (headers, rest) in [("Content-Length: 100000", ""), ("Transfer-Encoding: chunked", "2710\r\n")] {
        let up = RawBackend::start(move |_, _| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{headers}\r\n\r\n{rest}");
            Reply::Last(format!("{head}{}", text(5000)).into())
        })
        .await;
        let proxy = start();
        let at = Site::of(compressed(to(up.address), |_| ())).serve(&proxy).await;
        let mut io = connect(at).await;
        io.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n").await.unwrap();
        assert!(response(&mut io, false).await.is_none(), "{headers}");
        assert!(ask_h2(at, "gzip").await.is_err(), "{headers}");
        until("the requests to end", || proxy.proxy.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_malformed_body_is_not_complete_for_the_client() {
    let up = RawBackend::start(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reply::Hang(format!("{head}5\r\nhello\r\nx\r\n").into())
    })
    .await;
    let proxy = start();
    let at = Site::of(compressed(to(up.address), |_| ())).serve(&proxy).await;
    let mut io = connect(at).await;
    io.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n").await.unwrap();
    let got = response(&mut io, false).await;
    assert!(got.is_none_or(|got| got.head.starts_with("http/1.1 502") && got.lacks("content-encoding")));
    let got = ask_h2(at, "gzip").await;
    assert!(got.is_err() || got.unwrap().head.starts_with("502"));
}

/// A backend that sends without end what can be compressed a little, and counts it.
async fn endless() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    tokio::spawn(async move {
        let mut random = 7_u32;
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.read(&mut [0; 4096]).await;
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await;
            loop {
                let noise = |_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                };
                let part: Vec<u8> = (0..16 << 10).map(noise).collect();
                if tcp.write_all(&part).await.is_err() {
                    break;
                }
                counting.fetch_add(part.len(), std::sync::atomic::Ordering::Relaxed);
            }
        }
    });
    (address, sent)
}

#[tokio::test]
async fn the_backend_waits_for_a_client_that_does_not_read() {
    let (address, sent) = endless().await;
    let proxy = start();
    let at = Site::of(compressed(to(address), |_| ())).serve(&proxy).await;
    let mut io = connect(at).await;
    io.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n").await.unwrap();
    // In two connections, and what the proxy holds is far less than 4 MiB.
    let most = 2 * kernel_holds() + (4 << 20);
    stalls("the backend", most, || sent.load(std::sync::atomic::Ordering::Relaxed)).await;
    drop(io);
    until("the request to end", || proxy.proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn the_rate_is_that_of_compressed_bytes() {
    let up =
        RawBackend::start(|_, _| answer(200, "Content-Type: text/plain\r\n", "length", &text(600_000))).await;
    let proxy = start();
    let mut rule = compressed(to(up.address), |compress| compress.brotli.is_on = false);
    let pace = Step::Pace(Pace { rate: std::num::NonZeroU32::new(4).unwrap(), after: 0 });
    rule.steps = Steps::new(rule.steps.iter().cloned().chain([pace]));
    let at = Site::of(rule).serve(&proxy).await;
    // 4 KiB at once and 4 KiB/s from then on: 600 KB would take minutes.
    let got = within(ask(&mut connect(at).await, "GET", "Accept-Encoding: gzip\r\n")).await;
    assert_eq!(got.decoded().len(), 600_000);
}

#[tokio::test]
async fn trailers_follow_a_compressed_body() {
    let (address, send) = chunk_by_chunk("Content-Type: text/plain\r\n").await;
    let proxy = start();
    let at = Site::of(compressed(to(address), |_| ())).serve(&proxy).await;
    send.send(text(1000)).unwrap();
    drop(send);
    let got = ask_h2(at, "gzip").await.unwrap();
    assert_eq!(got.decoded(), text(1000).as_bytes());
    // pingora drops trailers of HTTP/1.
    let want = (CARRIERS == Carriers::All).then_some("1");
    let sum = got.trailers.as_ref().and_then(|trailers| trailers.get("x-sum"));
    assert_eq!(sum.map(|sum| sum.to_str().unwrap()), want);
}

/// An HTTP/2 backend that answers by the path: with a body, without one, with trailers.
async fn h2_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(tcp).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let kind = request.headers().get("x-kind").map(|kind| kind.as_bytes().to_vec());
                    let type_ =
                        if kind.as_deref() == Some(b"grpc") { "application/grpc" } else { "text/plain" };
                    let head =
                        http::Response::builder().header("content-type", type_).header("etag", "\"a\"");
                    let (head, kind) = (head.body(()).unwrap(), kind.unwrap_or_default());
                    let mut body = respond.send_response(head, kind == b"empty").unwrap();
                    let mut content = Bytes::from(text(100_000));
                    match &*kind {
                        b"empty" => continue,
                        b"trailers" => {
                            body.send_data(content, false).unwrap();
                            let trailers = [("x-sum", "1")].map(|(name, value)| {
                                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
                            });
                            body.send_trailers(trailers.into_iter().collect()).unwrap();
                        }
                        b"late" => {
                            body.send_data(content, false).unwrap();
                            body.send_data(Bytes::new(), true).unwrap();
                        }
                        _ => {
                            body.send_data(content.split_to(50_000), false).unwrap();
                            body.send_data(content, true).unwrap();
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn responses_of_h2_backends_are_compressed_too() {
    let address = h2_backend().await;
    let proxy = start();
    let any = |compress: &mut Compress| {
        (compress.gzip.types, compress.brotli.is_on) = (MediaTypes::Any, false);
    };
    let served = rule([share(1, Ok(h2(backend(&[address]))))]);
    let at = Site::of(compressed(served, any)).serve(&proxy).await;
    let mut io = connect(at).await;
    for kind in ["", "late", "trailers", "empty", "grpc", ""] {
        // All of them on one connection.
        let got = ask(&mut io, "GET", &format!("Accept-Encoding: gzip\r\nX-Kind: {kind}\r\n")).await;
        let name = format!("{kind}: {}", got.head);
        let (is_coded, len) = match kind {
            "empty" => (false, 0),
            "grpc" => (false, 100_000),
            _ => (true, 100_000),
        };
        assert_eq!(got.has("content-encoding: gzip"), is_coded, "{name}");
        assert!(got.decoded() == text(len).as_bytes(), "{name}");
        assert!(got.has(if is_coded { "etag: w/\"a\"" } else { "etag: \"a\"" }), "{name}");

        let client = client::h2(connect(at).await).await;
        let request = http::Request::get("http://a.example/").header("x-kind", kind);
        let request = request.header("accept-encoding", "gzip").body(()).unwrap();
        let mut ready = within(client.send.clone().ready()).await.unwrap();
        let answer = within(ready.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(answer.headers().contains_key("content-encoding"), is_coded, "{name}");
        let (mut stream, mut body) = (answer.into_body(), Vec::new());
        while let Some(data) = within(stream.data()).await {
            let data = data.unwrap();
            stream.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
        }
        let trailers = within(stream.trailers()).await.unwrap();
        assert_eq!(trailers.is_some_and(|trailers| trailers["x-sum"] == "1"), kind == "trailers", "{name}");
        let head = if is_coded { "content-encoding: gzip\n" } else { "" }.to_owned();
        assert!(Got { head, body, trailers: None }.decoded() == text(len).as_bytes(), "{name}");
    }
}

#[tokio::test]
async fn a_rule_without_compression_changes_nothing() {
    let up =
        RawBackend::start(|_, _| answer(200, "Content-Type: text/plain\r\n", "length", &text(1000))).await;
    let proxy = start();
    let at = Site::of(to(up.address)).serve(&proxy).await;
    let got = ask(&mut connect(at).await, "GET", "Accept-Encoding: gzip, br\r\n").await;
    assert!(
        got.lacks("content-encoding") && got.lacks("vary") && got.has("content-length: 1000"),
        "{}",
        got.head
    );
}

/// A backend with responses that do not end.
async fn unending() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.read(&mut [0; 4096]).await;
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nabc").await;
            open.push(tcp);
        }
    });
    address
}

#[tokio::test]
async fn a_client_gets_an_eighth_of_the_memory_for_encoders() {
    let proxy = start_with(|options| options.workers = 1);
    let at = Site::of(compressed(to(unending().await), |_| ())).serve(&proxy).await;
    let mut open = Vec::new();
    let is_compressed = async |open: &mut Vec<TcpStream>| {
        let mut io = connect(at).await;
        io.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(io.read_u8()).await.unwrap());
        }
        open.push(io);
        String::from_utf8(head).unwrap().to_lowercase().contains("content-encoding: gzip")
    };
    // 8 MiB, of which each takes 384 KiB.
    for _ in 0..21 {
        assert!(is_compressed(&mut open).await, "{}", open.len());
    }
    assert_eq!(proxy.proxy.uncompressed_responses(), 0);
    assert!(!is_compressed(&mut open).await);
    assert_eq!(proxy.proxy.uncompressed_responses(), 1);
    open.truncate(19);
    until("the encoders to be free", || proxy.proxy.in_flight() == 19).await;
    assert!(is_compressed(&mut open).await);
}
