//! A model of connections of our own carrier: random sequences of requests on one connection, where the bytes of both sides
//! come in pieces of any size, and break off, stall or turn to nonsense at any point.
//!
//! Whatever happens, every connection ends within the limits, no byte of one exchange gets into another, a sequence without
//! a fault is answered completely, and in the end nothing is left: no request in flight, no connection.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_proxy::Options;
use portcullis_routing::Endpoints;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::support::{
    client::connect,
    site::{Site, backend, rule, share},
    start_with, until, within,
};

/// How many connections are played, and how many of them at a time.
const CONNECTIONS: usize = 480;
const AT_A_TIME: usize = 48;

/// The proxy's limits of time: short, so that stalls end soon, and far longer than any pause without a fault.
const LIMIT: Duration = Duration::from_secs(3);

/// One connection of a client.
#[derive(Clone, Debug)]
struct Script {
    exchanges: Vec<Exchange>,
    /// Sizes of the pieces in which the client's bytes come, in turn.
    pieces: Vec<usize>,
    fault: Option<Fault>,
}

#[derive(Clone, Debug)]
struct Exchange {
    request: Body,
    answer: Body,
    pieces: Vec<usize>,
    fault: Option<Fault>,
    /// Whether the backend answers before it reads the request's body.
    early: bool,
}

/// A body of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Length(usize),
    Chunked(usize),
    /// Until the connection ends; answers alone.
    Close(usize),
}

/// What happens to one side's bytes after the first ones.
#[derive(Clone, Copy, Debug)]
struct Fault {
    kind: Kind,
    after: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Close,
    Stall,
    Nonsense,
}

const NONSENSE: &[u8] = b"\r\n\0 HTTP/1.1 200 OK\r\n\r\nnonsense";

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0_usize..40, 3 => 40_usize..5000, 1 => 5000_usize..150_000]
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    let piece = prop_oneof![2 => 1_usize..20, 3 => 20_usize..3000, 3 => 3000_usize..200_000];
    proptest::collection::vec(piece, 1..4)
}

fn fault(of_ten: u32, reach: usize) -> impl Strategy<Value = Option<Fault>> {
    let kind = proptest::sample::select(&[Kind::Close, Kind::Stall, Kind::Nonsense][..]);
    let fault =
        (kind, prop_oneof![0_usize..300, 0..reach]).prop_map(|(kind, after)| Some(Fault { kind, after }));
    prop_oneof![10 - of_ten => Just(None), of_ten => fault]
}

fn script() -> impl Strategy<Value = Script> {
    let request = prop_oneof![
        3 => Just(Body::None),
        2 => size().prop_map(Body::Length),
        2 => size().prop_map(Body::Chunked)
    ];
    let answer = prop_oneof![
        1 => Just(Body::None),
        3 => size().prop_map(Body::Length),
        3 => size().prop_map(Body::Chunked),
        1 => size().prop_map(Body::Close)
    ];
    let exchange = (request, answer, pieces(), fault(1, 5000), any::<bool>()).prop_map(
        |(request, answer, pieces, fault, early)| Exchange { request, answer, pieces, fault, early },
    );
    (proptest::collection::vec(exchange, 1..5), pieces(), fault(2, 10_000))
        .prop_map(|(exchanges, pieces, fault)| Script { exchanges, pieces, fault })
}

impl Body {
    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Length(len) | Self::Chunked(len) | Self::Close(len) => len,
        }
    }
}

/// The content of a body, which tells whose it is at every place.
fn content(script: usize, exchange: usize, direction: &str, len: usize) -> Vec<u8> {
    let name = format!("<{direction}:{script}.{exchange}>");
    name.bytes().cycle().take(len).collect()
}

/// A head's lines that frame a body, and the body.
fn framed(body: Body, content: &[u8]) -> (String, Vec<u8>) {
    match body {
        Body::None => (String::new(), Vec::new()),
        Body::Length(len) => (format!("Content-Length: {len}\r\n"), content.to_vec()),
        Body::Close(_) => (String::new(), content.to_vec()),
        Body::Chunked(_) => {
            let mut wire = Vec::new();
            for chunk in content.chunks(700) {
                wire.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            ("Transfer-Encoding: chunked\r\n".into(), wire)
        }
    }
}

/// All that a client sends.
fn requests(number: usize, script: &Script) -> Vec<u8> {
    let mut wire = Vec::new();
    for (n, exchange) in script.exchanges.iter().enumerate() {
        let (lines, body) = framed(exchange.request, &content(number, n, "request", exchange.request.len()));
        let method = if exchange.request == Body::None { "GET" } else { "POST" };
        let last = if n + 1 == script.exchanges.len() { "Connection: close\r\n" } else { "" };
        let head = format!("{method} /{number}/{n} HTTP/1.1\r\nHost: a.example\r\n{last}{lines}\r\n");
        wire.extend_from_slice(head.as_bytes());
        wire.extend_from_slice(&body);
    }
    wire
}

/// Writes bytes in pieces, up to a fault. `false`: nothing may be written after them.
async fn write(tcp: &mut OwnedWriteHalf, wire: &[u8], pieces: &[usize], fault: Option<Fault>) -> bool {
    let end = fault.map_or(wire.len(), |fault| fault.after.min(wire.len()));
    let (mut at, mut sizes) = (0, pieces.iter().cycle());
    while at < end {
        let size = *sizes.next().unwrap();
        let next = (at + size.max(wire.len() / 200)).min(end);
        if tcp.write_all(&wire[at..next]).await.is_err() {
            return false;
        }
        at = next;
        // Now and then the other side gets to see the piece alone.
        match at % 3 {
            0 => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => tokio::task::yield_now().await,
        }
    }
    match fault.map(|fault| fault.kind) {
        None => return true,
        Some(Kind::Close) => {
            let _ = tcp.shutdown().await;
        }
        Some(Kind::Stall) => tokio::time::sleep(LIMIT * 20).await,
        Some(Kind::Nonsense) => {
            let _ = tcp.write_all(NONSENSE).await;
            tokio::time::sleep(LIMIT * 20).await;
        }
    }
    false
}

/// Bytes as they come, of which messages are taken off the front.
struct Reader {
    tcp: OwnedReadHalf,
    bytes: Vec<u8>,
}

/// A message, or as much of it as came before the connection ended.
#[derive(Debug)]
struct Message {
    head: String,
    body: Vec<u8>,
    whole: bool,
}

impl Reader {
    /// Reads more; `false`: the connection has ended.
    async fn more(&mut self) -> bool {
        let mut room = vec![0; 64 << 10];
        let n = within(self.tcp.read(&mut room)).await.unwrap_or(0);
        self.bytes.extend_from_slice(&room[..n]);
        n > 0
    }

    /// A head, including its empty line; `None`: the connection has ended before it was whole.
    async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(String::from_utf8_lossy(&self.take(end + 4)).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        self.bytes.drain(..n).collect()
    }

    /// The body that belongs to a head, and whether it is whole. The proxy sends none that ends with the connection.
    async fn body(&mut self, head: &str) -> (Vec<u8>, bool) {
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            let mut content = Vec::new();
            loop {
                let Some(line) = self.bytes.windows(2).position(|two| two == b"\r\n") else {
                    if !self.more().await {
                        return (content, false);
                    }
                    continue;
                };
                let size = std::str::from_utf8(&self.bytes[..line]).ok();
                let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
                    return (b"no chunk: ".iter().chain(&self.bytes[..line]).copied().collect(), false);
                };
                while self.bytes.len() < line + 2 + size + 2 {
                    if !self.more().await {
                        let there = self.bytes.len().min(line + 2 + size);
                        content.extend_from_slice(&self.bytes[(line + 2).min(there)..there]);
                        return (content, false);
                    }
                }
                let chunk = self.take(line + 2 + size + 2);
                content.extend_from_slice(&chunk[line + 2..line + 2 + size]);
                if size == 0 {
                    return (content, true);
                }
            }
        }
        let length = length.unwrap_or(0);
        while self.bytes.len() < length {
            if !self.more().await {
                return (std::mem::take(&mut self.bytes), false);
            }
        }
        (self.take(length), true)
    }
}

/// What was seen that must not be.
type Findings = Arc<Mutex<Vec<String>>>;

/// Serves one connection of the proxy as the scripts have it.
async fn serve(tcp: TcpStream, scripts: Arc<Vec<Script>>, findings: Findings) {
    let (read, mut write_half) = tcp.into_split();
    let mut reader = Reader { tcp: read, bytes: Vec::new() };
    // The proxy keeps a connection idle for longer than a test waits.
    while let Some(head) = tokio::time::timeout(LIMIT * 100, reader.head()).await.ok().flatten() {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut numbers = path.split('/').skip(1).map(|number| number.parse::<usize>());
        let (Some(Ok(number)), Some(Ok(n))) = (numbers.next(), numbers.next()) else {
            findings.lock().unwrap().push(format!("a backend got {head:?}"));
            return;
        };
        let Some(exchange) = scripts.get(number).and_then(|script| script.exchanges.get(n)) else {
            findings.lock().unwrap().push(format!("a backend got {head:?}"));
            return;
        };
        let (lines, body) = framed(exchange.answer, &content(number, n, "answer", exchange.answer.len()));
        let status = if exchange.answer == Body::None { "204 No Content" } else { "200 OK" };
        // A fault lies inside the answer: a backend that breaks its connection between two requests can always break the next
        // one, whosever that is.
        let inside = |fault: Fault, len: usize| Fault { after: fault.after.min(len - 1), ..fault };
        let wire = [format!("HTTP/1.1 {status}\r\nX-Of: {path}\r\n{lines}\r\n").into_bytes(), body].concat();
        let fault = exchange.fault.map(|fault| inside(fault, wire.len()));
        let mut check_body = async || {
            let (got, whole) = reader.body(&head).await;
            let want = content(number, n, "request", exchange.request.len());
            let nonsense = scripts[number].fault.is_some_and(|fault| fault.kind == Kind::Nonsense);
            if !want.starts_with(&got) && !nonsense {
                findings.lock().unwrap().push(format!("a backend got {head:?} with another body"));
            }
            whole
        };
        let goes_on = if exchange.early {
            let answer = write(&mut write_half, &wire, &exchange.pieces, fault);
            let (written, read) = tokio::join!(answer, check_body());
            written && read
        } else {
            check_body().await && write(&mut write_half, &wire, &exchange.pieces, fault).await
        };
        if !goes_on || matches!(exchange.answer, Body::Close(_)) {
            return;
        }
    }
}

/// Plays a script to the proxy; what is wrong with what comes back.
async fn play(at: SocketAddr, number: usize, script: &Script) -> Result<(), String> {
    let (read, mut write_half) = connect(at).await.into_split();
    let (wire, pieces, fault) = (requests(number, script), script.pieces.clone(), script.fault);
    let writing = tokio::spawn(async move {
        // The half is kept, so that the connection is not closed from here.
        write(&mut write_half, &wire, &pieces, fault).await;
        write_half
    });
    let mut reader = Reader { tcp: read, bytes: Vec::new() };
    let mut answers = Vec::new();
    while let Some(head) = reader.head().await {
        let (body, whole) = reader.body(&head).await;
        answers.push(Message { head, body, whole });
        if !answers.last().is_some_and(|last| last.whole) {
            break;
        }
    }
    writing.abort();
    check(number, script, &answers)
}

fn check(number: usize, script: &Script, answers: &[Message]) -> Result<(), String> {
    if answers.len() > script.exchanges.len() {
        return Err(format!("{} answers to {} requests", answers.len(), script.exchanges.len()));
    }
    for (n, (exchange, answer)) in script.exchanges.iter().zip(answers).enumerate() {
        let faulty = script.fault.is_some() || exchange.fault.is_some();
        let want = content(number, n, "answer", exchange.answer.len());
        let status = answer.head.split(' ').nth(1).unwrap_or_default();
        match answer.head.contains(&format!("X-Of: /{number}/{n}\r\n")) {
            true if exchange.fault.is_some_and(|fault| fault.kind == Kind::Nonsense) => {}
            true if !want.starts_with(&answer.body) => {
                return Err(format!("the body of answer {n} is not its own"));
            }
            true => {}
            // The proxy's own.
            false if faulty && status.starts_with(['4', '5']) && !answer.head.contains("X-Of:") => {}
            false => return Err(format!("answer {n} is not its own: {:?}", answer.head)),
        }
        if !faulty && (!answer.whole || answer.body != want) {
            return Err(format!("answer {n} is not whole: {} of {} bytes", answer.body.len(), want.len()));
        }
    }
    // The requests before the first fault are answered.
    let sound = script.exchanges.iter().take_while(|exchange| exchange.fault.is_none()).count();
    match script.fault.is_some() || answers.len() >= sound {
        true => Ok(()),
        false => Err(format!("{} answers to {sound} requests without a fault", answers.len())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_its_bytes_a_connection_keeps_exchanges_apart_and_ends() {
    let (mut runner, strategy) = (TestRunner::deterministic(), script());
    let scripts = (0..CONNECTIONS).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let scripts: Arc<Vec<Script>> = Arc::new(scripts.collect());
    let findings = Findings::default();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let up = backend(&[listener.local_addr().unwrap()]);
    let endpoints = Arc::clone(&up.endpoints);
    let (of_backend, found) = (Arc::clone(&scripts), Arc::clone(&findings));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp, Arc::clone(&of_backend), Arc::clone(&found)));
        }
    });
    let proxy = start_with(|options: &mut Options| {
        options.header_timeout = LIMIT;
        options.idle_timeout = LIMIT;
        options.keepalive_timeout = LIMIT;
    });
    let at = Site::of(rule([share(1, Ok(up))])).serve(&proxy).await;

    let mut playing = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        if playing.len() == AT_A_TIME {
            playing.join_next().await.unwrap().unwrap();
        }
        let (scripts, findings) = (Arc::clone(&scripts), Arc::clone(&findings));
        playing.spawn(async move {
            if let Err(what) = play(at, number, &scripts[number]).await {
                findings.lock().unwrap().push(format!("connection {number}: {what}"));
            }
        });
    }
    while let Some(played) = playing.join_next().await {
        played.unwrap();
    }
    let findings = std::mem::take(&mut *findings.lock().unwrap());
    assert!(findings.is_empty(), "{}: {:#?}", findings.len(), findings.iter().take(5).collect::<Vec<_>>());

    let in_flight = || match &**endpoints.load() {
        Endpoints::Addresses(all) => all.iter().map(|endpoint| endpoint.in_flight()).sum::<u32>(),
        Endpoints::Name { .. } => 0,
    };
    until("nothing is left", || {
        proxy.proxy.in_flight() == 0 && proxy.proxy.connections() == 0 && in_flight() == 0
    })
    .await;
    // Had most of them failed at once, little would have been shown.
    let answered: u64 = proxy.proxy.answered().iter().sum();
    assert!(answered as usize > CONNECTIONS, "{answered} answers");
}
