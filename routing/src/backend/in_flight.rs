//! How many requests are with each endpoint. Each thread counts its own, in memory that no other thread writes: a count that
//! all threads shared would make each request wait for another core's cache line.
//!
//! ```text
//! endpoint  -> its number            given when it is made, used again after it is gone
//! thread    -> counts, by number     written by the thread alone; others read them for sums
//! ```

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

/// A request that is with an endpoint; it is over when this is dropped.
///
/// Has to be dropped by the thread that began it, since that thread counts it. It does not keep the endpoint: if the endpoint
/// is removed meanwhile, the one that gets its number next seems to have this request, too, until it is over.
#[derive(Debug)]
pub struct InFlight {
    address: SocketAddr,
    number: u32,
}

/// The number of an endpoint, which no other endpoint has at the same time.
#[derive(Debug)]
pub(super) struct Number(u32);

/// Which numbers are free. Those that became free first are given first.
struct Numbers {
    free: VecDeque<u32>,
    /// The lowest number that was never given.
    next: u32,
}

/// The counts of one thread, by number. They are in blocks, so that other threads can read them while there come more. Block
/// `n` has `FIRST << n` counts, and exists once one of them was needed.
#[derive(Default)]
struct Counts([OnceLock<Box<[AtomicU32]>>; BLOCKS]);

/// The number of counts in the first block.
const FIRST: u32 = 1 << FIRST_BITS;
const FIRST_BITS: u32 = 10;
/// Enough for all numbers.
const BLOCKS: usize = (u32::BITS - FIRST_BITS) as usize + 1;

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: VecDeque::new(), next: 0 });
/// The counts of all threads.
static THREADS: Mutex<Vec<Weak<Counts>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Arc<Counts> = {
        let own = Arc::<Counts>::default();
        let mut threads = lock(&THREADS);
        threads.retain(|counts| counts.strong_count() > 0);
        threads.push(Arc::downgrade(&own));
        own
    };
}

impl InFlight {
    /// A request of this thread begins.
    pub(super) fn begin(address: SocketAddr, number: &Number) -> Self {
        OWN.with(|own| own.change(number.0, |count| count.wrapping_add(1)));
        Self { address, number: number.0 }
    }

    /// The address of the endpoint that the request is with.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // A thread that ends takes its counts with it.
        let _ = OWN.try_with(|own| own.change(self.number, |count| count.wrapping_sub(1)));
    }
}

impl Number {
    pub(super) fn new() -> Self {
        let mut numbers = lock(&NUMBERS);
        Self(numbers.free.pop_front().unwrap_or_else(|| {
            numbers.next += 1;
            numbers.next - 1
        }))
    }

    /// The requests of this thread.
    pub(super) fn own(&self) -> u32 {
        OWN.with(|own| own.of(self.0))
    }

    /// The requests of all threads. Takes a lock.
    pub(super) fn sum(&self) -> u32 {
        let threads = lock(&THREADS);
        threads.iter().filter_map(Weak::upgrade).map(|counts| counts.of(self.0)).sum()
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        lock(&NUMBERS).free.push_back(self.0);
    }
}

impl Counts {
    fn of(&self, number: u32) -> u32 {
        let (block, place) = place(number);
        self.0[block].get().map_or(0, |counts| counts[place].load(Ordering::Relaxed))
    }

    /// Called by the thread that they belong to alone, so there is no other change at the same time.
    fn change(&self, number: u32, by: impl FnOnce(u32) -> u32) {
        let (block, place) = place(number);
        let counts = self.0[block].get_or_init(|| (0..FIRST << block).map(|_| AtomicU32::new(0)).collect());
        counts[place].store(by(counts[place].load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}

/// The block of a number's count, and its place in that.
fn place(number: u32) -> (usize, usize) {
    let block = ((number >> FIRST_BITS) + 1).ilog2();
    (block as usize, (number - (((1 << block) - 1) << FIRST_BITS)) as usize)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_a_count_of_its_own() {
        let mut next = (0, 0);
        for number in 0..20 * FIRST {
            let (block, place) = place(number);
            assert_eq!((block, place), next, "{number}");
            next = if place + 1 == (FIRST << block) as usize { (block + 1, 0) } else { (block, place + 1) };
        }
        assert!(place(u32::MAX).0 < BLOCKS);
    }

    #[test]
    fn a_thread_counts_its_own_requests_and_all_are_summed_up() {
        let (number, address) = (Number::new(), SocketAddr::from(([127, 0, 0, 1], 80)));
        let begin = || InFlight::begin(address, &number);
        let own = [begin(), begin()];
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| {
                let others = [begin(), begin(), begin()];
                let counted = (number.own(), number.sum());
                drop(others);
                (counted, number.own())
            });
            assert_eq!(elsewhere.join().unwrap(), ((3, 5), 0));
        });
        assert_eq!((number.own(), number.sum()), (2, 2));
        drop(own);
        assert_eq!((number.own(), number.sum()), (0, 0));
    }

    #[test]
    fn numbers_that_are_free_are_given_again() {
        let first = Number::new().0;
        let again = |number: &Number| number.0 == first;
        // Other tests give and take numbers, too.
        let given = std::iter::repeat_with(Number::new).take(1 << 16);
        let mut kept = Vec::new();
        assert!(given.map(|number| (again(&number), kept.push(number)).0).any(|is_it| is_it));
    }
}
