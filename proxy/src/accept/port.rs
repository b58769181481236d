//! A port on one worker thread: the connections that it holds, and how they are asked to go.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use pingora_core::server::ShutdownWatch;
use portcullis_routing::{Port as Served, PortKey};
use slab::Slab;
use tokio::sync::watch;

use crate::{
    admission::{Count, Held},
    stream::TlsStreams,
};

/// A port, from its first bind to the end of its last connection.
#[derive(Debug)]
pub(crate) struct Port {
    pub(super) key: PortKey,
    pub(super) draining: Arc<AtomicBool>,
    cut: AtomicBool,
    /// Pingora's side of `draining`. One for each worker thread: pingora looks at it in each request.
    told: watch::Sender<bool>,
    held: Mutex<Slab<Arc<Held>>>,
    /// Connections of all worker threads.
    count: Arc<Count>,
    /// Which streams a publication of the port serves over TLS.
    tls_streams: Mutex<(Weak<Served>, TlsStreams)>,
}

/// A connection's place in [`Port::held`].
struct Registered<'p> {
    port: &'p Port,
    key: usize,
}

impl Port {
    /// `count` is shared with the same port on other worker threads.
    pub(crate) fn new(key: PortKey, count: Arc<Count>) -> Arc<Self> {
        Arc::new(Self {
            key,
            draining: Arc::default(),
            cut: AtomicBool::new(false),
            told: watch::Sender::new(false),
            held: Mutex::default(),
            count,
            tls_streams: Mutex::default(),
        })
    }

    pub(crate) fn key(&self) -> PortKey {
        self.key
    }

    pub(crate) fn count(&self) -> &Arc<Count> {
        &self.count
    }

    pub(crate) fn each_held(&self, mut look: impl FnMut(&Arc<Held>)) {
        self.held().iter().for_each(|(_, held)| look(held));
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn shutdown(&self) -> ShutdownWatch {
        self.told.subscribe()
    }

    /// Tells the connections to go: idle ones at once, the others with what they are doing.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.told.send_replace(true);
        self.wake();
    }

    /// Ends the connections, whatever they are doing.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// Which streams the port serves over TLS. A port may have thousands of listeners, so they are looked at once for each
    /// publication.
    pub(super) fn tls_streams(&self, served: &Arc<Served>) -> TlsStreams {
        let mut known = self.tls_streams.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0.as_ptr() != Arc::as_ptr(served) {
            *known = (Arc::downgrade(served), TlsStreams::of(served));
        }
        known.1
    }

    fn wake(&self) {
        // A set rather than a signal that connections wait for: waiting would cost each request something, and
        // this is needed once in a port's life.
        self.held().iter().for_each(|(_, held)| held.wake());
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Slab<Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a connection until it ends, is cut, or is idle after it was asked to close.
    ///
    /// The future is passed pinned: an `async fn` reserves memory for each argument, even after it was moved into a local.
    pub(crate) async fn hold(&self, held: Arc<Held>, mut connection: Pin<&mut impl Future<Output = ()>>) {
        // Declared in this order so that a closing connection stays registered until its place is free. Otherwise another
        // connection would be asked to close, too.
        let mut registered = None;
        poll_fn(|cx| {
            registered.get_or_insert_with(|| {
                held.set_waker(cx.waker());
                self.register(Arc::clone(&held))
            });
            if self.cut.load(Ordering::Relaxed) || connection.as_mut().poll(cx).is_ready() || held.goes() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    fn register(&self, held: Arc<Held>) -> Registered<'_> {
        Registered { port: self, key: self.held().insert(held) }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.port.held().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::atomic::AtomicU64, time::Duration};

    use super::*;
    use crate::{
        admission::{Admission, ConnectionLimits},
        load::Load,
    };

    fn held(
        port: &Arc<Port>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let port = Arc::clone(port);
        tokio::spawn(async move { port.hold(Arc::new(Held::new()), pin!(connection)).await })
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_only() {
        let port = Port::new(PortKey::tcp(80), Arc::default());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let other = held(&port, async move { drop(gone.await) });
        let broken = held(&port, async { panic!("a request that is none") });
        assert!(broken.await.unwrap_err().is_panic());
        assert!(!port.is_empty() && !other.is_finished());
        go.send(()).unwrap();
        other.await.unwrap();
        assert!(port.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn another_makes_room_where_a_request_comes_before_its_connection_goes() {
        let limits = ConnectionLimits { process: 2, port: 2, client: None, descriptors: 2 };
        let (admission, load) = (Admission::new(limits), Arc::<Load>::default());
        let port = admission.port(PortKey::tcp(80));
        let mut tasks = Vec::new();
        for busy_when_asked in [true, false] {
            let admitted = admission.enter(&port, &load).await.unwrap();
            let (of_port, held, mut polled) = (Arc::clone(&port), Arc::clone(admitted.held()), false);
            tasks.push(tokio::spawn(async move {
                let connection = poll_fn(|_| {
                    if std::mem::replace(&mut polled, true) && busy_when_asked {
                        admitted.held().begin();
                    }
                    Poll::Pending
                });
                of_port.hold(held, pin!(connection)).await;
            }));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(admission.enter(&port, &load).await.is_ok());
        assert_eq!(tasks.iter().map(|task| task.is_finished()).collect::<Vec<_>>(), [false, true]);
    }

    #[tokio::test]
    async fn a_drain_wakes_every_connection_and_a_cut_ends_it() {
        let port = Port::new(PortKey::tcp(80), Arc::default());
        let told = Arc::new(AtomicU64::new(0));
        let connections: Vec<_> = (0..3)
            .map(|_| {
                let (watched, told) = (Arc::clone(&port), Arc::clone(&told));
                held(
                    &port,
                    poll_fn(move |_| {
                        told.fetch_add(u64::from(watched.draining()), Ordering::Relaxed);
                        Poll::Pending
                    }),
                )
            })
            .collect();
        tokio::task::yield_now().await;
        port.drain();
        tokio::task::yield_now().await;
        assert_eq!(told.load(Ordering::Relaxed), 3);
        assert!(*port.shutdown().borrow());
        port.cut();
        for connection in connections {
            connection.await.unwrap();
        }
        assert!(port.is_empty());
    }
}
