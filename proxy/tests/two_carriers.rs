//! Two carriers, one answer: random requests, routes and backend answers are sent through a proxy with our own carrier and
//! through one where pingora carries everything. Backends must receive the same, and clients must get the same.
//!
//! What differs on purpose is left out: Content-Length beside Transfer-Encoding (refused by our carrier, dropped by pingora),
//! trailers (dropped by pingora), the spelling of header names that the proxy adds, and the headers about the connection.
//! Compressed bodies are compared as they are decoded: the carriers flush at different times.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::Read,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{HeaderName, HeaderValue};
use portcullis_proxy::Carriers;
use portcullis_routing::{
    Rule, Step, Steps,
    step::{Compress, Cors, HeaderModifier, PathRewrite, UrlRewrite, UserAgents},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use support::{
    Running,
    client::{self, connect},
    raw::{RawBackend, Reply, Seen},
    site::{Site, to},
    start_with, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The carriers of a proxy whose test does not choose them.
const CARRIERS: Carriers = Carriers::All;

/// How many requests are sent through each proxy.
const CASES: usize = 1000;

/// A request, the steps of its route, and the backend's answer.
#[derive(Clone, Debug)]
struct Case {
    h2: bool,
    method: &'static str,
    target: &'static str,
    version: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Body,
    steps: Vec<usize>,
    answer: usize,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
}

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PURGE"];
const TARGETS: [&str; 10] =
    ["/", "/a?b=%2F", "/a/../b", "/%61//c", "/a%2Fb", "/\u{e9}", "/a#b", "/old/x?y", "*", "/a/%00"];
const HEADERS: [(&str, &str); 27] = [
    ("X-One", "1"),
    ("x-one", "2"),
    ("X-Spaced", " a  b "),
    ("Accept", "*/*"),
    ("Cookie", "a=b"),
    ("cookie", "c=d"),
    ("Connection", "keep-alive"),
    ("Connection", "X-One"),
    ("Connection", "close"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Proxy-Authorization", "Basic x"),
    ("Proxy-Connection", "x"),
    ("Forwarded", "for=1.2.3.4"),
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/x"),
    ("X_Forwarded_For", "1.2.3.4"),
    ("X-Real-IP", "1.2.3.4"),
    ("X-Request-ID", "mine"),
    ("X_Custom", "kept"),
    ("Proxy", "http://evil.example"),
    ("Origin", "https://a.example"),
    ("Content-Type", "application/grpc"),
    ("Upgrade", "h2c"),
    ("X-Empty", ""),
    ("User-Agent", "Mozilla"),
];
/// Values of `Accept-Encoding`.
const CODINGS: [&str; 4] = ["gzip, br;q=0", "gzip, br", "br;q=0.1", "identity"];
const ANSWERS: [&str; 18] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX-Kept: 1\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-Removed: 1\r\nX-Set: old\r\n\r\nnope",
    "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 3, 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nFolded: a\r\n b\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\nmoo",
    "HTTP/1.1 503 No\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\nno",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nETag: \"x\"\r\nContent-Length: 12\r\n\r\nabcabcabcabc",
    "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nVary: Origin\r\nAccept-Ranges: bytes\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcabc\r\n6\r\nabcabc\r\n0\r\n\r\n",
    "HTTP/1.1 404 No\r\nContent-Type: text/plain\r\nETag: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: x\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nVary: accept-encoding\r\nContent-Length: 0\r\n\r\n",
];
const STEPS: usize = 6;
/// The step that compresses responses.
const COMPRESS: usize = 4;

fn step(number: usize) -> Step {
    let pair = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let names =
        |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Box<[_]>>();
    match number {
        0 => Step::RequestHeaders(
            HeaderModifier::new(
                [pair("x-one", "set"), pair("host", "set.example")],
                [pair("x-two", "2")],
                names(&["accept"]),
            )
            .unwrap(),
        ),
        1 => Step::ResponseHeaders(
            HeaderModifier::new([pair("x-set", "new")], [pair("x-added", "1")], names(&["x-removed"]))
                .unwrap(),
        ),
        2 => Step::Rewrite(Box::new(UrlRewrite {
            path: Some(PathRewrite::Full("/new?z".into())),
            ..UrlRewrite::default()
        })),
        3 => Step::Cors(Box::new(Cors {
            allow_origins: ["https://a.example".into()].into(),
            allow_credentials: true,
            allow_methods: ["GET".into()].into(),
            allow_headers: Default::default(),
            expose_headers: ["x-set".into()].into(),
            max_age: HeaderValue::from_static("5"),
        })),
        COMPRESS => {
            let mut compress = Compress::default();
            for settings in [&mut compress.gzip, &mut compress.brotli] {
                (settings.is_on, settings.min_length) = (true, 0);
            }
            compress.not_gzip = UserAgents::parse("mozilla").unwrap();
            Step::Compress(Arc::new(compress))
        }
        _ => Step::RequestHeaders(
            HeaderModifier::new([], [pair("x-one", "added")], names(&["cookie"])).unwrap(),
        ),
    }
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        3 => Just(Body::None),
        2 => bytes.clone().prop_map(Body::Length),
        2 => proptest::collection::vec(bytes, 0..4).prop_map(Body::Chunks),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let headers = proptest::collection::vec(proptest::sample::select(&HEADERS[..]), 0..6);
    // Only a few of the responses can be compressed.
    let step = prop_oneof![0..STEPS, Just(COMPRESS)];
    let steps = proptest::collection::vec(step, 0..3);
    let parts = (
        any::<bool>(),
        proptest::sample::select(&METHODS[..]),
        proptest::sample::select(&TARGETS[..]),
        prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")],
        headers,
        body(),
        steps,
        0..ANSWERS.len(),
        proptest::option::weighted(0.8, proptest::sample::select(&CODINGS[..])),
    );
    parts.prop_map(|(h2, method, target, version, mut headers, body, steps, answer, coding)| {
        headers.extend(coding.map(|coding| ("Accept-Encoding", coding)));
        Case { h2, method, target, version, headers, body, steps, answer }
    })
}

/// A proxy, and a backend that answers as the case has it.
struct Side {
    proxy: Running,
    backend: RawBackend,
}

/// Names in lower case, and values.
type Fields = Vec<(String, String)>;
/// A request line, headers and a body, as a backend received them.
type Received = (String, Fields, Vec<u8>);
/// A status, headers and a body, as a client got them.
type Got = (u16, Fields, Vec<u8>);

/// What one proxy did with a case.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// What the backend received: the request line, its headers in order of their names, the body.
    received: Vec<Received>,
    /// What the client got: the status, its headers in order, the body.
    got: Option<(u16, Fields, String)>,
}

impl Outcome {
    fn is_compressed(&self) -> bool {
        let is_coding = |(name, value): &(String, String)| name == "content-encoding" && value != "x";
        self.got.as_ref().is_some_and(|(_, headers, _)| headers.iter().any(is_coding))
    }
}

static ANSWER: Mutex<usize> = Mutex::new(0);

impl Side {
    async fn start(carriers: Carriers) -> Self {
        let backend = RawBackend::start(|_, seen| {
            let answer = ANSWERS[*ANSWER.lock().unwrap()];
            // A backend sends no body in answer to HEAD, and closes the connection if nobody could find the answer's end.
            let (head, _) = answer.split_once("\r\n\r\n").unwrap();
            match seen.line().starts_with("HEAD ") && !answer.contains("103") {
                true => Reply::Bytes(format!("{head}\r\n\r\n").into()),
                false if answer.contains("cow") || answer.contains("101 S") => Reply::Last(answer.into()),
                false => Reply::Bytes(answer.into()),
            }
        })
        .await;
        let change = |options: &mut portcullis_proxy::Options| {
            options.carriers = carriers;
            options.workers = 1;
        };
        Self { proxy: start_with(change), backend }
    }

    async fn play(&self, case: &Case) -> Outcome {
        let rule =
            Rule { steps: Steps::new(case.steps.iter().copied().map(step)), ..to(self.backend.address) };
        let at = Site::of(rule).serve(&self.proxy).await;
        let before = self.backend.seen().len();
        let got = if case.h2 { h2(at, case).await } else { http1(at, case).await };
        let received = self.backend.seen()[before..].iter().map(|seen| received(seen, at)).collect();
        Outcome {
            received,
            got: got.map(|(status, headers, body)| {
                let body = decoded(&headers, body);
                (status, told(headers), body.escape_ascii().to_string())
            }),
        }
    }
}

async fn http1(at: SocketAddr, case: &Case) -> Option<Got> {
    let mut request = format!("{} {} {}\r\nHost: a.example\r\n", case.method, case.target, case.version);
    for (name, value) in &case.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut request = request.into_bytes();
    match &case.body {
        Body::None => request.extend_from_slice(b"\r\n"),
        Body::Length(bytes) => {
            request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", bytes.len()).as_bytes());
            request.extend_from_slice(bytes);
        }
        Body::Chunks(chunks) => {
            request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                request.extend_from_slice(chunk);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        }
    }
    let mut tcp = connect(at).await;
    tcp.write_all(&request).await.unwrap();
    // Closing our side would cancel the request, so the end of the answer is found by its framing.
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = whole(&bytes, case.method == "HEAD", false) {
            return Some(answer);
        }
        match within(tcp.read_buf(&mut bytes)).await {
            Ok(n) if n > 0 => {}
            _ => return whole(&bytes, case.method == "HEAD", true),
        }
    }
}

/// The final answer, if all of it is there.
fn whole(bytes: &[u8], head_only: bool, ended: bool) -> Option<Got> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    if (100..200).contains(&status) && status != 101 {
        return whole(&bytes[end..], head_only, ended);
    }
    let headers: Fields = fields(&head);
    let value =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let body = &bytes[end..];
    if head_only || matches!(status, 204 | 304) {
        return Some((status, headers, Vec::new()));
    }
    if value("transfer-encoding").as_deref() == Some("chunked") {
        let (mut rest, mut content) = (body, Vec::new());
        loop {
            let line = rest.windows(2).position(|two| two == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
            let chunk = rest.get(line + 2..line + 2 + size + 2)?;
            if size == 0 {
                return Some((status, headers, content));
            }
            content.extend_from_slice(&chunk[..size]);
            rest = &rest[line + 2 + size + 2..];
        }
    }
    match value("content-length").and_then(|length| one_length(&length).parse::<usize>().ok()) {
        Some(length) => Some((status, headers, body.get(..length)?.to_vec())),
        None => ended.then(|| (status, headers, body.to_vec())),
    }
}

/// Of a list of equal lengths.
fn one_length(list: &str) -> &str {
    list.split(',').next().unwrap_or_default().trim()
}

fn fields(head: &str) -> Fields {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect()
}

async fn h2(at: SocketAddr, case: &Case) -> Option<Got> {
    // Headers that HTTP/2 forbids.
    let own = ["connection", "keep-alive", "upgrade", "proxy-connection", "te"];
    let mut request = http::Request::builder().method(case.method);
    let target = if case.target == "*" || !case.target.is_ascii() { "/" } else { case.target };
    request = request.uri(format!("http://a.example{}", target.split('#').next().unwrap()));
    for (name, value) in case.headers.iter().filter(|(name, _)| !own.contains(&&*name.to_lowercase())) {
        request = request.header(*name, *value);
    }
    let (content, length) = match &case.body {
        Body::None => (None, None),
        Body::Length(bytes) => (Some(vec![bytes.clone()]), Some(bytes.len())),
        Body::Chunks(chunks) => (Some(chunks.clone()), None),
    };
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    let client = client::h2(connect(at).await).await;
    let mut ready = within(client.send.clone().ready()).await.ok()?;
    let (answer, mut stream) = ready.send_request(request.body(()).ok()?, content.is_none()).ok()?;
    if let Some(frames) = content {
        for frame in frames {
            let _ = stream.send_data(frame.into(), false);
        }
        let _ = stream.send_data(bytes::Bytes::new(), true);
    }
    let answer = within(answer).await.ok()?;
    let status = answer.status().as_u16();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let (mut body, mut all) = (answer.into_body(), Vec::new());
    while let Some(data) = within(body.data()).await {
        all.extend_from_slice(&data.ok()?);
    }
    Some((status, headers, all))
}

/// The body without the coding that a proxy has applied.
fn decoded(headers: &Fields, body: Vec<u8>) -> Vec<u8> {
    let coding = headers.iter().find(|(name, _)| name == "content-encoding").map(|(_, value)| &**value);
    let mut all = Vec::new();
    match coding {
        Some("gzip") => flate2::read::GzDecoder::new(&*body).read_to_end(&mut all).unwrap(),
        Some("br") => brotli::Decompressor::new(&*body, 4096).read_to_end(&mut all).unwrap(),
        _ => return body,
    };
    all
}

/// What a backend received, without the parts that differ from run to run.
fn received(seen: &Seen, at: SocketAddr) -> Received {
    let mut headers = fields(&seen.head);
    for (name, value) in &mut headers {
        match &**name {
            "x-request-id" if value.len() == 32 => *value = "random".into(),
            "x-forwarded-port" if *value == at.port().to_string() => *value = "the port".into(),
            _ => {}
        }
    }
    // The carriers may cut a body into different chunks, and may send an empty one or none.
    headers.retain(|(name, _)| name != "transfer-encoding");
    headers.retain(|(name, value)| !(name == "content-length" && value == "0"));
    headers.sort();
    (seen.line().to_owned(), headers, seen.body.clone())
}

/// The headers that a client got, without those that each carrier writes in its own way.
fn told(mut headers: Fields) -> Fields {
    let own = ["date", "connection", "keep-alive", "transfer-encoding"];
    headers.retain(|(name, value)| {
        let empty = name == "content-length" && value == "0";
        !empty && !own.contains(&&**name)
    });
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "content-length") {
        *value = one_length(value).to_owned();
    }
    headers.sort();
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_carriers_say_the_same() {
    let sides = [Side::start(Carriers::All).await, Side::start(Carriers::Pingora).await];
    let (mut runner, strategy) = (TestRunner::deterministic(), case());
    let (mut differ, mut answered, mut forwarded, mut coded) = (Vec::new(), 0, 0, 0);
    for number in 0..CASES {
        let case = strategy.new_tree(&mut runner).unwrap().current();
        *ANSWER.lock().unwrap() = case.answer;
        let (ours, pingora) = (sides[0].play(&case).await, sides[1].play(&case).await);
        answered += usize::from(ours.got.is_some());
        forwarded += usize::from(!ours.received.is_empty());
        coded += usize::from(ours.is_compressed());
        if ours != pingora {
            differ.push(format!(
                "case {number}: {case:?}, answered {:?}\n{ours:?}\n{pingora:?}",
                ANSWERS[case.answer]
            ));
        }
    }
    assert!(coded > CASES / 100, "only {coded} of {CASES} responses were compressed");
    // Two proxies that answer nothing would say the same.
    assert!(answered > CASES * 9 / 10, "only {answered} of {CASES} requests were answered");
    assert!(forwarded > CASES / 2, "only {forwarded} of {CASES} requests reached a backend");
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ[..differ.len().min(8)].join("\n\n"));
}
