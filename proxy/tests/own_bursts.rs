//! Bursts of requests while the pool has no connection to their backend.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::support::{
    BOUND, Running,
    client::{connect, get},
    site::{Site, backend, refusing, rule, share, to},
    start_with, until, within,
};

/// The kernel completes one connection more than this before the backend accepts any.
const BACKLOG: u32 = 4;
/// The maximum number of connections that a worker is making to one endpoint (docs/limits.md).
const MAKING: usize = 16;

/// A backend that accepts a connection only when the test permits it, and then answers its requests at once.
struct Slow {
    address: SocketAddr,
    accepts: Arc<Semaphore>,
}

impl Slow {
    fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let slow = Self { address: listener.local_addr().unwrap(), accepts: Arc::new(Semaphore::new(0)) };
        tokio::spawn(serve(listener, Arc::clone(&slow.accepts)));
        slow
    }
}

async fn serve(listener: TcpListener, accepts: Arc<Semaphore>) {
    loop {
        accepts.acquire().await.unwrap().forget();
        let (tcp, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(tcp));
    }
}

async fn answer(mut tcp: TcpStream) -> std::io::Result<()> {
    let mut seen = Vec::new();
    while tcp.read_buf(&mut seen).await? > 0 {
        while let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            seen.drain(..end + 4);
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        }
    }
    Ok(())
}

/// Sends one request on each of `count` connections; returns the statuses of the answers.
fn burst(at: SocketAddr, count: usize) -> JoinSet<u16> {
    (0..count).map(|_| async move { get(&mut connect(at).await, "a.example", "/").await.status }).collect()
}

fn one_worker() -> Running {
    start_with(|options| {
        options.workers = 1;
        // However long it takes until the backend accepts.
        options.connect_timeout = BOUND * 10;
    })
}

#[tokio::test]
async fn a_burst_opens_few_connections_to_a_backend_that_is_slow_to_accept() {
    let (slow, proxy) = (Slow::start(), one_worker());
    let at = Site::of(to(slow.address)).serve(&proxy).await;
    let requests = burst(at, 500);
    until("all requests wait", || proxy.proxy.in_flight() == 500).await;
    // Independent of timing: the connections that the kernel has completed, and those in progress. If the accept queue fills in
    // the meantime, the kernel can complete a few more on the client's side only.
    let opened = sockets_to(slow.address);
    assert!((1..=BACKLOG as usize + 4 * MAKING).contains(&opened), "{opened}");
    slow.accepts.add_permits(1000);
    assert_eq!(within(requests.join_all()).await, [200; 500]);
}

/// The number of connections from this machine to an address, established or being established.
fn sockets_to(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { panic!("{address}") };
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let of = |line: &&str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        // ESTABLISHED, SYN_SENT
        columns[2] == remote && ["01", "02"].contains(&columns[3])
    };
    table.lines().skip(1).filter(of).count()
}

#[tokio::test]
async fn a_client_that_goes_while_it_waits_for_a_connection_leaves_nothing_behind() {
    let (slow, proxy) = (Slow::start(), one_worker());
    let at = Site::of(to(slow.address)).serve(&proxy).await;
    let clients = (0..100).map(|_| async move {
        let mut tcp = connect(at).await;
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
        tcp
    });
    let clients: Vec<_> = clients.collect::<JoinSet<_>>().join_all().await;
    until("all requests wait", || proxy.proxy.in_flight() == 100).await;
    drop(clients);
    until("they are gone", || proxy.proxy.in_flight() == 0 && proxy.proxy.connections() == 0).await;
    // The requests that left do not hold back those that come now.
    slow.accepts.add_permits(1000);
    assert_eq!(within(burst(at, 100).join_all()).await, [200; 100]);
}

#[tokio::test]
async fn where_an_endpoint_refuses_a_burst_goes_to_another() {
    let (slow, proxy) = (Slow::start(), one_worker());
    slow.accepts.add_permits(1000);
    let site = Site::of(rule([share(1, Ok(backend(&[refusing(), slow.address])))]));
    let at = site.serve(&proxy).await;
    assert_eq!(within(burst(at, 500).join_all()).await, [200; 500]);
    let at = Site::of(to(refusing())).serve(&proxy).await;
    assert_eq!(within(burst(at, 500).join_all()).await, [502; 500]);
}
