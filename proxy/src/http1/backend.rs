//! A connection to an HTTP/1 backend: TCP, or TLS over it.

use std::{
    cell::RefCell,
    fmt, io,
    io::IoSlice,
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use foldhash::HashMap;
use portcullis_routing::BackendTls;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::upstream::{dial::Permitted, tls::ClientConfigs};

/// A connection to a backend.
#[derive(Debug)]
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What TLS towards a backend is like; a number for each that differs, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct TlsId(u32);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("too slow")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server name of the backend's TLS is invalid")]
    ServerName,
}

/// What this thread knows of backends' TLS.
#[derive(Default)]
struct Known {
    ids: HashMap<BackendTls, TlsId>,
    last: u32,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// More than that are not configured at a time; those that went would stay else.
const MAX_KNOWN: usize = 4096;

impl TlsId {
    /// The number of this TLS.
    pub(super) fn of(tls: Option<&BackendTls>) -> Self {
        let Some(tls) = tls else { return Self::default() };
        KNOWN.with_borrow_mut(|known| {
            if let Some(id) = known.ids.get(tls) {
                return *id;
            }
            if known.ids.len() >= MAX_KNOWN {
                known.ids.clear();
            }
            known.last += 1;
            let id = Self(known.last);
            known.ids.insert(tls.clone(), id);
            id
        })
    }
}

/// Connects to a backend; `limit` is that of TCP, and again of TLS.
///
/// # Errors
/// Where there is no connection.
pub(super) async fn connect(
    address: Permitted,
    tls: Option<&BackendTls>,
    configs: &ClientConfigs,
    limit: Duration,
) -> Result<Connection, ConnectError> {
    let late = |_| ConnectError::TimedOut;
    let tcp = timeout(limit, TcpStream::connect(address.address())).await.map_err(late)??;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Connection::Plain(tcp)) };
    let name = ServerName::try_from(tls.server_name.to_string()).map_err(|_| ConnectError::ServerName)?;
    let config: Arc<ClientConfig> = configs.of(tls.verify);
    let stream = timeout(limit, TlsConnector::from(config).connect(name, tcp)).await.map_err(late)??;
    Ok(Connection::Tls(Box::new(stream)))
}

impl Connection {
    /// Reads; no bytes are the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(room);
        ready!(match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, &mut buf),
        })?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes as much of these as it takes.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(match (self, bufs) {
            (Self::Plain(tcp), [one]) => Pin::new(tcp).poll_write(cx, one),
            (Self::Plain(tcp), bufs) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            (Self::Tls(tls), bufs) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
        })?;
        Poll::Ready(if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(n) })
    }

    /// Sends what was written and is still here.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Whether nothing has come, as far as the runtime knows: no system call is made while the kernel has said nothing.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        match self {
            Self::Plain(tcp) => match tcp.poll_read_ready(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(Err(_)) => false,
                Poll::Ready(Ok(())) => {
                    Pin::new(tcp).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
                }
            },
            // Tickets come when they come, and are read here.
            Self::Tls(tls) => match tls.get_ref().0.poll_read_ready(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(Err(_)) => false,
                Poll::Ready(Ok(())) => {
                    Pin::new(&mut **tls).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
                }
            },
        }
    }

    /// By which the kernel knows it.
    pub(super) fn raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(tcp) => tcp.as_raw_fd(),
            Self::Tls(tls) => tls.get_ref().0.as_raw_fd(),
        }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("last", &self.last).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_routing::Verify;

    use super::*;

    #[test]
    fn each_tls_has_a_number_of_its_own() {
        let tls = |name: &str, verify| BackendTls { server_name: name.into(), verify };
        let all = [
            None,
            Some(tls("a.example", Verify::System)),
            Some(tls("b.example", Verify::System)),
            Some(tls("a.example", Verify::Nothing)),
        ];
        let ids: Vec<_> = all.iter().map(|tls| TlsId::of(tls.as_ref())).collect();
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(TlsId::of(all[i].as_ref()), *id);
            assert!(!ids[..i].contains(id), "{i}");
        }
    }
}
