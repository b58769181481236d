//! A budget of bytes. A namespace can hold a quarter of it at most, a client an eighth.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::admission::Client;

/// The number of holders from which on those that hold nothing are removed.
const MANY_HOLDERS: usize = 256;

/// A budget of bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    held: AtomicUsize,
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    held: HashMap<Holder, Arc<AtomicUsize>>,
    /// The number of holders from which on those that hold nothing are searched for. It grows with the holders, so that such
    /// a search costs little for each new one.
    tidy_at: usize,
}

/// Whose share a lease counts in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Namespace(Box<str>),
    Client(Client),
}

/// The shares of one or more holders.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    shares: Arc<[Share]>,
}

/// What a holder has taken.
#[derive(Clone, Debug)]
struct Share {
    held: Arc<AtomicUsize>,
    /// The part of all bytes that it can have.
    part: usize,
}

/// A number of bytes of the budget, which is returned when the lease is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    account: Account,
    bytes: usize,
}

impl Holder {
    pub(crate) fn namespace(namespace: &str) -> Self {
        Self::Namespace(namespace.into())
    }

    pub(crate) fn client(address: IpAddr) -> Self {
        Self::Client(Client::of(address))
    }

    /// The part of all bytes that it can have: a single client cannot take all that its namespace can have.
    fn part(&self) -> usize {
        match self {
            Self::Namespace(_) => 4,
            Self::Client(_) => 8,
        }
    }
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), holders: Mutex::default() })
    }

    /// The account of these holders. What it leases counts in the share of each of them.
    pub(crate) fn account(self: &Arc<Self>, holders: impl IntoIterator<Item = Holder>) -> Account {
        // Each change is a single insertion or removal, so a poisoned lock guards a map that is whole.
        let mut all = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let shares = holders.into_iter().map(|holder| all.share(holder)).collect();
        Account { budget: Arc::clone(self), shares }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Holders {
    fn share(&mut self, holder: Holder) -> Share {
        let part = holder.part();
        if let Some(held) = self.held.get(&holder) {
            return Share { held: Arc::clone(held), part };
        }
        if self.held.len() >= self.tidy_at.max(MANY_HOLDERS) {
            self.held.retain(|_, held| Arc::strong_count(held) > 1);
            self.tidy_at = 2 * self.held.len();
        }
        Share { held: Arc::clone(self.held.entry(holder).or_default()), part }
    }
}

impl Account {
    /// Leases this many bytes. Returns `None` if the budget, or one of the shares, has fewer bytes left.
    pub(crate) fn lease(&self, bytes: usize) -> Option<Lease> {
        let Budget { limit, held, .. } = &*self.budget;
        let take = |held: &AtomicUsize, limit: usize| {
            let more = |before: usize| before.checked_add(bytes).filter(|held| *held <= limit);
            held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        let taken = self.shares.iter().take_while(|share| take(&share.held, limit / share.part)).count();
        if taken == self.shares.len() && take(held, *limit) {
            return Some(Lease { account: self.clone(), bytes });
        }
        for share in self.shares.iter().take(taken) {
            share.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        None
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Account { budget, shares } = &self.account;
        for held in shares.iter().map(|share| &*share.held).chain([&budget.held]) {
            held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(budget: &Arc<Budget>, namespace: &str) -> Account {
        budget.account([Holder::namespace(namespace)])
    }

    #[test]
    fn a_namespace_holds_a_part_and_all_together_the_whole() {
        let budget = Budget::new(1000);
        let shop = account(&budget, "shop");
        let (first, second) = (shop.lease(200), account(&budget, "shop").lease(50));
        assert!(first.is_some() && second.is_some());
        assert!(shop.lease(1).is_none());
        drop(first);
        assert!(shop.lease(200).is_some());
        let others = ["a", "b", "c"].map(|name| account(&budget, name).lease(250));
        assert!(others.iter().all(Option::is_some));
        assert_eq!(budget.held(), 800);
        assert!(account(&budget, "d").lease(201).is_none());
        assert!(account(&budget, "d").lease(200).is_some(), "a lease that is refused takes nothing");
        drop((second, others));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_lease_counts_in_each_of_its_shares() {
        let budget = Budget::new(1000);
        let of = |namespace: &str, client: [u8; 4]| {
            budget.account([Holder::namespace(namespace), Holder::client(client.into())])
        };
        let first: Vec<_> = (1..=2).map(|n| of("a", [192, 0, 2, n]).lease(125).unwrap()).collect();
        assert!(of("a", [192, 0, 2, 5]).lease(1).is_none(), "the namespace has its part");
        assert!(of("b", [192, 0, 2, 1]).lease(1).is_none(), "the client has its part");
        let second = of("b", [192, 0, 2, 5]).lease(125);
        assert!(second.is_some(), "a refused lease must not count in the other share");
        assert_eq!(budget.held(), 375);
        drop(first);
        assert!(of("a", [192, 0, 2, 1]).lease(125).is_some());
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn holders_without_a_lease_are_removed() {
        let budget = Budget::new(1000);
        let used = account(&budget, "used");
        for n in 0..10 * MANY_HOLDERS {
            account(&budget, &n.to_string());
        }
        let of_used = Arc::clone(&used.shares[0].held);
        let all = budget.holders.lock().unwrap();
        assert!(all.held.len() <= MANY_HOLDERS);
        assert!(Arc::ptr_eq(&all.held[&Holder::namespace("used")], &of_used));
    }
}
