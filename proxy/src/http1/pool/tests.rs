use std::sync::Arc;

use portcullis_routing::{BackendKey, BackendObject, Endpoint, PortKey};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Takes::{Any, Open},
    *,
};
use crate::{http1::backend::Stream, upstream::connections::Connections};

mod bursts;

struct Rig {
    pool: Pool,
    listener: TcpListener,
    endpoint: Arc<Endpoint>,
}

impl Rig {
    async fn new(most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Arc::new(Endpoint::new(listener.local_addr().unwrap()));
        Self { pool: pool(&IdleLimit::new(most, 1)), listener, endpoint }
    }

    fn identity(&self) -> Identity {
        Identity { address: self.endpoint.address, tls: TlsId::default() }
    }

    /// Puts a new connection into the pool; returns the backend's end of it.
    async fn add(&mut self, keep_alive: Option<u64>) -> TcpStream {
        let (ours, theirs) = tokio::join!(TcpStream::connect(self.endpoint.address), self.listener.accept());
        let backend = BackendKey {
            kind: BackendObject::Service,
            namespace: "test".into(),
            service: "backend".into(),
            port: PortKey::tcp(80),
        };
        let connection = Connection::new(
            Stream::Plain(ours.unwrap()),
            Arc::downgrade(&self.endpoint),
            Connections::new().open(&backend),
        );
        let keep_alive = keep_alive.map(Duration::from_secs);
        self.pool.give_back(self.identity(), connection, keep_alive);
        theirs.unwrap().0
    }

    fn take(&mut self, takes: Takes) -> Option<Connection> {
        let taken = self.pool.take(&self.identity(), takes);
        let idle: usize = self.pool.stacks.values().map(|stack| stack.idle.len()).sum();
        assert_eq!(self.pool.len, idle);
        taken
    }
}

fn pool(limit: &Arc<IdleLimit>) -> Pool {
    Pool { part: Part::new(limit), ..Pool::default() }
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
    let lent = [rig.take(Any).unwrap(), rig.take(Open).unwrap()];
    assert!(rig.take(Any).is_none());
    let ports = ends.map(|end| end.peer_addr().unwrap().port());
    assert_eq!(lent.map(|connection| port(&connection)), [ports[1], ports[0]]);
}

#[tokio::test]
async fn what_its_backend_has_closed_is_not_lent() {
    let mut rig = Rig::new(10).await;
    let kept = rig.add(None).await;
    drop(rig.add(None).await);
    // For a request that must not be sent twice, the pool asks the kernel whether the connection is open.
    assert_eq!(port(&rig.take(Open).unwrap()), kept.peer_addr().unwrap().port());
    drop((rig.add(None).await, kept));
    seen().await;
    assert!(rig.take(Any).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_good_for_as_long_as_the_backend_says_and_four_seconds_at_most() {
    tokio::spawn(clock::run());
    for (keep_alive, good, bad) in [(None, 3250, 4300), (Some(60), 3250, 4300), (Some(2), 1250, 2300)] {
        let mut rig = Rig::new(10).await;
        let _end = rig.add(keep_alive).await;
        tokio::time::sleep(Duration::from_millis(good)).await;
        let connection = rig.take(Open).expect("good");
        let limit = keep_alive.map(Duration::from_secs);
        rig.pool.give_back(rig.identity(), connection, limit);
        tokio::time::sleep(Duration::from_millis(bad)).await;
        assert!(rig.take(Open).is_none(), "{keep_alive:?}");
        assert!(rig.take(Any).is_some(), "{keep_alive:?}: good for other requests");
    }
    let mut rig = Rig::new(10).await;
    let _end = rig.add(Some(0)).await;
    assert!(rig.take(Open).is_none());
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
    let lent = [0; 3].map(|_| port(&rig.take(Any).unwrap()));
    let ports: Vec<_> = ends.iter().map(|end| end.peer_addr().unwrap().port()).collect();
    assert_eq!(lent, [ports[4], ports[3], ports[2]]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_needs_more_gets_it_from_one_that_does_not() {
    tokio::spawn(clock::run());
    let limit = IdleLimit::new(4, 2);
    let [mut busy, mut other] = [Rig::new(0).await, Rig::new(0).await];
    (busy.pool, other.pool) = (pool(&limit), pool(&limit));
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(other.add(None).await);
    }
    for _ in 0..2 {
        ends.push(busy.add(None).await);
    }
    assert_eq!((other.pool.len, busy.pool.len), (3, 1));
    // Connections that were used lately stay, although the other worker needs more.
    other.pool.sweep();
    assert_eq!(other.pool.len, 3);
    tokio::time::sleep(KEPT_IF_WANTED + Duration::from_secs(1)).await;
    other.pool.sweep();
    assert_eq!(other.pool.len, 3, "it is not wanted any more");
    ends.push(busy.add(None).await);
    other.pool.sweep();
    assert_eq!(other.pool.len, 0);
    other.pool.sweep();
    for _ in 0..4 {
        ends.push(busy.add(None).await);
    }
    assert_eq!(busy.pool.len, 3, "one is left to the other worker");
}
