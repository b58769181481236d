//! A model of connections of our own carrier: random sequences of requests on one connection, where the bytes of both sides
//! come in pieces of any size, and break off, stall or turn to nonsense at any point.
//!
//! ```text
//! script   what is drawn: exchanges, bodies, pieces, faults
//! wire     bytes of HTTP/1 in pieces, and messages read back; how a client connects
//! backend  the backend of all scripts, by HTTP/1
//! http1    clients of HTTP/1: one exchange after the other
//! http2    clients of HTTP/2: exchanges beside and after each other, each in a stream
//! ```
//!
//! Clients come in plain text and over TLS. Whatever happens, every connection ends within the limits, no byte of one exchange
//! gets into another, nothing that was cut looks whole, what has no fault is answered completely, and in the end nothing is
//! left: no request in flight, no connection.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

mod backend;
mod http1;
mod http2;
mod script;
mod wire;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_proxy::Options;
use portcullis_routing::{EndpointPool, Endpoints, Protocol, Table};
use proptest::{prelude::Strategy, strategy::ValueTree as _, test_runner::TestRunner};
use tokio::task::JoinSet;

use crate::support::{
    Running,
    pki::{self, Key, certificate},
    site::{backend, rule, share},
    start_with, table, until,
};

/// How many connections are played at a time, most of which wait for a limit.
const AT_A_TIME: usize = 48;

/// The pause before each: those that begin together would slow each other down until limits pass that are for stalls.
const PACE: Duration = Duration::from_millis(20);

/// The proxy's limits of time: short, so that stalls end soon, and far longer than any pause without a fault.
const LIMIT: Duration = Duration::from_secs(3);

/// What was seen that must not be.
type Findings = Arc<Mutex<Vec<String>>>;

/// The first scripts of this kind; the same in every run.
fn draw<S>(count: usize, strategy: &impl Strategy<Value = S>) -> Arc<Vec<S>> {
    let mut runner = TestRunner::deterministic();
    Arc::new((0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect())
}

/// A proxy with a port in plain text and one with TLS, before one backend.
struct Model {
    proxy: Running,
    plain: SocketAddr,
    secure: SocketAddr,
    pools: Vec<Arc<EndpointPool>>,
    findings: Findings,
}

impl Model {
    /// A model whose backend serves these scripts.
    async fn start(parts: Vec<backend::Part>) -> Arc<Self> {
        let findings = Findings::default();
        let up = backend::start(parts, Arc::clone(&findings)).await;
        let proxy = start_with(|options: &mut Options| {
            options.header_timeout = LIMIT;
            options.idle_timeout = LIMIT;
            // Longer than it takes a client of HTTP/2 to go through an answer that has come: the connection is idle then.
            options.keepalive_timeout = LIMIT * 2;
        });
        let (mut served, mut pools, mut ports) = (Table::default(), Vec::new(), Vec::new());
        for protocol in [Protocol::Http, Protocol::Tls] {
            let (port, up) = (proxy.port(), backend(&[up]));
            pools.push(Arc::clone(&up.endpoints));
            served = table::with_rule(served, port, protocol, rule([share(1, Ok(up))]));
            ports.push(port);
        }
        let shown = certificate(Key::Ecdsa, &["a.example"]);
        proxy.serve(served, pki::on(ports[1], &[("", &[&shown])])).await;
        let (plain, secure) = (proxy.at(ports[0]), proxy.at(ports[1]));
        Arc::new(Self { proxy, plain, secure, pools, findings })
    }

    /// Plays so many scripts, some at a time, and checks that nothing was found and nothing is left.
    async fn play<P>(&self, count: usize, play: impl Fn(usize) -> P)
    where
        P: Future<Output = Result<(), String>> + Send + 'static,
    {
        let mut playing = JoinSet::new();
        for number in 0..count {
            if playing.len() == AT_A_TIME {
                playing.join_next().await.unwrap().unwrap();
            }
            tokio::time::sleep(PACE).await;
            let (played, findings) = (play(number), Arc::clone(&self.findings));
            playing.spawn(async move {
                if let Err(what) = played.await {
                    findings.lock().unwrap().push(format!("connection {number}: {what}"));
                }
            });
        }
        while let Some(played) = playing.join_next().await {
            played.unwrap();
        }
        let findings = std::mem::take(&mut *self.findings.lock().unwrap());
        let some: Vec<_> = findings.iter().take(5).collect();
        assert!(findings.is_empty(), "{}: {some:#?}", findings.len());
        let proxy = &self.proxy.proxy;
        until("nothing is left", || {
            proxy.in_flight() == 0 && proxy.connections() == 0 && self.in_flight() == 0
        })
        .await;
        // Had most of them failed at once, little would have been shown.
        let answered: u64 = proxy.answered().iter().sum();
        assert!(answered as usize > count, "{answered} answers");
    }

    /// Requests that endpoints are counted to have.
    fn in_flight(&self) -> u32 {
        let of = |pool: &Arc<EndpointPool>| match &**pool.load() {
            Endpoints::Addresses(all) => all.iter().map(|endpoint| endpoint.in_flight()).sum::<u32>(),
            Endpoints::Name { .. } => 0,
        };
        self.pools.iter().map(of).sum()
    }
}
