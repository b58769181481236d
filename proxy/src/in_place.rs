//! Construction of values directly in their box.
//!
//! `Box::new(make())` constructs the value on the stack and copies it: the allocation comes second and could unwind, in which case
//! the value would have to be dropped. Here the allocation comes first, which allows the compiler to omit the copy. The future of
//! an HTTP/1 request is larger than a kilobyte.

use std::pin::Pin;

/// Boxes the value that `make` returns.
#[inline]
pub(crate) fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    let place = Box::new_uninit();
    Box::write(place, make())
}

/// Boxes and pins the future that `make` returns.
#[inline]
pub(crate) fn pinned<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(boxed(make))
}
