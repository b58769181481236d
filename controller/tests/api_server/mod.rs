//! An API server in this process, on loopback: what a cluster is to its clients, as far as ours need it.
//!
//! Lists and watches (with and without streamed lists), PUT of an object and of its status with their conflicts,
//! Leases. It keeps what it is given: defaults and validation are no part of it.
#![allow(dead_code)] // Each test file uses a part of it.

mod routes;
mod store;

pub use store::{Answer, Fault, Request};

use std::{convert::Infallible, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use store::Store;

/// The server; it stops when this is dropped.
pub struct ApiServer {
    store: Arc<Store>,
    url: String,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// Serves every kind but those of these plurals.
    pub async fn without(absent: &[&str]) -> Self {
        let store = Arc::new(Store::new(absent));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(accept(listener, Arc::clone(&store)));
        Self { store, url, task }
    }

    pub async fn start() -> Self {
        Self::without(&[]).await
    }

    /// A client without retries of its own.
    pub fn client(&self) -> kube::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new(self.url.parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    /// Makes or replaces an object as a user would; its status stays. The plural is that of its kind.
    pub fn apply(&self, plural: &str, object: Value) -> Value {
        self.store.apply(plural, object)
    }

    /// Sets a status, as another controller would.
    pub fn set_status(&self, plural: &str, namespace: &str, name: &str, status: Value) {
        self.store.set_status(plural, namespace, name, status);
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.store.get(plural, namespace, name)
    }

    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        self.store.delete(plural, namespace, name);
    }

    /// Every request so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Request> {
        self.store.requests()
    }

    /// PUTs of `/status` that were carried out.
    pub fn status_writes(&self) -> Vec<Request> {
        let is_write = |r: &Request| r.method == "PUT" && r.path.contains("/status") && r.status == 200;
        self.requests().into_iter().filter(is_write).collect()
    }

    pub fn fault(&self, fault: Fault) {
        self.store.fault(fault);
    }

    pub fn heal(&self) {
        self.store.heal();
    }

    /// Ends every watch, and forgets the events so far: whoever comes back with an old version gets 410.
    pub fn compact(&self) {
        self.store.compact();
    }

    /// From now on a kind is known.
    pub fn install(&self, plural: &str) {
        self.store.install(plural);
    }

    /// Whether lists can be streamed.
    pub fn streams_lists(&self, yes: bool) {
        self.store.streams_lists(yes);
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, store: Arc<Store>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let store = Arc::clone(&store);
        let service = service_fn(move |request| {
            let store = Arc::clone(&store);
            async move { Ok::<_, Infallible>(routes::answer(&store, request).await) }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Waits until something holds; fails the test when it does not within ten seconds.
pub async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "never came: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
