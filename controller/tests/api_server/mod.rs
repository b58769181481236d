//! An API server in this process: what a cluster is to its clients, as far as ours need it.
//!
//! ```text
//! routes.rs  a request -> what it asks for -> an answer
//! watch.rs   the stream of a watch
//! store.rs   objects, their versions, what happened to them
//! apply.rs   server-side apply
//! faults.rs  what goes wrong when a test says so
//! objects.rs objects as users write them
//! log.rs     what is logged meanwhile
//! ```
//!
//! Lists in pages, watches with and without streamed lists, writes and their conflicts. It keeps what it is given:
//! defaults and validation are no part of it. [`ApiServer::client`] speaks to it without sockets, so that a test may
//! run in paused time; [`ApiServer::listen`] binds it to loopback.
#![allow(dead_code, unreachable_pub, unused_imports)] // Each test file uses a part of it.
#![allow(clippy::unwrap_used)] // A test ends where something is not as it is taken to be.

mod apply;
mod faults;
mod log;
pub mod objects;
mod routes;
mod store;
mod watch;

pub use faults::{Answer, Fault, Request};
pub use log::Log;

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use store::Store;

/// The server.
#[derive(Clone)]
pub struct ApiServer {
    store: Arc<Store>,
}

impl ApiServer {
    /// Serves every kind.
    pub fn new() -> Self {
        Self { store: Arc::new(Store::new()) }
    }

    /// A client that reaches it without sockets.
    pub fn client(&self) -> kube::Client {
        let store = Arc::clone(&self.store);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let store = Arc::clone(&store);
            async move { routes::answer(&store, request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Binds it to a port of loopback, until the test ends.
    pub async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(accept(listener, Arc::clone(&self.store)));
        url
    }

    /// Makes or replaces an object as a user would; its status stays. The plural is that of its kind.
    pub fn apply(&self, plural: &str, object: Value) -> Value {
        self.store.put("kubectl", plural, object)
    }

    /// Applies fields of an object as another manager of it, by server-side apply.
    pub fn apply_as(&self, manager: &str, plural: &str, object: Value) {
        match self.store.patch(manager, false, plural, object) {
            store::Written::Done(_) => {}
            _ => panic!("{manager} is in conflict with somebody"),
        }
    }

    /// Sets a status, as another controller would.
    pub fn set_status(&self, plural: &str, namespace: &str, name: &str, status: Value) {
        self.store.set_status(plural, namespace, name, status);
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.store.get(plural, namespace, name)
    }

    /// Every object of a kind.
    pub fn all(&self, plural: &str) -> Vec<Value> {
        self.store.list(plural, "").1
    }

    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        self.store.delete(plural, namespace, name).expect("it exists");
    }

    /// Sends an event of an object to whoever watches, whatever has become of it since.
    pub fn tell(&self, kind: &'static str, plural: &str, object: Value) {
        self.store.tell(kind, plural, object);
    }

    /// Every request so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Request> {
        self.store.faults.requests()
    }

    /// Requests of this method whose path holds this text.
    pub fn asked(&self, method: &str, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|r| r.method == method && r.path.contains(path)).collect()
    }

    /// Writes of `/status` that were carried out.
    pub fn status_writes(&self) -> Vec<Request> {
        let is_write =
            |request: &Request| matches!(&*request.method, "PUT" | "PATCH") && request.status == 200;
        self.requests().into_iter().filter(|r| is_write(r) && r.path.contains("/status")).collect()
    }

    /// Requests go wrong from now on, the first fault that fits first.
    pub fn fault(&self, fault: Fault) {
        self.store.faults.add(fault);
    }

    /// No longer.
    pub fn heal(&self) {
        self.store.faults.clear();
    }

    /// Refuses a verb (`list`, `watch`, `get`, `create`, `update`, `patch`) on a resource (`gateways`, `gateways/status`).
    pub fn deny(&self, verb: &str, resource: &str) {
        self.store.faults.deny(verb, resource);
    }

    /// From now on each object that is to be stored, with what it is merged into, is shown to `admission`, which may refuse
    /// it with a code and a message.
    pub fn admit(&self, admission: impl Fn(&str, &Value) -> Option<(u16, String)> + Send + 'static) {
        self.store.admit(Box::new(admission));
    }

    pub fn allow(&self, verb: &str, resource: &str) {
        self.store.faults.allow(verb, resource);
    }

    /// Whether connections fail; those that are open are cut.
    pub fn is_down(&self, yes: bool) {
        self.store.down.store(yes, Ordering::Release);
        if yes {
            self.store.end_watches(true);
        }
    }

    /// Ends every watch in good order.
    pub fn end_watches(&self) {
        self.store.end_watches(false);
    }

    /// From now on the open watches of a kind say nothing, and do not end either.
    pub fn stall_watches(&self, plural: &str) {
        self.store.stall_watches(plural);
    }

    /// Forgets the events so far: whoever comes back with an old version gets 410.
    pub fn compact(&self) {
        self.store.compact();
    }

    /// A kind (`gateways`), or a version of it (`v1/gateways`), is not known.
    pub fn uninstall(&self, resource: &str) {
        self.store.uninstall(resource);
    }

    pub fn install(&self, resource: &str) {
        self.store.install(resource);
    }

    /// Whether lists can be streamed.
    pub fn streams_lists(&self, yes: bool) {
        self.store.streams.store(yes, Ordering::Release);
    }
}

async fn accept(listener: TcpListener, store: Arc<Store>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let store = Arc::clone(&store);
        let service = service_fn(move |request| {
            let store = Arc::clone(&store);
            async move { routes::answer(&store, request).await }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut by the test")
}

/// Waits until something holds; fails the test when it does not within ten minutes, which are none in paused time.
pub async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(600);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "never came: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
