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
    /// The limits of time of a rule; `None` if there are none.
    pub(super) fn timeouts(&self, timeouts: Timeouts) -> Option<Arc<Timeouts>> {
        Some(self.timeouts.share(self.hasher.hash_one(timeouts), timeouts.of_rule()?))
    }

    pub(super) fn retry(&self, retry: Retry) -> Arc<Retry> {
        self.retries.share(self.hasher.hash_one(&retry), Arc::new(retry))
    }

    /// Lists are shared whose networks are: those of equal annotations.
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
