//! Who may hash a password, when: a few at a time, never all of them for one owner, and nobody waits for long.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How many requests of one owner wait at most, and how long.
const WAITING: usize = 64;
const TIME: Duration = Duration::from_secs(5);
/// How many owners are kept before those that nobody waits for are forgotten.
const OWNERS: usize = 64;

/// Turns to hash a password.
#[derive(Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    owners: Mutex<HashMap<Box<str>, Arc<Owner>>>,
    /// How many an owner has at a time.
    share: usize,
}

/// The requests of an owner.
#[derive(Debug)]
struct Owner {
    /// Those that hash, or are next to.
    hashing: Arc<Semaphore>,
    /// Those that wait or hash.
    present: Arc<Semaphore>,
}

/// The turn of a request; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _present: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) fn new(workers: usize) -> Self {
        // Two at the least, so that there is one for others; requests need the processors, too.
        let all = (workers / 2).max(2);
        Self { all: Arc::new(Semaphore::new(all)), owners: Mutex::default(), share: (all / 2).max(1) }
    }

    /// Waits for a turn; `None` if there is none in time.
    pub(super) async fn take(&self, owner: &str) -> Option<Turn> {
        let owner = self.owner(owner);
        let present = Arc::clone(&owner.present).try_acquire_owned().ok()?;
        // First among one's own, so that there is never more than a share of an owner among all: the others come next.
        let turn = async {
            let own = Arc::clone(&owner.hashing).acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Turn { _all: all, _own: own, _present: present })
        };
        timeout(TIME, turn).await.ok().flatten()
    }

    fn owner(&self, name: &str) -> Arc<Owner> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(name) {
            return Arc::clone(owner);
        }
        if owners.len() >= OWNERS {
            // A request that waits or hashes has a place.
            let is_busy = |owner: &Owner| owner.present.available_permits() < self.share + WAITING;
            owners.retain(|_, owner| Arc::strong_count(owner) > 1 || is_busy(owner));
        }
        let (hashing, present) = (Semaphore::new(self.share), Semaphore::new(self.share + WAITING));
        let owner = Arc::new(Owner { hashing: Arc::new(hashing), present: Arc::new(present) });
        owners.insert(name.into(), Arc::clone(&owner));
        owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenant with slow hashes, and clients that ask for them, must not keep the others from theirs.
    #[tokio::test(start_paused = true)]
    async fn one_owner_leaves_a_turn_to_others() {
        let turns = Arc::new(Turns::new(1));
        let held = turns.take("theirs").await.expect("free");
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { turns.take("theirs").await.is_some() })
            })
            .collect();
        for _ in 0..WAITING {
            tokio::task::yield_now().await;
        }
        let began = tokio::time::Instant::now();
        assert!(turns.take("theirs").await.is_none(), "too many wait");
        assert!(turns.take("ours").await.is_some());
        assert_eq!(began.elapsed(), Duration::ZERO);
        for waiting in waiting {
            assert!(!waiting.await.unwrap(), "it was not its turn in time");
        }
        drop(held);
        assert!(turns.take("theirs").await.is_some());
    }

    #[tokio::test]
    async fn owners_that_nobody_waits_for_are_forgotten() {
        let turns = Turns::new(8);
        let held = turns.take("0").await;
        for n in 0..3 * OWNERS {
            assert!(turns.take(&n.to_string()).await.is_some());
        }
        let owners = turns.owners.lock().unwrap();
        assert!(owners.len() <= OWNERS + 1 && owners.contains_key("0"), "{}", owners.len());
        drop(held);
    }
}
