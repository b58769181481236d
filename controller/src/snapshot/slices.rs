//! EndpointSlices, by name and by the Service that they belong to.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::ByName;
use crate::ir::{EndpointSlice, ObjectKey};

/// EndpointSlices, by name and by the Service that they belong to: whoever looks up endpoints knows that alone.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    by_name: ByName<Arc<EndpointSlice>>,
    hasher: RandomState,
    /// Those that belong to a Service.
    by_service: HashTable<Arc<EndpointSlice>>,
}

impl Slices {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The slice of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<EndpointSlice>> {
        self.by_name.get(key)
    }

    /// All of them, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.by_name.values()
    }

    /// Those of a Service, in no order.
    pub fn of_service<'s>(
        &'s self,
        namespace: &'s str,
        service: &'s str,
    ) -> impl Iterator<Item = &'s EndpointSlice> {
        let same_hash = self.by_service.iter_hash(hash(&self.hasher, namespace, service));
        same_hash.map(|slice| &**slice).filter(move |slice| {
            slice.service.as_deref() == Some(service) && slice.meta.namespace() == namespace
        })
    }

    pub(super) fn insert(&mut self, slice: Arc<EndpointSlice>) {
        self.forget_service(&slice.meta.key);
        if let Some(service) = &slice.service {
            let hasher = &self.hasher;
            let hash_of = |slice: &Arc<EndpointSlice>| {
                hash(hasher, slice.meta.namespace(), slice.service.as_deref().unwrap_or_default())
            };
            let hash = hash(hasher, slice.meta.namespace(), service);
            self.by_service.insert_unique(hash, Arc::clone(&slice), hash_of);
        }
        self.by_name.insert(slice);
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.forget_service(key);
        self.by_name.remove(key);
    }

    fn forget_service(&mut self, key: &ObjectKey) {
        let Some(slice) = self.by_name.get(key) else { return };
        let Some(service) = &slice.service else { return };
        let hash = hash(&self.hasher, slice.meta.namespace(), service);
        if let Ok(found) = self.by_service.find_entry(hash, |other| Arc::ptr_eq(other, slice)) {
            found.remove();
        }
    }
}

fn hash(hasher: &RandomState, namespace: &str, service: &str) -> u64 {
    hasher.hash_one((namespace, service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::testing::snapshot;

    fn slice(name: &str, service: &str) -> Arc<EndpointSlice> {
        let text = format!(
            "kind: EndpointSlice\nmetadata: {{ name: {name}, labels: {{ kubernetes.io/service-name: {service} }} }}\naddressType: IPv4\n"
        );
        Arc::clone(snapshot(&text).endpoint_slices.values().next().unwrap())
    }

    fn names(slices: &Slices, service: &str) -> Vec<String> {
        let mut names: Vec<_> =
            slices.of_service("default", service).map(|slice| slice.meta.name().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_slice_is_found_by_the_service_that_it_belongs_to_now() {
        let mut slices = Slices::default();
        for one in [slice("a", "web"), slice("b", "web"), slice("c", "api")] {
            slices.insert(one);
        }
        assert_eq!(
            (names(&slices, "web"), names(&slices, "api")),
            (vec!["a".into(), "b".into()], vec!["c".into()])
        );
        slices.insert(slice("b", "api"));
        assert_eq!(
            (names(&slices, "web"), names(&slices, "api")),
            (vec!["a".into()], vec!["b".into(), "c".into()])
        );
        slices.insert(slice("a", "web"));
        assert_eq!(names(&slices, "web"), ["a"], "once, however often it is applied");
        slices.remove(&slice("a", "web").meta.key);
        assert!(names(&slices, "web").is_empty());
        assert_eq!(slices.len(), 2);
        assert!(slices.of_service("other", "api").next().is_none(), "another namespace");
    }
}
