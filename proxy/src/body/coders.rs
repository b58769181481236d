//! The memory of the encoders of a worker. Each namespace can have a quarter of it, each client an eighth.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use portcullis_routing::step::Coding;

use super::{Coder, coder::Setup};
use crate::budget::{Account, Budget, Holder};

/// The memory of all encoders of a worker. Beyond it, responses are sent uncompressed.
const MOST: usize = 64 << 20;

/// The encoders of a worker.
#[derive(Debug)]
pub(crate) struct Coders {
    budget: Arc<Budget>,
    /// The number of responses that were sent uncompressed because there was no memory.
    refused: AtomicU64,
}

/// The shares of the memory in which the encoder of a response counts.
#[derive(Debug)]
pub(crate) struct CoderRoom {
    coders: Arc<Coders>,
    account: Account,
}

impl Default for Coders {
    fn default() -> Self {
        Self { budget: Budget::new(MOST), refused: AtomicU64::new(0) }
    }
}

impl Coders {
    /// The shares of a namespace and a client; `None` for a proxy whose clients are not known.
    pub(crate) fn room(self: &Arc<Self>, namespace: &str, client: Option<IpAddr>) -> CoderRoom {
        let holders = [Holder::namespace(namespace)].into_iter().chain(client.map(Holder::client));
        CoderRoom { coders: Arc::clone(self), account: self.budget.account(holders) }
    }

    /// The number of responses that were sent uncompressed because there was no memory.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl CoderRoom {
    /// Creates the encoder of a response whose body has this length, if it is known. `None` if there is no memory for it,
    /// which is counted.
    pub(crate) fn coder(&self, coding: Coding, length: Option<u64>) -> Option<Box<Coder>> {
        let lease = self.account.lease(Setup::of(coding, length).memory());
        if lease.is_none() {
            self.coders.refused.fetch_add(1, Ordering::Relaxed);
        }
        Some(Coder::new(coding, length, lease?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GZIP: Coding = Coding::Gzip { level: 1 };

    #[test]
    fn namespaces_and_clients_share_the_memory_of_a_worker() {
        let coders = Arc::<Coders>::default();
        let room = |namespace: &str, client: u8| coders.room(namespace, Some([192, 0, 2, client].into()));
        let all = |room: CoderRoom| std::iter::from_fn(move || room.coder(GZIP, None)).collect::<Vec<_>>();
        let memory = Setup::of(GZIP, None).memory();
        let (shop, mut held) = (room("shop", 1), all(room("shop", 1)));
        assert_eq!((held.len(), coders.refused()), (MOST / 8 / memory, 1));
        assert!(room("media", 1).coder(GZIP, None).is_none(), "the client has its share");
        // Clients of a proxy that are not known share what the namespace can have.
        held.extend(all(coders.room("shop", None)));
        assert_eq!((held.len(), coders.refused()), (MOST / 4 / memory, 3));
        assert!(room("shop", 2).coder(GZIP, None).is_none(), "the namespace has its share");
        held.extend(room("media", 2).coder(GZIP, None));
        assert_eq!((held.len(), coders.refused()), (MOST / 4 / (384 << 10) + 1, 4));
        // The memory is free once a body has ended, even if its output has not been sent.
        held.iter_mut().take(1).for_each(|coder| coder.end().unwrap());
        assert!(shop.coder(GZIP, None).is_some());
        drop(held);
        assert_eq!(coders.budget.held(), 0);
    }

    #[test]
    fn encoders_for_short_bodies_take_less_of_it() {
        let coders = Arc::<Coders>::default();
        let room = coders.room("shop", Some([192, 0, 2, 1].into()));
        let known = room.coder(GZIP, Some(1000)).unwrap();
        assert_eq!(coders.budget.held(), Setup::of(GZIP, Some(1000)).memory());
        drop(known);
        // It is known at the end that the body is short, and the encoder is created then.
        let mut unknown = room.coder(GZIP, None).unwrap();
        unknown.put(&[b'a'; 1000]).unwrap();
        assert_eq!(coders.budget.held(), Setup::of(GZIP, None).memory());
        unknown.end().unwrap();
        assert_eq!(coders.budget.held(), 0);
        assert!(!unknown.output().is_empty());
    }
}
