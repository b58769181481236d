//! How many connections are open to each backend, for metrics. Counted when a connection is opened or closed, so a request on
//! a pooled connection touches nothing of it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use foldhash::{HashMap, HashMapExt as _};
use portcullis_routing::BackendKey;

/// The connections of our own carrier to backends.
#[derive(Debug)]
pub(crate) struct Connections(Mutex<HashMap<BackendKey, Arc<AtomicUsize>>>);

/// A connection; it is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicUsize>);

impl Connections {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Counts a connection that was opened for a backend. Backends without connections are forgotten before the map grows.
    pub(crate) fn open(&self, backend: &BackendKey) -> Open {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match counts.get(backend) {
            Some(count) => Arc::clone(count),
            None => {
                if counts.len() == counts.capacity() {
                    counts.retain(|_, count| count.load(Ordering::Relaxed) > 0);
                }
                Arc::clone(counts.entry(backend.clone()).or_default())
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        Open(count)
    }

    /// The backends that have connections, and how many.
    pub(crate) fn counts(&self) -> Vec<(BackendKey, usize)> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|_, count| count.load(Ordering::Relaxed) > 0);
        counts.iter().map(|(backend, count)| (backend.clone(), count.load(Ordering::Relaxed))).collect()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use portcullis_routing::{BackendObject, PortKey};

    use super::*;

    #[test]
    fn connections_are_counted_by_backend_and_forgotten_when_closed() {
        let key = |service: &str| BackendKey {
            kind: BackendObject::Service,
            namespace: "a".into(),
            service: service.into(),
            port: PortKey::tcp(80),
        };
        let connections = Connections::new();
        let open =
            [connections.open(&key("one")), connections.open(&key("two")), connections.open(&key("one"))];
        let counts = || {
            let mut counts = connections.counts();
            counts.sort();
            counts
        };
        assert_eq!(counts(), [(key("one"), 2), (key("two"), 1)]);
        let [first, second, third] = open;
        drop((first, second));
        assert_eq!(counts(), [(key("one"), 1)]);
        drop(third);
        assert!(counts().is_empty() && connections.0.lock().unwrap().is_empty());
    }
}
