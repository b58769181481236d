//! Numbers for things that threads keep something of in lists of their own.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Numbers that are assigned, and assigned again when they have become free: the one that became free first comes
/// first.
pub(super) struct Numbers(Mutex<State>);

struct State {
    free: VecDeque<u32>,
    /// The lowest number that was never assigned.
    next: u32,
}

impl Numbers {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(State { free: VecDeque::new(), next: 0 }))
    }

    pub(super) fn take(&self) -> u32 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.pop_front().unwrap_or_else(|| {
            state.next += 1;
            state.next - 1
        })
    }

    pub(super) fn give_back(&self, number: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).free.push_back(number);
    }
}
