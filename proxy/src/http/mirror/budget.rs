//! How many bytes the mirrored requests of all workers may hold, and those to the backends of one namespace. A mirrored
//! request that would need more is dropped and counted, since no client waits for its answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// The share of all bytes that the mirrored requests to one namespace may hold.
const PART: usize = 4;
/// With so many namespaces known, those without a mirror are forgotten.
const MAX_NAMESPACES: usize = 256;

/// What all mirrors hold, and how many were given up.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    held: AtomicUsize,
    of_namespaces: Mutex<HashMap<Box<str>, Arc<AtomicUsize>>>,
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
    held: Arc<AtomicUsize>,
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    account: Account,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            held: AtomicUsize::new(0),
            of_namespaces: Mutex::default(),
            lost: Default::default(),
        })
    }

    /// The account of a namespace.
    pub(crate) fn account(self: &Arc<Self>, namespace: &str) -> Account {
        let mut all = self.of_namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let held = match all.get(namespace) {
            Some(held) => Arc::clone(held),
            None => {
                if all.len() >= MAX_NAMESPACES {
                    all.retain(|_, held| Arc::strong_count(held) > 1);
                }
                Arc::clone(all.entry(namespace.into()).or_default())
            }
        };
        Account { budget: Arc::clone(self), held }
    }

    /// How many mirrors were given up, by reason.
    pub(crate) fn counts(&self) -> [(&'static str, u64); Lost::NAMES.len()] {
        std::array::from_fn(|reason| (Lost::NAMES[reason], self.lost[reason].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
impl Budget {
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
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
        let part = self.budget.limit / PART;
        let take = |held: &AtomicUsize, limit: usize| {
            let more = |before: usize| before.checked_add(bytes).filter(|held| *held <= limit);
            held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        if !take(&self.held, part) {
            return None;
        }
        if !take(&self.budget.held, self.budget.limit) {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Lease { account: self.clone(), bytes })
    }

    /// Counts a mirror that was given up.
    pub(crate) fn count(&self, lost: Lost) {
        self.budget.lost[lost as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_holds_a_part_and_all_together_the_whole() {
        let budget = Budget::new(1000);
        let shop = budget.account("shop");
        let (first, second) = (shop.lease(200), budget.account("shop").lease(50));
        assert!(first.is_some() && second.is_some());
        assert!(shop.lease(1).is_none());
        drop(first);
        assert!(shop.lease(200).is_some());
        let others = ["a", "b", "c"].map(|name| budget.account(name).lease(250));
        assert!(others.iter().all(Option::is_some));
        assert_eq!(budget.held(), 800);
        assert!(budget.account("d").lease(201).is_none());
        assert!(budget.account("d").lease(200).is_some(), "a lease that is refused takes nothing");
        drop((second, others));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn namespaces_without_a_mirror_are_forgotten() {
        let budget = Budget::new(1000);
        let kept = budget.account("kept");
        for n in 0..10 * MAX_NAMESPACES {
            budget.account(&n.to_string());
        }
        let all = budget.of_namespaces.lock().unwrap();
        assert!(all.len() <= MAX_NAMESPACES && Arc::ptr_eq(&all["kept"], &kept.held));
    }
}
