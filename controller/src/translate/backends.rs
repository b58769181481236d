//! Backends: one [`Backend`] for each port of a Service and way to speak to it, one [`EndpointPool`] for each port.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use portcullis_routing::{Backend, BackendKey, BackendProtocol, BackendTls, EndpointPool, Endpoints};

/// Every backend that a table refers to, each once: tables come and go, and what is known of endpoints stays.
#[derive(Debug, Default)]
pub struct BackendPool {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    endpoints: BTreeMap<BackendKey, Arc<EndpointPool>>,
    backends: HashMap<(BackendKey, BackendProtocol, Option<BackendTls>), Arc<Backend>, RandomState>,
    /// Those whose endpoints nobody has looked up yet.
    fresh: Vec<BackendKey>,
}

impl BackendPool {
    /// The backend of a port, made where there is none yet. Its endpoints are then empty until somebody who heeds
    /// [`BackendPool::take_fresh`] fills them.
    pub fn backend(
        &self,
        key: BackendKey,
        protocol: BackendProtocol,
        tls: Option<BackendTls>,
    ) -> Arc<Backend> {
        let Inner { endpoints, backends, fresh } = &mut *self.lock();
        let made = backends.entry((key, protocol, tls)).or_insert_with_key(|(key, protocol, tls)| {
            let endpoints = endpoints.entry(key.clone()).or_insert_with(|| {
                fresh.push(key.clone());
                Arc::new(EndpointPool::new(Endpoints::Addresses(Box::default())))
            });
            Arc::new(Backend {
                key: key.clone(),
                protocol: *protocol,
                tls: tls.clone(),
                endpoints: Arc::clone(endpoints),
            })
        });
        Arc::clone(made)
    }

    /// The endpoint pools that were made since the last call: to be filled before a table with them is published.
    pub fn take_fresh(&self) -> Vec<(BackendKey, Arc<EndpointPool>)> {
        let inner = &mut *self.lock();
        let fresh = std::mem::take(&mut inner.fresh);
        fresh.into_iter().filter_map(|key| inner.endpoints.get_key_value(&key)).map(cloned).collect()
    }

    /// The endpoint pools of a Service's ports: to be filled again when the Service or its EndpointSlices change.
    pub fn of_service(&self, namespace: &str, service: &str) -> Vec<(BackendKey, Arc<EndpointPool>)> {
        let first = BackendKey { namespace: namespace.into(), service: service.into(), port: 0 };
        let inner = self.lock();
        let ports = inner.endpoints.range(first..);
        ports
            .take_while(|(key, _)| *key.namespace == *namespace && *key.service == *service)
            .map(cloned)
            .collect()
    }

    /// Forgets backends that nothing else refers to; to be called now and then, with the table in use alive.
    pub fn forget_unused(&self) {
        let Inner { endpoints, backends, fresh } = &mut *self.lock();
        backends.retain(|_, backend| Arc::strong_count(backend) > 1);
        endpoints.retain(|_, pool| Arc::strong_count(pool) > 1);
        fresh.retain(|key| endpoints.contains_key(key));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one insertion, so that a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cloned((key, pool): (&BackendKey, &Arc<EndpointPool>)) -> (BackendKey, Arc<EndpointPool>) {
    (key.clone(), Arc::clone(pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, service: &str, port: u16) -> BackendKey {
        BackendKey { namespace: namespace.into(), service: service.into(), port }
    }

    #[test]
    fn a_port_has_one_pool_whatever_is_spoken_to_it() {
        let pool = BackendPool::default();
        let http1 = pool.backend(key("shop", "web", 80), BackendProtocol::Http1, None);
        let again = pool.backend(key("shop", "web", 80), BackendProtocol::Http1, None);
        let http2 = pool.backend(key("shop", "web", 80), BackendProtocol::Http2, None);
        assert!(Arc::ptr_eq(&http1, &again));
        assert!(!Arc::ptr_eq(&http1, &http2));
        assert!(Arc::ptr_eq(&http1.endpoints, &http2.endpoints));
        assert_eq!(pool.take_fresh().len(), 1);
        assert!(pool.take_fresh().is_empty());
    }

    #[test]
    fn the_ports_of_a_service_are_found_and_no_others() {
        let pool = BackendPool::default();
        let keys = [
            ("a", "web", 80),
            ("shop", "we", 80),
            ("shop", "web", 1),
            ("shop", "web", 65535),
            ("shop", "web2", 80),
        ];
        let _held =
            keys.map(|(ns, name, port)| pool.backend(key(ns, name, port), BackendProtocol::Http1, None));
        let found = pool.of_service("shop", "web").into_iter().map(|(key, _)| key.port).collect::<Vec<_>>();
        assert_eq!(found, [1, 65535]);
    }

    #[test]
    fn unused_backends_are_forgotten() {
        let pool = BackendPool::default();
        let held = pool.backend(key("shop", "web", 80), BackendProtocol::Http1, None);
        pool.backend(key("shop", "web", 80), BackendProtocol::Http2, None);
        pool.backend(key("shop", "old", 80), BackendProtocol::Http1, None);
        pool.forget_unused();
        assert!(pool.of_service("shop", "old").is_empty());
        let (_, endpoints) = &pool.of_service("shop", "web")[0];
        assert!(Arc::ptr_eq(endpoints, &held.endpoints));
        assert_eq!(pool.take_fresh().len(), 1, "the pool that stays has not been filled");
    }
}
