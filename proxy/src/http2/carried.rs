//! The streams that are being carried, as futures that the connection's task polls.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
};

use tokio::task::coop::has_budget_remaining;

use super::wakes::{Place, StreamWaker, Wakes};
use crate::in_place;

/// The streams of a connection that are being carried.
pub(super) struct Carried<'c> {
    wakes: Arc<Wakes>,
    slots: Vec<Slot<'c>>,
    /// The places of the slots without a stream.
    free: Vec<Place>,
    /// The places of streams that are to be polled.
    pub(super) woken: Vec<Place>,
}

/// Carries one stream, and then another.
struct Slot<'c> {
    stream: Option<Carrying<'c>>,
    waker: StreamWaker,
}

type Carrying<'c> = Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

impl<'c> Carried<'c> {
    pub(super) fn new(wakes: &Arc<Wakes>) -> Self {
        Self { wakes: Arc::clone(wakes), slots: Vec::new(), free: Vec::new(), woken: Vec::new() }
    }

    /// Begins to carry a stream. The next [`Self::poll`] polls it.
    pub(super) fn begin<F: Future<Output = ()> + Send + 'c>(&mut self, carry: impl FnOnce() -> F) {
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.slots.len();
            self.slots.push(Slot { stream: None, waker: self.wakes.stream_waker(place) });
            place
        });
        self.slots[place].stream = Some(in_place::pinned(carry));
        self.woken.push(place);
    }

    /// Polls the streams that are to be polled, but no more than there is `room` for, and none after the task's budget has been
    /// used up: such a stream could not make progress, but the idle limit would take the poll for a sign of life.
    pub(super) fn poll(&mut self, room: &mut u32) {
        let mut polled = 0;
        while let Some(&place) = self.woken.get(polled)
            && *room > 0
            && has_budget_remaining()
        {
            self.poll_one(place);
            (polled, *room) = (polled + 1, *room - 1);
        }
        self.woken.drain(..polled);
    }

    /// Polls the stream at a place, if there is one. A panic ends only this stream.
    fn poll_one(&mut self, place: Place) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let Some(stream) = &mut slot.stream else { return };
        let mut cx = slot.waker.begin_poll();
        // The panic hook has reported a panic. The stream is reset when it is dropped.
        let polled = catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll(&mut cx)));
        if !polled.is_ok_and(|polled| polled.is_pending()) {
            slot.waker.end();
            slot.stream = None;
            self.free.push(place);
            self.shrink();
        }
    }

    /// Whether no stream is being carried.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Returns most of the memory of a burst of streams once it is over.
    fn shrink(&mut self) {
        if self.is_empty() && self.slots.len() > KEPT {
            self.slots.truncate(KEPT);
            self.slots.shrink_to_fit();
            self.free = (0..KEPT).collect();
        }
    }
}

/// The slots that a connection without streams keeps.
const KEPT: usize = 2;

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering},
        },
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn a_panic_ends_only_its_own_stream() {
        let ended = AtomicU32::new(0);
        let count = || async {
            ended.fetch_add(1, Ordering::Relaxed);
        };
        let mut carried = Carried::new(&Wakes::new());
        carried.begin(count);
        carried.begin(|| async { panic!("a request that is none") });
        carried.begin(count);
        carried.poll(&mut 3);
        assert_eq!(ended.load(Ordering::Relaxed), 2);
        assert!(carried.is_empty() && carried.woken.is_empty());
    }

    #[test]
    fn a_place_is_taken_again_and_a_late_wake_does_no_harm() {
        let wakes = Wakes::new();
        wakes.begin_h2_poll();
        let late = Mutex::new(None);
        let mut carried = Carried::new(&wakes);
        carried.begin(|| {
            poll_fn(|cx| {
                *late.lock().unwrap() = Some(cx.waker().clone());
                Poll::Ready(())
            })
        });
        carried.poll(&mut 1);
        let late = late.lock().unwrap().take().unwrap();
        late.wake_by_ref();
        assert!(wakes.end_turn(), "there is no stream");
        carried.begin(pending);
        assert_eq!(carried.slots.len(), 1);
        carried.poll(&mut 1);
        late.wake();
        assert!(!wakes.end_turn());
        wakes.begin_turn(&Context::from_waker(Waker::noop()), &mut carried.woken);
        carried.poll(&mut 1);
        assert!(wakes.end_turn() && !carried.is_empty());
    }

    #[test]
    fn the_memory_of_a_burst_is_returned() {
        let mut carried = Carried::new(&Wakes::new());
        (0..100).for_each(|_| carried.begin(|| async {}));
        assert_eq!(carried.slots.len(), 100);
        carried.poll(&mut 100);
        assert_eq!((carried.slots.len(), carried.free.len()), (KEPT, KEPT));
        // The slots that are left are usable.
        (0..=KEPT).for_each(|_| carried.begin(pending));
        carried.poll(&mut 100);
        assert!(carried.slots.iter().all(|slot| slot.stream.is_some()));
    }
}
