//! Which parts of a connection can make progress: h2, and each of its streams.
//!
//! One task polls all of them. Each part has a waker of its own. It notes the part, and wakes the task unless the task is in its
//! turn and will look again.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// The number of a stream among those of its connection.
pub(super) type Place = usize;

/// The parts of a connection that were woken.
#[derive(Debug)]
pub(super) struct Wakes {
    state: Mutex<State>,
    /// Whether h2 was woken since it was last polled.
    h2: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The streams that were woken.
    streams: Vec<Place>,
    task: Waker,
    /// Whether the task is in its turn, or was woken for it.
    is_awake: bool,
}

/// The waker of a stream, kept for the streams that take the same place later.
#[derive(Debug)]
pub(super) struct StreamWaker {
    note: Arc<StreamNote>,
    waker: Waker,
}

#[derive(Debug)]
struct StreamNote {
    wakes: Arc<Wakes>,
    place: Place,
    /// Whether it was woken since it was last polled, or has ended.
    is_woken: AtomicBool,
}

#[derive(Debug)]
struct H2Note(Arc<Wakes>);

impl Wakes {
    /// In the task's first turn, in which h2 is polled.
    pub(super) fn new() -> Arc<Self> {
        let state = State { streams: Vec::new(), task: Waker::noop().clone(), is_awake: true };
        Arc::new(Self { state: Mutex::new(state), h2: AtomicBool::new(true) })
    }

    /// Begins a turn of the task. The streams that were woken are moved to `woken`.
    pub(super) fn begin_turn(&self, cx: &Context<'_>, woken: &mut Vec<Place>) {
        let mut state = self.lock();
        state.task.clone_from(cx.waker());
        state.is_awake = true;
        woken.append(&mut state.streams);
    }

    /// Ends the turn, unless h2 or a stream has been woken during it. Returns whether it has ended: from then on a wake wakes the task.
    pub(super) fn end_turn(&self) -> bool {
        let mut state = self.lock();
        state.is_awake = !state.streams.is_empty() || self.is_h2_woken();
        !state.is_awake
    }

    /// Whether h2 is to be polled.
    pub(super) fn is_h2_woken(&self) -> bool {
        self.h2.load(Ordering::Acquire)
    }

    /// For a poll of h2. A wake from here on is noted again.
    pub(super) fn begin_h2_poll(&self) {
        // Not a store, which could take effect after the poll has checked what it waits for.
        self.h2.swap(false, Ordering::AcqRel);
    }

    /// Makes the waker of h2.
    pub(super) fn h2_waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(H2Note(Arc::clone(self))))
    }

    /// Makes the waker of a stream.
    pub(super) fn stream_waker(self: &Arc<Self>, place: Place) -> StreamWaker {
        let note = StreamNote { wakes: Arc::clone(self), place, is_woken: AtomicBool::new(false) };
        let note = Arc::new(note);
        StreamWaker { waker: Waker::from(Arc::clone(&note)), note }
    }

    /// Wakes the task unless it is awake.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if !mem::replace(&mut state.is_awake, true) {
            let task = state.task.clone();
            drop(state);
            task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamWaker {
    /// For a poll of the stream. A wake from here on is noted again.
    pub(super) fn begin_poll(&self) -> Context<'_> {
        // Not a store, which could take effect after the poll has checked what it waits for.
        self.note.is_woken.swap(false, Ordering::AcqRel);
        Context::from_waker(&self.waker)
    }

    /// For the end of the stream. Later wakes, such as h2's when the stream is closed, are ignored.
    pub(super) fn end(&self) {
        self.note.is_woken.store(true, Ordering::Release);
    }
}

impl Wake for StreamNote {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            let mut state = self.wakes.lock();
            state.streams.push(self.place);
            self.wakes.wake(state);
        }
    }
}

impl Wake for H2Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakes = &*self.0;
        if !wakes.h2.swap(true, Ordering::AcqRel) {
            wakes.wake(wakes.lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicU32,
        time::{Duration, Instant},
    };

    use super::*;

    /// Counts the wakes of the task.
    #[derive(Default)]
    struct Task(AtomicU32);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_is_woken_once_and_only_after_its_turn() {
        let (task, wakes) = (Arc::new(Task::default()), Wakes::new());
        let waker = Waker::from(Arc::clone(&task));
        let (cx, mut woken) = (Context::from_waker(&waker), Vec::new());
        let count = || task.0.load(Ordering::Relaxed);
        let (h2, streams) = (wakes.h2_waker(), [0, 1].map(|place| wakes.stream_waker(place)));

        assert!(wakes.is_h2_woken(), "h2 is polled first");
        wakes.begin_turn(&cx, &mut woken);
        assert!(!wakes.end_turn(), "h2 was not polled");
        wakes.begin_h2_poll();
        streams[1].waker.wake_by_ref();
        assert!(!wakes.end_turn());
        wakes.begin_turn(&cx, &mut woken);
        assert_eq!(mem::take(&mut woken), [1]);
        let _ = streams[1].begin_poll();
        assert!(wakes.end_turn());
        assert_eq!(count(), 0, "the task was in its turn");

        h2.wake_by_ref();
        assert_eq!(count(), 1);
        h2.wake_by_ref();
        streams[0].waker.wake_by_ref();
        streams[1].waker.wake_by_ref();
        streams[0].waker.wake_by_ref();
        assert_eq!(count(), 1);
        wakes.begin_turn(&cx, &mut woken);
        assert_eq!(mem::take(&mut woken), [0, 1]);
        assert!(wakes.is_h2_woken());

        wakes.begin_h2_poll();
        assert!(wakes.end_turn());
        streams[0].waker.wake_by_ref();
        assert_eq!(count(), 1, "it was not polled since it was woken");
        let _ = streams[0].begin_poll();
        streams[0].waker.wake_by_ref();
        assert_eq!(count(), 2);

        wakes.begin_turn(&cx, &mut woken);
        streams[0].end();
        streams[0].waker.wake_by_ref();
        assert!(wakes.end_turn(), "it has ended");
    }

    /// A wake that is lost leaves a stream waiting for ever.
    #[test]
    fn no_wake_of_another_thread_is_lost() {
        const TIMES: u32 = 20_000;
        /// Wakes without waiting, so that one of them comes while the stream is being polled for another.
        const AT_ONCE: u32 = 3;
        const LOST: Duration = Duration::from_secs(20);
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let wakes = Wakes::new();
        wakes.begin_h2_poll();
        let stream = wakes.stream_waker(7);
        let waker = stream.waker.clone();
        let (sent, seen) = (&AtomicU32::new(0), &AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 1..=TIMES * AT_ONCE {
                    sent.store(number, Ordering::Relaxed);
                    waker.wake_by_ref();
                    while number.is_multiple_of(AT_ONCE) && seen.load(Ordering::Acquire) < number {
                        std::hint::spin_loop();
                    }
                }
            });
            let task = Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut woken = Vec::new();
            while seen.load(Ordering::Relaxed) < TIMES * AT_ONCE {
                wakes.begin_turn(&Context::from_waker(&task), &mut woken);
                for place in woken.drain(..) {
                    assert_eq!(place, 7);
                    let _ = stream.begin_poll();
                    seen.store(sent.load(Ordering::Relaxed), Ordering::Release);
                }
                if !wakes.end_turn() || seen.load(Ordering::Relaxed) == TIMES * AT_ONCE {
                    continue;
                }
                let since = Instant::now();
                std::thread::park_timeout(LOST);
                if since.elapsed() >= LOST {
                    // Ends the other thread.
                    seen.store(u32::MAX, Ordering::Release);
                }
            }
        });
        assert_eq!(seen.load(Ordering::Relaxed), TIMES * AT_ONCE, "a wake was lost");
    }
}
