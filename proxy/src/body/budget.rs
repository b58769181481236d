//! How many bytes the bodies of requests may hold, and which share of them a namespace may have.
//!
//! A namespace may hold at most as much as is left for others: one alone half of all, two a third each. So there is room for
//! a namespace that holds nothing, whatever the others do.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Full;

/// With so many namespaces known, those that hold nothing are forgotten.
const MAX_NAMESPACES: usize = 256;

/// What all bodies hold.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    held: AtomicU64,
    of_namespaces: Mutex<HashMap<Box<str>, Arc<AtomicU64>>>,
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    /// What the namespace holds.
    of_namespace: Arc<AtomicU64>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0), of_namespaces: Mutex::default() })
    }

    /// A lease of no bytes, to the account of a namespace.
    pub(super) fn lease(self: &Arc<Self>, namespace: &str) -> Lease {
        let mut all = self.of_namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let of_namespace = match all.get(namespace) {
            Some(held) => Arc::clone(held),
            None => {
                if all.len() >= MAX_NAMESPACES {
                    all.retain(|_, held| Arc::strong_count(held) > 1);
                }
                Arc::clone(all.entry(namespace.into()).or_default())
            }
        };
        Lease { budget: Arc::clone(self), of_namespace, bytes: 0 }
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Takes more bytes.
    ///
    /// # Errors
    /// If there are not so many, or the namespace has its share. Then it holds what it held.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let Self { budget, of_namespace, .. } = self;
        let all = budget.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let own = of_namespace.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if budget.limit.checked_sub(all).is_some_and(|left| own <= left) {
            self.bytes += bytes;
            return Ok(());
        }
        budget.held.fetch_sub(bytes, Ordering::Relaxed);
        of_namespace.fetch_sub(bytes, Ordering::Relaxed);
        Err(Full)
    }

    /// A lease of no bytes, to the same account.
    pub(super) fn none(&self) -> Self {
        Self { budget: Arc::clone(&self.budget), of_namespace: Arc::clone(&self.of_namespace), bytes: 0 }
    }

    /// Gives back all but so many bytes.
    pub(super) fn shrink(&mut self, to: u64) {
        let back = self.bytes.saturating_sub(to);
        self.budget.held.fetch_sub(back, Ordering::Relaxed);
        self.of_namespace.fetch_sub(back, Ordering::Relaxed);
        self.bytes -= back;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_leaves_as_much_as_it_holds() {
        let budget = Budget::new(12);
        let mut first = budget.lease("a");
        assert_eq!(first.grow(7), Err(Full), "more than half");
        first.grow(6).unwrap();
        assert_eq!(budget.lease("a").grow(1), Err(Full), "another body of the namespace");
        let mut other = budget.lease("b");
        other.grow(3).unwrap();
        assert_eq!(other.grow(1), Err(Full));
        assert_eq!(budget.held(), 9);
        // What is given back can be had by others.
        first.shrink(4);
        assert_eq!((other.grow(1), budget.held()), (Ok(()), 8));
        drop((first, other));
        assert_eq!(budget.held(), 0);
        assert_eq!(budget.lease("a").grow(u64::MAX), Err(Full));
    }

    #[test]
    fn namespaces_that_hold_nothing_are_forgotten() {
        let budget = Budget::new(1 << 20);
        let mut held = budget.lease("held");
        held.grow(1).unwrap();
        for n in 0..3 * MAX_NAMESPACES {
            budget.lease(&n.to_string()).grow(1).unwrap();
        }
        let all = budget.of_namespaces.lock().unwrap();
        assert!(all.len() <= MAX_NAMESPACES && all.contains_key("held"), "{}", all.len());
    }
}
