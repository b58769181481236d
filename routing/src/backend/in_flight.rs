//! Counts the requests in flight to each endpoint. Each thread counts its own requests, in memory that no other thread
//! writes: a count that all threads shared would make each request wait for another core's cache line.
//!
//! ```text
//! endpoint  -> its number            assigned when the endpoint is made, reused after it is dropped
//! thread    -> counts, by number     written only by this thread; other threads read them for sums
//! ```

use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use super::numbers::Numbers;

/// A request in flight to an endpoint. The request is over when this guard is dropped.
///
/// The thread that began the request has to drop the guard, because the request is in that thread's count. The guard
/// does not keep the endpoint: if the endpoint is removed meanwhile, its number goes to another endpoint, which is then
/// counted as having this request too, until the request is over.
#[derive(Debug)]
pub struct InFlight {
    address: SocketAddr,
    number: u32,
}

/// The number of an endpoint. No other endpoint has the same number at the same time.
#[derive(Debug)]
pub(super) struct Number(u32);

/// The counts of one thread, by the endpoint's number. The counts of all higher numbers are 0.
type Counts = [AtomicU32];

/// The number of counts that a thread begins with. A higher number doubles them until they include it.
const FIRST: usize = 1024;

static NUMBERS: Numbers = Numbers::new();
/// The counts of all threads.
static THREADS: Mutex<Vec<Weak<Counts>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: RefCell<Option<Arc<Counts>>> = const { RefCell::new(None) };
}

impl InFlight {
    /// Counts a request of this thread as in flight to the endpoint with this address and number.
    pub(super) fn begin(address: SocketAddr, number: &Number) -> Self {
        let counted = OWN.with_borrow(|own| change(own.as_deref(), number.0, 1));
        if !counted {
            OWN.with_borrow_mut(|own| {
                grow(own, number.0);
                change(own.as_deref(), number.0, 1)
            });
        }
        Self { address, number: number.0 }
    }

    /// Returns the address of the endpoint that the request is in flight to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // While the thread ends, its counts are gone already.
        let _ = OWN.try_with(|own| change(own.borrow().as_deref(), self.number, u32::MAX));
    }
}

impl Number {
    pub(super) fn new() -> Self {
        Self(NUMBERS.take())
    }

    /// Returns the number of this thread's requests in flight to each of two endpoints.
    pub(super) fn own(two: [&Self; 2]) -> [u32; 2] {
        OWN.with_borrow(|own| match own {
            Some(counts) => two.map(|number| count(counts, number.0)),
            None => [0; 2],
        })
    }

    /// Returns the number of requests in flight to the endpoint, over all threads. Takes a lock.
    pub(super) fn sum(&self) -> u32 {
        lock(&THREADS).iter().filter_map(Weak::upgrade).map(|counts| count(&counts, self.0)).sum()
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.give_back(self.0);
    }
}

fn count(counts: &Counts, number: u32) -> u32 {
    counts.get(number as usize).map_or(0, |count| count.load(Ordering::Relaxed))
}

/// Adds to a count of this thread, wrapping. Returns `false` if the thread has no such count. No other thread writes
/// the count, so a load and a store are enough.
fn change(counts: Option<&Counts>, number: u32, by: u32) -> bool {
    let Some(count) = counts.and_then(|counts| counts.get(number as usize)) else { return false };
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    true
}

/// Enlarges the counts of this thread, so that they include this number.
#[cold]
fn grow(own: &mut Option<Arc<Counts>>, number: u32) {
    let len = (number as usize + 1).next_power_of_two().max(FIRST);
    let before = own.as_deref().unwrap_or_default();
    let larger: Arc<Counts> = (0..len).map(|n| AtomicU32::new(count(before, n as u32))).collect();
    // The old counts are dropped while the lock is held, so that a sum never includes both the old and the new counts.
    let mut threads = lock(&THREADS);
    threads.push(Arc::downgrade(&larger));
    *own = Some(larger);
    threads.retain(|counts| counts.strong_count() > 0);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_its_own_requests_and_all_are_summed_up() {
        let (number, address) = (Number::new(), SocketAddr::from(([127, 0, 0, 1], 80)));
        let begin = || InFlight::begin(address, &number);
        let own = || Number::own([&number; 2])[0];
        let here = [begin(), begin()];
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| {
                let others = [begin(), begin(), begin()];
                let counted = (own(), number.sum());
                drop(others);
                (counted, own())
            });
            assert_eq!(elsewhere.join().unwrap(), ((3, 5), 0));
        });
        assert_eq!((own(), number.sum()), (2, 2));
        drop(here);
        assert_eq!((own(), number.sum()), (0, 0));
    }

    #[test]
    fn numbers_that_are_free_are_given_again() {
        let first = Number::new().0;
        let again = |number: &Number| number.0 == first;
        // Other tests assign and free numbers at the same time.
        let given = std::iter::repeat_with(Number::new).take(1 << 16);
        let mut kept = Vec::new();
        assert!(given.into_iter().any(|number| {
            let is_it = again(&number);
            kept.push(number);
            is_it
        }));
    }

    #[test]
    fn counts_outlive_the_room_for_them() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let numbers: Vec<_> = (0..4 * FIRST).map(|_| Number::new()).collect();
        let requests: Vec<_> = numbers.iter().map(|number| InFlight::begin(address, number)).collect();
        assert!(numbers.iter().all(|number| Number::own([number; 2]) == [1; 2] && number.sum() == 1));
        drop(requests);
        assert!(numbers.iter().all(|number| number.sum() == 0));
    }
}
