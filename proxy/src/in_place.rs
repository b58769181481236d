//! Values that are made where they stay.
//!
//! `Box::new(make())` makes the value on the stack and copies it, since the value would have to be dropped if the allocation
//! failed. Here the allocation comes first, so that the compiler need not make a copy. For the future of a request that is
//! more than a kilobyte.

use std::pin::Pin;

/// Returns what `make` returns, in a box.
#[inline]
pub(crate) fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    let place = Box::new_uninit();
    Box::write(place, make())
}

/// Returns the future that `make` returns, in a box.
#[inline]
pub(crate) fn pinned<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(boxed(make))
}
