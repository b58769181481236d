//! Parts of rules that are equal for many Ingresses: annotations are often written by the same chart.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use portcullis_routing::{Networks, Retry, Timeouts, step::AccessList};

use crate::interned::Interned;

/// The parts in use, each once.
#[derive(Debug, Default)]
pub struct CommonParts {
    hasher: RandomState,
    timeouts: Interned<Timeouts>,
    retries: Interned<Retry>,
    access_lists: Interned<AccessList>,
}

impl CommonParts {
    /// Returns the timeouts of a rule; `None` if none is set.
    pub(super) fn timeouts(&self, timeouts: Timeouts) -> Option<Arc<Timeouts>> {
        Some(self.timeouts.share(self.hasher.hash_one(timeouts), timeouts.of_rule()?))
    }

    pub(super) fn retry(&self, retry: Retry) -> Arc<Retry> {
        self.retries.share(self.hasher.hash_one(&retry), Arc::new(retry))
    }

    /// Returns an access list. Two lists are shared if their networks are, as they are for equal annotations.
    pub(super) fn access_list(&self, list: AccessList) -> Arc<AccessList> {
        let address = |networks: &Option<Arc<Networks>>| networks.as_ref().map(|all| Arc::as_ptr(all).addr());
        let hash = self.hasher.hash_one((address(&list.deny), address(&list.allow)));
        self.access_lists.share(hash, Arc::new(list))
    }

    /// Removes parts that are no longer used.
    pub fn forget_unused(&self) {
        self.timeouts.forget_unused();
        self.retries.forget_unused();
        self.access_lists.forget_unused();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_routing::OwnTimeouts;

    use super::*;

    #[test]
    fn equal_parts_are_one_and_no_limit_is_none() {
        let parts = CommonParts::default();
        let timeouts = |seconds| {
            let own = OwnTimeouts { read: Some(Duration::from_secs(seconds)), ..OwnTimeouts::default() };
            parts.timeouts(Timeouts { own, ..Timeouts::default() }).unwrap()
        };
        let first = timeouts(1);
        assert!(Arc::ptr_eq(&first, &timeouts(1)) && !Arc::ptr_eq(&first, &timeouts(2)));
        assert!(parts.timeouts(Timeouts::default()).is_none());

        let retry = |attempts| parts.retry(Retry { attempts, ..Retry::default() });
        let first = retry(1);
        assert!(Arc::ptr_eq(&first, &retry(1)) && !Arc::ptr_eq(&first, &retry(2)));

        let [some, others] = ["10.0.0.1", "10.0.0.2"].map(|address| {
            let networks: Networks = [(address.parse().unwrap(), 32)].into_iter().collect();
            Some(Arc::new(networks))
        });
        let list = |deny: &Option<_>, allow: &Option<_>| {
            parts.access_list(AccessList {
                deny: deny.clone(),
                allow: allow.clone(),
                ..AccessList::default()
            })
        };
        let first = list(&None, &some);
        assert!(Arc::ptr_eq(&first, &list(&None, &some)));
        for other in [list(&some, &None), list(&None, &others), list(&others, &some)] {
            assert!(!Arc::ptr_eq(&first, &other), "{other}");
        }
    }
}
