//! The streams that are being carried, as futures that the connection's task polls.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
};

use super::wakes::{Place, StreamWaker, Wakes};
use crate::in_place;

/// The streams of a connection that are being carried.
pub(super) struct Carried<'c> {
    wakes: Arc<Wakes>,
    slots: Vec<Slot<'c>>,
    /// The places of the slots without a stream.
    free: Vec<Place>,
}

/// Carries one stream, and then another.
struct Slot<'c> {
    stream: Option<Carrying<'c>>,
    waker: StreamWaker,
}

type Carrying<'c> = Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

impl<'c> Carried<'c> {
    pub(super) fn new(wakes: &Arc<Wakes>) -> Self {
        Self { wakes: Arc::clone(wakes), slots: Vec::new(), free: Vec::new() }
    }

    /// Begins to carry a stream, and returns its place. It must be polled there.
    pub(super) fn begin<F: Future<Output = ()> + Send + 'c>(&mut self, carry: impl FnOnce() -> F) -> Place {
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.slots.len();
            self.slots.push(Slot { stream: None, waker: self.wakes.stream_waker(place) });
            place
        });
        self.slots[place].stream = Some(in_place::pinned(carry));
        place
    }

    /// Polls the stream at a place, if there is one. A panic ends only this stream.
    pub(super) fn poll(&mut self, place: Place) {
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

    /// Returns the memory of a burst of streams once it is over.
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
        let places = [
            carried.begin(count),
            carried.begin(|| async { panic!("a request that is none") }),
            carried.begin(count),
        ];
        assert_eq!(places, [0, 1, 2]);
        places.into_iter().for_each(|place| carried.poll(place));
        assert_eq!(ended.load(Ordering::Relaxed), 2);
        assert!(carried.is_empty());
    }

    #[test]
    fn places_are_taken_again_and_a_late_wake_does_no_harm() {
        let (wakes, mut woken) = (Wakes::new(), Vec::new());
        wakes.set_h2_woken(false);
        let late = Mutex::new(None);
        let mut carried = Carried::new(&wakes);
        let place = carried.begin(|| {
            poll_fn(|cx| {
                *late.lock().unwrap() = Some(cx.waker().clone());
                Poll::Ready(())
            })
        });
        carried.poll(place);
        let late = late.lock().unwrap().take().unwrap();
        late.wake_by_ref();
        assert!(wakes.end_turn(&mut woken), "there is no stream");
        assert_eq!(carried.begin(pending), place);
        carried.poll(place);
        late.wake();
        assert!(!wakes.end_turn(&mut woken));
        woken.drain(..).for_each(|place| carried.poll(place));
        assert!(wakes.end_turn(&mut woken));
        assert!(!carried.is_empty());
    }

    #[test]
    fn the_memory_of_a_burst_is_returned() {
        let mut carried = Carried::new(&Wakes::new());
        let places: Vec<_> = (0..100).map(|_| carried.begin(|| async {})).collect();
        assert_eq!(carried.slots.len(), 100);
        places.into_iter().for_each(|place| carried.poll(place));
        assert_eq!((carried.slots.len(), carried.free.len()), (KEPT, KEPT));
        // They are usable.
        for _ in 0..=KEPT {
            let place = carried.begin(pending);
            carried.poll(place);
        }
        assert!(!carried.is_empty());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(
            carried.slots.iter_mut().all(|slot| slot.stream.as_mut().unwrap().as_mut().poll(cx).is_pending())
        );
    }
}
