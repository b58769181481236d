//! Pooled connections as a request needs them that must not be sent twice: open, and not about to be closed.
//!
//! Whoever sends on a connection that the backend closes meanwhile cannot tell whether the request was carried out
//! (RFC 9110, 9.2.2). pingora looks at what the runtime knows of a connection, which is as old as its last turn.

use std::{
    collections::HashMap,
    os::fd::RawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use portcullis_routing::BackendProtocol;
use tokio::time::Instant;

/// The time that servers keep a connection without a request is 5 s and more, unless they say so.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(4);
/// Connections that are noted before those are forgotten whose time is over.
const SWEEP_AT: usize = 256;

/// What is known of a worker's pooled connections.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// How long each HTTP/1 connection is good for such a request.
    until: Mutex<Until>,
    /// The HTTP/2 connections that were found open in this turn of the runtime.
    open: Arc<Mutex<Vec<RawFd>>>,
}

#[derive(Debug)]
struct Until {
    connections: HashMap<RawFd, Instant>,
    sweep_at: usize,
}

impl Kept {
    /// Notes that an answer begins on this connection. Its end may be later, so this is on the safe side; `keep_alive`
    /// is what the backend says of the time that it waits for another request.
    pub(crate) fn answered(&self, connection: RawFd, keep_alive: Option<Duration>) {
        let now = Instant::now();
        let idle = keep_alive.map_or(MAX_IDLE, |limit| limit.min(MAX_IDLE));
        lock(&self.until).note(connection, now + idle, now);
    }

    /// Whether a request may be sent on this pooled connection that must not be sent twice. `false` is no word on the
    /// connection's state: it may be open.
    pub(crate) fn is_good(&self, connection: RawFd, protocol: BackendProtocol) -> bool {
        match protocol {
            BackendProtocol::Http1 => {
                lock(&self.until).is_good(connection, Instant::now()) && seen(connection) == Seen::Nothing
            }
            // An end is announced: by GOAWAY, and what is beyond its last stream may be sent again. Frames may wait.
            BackendProtocol::Http2 => self.is_open(connection),
        }
    }

    /// Whether an HTTP/2 connection is open. One look serves all requests of a turn of the runtime: what they send is
    /// written after the turn, so a look for each of them would not be newer when it matters.
    fn is_open(&self, connection: RawFd) -> bool {
        let mut open = lock(&self.open);
        if open.contains(&connection) {
            return true;
        }
        if seen(connection) == Seen::End {
            return false;
        }
        if open.is_empty() {
            let looks = Arc::clone(&self.open);
            // It runs after all tasks that are ready now, and before those that they wake.
            tokio::spawn(async move { lock(&looks).clear() });
        }
        open.push(connection);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Until {
    fn note(&mut self, connection: RawFd, until: Instant, now: Instant) {
        if self.connections.len() >= self.sweep_at {
            self.connections.retain(|_, until| *until > now);
            self.sweep_at = SWEEP_AT.max(self.connections.len() * 2);
        }
        self.connections.insert(connection, until);
    }

    fn is_good(&self, connection: RawFd, now: Instant) -> bool {
        self.connections.get(&connection).is_some_and(|until| now < *until)
    }
}

impl Default for Until {
    fn default() -> Self {
        Self { connections: HashMap::new(), sweep_at: SWEEP_AT }
    }
}

/// What waits to be read from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Bytes,
    End,
}

/// Whether a connection is open and nothing has come on it.
pub(crate) fn is_silent(connection: RawFd) -> bool {
    seen(connection) == Seen::Nothing
}

/// A look that takes nothing and does not wait.
fn seen(connection: RawFd) -> Seen {
    match recv(connection, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(1..) => Seen::Bytes,
        Err(Errno::EAGAIN | Errno::EINTR) => Seen::Nothing,
        Ok(0) | Err(_) => Seen::End,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{Shutdown, TcpListener, TcpStream},
        os::fd::AsRawFd,
    };

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn a_look_tells_whether_a_connection_is_open() {
        let (ours, theirs) = pair();
        assert_eq!(seen(ours.as_raw_fd()), Seen::Nothing);
        drop(theirs);
        assert_eq!(seen(ours.as_raw_fd()), Seen::End);

        let (ours, mut theirs) = pair();
        theirs.write_all(b"x").unwrap();
        assert_eq!(seen(ours.as_raw_fd()), Seen::Bytes);
        // And takes nothing.
        assert_eq!(seen(ours.as_raw_fd()), Seen::Bytes);

        let (ours, theirs) = pair();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(seen(ours.as_raw_fd()), Seen::End);

        let (ours, theirs) = pair();
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        assert_eq!(seen(ours.as_raw_fd()), Seen::End);
        assert_eq!(seen(-1), Seen::End);
    }

    #[tokio::test]
    async fn one_look_serves_a_turn_of_the_runtime() {
        let ((ours, theirs), kept) = (pair(), Kept::default());
        let is_good = || kept.is_good(ours.as_raw_fd(), BackendProtocol::Http2);
        assert!(is_good());
        drop(theirs);
        assert!(is_good(), "the same turn");
        tokio::task::yield_now().await;
        assert!(!is_good(), "the next turn");
    }

    #[tokio::test]
    async fn only_http_1_minds_bytes_that_wait() {
        let kept = Kept::default();
        for (bytes, http1, http2) in [(&b""[..], true, true), (b"x", false, true)] {
            let (ours, mut theirs) = pair();
            theirs.write_all(bytes).unwrap();
            kept.answered(ours.as_raw_fd(), None);
            for (protocol, want) in [(BackendProtocol::Http1, http1), (BackendProtocol::Http2, http2)] {
                assert_eq!(kept.is_good(ours.as_raw_fd(), protocol), want, "{protocol:?} {bytes:?}");
            }
            drop(theirs);
            assert!(!kept.is_good(ours.as_raw_fd(), BackendProtocol::Http1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_good_for_as_long_as_the_backend_says_and_four_seconds_at_most() {
        let ms = Duration::from_millis;
        for (keep_alive, good, bad) in [
            (None, ms(3900), ms(4100)),
            (Some(ms(60_000)), ms(3900), ms(4100)),
            (Some(ms(2000)), ms(1900), ms(2100)),
            (Some(ms(0)), ms(0), ms(0)),
        ] {
            let ((ours, _theirs), kept) = (pair(), Kept::default());
            let is_good = || kept.is_good(ours.as_raw_fd(), BackendProtocol::Http1);
            assert!(!is_good(), "nothing was answered yet");
            kept.answered(ours.as_raw_fd(), keep_alive);
            tokio::time::advance(good).await;
            assert_eq!(is_good(), good < bad, "{keep_alive:?}");
            tokio::time::advance(bad - good).await;
            assert!(!is_good(), "{keep_alive:?}");
        }
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (mut until, now) = (Until::default(), Instant::now());
        for connection in 0..10_000 {
            until.note(connection, now, now);
            assert!(until.connections.len() <= SWEEP_AT);
        }
        let later = now + MAX_IDLE;
        (0..10_000).for_each(|connection| until.note(connection, later, now));
        assert!((0..10_000).all(|connection| until.is_good(connection, now)));
    }
}
