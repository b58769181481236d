//! How many bytes the mirrored requests of all workers may hold, and those to the backends of one namespace. A mirrored
//! request that would need more is dropped and counted, since no client waits for its answer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::budget;
pub(super) use crate::budget::Lease;

/// What all mirrors hold, and how many were given up.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Arc<budget::Budget>,
    lost: [AtomicU64; Lost::NAMES.len()],
}

/// Why a mirror did not get its request, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The mirrors of its namespace, or all, hold as much as they may.
    Memory,
    /// It was too many chunks behind.
    Behind,
    /// Too many mirrors ran.
    Running,
    /// The connection failed, or took too long.
    Failed,
}

/// What the mirrors of a namespace hold.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    bytes: budget::Account,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { bytes: budget::Budget::new(limit), lost: Default::default() })
    }

    /// The account of a namespace.
    pub(crate) fn account(self: &Arc<Self>, namespace: &str) -> Account {
        let bytes = self.bytes.account([budget::Holder::namespace(namespace)]);
        Account { budget: Arc::clone(self), bytes }
    }

    /// How many mirrors were given up, by reason.
    pub(crate) fn counts(&self) -> [(&'static str, u64); Lost::NAMES.len()] {
        std::array::from_fn(|reason| (Lost::NAMES[reason], self.lost[reason].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
impl Budget {
    pub(crate) fn held(&self) -> usize {
        self.bytes.held()
    }

    pub(crate) fn lost(&self, reason: Lost) -> u64 {
        self.lost[reason as usize].load(Ordering::Relaxed)
    }
}

impl Lost {
    /// What metrics call them, in their order.
    const NAMES: [&str; 4] = ["memory", "behind", "running", "failed"];
}

impl Account {
    /// Takes so many bytes; `None` where fewer are left.
    pub(crate) fn lease(&self, bytes: usize) -> Option<Lease> {
        self.bytes.lease(bytes)
    }

    /// Counts a mirror that was given up.
    pub(crate) fn count(&self, lost: Lost) {
        self.budget.lost[lost as usize].fetch_add(1, Ordering::Relaxed);
    }
}
