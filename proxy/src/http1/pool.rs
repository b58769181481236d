//! A worker thread's idle connections to HTTP/1 backends. They have no lock, no task and no timer of their own.
//!
//! The connection that was used last is lent first, so that those that are not needed grow old. A connection is closed after
//! a minute, when its backend closes it, when its endpoint is removed, and when there are too many.

use std::{cell::RefCell, net::SocketAddr, time::Duration};

use foldhash::{HashMap, HashMapExt as _};

use super::backend::{Connection, TlsId};
use crate::{
    clock::{self, Ticks},
    upstream::kept::{self, MAX_IDLE},
};

/// Connections with the same identity are interchangeable. The Service is not part of it: a connection to an address is the
/// same whichever Service led there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) address: SocketAddr,
    pub(super) tls: TlsId,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Ticks,
    /// For how long it may carry a request that must not be sent twice; `None`: not at all.
    good_for: Option<Ticks>,
}

/// The idle connections with one identity.
#[derive(Debug, Default)]
struct Stack {
    /// In the order of their last use.
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Pool {
    stacks: HashMap<Identity, Stack>,
    len: usize,
    most: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool { stacks: HashMap::new(), len: 0, most: 0 });
}

/// How long a connection is kept idle.
const KEPT: Duration = Duration::from_secs(60);
/// When there are too many, one part in this many is closed at once, the oldest ones.
const PART: usize = 16;

/// Sets how many idle connections this thread keeps.
pub(crate) fn set_limit(most: usize) {
    POOL.with_borrow_mut(|pool| pool.most = most);
}

/// Closes connections that were idle for too long, or that their backend has closed. Called from time to time.
pub(crate) fn sweep() {
    POOL.with_borrow_mut(Pool::sweep);
}

/// Closes all connections.
pub(crate) fn clear() {
    POOL.with_borrow_mut(|pool| {
        pool.stacks.clear();
        pool.len = 0;
    });
}

/// Takes a connection out of the pool. `once`: for a request that must not be sent twice, so the connection must certainly
/// be open, and not about to be closed by its backend.
pub(super) fn take(identity: &Identity, once: bool) -> Option<Connection> {
    POOL.with_borrow_mut(|pool| pool.take(identity, once))
}

/// Puts a connection into the pool after a request. `keep_alive`: how long the backend says that it keeps it idle.
pub(super) fn give_back(identity: Identity, connection: Connection, keep_alive: Option<Duration>) {
    POOL.with_borrow_mut(|pool| pool.give_back(identity, connection, keep_alive));
}

impl Pool {
    fn take(&mut self, identity: &Identity, once: bool) -> Option<Connection> {
        let stack = self.stacks.get_mut(identity)?;
        while let Some(mut last) = stack.idle.pop() {
            self.len -= 1;
            if once && last.good_for.is_none_or(|limit| last.since.is_past(limit)) {
                // Those below are older; all of them may still carry other requests.
                stack.idle.push(last);
                self.len += 1;
                return None;
            }
            if last.connection.is_quiet() && (!once || kept::is_silent(last.connection.raw_fd())) {
                return Some(last.connection);
            }
        }
        None
    }

    fn give_back(&mut self, identity: Identity, connection: Connection, keep_alive: Option<Duration>) {
        if self.len >= self.most {
            self.make_room();
        }
        let good_for = Ticks::within(keep_alive.map_or(MAX_IDLE, |limit| limit.min(MAX_IDLE)));
        let idle = Idle { connection, since: clock::now(), good_for };
        self.stacks.entry(identity).or_default().idle.push(idle);
        self.len += 1;
    }

    fn sweep(&mut self) {
        let limit = Ticks::of(KEPT);
        self.retain(|idle| {
            let has_endpoint = idle.connection.endpoint.strong_count() > 0;
            has_endpoint && !idle.since.is_past(limit) && idle.connection.is_quiet()
        });
    }

    /// Closes the oldest ones.
    fn make_room(&mut self) {
        let mut all: Vec<Ticks> =
            self.stacks.values().flat_map(|stack| &stack.idle).map(|idle| idle.since).collect();
        let go = (all.len() / PART).max(1).min(all.len());
        let Some(last) = go.checked_sub(1) else { return };
        let oldest = *all.select_nth_unstable(last).1;
        let mut left = go;
        self.retain(|idle| {
            let goes = left > 0 && idle.since <= oldest;
            left -= usize::from(goes);
            !goes
        });
    }

    fn retain(&mut self, mut stays: impl FnMut(&mut Idle) -> bool) {
        for stack in self.stacks.values_mut() {
            let before = stack.idle.len();
            stack.idle.retain_mut(&mut stays);
            self.len -= before - stack.idle.len();
        }
        self.stacks.retain(|_, stack| !stack.idle.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_routing::{BackendKey, Endpoint, PortKey};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{http1::backend::Stream, upstream::connections::Connections};

    struct Rig {
        pool: Pool,
        listener: TcpListener,
        endpoint: Arc<Endpoint>,
    }

    impl Rig {
        async fn new(most: usize) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = Arc::new(Endpoint::new(listener.local_addr().unwrap()));
            Self { pool: Pool { stacks: HashMap::new(), len: 0, most }, listener, endpoint }
        }

        fn identity(&self) -> Identity {
            Identity { address: self.endpoint.address, tls: TlsId::default() }
        }

        /// Puts a new connection into the pool; returns the backend's end of it.
        async fn add(&mut self, keep_alive: Option<u64>) -> TcpStream {
            let (ours, theirs) =
                tokio::join!(TcpStream::connect(self.endpoint.address), self.listener.accept());
            let backend =
                BackendKey { namespace: "test".into(), service: "backend".into(), port: PortKey::tcp(80) };
            let connection = Connection::new(
                Stream::Plain(ours.unwrap()),
                Arc::downgrade(&self.endpoint),
                Connections::new().open(&backend),
            );
            let keep_alive = keep_alive.map(Duration::from_secs);
            self.pool.give_back(self.identity(), connection, keep_alive);
            theirs.unwrap().0
        }

        fn take(&mut self, once: bool) -> Option<Connection> {
            let taken = self.pool.take(&self.identity(), once);
            let idle: usize = self.pool.stacks.values().map(|stack| stack.idle.len()).sum();
            assert_eq!(self.pool.len, idle);
            taken
        }
    }

    fn port(connection: &Connection) -> u16 {
        let Stream::Plain(tcp) = &connection.stream else { panic!("no TLS here") };
        tcp.local_addr().unwrap().port()
    }

    /// Lets the runtime learn of events from the kernel.
    async fn seen() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn the_last_one_is_lent_first() {
        let mut rig = Rig::new(10).await;
        let ends = [rig.add(None).await, rig.add(None).await];
        let lent = [rig.take(false).unwrap(), rig.take(true).unwrap()];
        assert!(rig.take(false).is_none());
        let ports = ends.map(|end| end.peer_addr().unwrap().port());
        assert_eq!(lent.map(|connection| port(&connection)), [ports[1], ports[0]]);
    }

    #[tokio::test]
    async fn what_its_backend_has_closed_is_not_lent() {
        let mut rig = Rig::new(10).await;
        let kept = rig.add(None).await;
        drop(rig.add(None).await);
        // For a request that must not be sent twice, the kernel is asked.
        assert_eq!(port(&rig.take(true).unwrap()), kept.peer_addr().unwrap().port());
        drop((rig.add(None).await, kept));
        seen().await;
        assert!(rig.take(false).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_good_for_as_long_as_the_backend_says_and_four_seconds_at_most() {
        tokio::spawn(clock::run());
        for (keep_alive, good, bad) in [(None, 3250, 4300), (Some(60), 3250, 4300), (Some(2), 1250, 2300)] {
            let mut rig = Rig::new(10).await;
            let _end = rig.add(keep_alive).await;
            tokio::time::sleep(Duration::from_millis(good)).await;
            let connection = rig.take(true).expect("good");
            let limit = keep_alive.map(Duration::from_secs);
            rig.pool.give_back(rig.identity(), connection, limit);
            tokio::time::sleep(Duration::from_millis(bad)).await;
            assert!(rig.take(true).is_none(), "{keep_alive:?}");
            assert!(rig.take(false).is_some(), "{keep_alive:?}: good for others");
        }
        let mut rig = Rig::new(10).await;
        let _end = rig.add(Some(0)).await;
        assert!(rig.take(true).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_or_whose_endpoint_has_gone_goes() {
        tokio::spawn(clock::run());
        let mut rig = Rig::new(10).await;
        let _end = rig.add(None).await;
        tokio::time::sleep(KEPT - Duration::from_secs(1)).await;
        let _young = rig.add(None).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        rig.pool.sweep();
        assert_eq!(rig.pool.len, 1);
        rig.endpoint = Arc::new(Endpoint::new(rig.endpoint.address));
        rig.pool.sweep();
        assert_eq!((rig.pool.len, rig.pool.stacks.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_make_room() {
        tokio::spawn(clock::run());
        let mut rig = Rig::new(3).await;
        let mut ends = Vec::new();
        for _ in 0..5 {
            ends.push(rig.add(None).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(rig.pool.len, 3);
        let lent = [0; 3].map(|_| port(&rig.take(false).unwrap()));
        let ports: Vec<_> = ends.iter().map(|end| end.peer_addr().unwrap().port()).collect();
        assert_eq!(lent, [ports[4], ports[3], ports[2]]);
    }
}
