//! EndpointSlices by their Service, and from there into endpoint pools. No table is touched.

use std::collections::BTreeSet;

use super::Map;
use crate::{
    ir::{Kind, ObjectKey},
    snapshot::Snapshot,
    translate::{BackendPool, endpoints},
};

/// The EndpointSlices of each Service.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// Their names; the namespace is that of the Service.
    by_service: Map<ObjectKey, Vec<Box<str>>>,
}

impl Slices {
    /// Takes up that a slice belongs to another Service than before, or to the same; says which ones are concerned.
    pub(super) fn move_slice(
        &mut self,
        slice: &ObjectKey,
        before: Option<&str>,
        now: Option<&str>,
    ) -> impl Iterator<Item = ObjectKey> + use<> {
        let service = |name: &str| ObjectKey::new(Kind::Service, &slice.namespace, name);
        let (before, now) = (before.map(service), now.map(service));
        if before != now {
            if let Some(service) = &before
                && let Some(slices) = self.by_service.get_mut(service)
            {
                slices.retain(|name| *name != slice.name);
                if slices.is_empty() {
                    self.by_service.remove(service);
                }
            }
            if let Some(service) = &now {
                let slices = self.by_service.entry(service.clone()).or_default();
                slices.reserve_exact(1); // one is the rule
                slices.push(slice.name.clone());
            }
        }
        before.into_iter().chain(now)
    }

    /// Looks up the endpoints of pools that are new, and of those of these Services.
    pub(super) fn fill(&self, snapshot: &Snapshot, backends: &BackendPool, services: &BTreeSet<ObjectKey>) {
        let mut pools: Map<_, _> = backends.take_fresh().into_iter().collect();
        for service in services {
            pools.extend(backends.of_service(&service.namespace, &service.name));
        }
        for (key, pool) in pools {
            let service = ObjectKey::new(Kind::Service, &key.namespace, &key.service);
            let slices = self.by_service.get(&service).into_iter().flatten();
            let slices = slices.filter_map(|name| {
                let slice = ObjectKey::new(Kind::EndpointSlice, &key.namespace, name);
                snapshot.endpoint_slices.get(&slice).map(|slice| &**slice)
            });
            endpoints(slices, snapshot.services.get(&service).map(|s| &**s), key.port).store(&pool);
        }
    }
}
