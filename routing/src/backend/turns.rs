//! Whose turn it is among the endpoints of a backend. Each thread counts turns of its own, from a start at random, as
//! each worker of nginx does: threads that counted together would wait for one another.
//!
//! ```text
//! pool   -> its number          assigned when the pool is made, reused after it is dropped
//! thread -> turns, by number    the pool outlives tables, so an edit of a route does not begin the round again
//! ```

use std::cell::RefCell;

use super::numbers::Numbers;

/// The number of a pool of endpoints. No other pool has the same number at the same time.
#[derive(Debug)]
pub(super) struct Turn(u32);

static NUMBERS: Numbers = Numbers::new();

thread_local! {
    /// This thread's turns, by the pool's number; 0 where it has not begun. A pool that gets the number of one that is
    /// gone goes on with its turns, which are a start as good as another.
    static TURNS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

impl Turn {
    pub(super) fn new() -> Self {
        Self(NUMBERS.take())
    }

    /// Returns this thread's next turn: one more than its last one, or else `start`.
    pub(super) fn next(&self, start: u32) -> u32 {
        let place = self.0 as usize;
        TURNS.with_borrow_mut(|turns| {
            if turns.len() <= place {
                turns.resize((place + 1).next_power_of_two(), 0);
            }
            let turn = &mut turns[place];
            *turn = if *turn == 0 { start } else { turn.wrapping_add(1) }.max(1);
            *turn
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        NUMBERS.give_back(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_turns_of_its_own() {
        let (one, other) = (Turn::new(), Turn::new());
        assert_eq!([one.next(7), one.next(3), other.next(0), one.next(3), other.next(9)], [7, 8, 1, 9, 2]);
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| [one.next(40), one.next(40)]);
            assert_eq!(elsewhere.join().unwrap(), [40, 41]);
        });
        assert_eq!(one.next(40), 10);
    }

    #[test]
    fn turns_go_on_beyond_the_largest_number() {
        let turn = Turn::new();
        assert_eq!([turn.next(u32::MAX), turn.next(5), turn.next(5)], [u32::MAX, 1, 2]);
    }
}
