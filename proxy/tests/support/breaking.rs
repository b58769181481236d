//! An HTTP/2 backend made of frames: it counts requests and breaks off in every way that there is.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// `200`, without a body.
    Answer,
    /// Nothing; the connection ends.
    Close,
    /// Nothing; the connection is reset.
    Reset,
    /// GOAWAY that includes the stream, and the connection ends.
    GoAway,
    /// GOAWAY with an error that includes the stream, and the connection ends.
    GoAwayInError,
    /// GOAWAY that leaves the stream out; the connection stays.
    GoAwayBefore,
    /// The stream is refused unread.
    Refuse,
    /// The stream is ended by an internal error.
    Fail,
    /// HEADERS without END_HEADERS, and the connection ends.
    HalfAHead,
    /// HEADERS without END_STREAM, and the connection ends.
    Head,
}

/// The backend.
#[derive(Clone)]
pub struct Frames {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` in the static table of HPACK.
const OK: &[u8] = &[0x88];
const NO_ERROR: u8 = 0;
const INTERNAL_ERROR: u8 = 2;
const REFUSED_STREAM: u8 = 7;

impl Frames {
    /// Does to the n-th request (from 0) as it is told, once the whole request is there.
    pub async fn start(deed: impl Fn(usize) -> Deed + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let backend = Self { address, requests: Arc::default(), connections: Arc::default() };
        let (serving, deed) = (backend.clone(), Arc::new(deed));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                serving.connections.fetch_add(1, Ordering::Relaxed);
                let (serving, deed) = (serving.clone(), Arc::clone(&deed));
                tokio::spawn(async move { serving.serve(tcp, &*deed).await });
            }
        });
        backend
    }

    /// Requests up to now.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections up to now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn serve(&self, mut tcp: TcpStream, deed: &(dyn Fn(usize) -> Deed + Send + Sync)) -> Option<()> {
        let mut preface = [0; 24];
        tcp.read_exact(&mut preface).await.ok()?;
        tcp.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
        loop {
            let mut head = [0; 9];
            tcp.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length];
            tcp.read_exact(&mut payload).await.ok()?;
            match (head[3], head[4]) {
                (SETTINGS, 0) => tcp.write_all(&frame(SETTINGS, ACK, 0, &[])).await.ok()?,
                (PING, 0) => tcp.write_all(&frame(PING, ACK, 0, &payload)).await.ok()?,
                (HEADERS | DATA, flags) if flags & END_STREAM != 0 => {
                    let n = self.requests.fetch_add(1, Ordering::SeqCst);
                    carry_out(deed(n), stream, &mut tcp).await?;
                }
                _ => {}
            }
        }
    }
}

/// `None` where the connection ends.
async fn carry_out(deed: Deed, stream: u32, tcp: &mut TcpStream) -> Option<()> {
    let error = |code: u8| [0, 0, 0, code];
    let go_away = |last: u32, code: u8| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), error(code)].concat());
    let (bytes, ends) = match deed {
        Deed::Answer => (frame(HEADERS, END_HEADERS | END_STREAM, stream, OK), false),
        Deed::Close => (Vec::new(), true),
        Deed::Reset => {
            tcp.set_zero_linger().ok()?;
            return None;
        }
        Deed::GoAway => (go_away(stream, NO_ERROR), true),
        Deed::GoAwayInError => (go_away(stream, INTERNAL_ERROR), true),
        Deed::GoAwayBefore => (go_away(stream.saturating_sub(2), NO_ERROR), false),
        Deed::Refuse => (frame(RST_STREAM, 0, stream, &error(REFUSED_STREAM)), false),
        Deed::Fail => (frame(RST_STREAM, 0, stream, &error(INTERNAL_ERROR)), false),
        Deed::HalfAHead => (frame(HEADERS, 0, stream, OK), true),
        Deed::Head => (frame(HEADERS, END_HEADERS, stream, OK), true),
    };
    tcp.write_all(&bytes).await.ok()?;
    (!ends).then_some(())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}
