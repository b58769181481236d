//! A budget of bytes for request bodies, with a share per namespace and a limit per client connection.
//!
//! A namespace can use at most as much as remains for other namespaces: a single one half of the budget, two a third each. A
//! namespace that uses nothing yet therefore always has some of the budget available.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Full;

/// If there are more namespaces, those without leases are removed.
const MAX_NAMESPACES: usize = 256;

/// The maximum number of bytes of one connection, except for a single body.
const OF_CONNECTION: u64 = 4 << 20;

/// The bytes of a client connection.
pub(crate) type Usage = Arc<AtomicU64>;

/// A budget of bytes.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    held: AtomicU64,
    of_namespaces: Mutex<HashMap<Box<str>, Arc<AtomicU64>>>,
}

/// Bytes of a budget, which are returned when this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    /// The bytes of the namespace.
    of_namespace: Arc<AtomicU64>,
    /// The bytes of the client connection; `None` if they are not limited.
    of_connection: Option<Usage>,
    bytes: u64,
}

/// How much of its share a namespace may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Half,
    All,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0), of_namespaces: Mutex::default() })
    }

    /// Creates an empty lease for a namespace, and the connection of a client if that is limited too.
    pub(super) fn lease(self: &Arc<Self>, namespace: &str, of_connection: Option<&Usage>) -> Lease {
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
        Lease { budget: Arc::clone(self), of_namespace, of_connection: of_connection.cloned(), bytes: 0 }
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Takes more bytes, so that it has `to`, if the namespace then uses at most so much of its share.
    ///
    /// # Errors
    /// If the budget or the share of the namespace is exhausted. The lease does not change then.
    pub(super) fn grow_to(&mut self, to: u64, share: Share) -> Result<(), Full> {
        let bytes = to.saturating_sub(self.bytes);
        if bytes == 0 {
            return Ok(());
        }
        if !self.connection_has_room(to) {
            return Err(Full);
        }
        let Self { budget, of_namespace, .. } = self;
        let all = budget.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let own = of_namespace.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        // A namespace that uses half of its share leaves three times as much as it uses.
        let times = match share {
            Share::Half => 3,
            Share::All => 1,
        };
        if budget.limit.checked_sub(all).is_some_and(|left| own.saturating_mul(times) <= left) {
            if let Some(of_connection) = &self.of_connection {
                of_connection.fetch_add(bytes, Ordering::Relaxed);
            }
            self.bytes += bytes;
            return Ok(());
        }
        budget.held.fetch_sub(bytes, Ordering::Relaxed);
        of_namespace.fetch_sub(bytes, Ordering::Relaxed);
        Err(Full)
    }

    /// Whether the connection permits that this lease has `to` bytes. Several streams can exceed the limit together by what
    /// they take at the same time.
    fn connection_has_room(&self, to: u64) -> bool {
        let Some(of_connection) = &self.of_connection else { return true };
        let others = of_connection.load(Ordering::Relaxed).saturating_sub(self.bytes);
        others == 0 || others.saturating_add(to) <= OF_CONNECTION
    }

    /// Creates an empty lease for the same namespace and connection.
    pub(super) fn none(&self) -> Self {
        let of_connection = self.of_connection.clone();
        Self {
            budget: Arc::clone(&self.budget),
            of_namespace: Arc::clone(&self.of_namespace),
            of_connection,
            bytes: 0,
        }
    }

    /// Returns all bytes except `to`.
    pub(super) fn shrink(&mut self, to: u64) {
        let back = self.bytes.saturating_sub(to);
        self.budget.held.fetch_sub(back, Ordering::Relaxed);
        self.of_namespace.fetch_sub(back, Ordering::Relaxed);
        if let Some(of_connection) = &self.of_connection {
            of_connection.fetch_sub(back, Ordering::Relaxed);
        }
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

    impl Lease {
        fn grow(&mut self, bytes: u64) -> Result<(), Full> {
            self.grow_to(self.bytes.saturating_add(bytes), Share::All)
        }
    }

    #[test]
    fn a_namespace_leaves_as_much_as_it_holds() {
        let budget = Budget::new(12);
        let mut first = budget.lease("a", None);
        assert_eq!(first.grow(7), Err(Full), "more than half");
        first.grow(6).unwrap();
        assert_eq!(budget.lease("a", None).grow(1), Err(Full), "another body of the namespace");
        let mut other = budget.lease("b", None);
        other.grow(3).unwrap();
        assert_eq!(other.grow(1), Err(Full));
        assert_eq!(budget.held(), 9);
        // What is given back can be had by others.
        first.shrink(4);
        assert_eq!((other.grow(1), budget.held()), (Ok(()), 8));
        drop((first, other));
        assert_eq!(budget.held(), 0);
        assert_eq!(budget.lease("a", None).grow(u64::MAX), Err(Full));
    }

    #[test]
    fn a_share_can_be_used_by_half() {
        let budget = Budget::new(12);
        let (mut first, mut second) = (budget.lease("a", None), budget.lease("a", None));
        assert_eq!(first.grow_to(4, Share::Half), Err(Full));
        first.grow_to(3, Share::Half).unwrap();
        assert_eq!(second.grow_to(1, Share::Half), Err(Full));
        second.grow_to(3, Share::All).unwrap();
        assert_eq!(first.grow_to(3, Share::Half), Ok(()), "nothing is taken");
        budget.lease("b", None).grow_to(1, Share::Half).unwrap();
    }

    #[test]
    fn the_bodies_of_a_connection_are_limited_unless_there_is_only_one() {
        let (budget, usage) = (Budget::new(64 << 20), Usage::default());
        let [mut first, mut second] = [(); 2].map(|()| budget.lease("a", Some(&usage)));
        first.grow(OF_CONNECTION + 1).unwrap();
        assert_eq!(second.grow(1), Err(Full));
        budget.lease("a", Some(&Usage::default())).grow(1).unwrap();
        first.shrink(OF_CONNECTION - 1);
        second.grow(1).unwrap();
        assert_eq!(second.grow(1), Err(Full));
        assert_eq!(first.grow(1), Err(Full));
        drop((first, second));
        assert_eq!(usage.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn namespaces_that_hold_nothing_are_forgotten() {
        let budget = Budget::new(1 << 20);
        let mut held = budget.lease("held", None);
        held.grow(1).unwrap();
        for n in 0..3 * MAX_NAMESPACES {
            budget.lease(&n.to_string(), None).grow(1).unwrap();
        }
        let all = budget.of_namespaces.lock().unwrap();
        assert!(all.len() <= MAX_NAMESPACES && all.contains_key("held"), "{}", all.len());
    }
}
