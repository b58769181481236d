//! Backends that keep every byte they are sent: HTTP/1 by hand, and HTTP/2.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As it came.
    pub head: String,
    pub body: Vec<u8>,
    /// The body as it was framed.
    pub wire: Vec<u8>,
    /// Which connection of the backend it came on.
    pub connection: usize,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "several {name}: {all:?}");
        all.first().copied()
    }
}

/// What is answered to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing; the connection ends.
    Close,
    /// Nothing; the connection is reset.
    Reset,
    /// These bytes, and then the connection ends.
    Last(Vec<u8>),
    /// These bytes, and then nothing more, without an end.
    Hang(Vec<u8>),
    /// These bytes, and then whatever comes is sent back.
    Echo(Vec<u8>),
}

/// A `200` with this body.
pub fn ok(body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into())
}

/// An answer without body.
pub fn status(status: u16) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {status} Said So\r\nContent-Length: 0\r\n\r\n").into())
}

/// An HTTP/1 backend.
#[derive(Clone)]
pub struct RawBackend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Arc<AtomicUsize>,
}

impl RawBackend {
    /// Answers the n-th request (from 0) as told; an answer is sent when the whole request is there, but for
    /// `Expect: 100-continue`, which gets its 100 first.
    pub async fn start(reply: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend =
            Self { address: listener.local_addr().unwrap(), seen: Arc::default(), closed: Arc::default() };
        let (serving, reply) = (backend.clone(), Arc::new(reply));
        let (count, connections) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                let (serving, reply, count) = (serving.clone(), Arc::clone(&reply), Arc::clone(&count));
                tokio::spawn(async move {
                    serving.serve(tcp, connection, &*reply, &count).await;
                    serving.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        backend
    }

    /// Answers everything `200` with this body.
    pub async fn saying(body: &'static str) -> Self {
        Self::start(move |_, _| ok(body)).await
    }

    async fn serve(
        &self,
        mut tcp: tokio::net::TcpStream,
        connection: usize,
        reply: &(dyn Fn(usize, &Seen) -> Reply + Send + Sync),
        count: &AtomicUsize,
    ) -> Option<()> {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut tcp, &mut buffer, connection).await {
            self.seen.lock().unwrap().push(seen.clone());
            match reply(count.fetch_add(1, Ordering::Relaxed), &seen) {
                Reply::Bytes(bytes) => tcp.write_all(&bytes).await.ok()?,
                Reply::Close => return None,
                Reply::Reset => {
                    tcp.set_zero_linger().ok()?;
                    return None;
                }
                Reply::Last(bytes) => {
                    tcp.write_all(&bytes).await.ok()?;
                    return None;
                }
                Reply::Hang(bytes) => {
                    tcp.write_all(&bytes).await.ok()?;
                    while tcp.read_buf(&mut buffer).await.ok()? > 0 {}
                    return None;
                }
                Reply::Echo(bytes) => {
                    tcp.write_all(&bytes).await.ok()?;
                    tcp.write_all(&buffer).await.ok()?;
                    let (mut read, mut write) = tcp.split();
                    tokio::io::copy(&mut read, &mut write).await.ok()?;
                    return None;
                }
            }
        }
        None
    }

    /// Every request up to now.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request has come")
    }

    /// How many connections this side has closed.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have come.
    pub async fn has_seen(&self, count: usize) -> Vec<Seen> {
        super::until("so many requests", || self.seen.lock().unwrap().len() >= count).await;
        self.seen()
    }
}

async fn read_request(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Seen> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut seen = Seen { head, body: Vec::new(), wire: Vec::new(), connection };
    if seen.all("expect") == ["100-continue"] {
        io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    if seen.all("transfer-encoding") == ["chunked"] {
        loop {
            while find(buffer, b"\r\n").is_none() {
                if io.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let line = find(buffer, b"\r\n").unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&buffer[..line]).unwrap(), 16).unwrap();
            while buffer.len() < line + 2 + size + 2 {
                if io.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            seen.body.extend_from_slice(&buffer[line + 2..line + 2 + size]);
            seen.wire.extend(buffer.drain(..line + 2 + size + 2));
            if size == 0 {
                return Some(seen);
            }
        }
    }
    let length = seen.all("content-length").first().map_or(0, |l| l.parse().unwrap());
    while buffer.len() < length {
        if io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = buffer.drain(..length).collect();
    seen.wire.clone_from(&seen.body);
    Some(seen)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// An HTTP/2 backend that sends back what it is sent, chunk by chunk, and ends with `grpc-status: 0` in trailers.
#[derive(Clone)]
pub struct H2Backend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Arc<Parts>>>>,
    connections: Arc<AtomicUsize>,
}

impl H2Backend {
    pub async fn start() -> Self {
        let (backend, listener) = Self::bind().await;
        let serving = backend.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().serve(tcp));
            }
        });
        backend
    }

    /// The same over TLS.
    pub async fn start_tls(config: rustls::ServerConfig) -> Self {
        let (backend, listener) = Self::bind().await;
        let (serving, acceptor) = (backend.clone(), tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (serving, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let tls = acceptor.accept(tcp).await.ok()?;
                    serving.serve(tls).await
                });
            }
        });
        backend
    }

    async fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self { address, seen: Arc::default(), connections: Arc::default() }, listener)
    }

    async fn serve(self, io: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut connection = h2::server::handshake(io).await.ok()?;
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(self.clone().answer(request, respond));
        }
        None
    }

    async fn answer(
        self,
        request: Request<h2::RecvStream>,
        mut respond: h2::server::SendResponse<Bytes>,
    ) -> Option<()> {
        let (parts, mut body) = request.into_parts();
        self.seen.lock().unwrap().push(Arc::new(parts));
        let answer = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut send = respond.send_response(answer, false).ok()?;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.ok()?;
            let _ = body.flow_control().release_capacity(chunk.len());
            send.send_data(chunk, false).ok()?;
        }
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        send.send_trailers(trailers).ok()
    }

    pub fn seen(&self) -> Vec<Arc<Parts>> {
        self.seen.lock().unwrap().clone()
    }

    pub fn last(&self) -> Arc<Parts> {
        self.seen().pop().expect("a request has come")
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
