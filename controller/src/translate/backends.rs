//! Backends: one [`Backend`] for each port of a Service and way to speak to it, one [`EndpointPool`] for each port.

use std::{
    collections::HashSet,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use portcullis_routing::{
    Backend, BackendKey, BackendObject, BackendProtocol, BackendTls, EndpointPool, Endpoints, PortKey,
    ProxyProtocol,
};

use crate::ir::{Kind, ObjectKey};

/// Every backend that a table refers to, each once. The pool outlives the tables, and so do the backends' endpoints.
#[derive(Debug, Default)]
pub struct BackendPool {
    inner: Mutex<Inner>,
}

/// How a Service's port is connected to.
#[derive(Debug, Default)]
pub struct ConnectionSettings {
    pub protocol: BackendProtocol,
    pub tls: Option<BackendTls>,
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether connections are made to the Service's own address, in place of its endpoints'.
    pub by_service: bool,
}

#[derive(Debug, Default)]
struct Inner {
    hasher: RandomState,
    /// By their Service: its few ports, and the ways to speak to each, are told apart by a look. So no key is made to
    /// find one, and none is kept beside the backend's own.
    backends: HashTable<Arc<Backend>>,
    /// The TLS of backends: equal ones are one value. The proxy forgets what it keeps for one when nothing refers to it.
    tls: HashSet<Arc<BackendTls>, RandomState>,
    /// Those whose endpoints nobody has looked up yet.
    fresh: Vec<(BackendKey, Arc<EndpointPool>)>,
}

impl BackendPool {
    /// Returns the backend of a port of a Service or an XBackend, and creates it if it does not exist. A new backend has no
    /// endpoints until the caller of [`BackendPool::take_fresh`] fills them.
    pub fn backend(
        &self,
        service: &ObjectKey,
        port: PortKey,
        ConnectionSettings { protocol, tls, proxy_protocol, by_service }: ConnectionSettings,
    ) -> Arc<Backend> {
        let inner = &mut *self.lock();
        let mut endpoints = None;
        for backend in inner.of_object(service) {
            if backend.key.port != port || backend.endpoints.is_by_service() != by_service {
                continue;
            }
            if backend.protocol == protocol
                && backend.tls.as_deref() == tls.as_ref()
                && backend.proxy_protocol == proxy_protocol
            {
                return Arc::clone(backend);
            }
            endpoints = Some(Arc::clone(&backend.endpoints));
        }
        let key = BackendKey {
            kind: object(service),
            namespace: service.namespace.clone(),
            service: service.name.clone(),
            port,
        };
        let endpoints = endpoints.unwrap_or_else(|| {
            let made = Arc::new(match by_service {
                true => EndpointPool::by_service(),
                false => EndpointPool::new(Endpoints::Addresses(Box::default())),
            });
            inner.fresh.push((key.clone(), Arc::clone(&made)));
            made
        });
        let tls = tls.map(|tls| inner.shared_tls(tls));
        let made = Arc::new(Backend { key, protocol, tls, proxy_protocol, endpoints });
        inner.insert(Arc::clone(&made));
        made
    }

    /// The endpoint pools that were made since the last call: to be filled before a table with them is published.
    pub fn take_fresh(&self) -> Vec<(BackendKey, Arc<EndpointPool>)> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// The endpoint pools of the ports of a Service or an XBackend: to be filled again when its endpoints change.
    pub fn of_object(&self, key: &ObjectKey) -> Vec<(BackendKey, Arc<EndpointPool>)> {
        let inner = self.lock();
        let pools = inner.of_object(key);
        let mut pools: Vec<_> = pools.map(|b| (b.key.clone(), Arc::clone(&b.endpoints))).collect();
        // One for each way to speak to a port; the pool is the same.
        let of = |(key, pool): &(BackendKey, Arc<EndpointPool>)| (key.port, pool.is_by_service());
        pools.sort_by_key(of);
        pools.dedup_by_key(|pool| of(pool));
        pools
    }

    /// Forgets backends that nothing else refers to; to be called now and then, with the table in use alive.
    pub fn forget_unused(&self) {
        let Inner { backends, tls, fresh, .. } = &mut *self.lock();
        backends.retain(|backend| Arc::strong_count(backend) > 1);
        tls.retain(|tls| Arc::strong_count(tls) > 1);
        fresh.retain(|(_, pool)| Arc::strong_count(pool) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one insertion, so that a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn of_object(&self, key: &ObjectKey) -> impl Iterator<Item = &Arc<Backend>> {
        let same_hash = self.backends.iter_hash(hash(&self.hasher, &key.namespace, &key.name));
        same_hash.filter(move |backend| {
            let of = &backend.key;
            of.kind == object(key) && *of.service == *key.name && *of.namespace == *key.namespace
        })
    }

    fn shared_tls(&mut self, tls: BackendTls) -> Arc<BackendTls> {
        if let Some(known) = self.tls.get(&tls) {
            return Arc::clone(known);
        }
        let made = Arc::new(tls);
        self.tls.insert(Arc::clone(&made));
        made
    }

    fn insert(&mut self, backend: Arc<Backend>) {
        let Self { hasher, backends, .. } = self;
        let hash_of = |backend: &Arc<Backend>| hash(hasher, &backend.key.namespace, &backend.key.service);
        backends.insert_unique(hash_of(&backend), backend, hash_of);
    }
}

fn object(key: &ObjectKey) -> BackendObject {
    match key.kind {
        Kind::XBackend => BackendObject::XBackend,
        _ => BackendObject::Service,
    }
}

fn hash(hasher: &RandomState, namespace: &str, service: &str) -> u64 {
    hasher.hash_one((namespace, service))
}

#[cfg(test)]
mod tests {
    use portcullis_routing::Verify;

    use super::*;

    use BackendProtocol::{Http1, Http2};

    fn backend(pool: &BackendPool, name: &str, port: u16, protocol: BackendProtocol) -> Arc<Backend> {
        pool.backend(
            &ObjectKey::new(Kind::Service, "shop", name),
            PortKey::tcp(port),
            ConnectionSettings { protocol, ..ConnectionSettings::default() },
        )
    }

    #[test]
    fn a_port_has_one_pool_whatever_is_spoken_to_it() {
        let pool = BackendPool::default();
        let http1 = backend(&pool, "web", 80, Http1);
        let again = backend(&pool, "web", 80, Http1);
        let http2 = backend(&pool, "web", 80, Http2);
        let other = backend(&pool, "web", 81, Http1);
        let udp = pool.backend(
            &ObjectKey::new(Kind::Service, "shop", "web"),
            PortKey::udp(80),
            ConnectionSettings::default(),
        );
        assert!(Arc::ptr_eq(&http1, &again));
        assert!(!Arc::ptr_eq(&http1, &http2));
        assert!(Arc::ptr_eq(&http1.endpoints, &http2.endpoints));
        assert!(!Arc::ptr_eq(&http1.endpoints, &other.endpoints));
        assert!(!Arc::ptr_eq(&http1.endpoints, &udp.endpoints));
        assert_eq!(pool.take_fresh().len(), 3);
        assert!(pool.take_fresh().is_empty());
    }

    #[test]
    fn the_address_of_a_service_is_a_pool_of_its_own() {
        let pool = BackendPool::default();
        let endpoints = backend(&pool, "web", 80, Http1);
        let service = ObjectKey::new(Kind::Service, "shop", "web");
        let by_service = || {
            let settings = ConnectionSettings { by_service: true, ..ConnectionSettings::default() };
            pool.backend(&service, PortKey::tcp(80), settings)
        };
        let own = by_service();
        assert!(Arc::ptr_eq(&own, &by_service()));
        assert!(!Arc::ptr_eq(&own.endpoints, &endpoints.endpoints));
        assert_eq!(pool.of_object(&ObjectKey::new(Kind::Service, "shop", "web")).len(), 2, "both are filled");
    }

    #[test]
    fn the_ports_of_a_service_are_found_and_no_others() {
        let pool = BackendPool::default();
        let service = |namespace: &str, name: &str| ObjectKey::new(Kind::Service, namespace, name);
        for (service, port, protocol) in [
            (service("a", "web"), 80, Http1),
            (service("shop", "we"), 80, Http1),
            (service("shop", "web"), 65535, Http1),
            (service("shop", "web"), 1, Http1),
            (service("shop", "web"), 1, Http2),
            (service("shop", "web2"), 80, Http1),
            (service("sho", "pweb"), 80, Http1),
        ] {
            pool.backend(
                &service,
                PortKey::tcp(port),
                ConnectionSettings { protocol, ..ConnectionSettings::default() },
            );
        }
        let found = pool.of_object(&ObjectKey::new(Kind::Service, "shop", "web")).into_iter();
        let found = found.map(|(key, _)| key.port.number).collect::<Vec<_>>();
        assert_eq!(found, [1, 65535]);
    }

    #[test]
    fn unused_backends_are_forgotten() {
        let pool = BackendPool::default();
        let held = backend(&pool, "web", 80, Http1);
        backend(&pool, "web", 80, Http2);
        backend(&pool, "old", 80, Http1);
        let old = ObjectKey::new(Kind::Service, "shop", "old");
        let tls = || ConnectionSettings {
            tls: Some(BackendTls::new("old", Verify::System)),
            ..ConnectionSettings::default()
        };
        let one = pool.backend(&old, PortKey::tcp(80), tls());
        let other = pool.backend(&old, PortKey::tcp(81), tls());
        assert!(
            Arc::ptr_eq(one.tls.as_ref().unwrap(), other.tls.as_ref().unwrap()),
            "equal TLS is one value"
        );
        drop((one, other));
        pool.forget_unused();
        assert!(pool.of_object(&ObjectKey::new(Kind::Service, "shop", "old")).is_empty());
        assert!(pool.lock().tls.is_empty());
        let (_, endpoints) = &pool.of_object(&ObjectKey::new(Kind::Service, "shop", "web"))[0];
        assert!(Arc::ptr_eq(endpoints, &held.endpoints));
        assert_eq!(pool.take_fresh().len(), 1, "the pool that stays has not been filled");
    }
}
