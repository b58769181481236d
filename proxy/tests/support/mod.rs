//! What the tests of the data plane have in common: a proxy on an address of its own, tables, certificates,
//! backends and clients. Everything waits for conditions with one bound on time.

// Each test binary uses its own part of this, and all of it is test.
#![allow(dead_code, unreachable_pub, missing_debug_implementations, clippy::unwrap_used)]

mod any_certificate;
pub mod backend;
pub mod breaking;
pub mod client;
pub mod frames;
pub mod log;
pub mod pki;
pub mod raw;
pub mod secure;
pub mod site;
pub mod table;

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use portcullis_proxy::{LocalBackends, Options, Proxy};
use portcullis_routing::{PortKey, Table};
use portcullis_tls::Certificates;

/// Nothing that a test waits for takes this long, however slow the machine is. Shorter than the proxy's own limits of idleness.
pub const BOUND: Duration = Duration::from_secs(40);

/// A loopback address that no other test of this process uses, so that ports cannot meet.
pub fn loopback() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    assert!(high < 8, "addresses for tests have run out");
    let [_, _, _, process] = std::process::id().to_be_bytes();
    IpAddr::from([127, 64 | high << 3 | process & 7, process, low])
}

/// A port of this address that is free.
pub fn free_port(ip: IpAddr) -> u16 {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port()
}

/// A proxy and the address that it binds.
pub struct Running {
    pub proxy: Proxy,
    pub ip: IpAddr,
}

/// Two workers on an address of their own.
pub fn start() -> Running {
    start_with(|_| {})
}

/// [`start`] with other options.
pub fn start_with(change: impl FnOnce(&mut Options)) -> Running {
    let ip = loopback();
    let local_backends = LocalBackends::Allowed;
    let carriers = crate::CARRIERS;
    let mut options = Options { carriers, bind: vec![ip], workers: 2, local_backends, ..Options::default() };
    change(&mut options);
    Running { proxy: Proxy::start(options).unwrap(), ip }
}

impl Running {
    pub fn port(&self) -> u16 {
        free_port(self.ip)
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    /// Publishes a table and waits until all of its ports are bound.
    pub async fn serve(&self, table: Table, certificates: Certificates) {
        let ports: Vec<PortKey> = table.ports.keys().copied().collect();
        self.proxy.publish(Arc::new(table), Arc::new(certificates));
        self.bindings(|bindings| {
            bindings.len() == ports.len() && ports.iter().all(|p| matches!(bindings.get(p), Some(Ok(()))))
        })
        .await;
    }

    pub async fn serve_http(&self, table: Table) {
        self.serve(table, Certificates::default()).await;
    }

    pub async fn bindings(&self, want: impl Fn(&portcullis_proxy::Bindings) -> bool) {
        let mut bindings = self.proxy.bindings();
        within(bindings.wait_for(|b| want(b))).await.unwrap();
    }
}

/// Waits, but not for ever.
pub async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, wait).await.expect("took too long")
}

/// Waits until a condition holds that nobody tells of.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(BOUND, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until a sender has to wait: its count has not grown for a while. More than `most` is a failure. A machine that is
/// slow for a moment can end this early, which is none.
pub async fn stalls(what: &str, most: usize, sent: impl Fn() -> usize) {
    let stalled = async {
        let (mut before, mut still) = (0, 0);
        while still < 20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = sent();
            assert!(now <= most, "{what} sends on: {now} bytes of {most}");
            still = if now == before && now > 0 { still + 1 } else { 0 };
            before = now;
        }
    };
    let stalled = tokio::time::timeout(BOUND * 3, stalled).await;
    stalled.unwrap_or_else(|_| panic!("{what} never waits: {} bytes", sent()));
}

/// The maximum number of bytes that the kernel holds between the two ends of a connection.
pub fn kernel_holds() -> usize {
    let largest = |name: &str| -> usize {
        let sizes = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        sizes.split_whitespace().last().unwrap().parse().unwrap()
    };
    largest("tcp_rmem") + largest("tcp_wmem")
}

/// A text that bytes can be read into.
pub struct Text<'t>(pub &'t mut String);

impl Text<'_> {
    /// Reads once; how many bytes came.
    pub async fn read(&mut self, io: &mut (impl tokio::io::AsyncRead + Unpin)) -> usize {
        let mut bytes = [0; 4096];
        let n = within(tokio::io::AsyncReadExt::read(io, &mut bytes)).await.unwrap();
        self.0.push_str(&String::from_utf8_lossy(&bytes[..n]));
        n
    }
}
