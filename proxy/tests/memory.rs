//! A body of any size takes a bounded part of the memory, whoever is slow. Alone in its process, whose memory is
//! measured.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    future::poll_fn,
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use portcullis_proxy::Carriers;
use portcullis_routing::{Rule, Step, Steps, step::Compress};
use support::{
    client,
    site::{Site, backend, h2 as over_h2, rule, share},
    start_with, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, watch},
    task::JoinHandle,
};

/// The carriers of a proxy whose test does not choose them.
const CARRIERS: Carriers = Carriers::All;

/// The length of a body.
const LENGTH: usize = 64 << 20;
/// What of it the proxy and the kernel may hold while its receiver waits.
const HELD: usize = 24 << 20;
/// The memory that the process may need for it, in KiB: what is held in the test's own ends is in it.
const GROWTH: usize = 8 << 10;

/// The length of a body that is compressed. Most of the time for it is that of the encoder.
const COMPRESSED: usize = 16 << 20;

/// Held by the test that measures memory.
static ALONE: Mutex<()> = Mutex::const_new(());

static CHUNK: [u8; 64 << 10] = [b'a'; 64 << 10];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

/// Whether the client sends the body or the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    Up,
    Down,
}

/// How much was sent, and whether the receiver reads.
#[derive(Clone)]
struct Progress {
    sent: Arc<AtomicUsize>,
    reads: watch::Sender<bool>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_not_held_whoever_is_slow() {
    let _alone = ALONE.lock().await;
    for carriers in [Carriers::All, Carriers::Pingora] {
        let proxy = start_with(|options| options.carriers = carriers);
        for client in [Speaks::Http1, Speaks::Http2] {
            for backend_speaks in [Speaks::Http1, Speaks::Http2] {
                for goes in [Goes::Up, Goes::Down] {
                    let name = format!("{carriers:?}, {client:?} to {backend_speaks:?}, {goes:?}");
                    let progress = Progress { sent: Arc::default(), reads: watch::Sender::new(false) };
                    let endpoint = serve(backend_speaks, goes, progress.clone()).await;
                    let served = backend(&[endpoint]);
                    let served = if backend_speaks == Speaks::Http2 { over_h2(served) } else { served };
                    let at = Site::of(rule([share(1, Ok(served))])).serve(&proxy).await;
                    let before = resident("VmRSS:");
                    forget_the_peak();
                    let asking: JoinHandle<usize> = match client {
                        Speaks::Http1 => tokio::spawn(ask_http1(at, goes, progress.clone())),
                        Speaks::Http2 => tokio::spawn(ask_http2(at, goes, progress.clone())),
                    };
                    let held = stuck(&progress, &name).await;
                    assert!(held < HELD, "{name}: {held} bytes are on their way, and nobody reads");
                    progress.reads.send_replace(true);
                    let received = tokio::time::timeout(Duration::from_secs(60), asking).await;
                    let received = received.unwrap_or_else(|_| panic!("{name}: it does not end")).unwrap();
                    assert_eq!((received, progress.sent.load(Ordering::Relaxed)), (LENGTH, LENGTH), "{name}");
                    let growth = resident("VmHWM:").saturating_sub(before);
                    assert!(growth < GROWTH, "{name}: the process grew by {growth} KiB");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_not_held_while_it_is_compressed() {
    let _alone = ALONE.lock().await;
    let mut compress = Compress::default();
    (compress.gzip.is_on, compress.brotli.is_on) = (true, true);
    let compress = Arc::new(compress);
    for carriers in [Carriers::All, Carriers::Pingora] {
        let proxy = start_with(|options| options.carriers = carriers);
        for coding in ["gzip", "br"] {
            let name = format!("{carriers:?}, {coding}");
            let endpoint = serve_text().await;
            let steps = Steps::new([Step::Compress(Arc::clone(&compress))]);
            let rule = Rule { steps, ..rule([share(1, Ok(backend(&[endpoint])))]) };
            let at = Site::of(rule).serve(&proxy).await;
            let before = resident("VmRSS:");
            forget_the_peak();
            let client = client::h2(client::connect(at).await).await;
            let request = Request::get("http://a.example/").header("accept-encoding", coding);
            let mut send = client.send.ready().await.unwrap();
            let (answer, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.headers()["content-encoding"], coding);
            let mut stream = answer.into_body();
            let mut decoder = Decoder::new(coding);
            while let Some(part) = stream.data().await {
                let part = part.unwrap();
                stream.flow_control().release_capacity(part.len()).unwrap();
                decoder.put(&part);
            }
            assert_eq!(decoder.end(), COMPRESSED, "{name}");
            let growth = resident("VmHWM:").saturating_sub(before);
            assert!(growth < GROWTH, "{name}: the process grew by {growth} KiB");
        }
    }
}

/// A backend that sends a body of [`COMPRESSED`] bytes, in part at random.
async fn serve_text() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        read_head(&mut tcp).await;
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {COMPRESSED}\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut chunk = CHUNK;
        for n in 0..COMPRESSED / CHUNK.len() {
            for (i, byte) in chunk.iter_mut().step_by(61).enumerate() {
                *byte = (n.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 7) as u8;
            }
            tcp.write_all(&chunk).await.unwrap();
        }
        let _ = tcp.read_u8().await;
    });
    address
}

/// Decodes a body, and counts its bytes.
enum Decoder {
    Gzip(Box<flate2::write::GzDecoder<Count>>),
    Brotli(Box<brotli::DecompressorWriter<Count>>),
}

/// Counts what is written to it.
#[derive(Default)]
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    fn new(coding: &str) -> Self {
        match coding {
            "gzip" => Self::Gzip(Box::new(flate2::write::GzDecoder::new(Count::default()))),
            _ => Self::Brotli(Box::new(brotli::DecompressorWriter::new(Count::default(), 4096))),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Gzip(gzip) => gzip.write_all(bytes).unwrap(),
            Self::Brotli(brotli) => brotli.write_all(bytes).unwrap(),
        }
    }

    fn end(self) -> usize {
        match self {
            Self::Gzip(gzip) => gzip.finish().unwrap().0,
            Self::Brotli(mut brotli) => {
                brotli.close().unwrap();
                brotli.get_ref().0
            }
        }
    }
}

/// Waits until the sender has to wait; returns how much it has sent.
async fn stuck(progress: &Progress, name: &str) -> usize {
    let mut before = 0;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let sent = progress.sent.load(Ordering::Relaxed);
        if sent > 0 && sent == before {
            return sent;
        }
        before = sent;
    }
    panic!("{name}: {before} bytes were sent, and it goes on");
}

impl Progress {
    async fn may_read(&self) {
        self.reads.subscribe().wait_for(|reads| *reads).await.unwrap();
    }

    /// The next part of the body.
    fn part(&self) -> Option<&'static [u8]> {
        let left = LENGTH - self.sent.load(Ordering::Relaxed);
        (left > 0).then(|| &CHUNK[..left.min(CHUNK.len())])
    }

    async fn send_http1(&self, io: &mut TcpStream) {
        while let Some(part) = self.part() {
            let sent = io.write(part).await.unwrap();
            self.sent.fetch_add(sent, Ordering::Relaxed);
        }
    }

    async fn send_http2(&self, stream: &mut SendStream<Bytes>) {
        while let Some(part) = self.part() {
            stream.reserve_capacity(part.len());
            let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap().min(part.len());
            let end = self.sent.fetch_add(room, Ordering::Relaxed) + room == LENGTH;
            stream.send_data(Bytes::from_static(&part[..room]), end).unwrap();
        }
    }

    /// Reads a head and a body; returns the body's length.
    async fn receive_http1(&self, io: &mut TcpStream) -> usize {
        read_head(io).await;
        self.may_read().await;
        let (mut received, mut room) = (0, vec![0; CHUNK.len()]);
        while received < LENGTH {
            match io.read(&mut room).await.unwrap() {
                0 => break,
                more => received += more,
            }
        }
        received
    }

    async fn receive_http2(&self, mut stream: RecvStream) -> usize {
        self.may_read().await;
        let mut received = 0;
        while let Some(chunk) = stream.data().await {
            let length = chunk.unwrap().len();
            received += length;
            stream.flow_control().release_capacity(length).unwrap();
        }
        received
    }
}

/// A backend for one request.
async fn serve(speaks: Speaks, goes: Goes, progress: Progress) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        match (speaks, goes) {
            (Speaks::Http1, Goes::Up) => {
                let received = progress.receive_http1(&mut tcp).await;
                let length = received.to_string();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len());
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
            (Speaks::Http1, Goes::Down) => {
                read_head(&mut tcp).await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
                tcp.write_all(answer.as_bytes()).await.unwrap();
                progress.send_http1(&mut tcp).await;
            }
            (Speaks::Http2, _) => {
                let mut connection = h2::server::handshake(tcp).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer_http2(request.into_body(), respond, goes, progress.clone()));
                }
                return;
            }
        }
        // The proxy closes the connection.
        let _ = tcp.read_u8().await;
    });
    address
}

async fn read_head(io: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
}

async fn answer_http2(
    body: RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    goes: Goes,
    progress: Progress,
) {
    match goes {
        Goes::Up => {
            let text = progress.receive_http2(body).await.to_string();
            let answer = Response::builder().header("content-length", text.len()).body(()).unwrap();
            respond.send_response(answer, false).unwrap().send_data(text.into(), true).unwrap();
        }
        Goes::Down => {
            let answer = Response::builder().header("content-length", LENGTH).body(()).unwrap();
            progress.send_http2(&mut respond.send_response(answer, false).unwrap()).await;
        }
    }
}

/// Sends the request; returns how many bytes of the body have reached its receiver.
async fn ask_http1(at: SocketAddr, goes: Goes, progress: Progress) -> usize {
    let mut tcp = client::connect(at).await;
    match goes {
        Goes::Up => {
            let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LENGTH}\r\n\r\n");
            tcp.write_all(head.as_bytes()).await.unwrap();
            progress.send_http1(&mut tcp).await;
            within(client::response(&mut tcp)).await.body.trim().parse().unwrap()
        }
        Goes::Down => {
            tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
            progress.receive_http1(&mut tcp).await
        }
    }
}

async fn ask_http2(at: SocketAddr, goes: Goes, progress: Progress) -> usize {
    let tcp = client::connect(at).await;
    tcp.set_nodelay(true).unwrap();
    let client = client::h2(tcp).await;
    let mut send = client.send.ready().await.unwrap();
    let request = match goes {
        Goes::Up => Request::post("http://a.example/").header("content-length", LENGTH),
        Goes::Down => Request::get("http://a.example/"),
    };
    let (answer, mut body) = send.send_request(request.body(()).unwrap(), goes == Goes::Down).unwrap();
    match goes {
        Goes::Up => {
            progress.send_http2(&mut body).await;
            let (status, length) = client::finish(answer).await.unwrap();
            assert_eq!(status, 200);
            length.parse().unwrap()
        }
        Goes::Down => progress.receive_http2(answer.await.unwrap().into_body()).await,
    }
}

/// A figure of this process in /proc, in KiB.
fn resident(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// The peak (`VmHWM`) is from now on that of what follows.
fn forget_the_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}
