//! Which parts of a connection can go on: h2, and each of its streams.
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

    /// Ends the turn, unless h2 or a stream has been woken during it. These streams are moved to `woken`. Returns whether the turn has
    /// ended: from then on a wake wakes the task.
    pub(super) fn end_turn(&self, woken: &mut Vec<Place>) -> bool {
        let mut state = self.lock();
        state.is_awake = !state.streams.is_empty() || self.is_h2_woken();
        woken.append(&mut state.streams);
        !state.is_awake
    }

    /// Whether h2 is to be polled.
    pub(super) fn is_h2_woken(&self) -> bool {
        self.h2.load(Ordering::Acquire)
    }

    /// Notes whether h2 is to be polled. The caller is in a turn of the task.
    pub(super) fn set_h2_woken(&self, is_woken: bool) {
        self.h2.store(is_woken, Ordering::Release);
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
        self.note.is_woken.store(false, Ordering::Release);
        Context::from_waker(&self.waker)
    }

    /// After the stream's last poll. h2 wakes a stream once it is closed, for nobody.
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
        assert!(!wakes.end_turn(&mut woken), "h2 was not polled");
        wakes.set_h2_woken(false);
        streams[1].waker.wake_by_ref();
        assert!(!wakes.end_turn(&mut woken));
        assert_eq!(mem::take(&mut woken), [1]);
        let _ = streams[1].begin_poll();
        assert!(wakes.end_turn(&mut woken));
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

        wakes.set_h2_woken(false);
        assert!(wakes.end_turn(&mut woken));
        streams[0].waker.wake_by_ref();
        assert_eq!(count(), 1, "it was not polled since it was woken");
        let _ = streams[0].begin_poll();
        streams[0].waker.wake_by_ref();
        assert_eq!(count(), 2);

        wakes.begin_turn(&cx, &mut woken);
        streams[0].end();
        streams[0].waker.wake_by_ref();
        woken.clear();
        assert!(wakes.end_turn(&mut woken), "it has ended");
    }

    /// A wake that is lost leaves a stream waiting for ever.
    #[test]
    fn no_wake_of_another_thread_is_lost() {
        const TIMES: u32 = 20_000;
        const LOST: Duration = Duration::from_secs(20);
        let wakes = Wakes::new();
        wakes.set_h2_woken(false);
        let stream = wakes.stream_waker(7);
        let waker = stream.waker.clone();
        let (sent, seen) = (&AtomicU32::new(0), &AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 1..=TIMES {
                    sent.store(number, Ordering::Release);
                    waker.wake_by_ref();
                    while seen.load(Ordering::Acquire) < number {
                        std::thread::yield_now();
                    }
                }
            });
            struct Unpark(std::thread::Thread);
            impl Wake for Unpark {
                fn wake(self: Arc<Self>) {
                    self.0.unpark();
                }
            }
            let task = Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut woken = Vec::new();
            while seen.load(Ordering::Relaxed) < TIMES {
                wakes.begin_turn(&Context::from_waker(&task), &mut woken);
                loop {
                    for place in woken.drain(..) {
                        assert_eq!(place, 7);
                        let _ = stream.begin_poll();
                        seen.store(sent.load(Ordering::Acquire), Ordering::Release);
                    }
                    if wakes.end_turn(&mut woken) {
                        break;
                    }
                }
                let (number, since) = (seen.load(Ordering::Relaxed), Instant::now());
                if number < TIMES {
                    std::thread::park_timeout(LOST);
                }
                if since.elapsed() >= LOST {
                    // Ends the other thread.
                    seen.store(u32::MAX, Ordering::Release);
                }
            }
        });
        assert_eq!(seen.load(Ordering::Relaxed), TIMES, "a wake was lost");
    }
}
