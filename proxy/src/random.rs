//! Random numbers for choices that nobody gains from guessing; a generator of each thread's own.

use std::cell::RefCell;

use rand::{Rng, SeedableRng, rngs::SmallRng};

thread_local! {
    static RNG: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

/// Calls `use_it` with this thread's generator.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut SmallRng) -> T) -> T {
    RNG.with_borrow_mut(use_it)
}

/// Uniform over all of `u64`.
pub(crate) fn number() -> u64 {
    with(|rng| rng.random())
}
