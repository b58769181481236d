//! A coarse clock for limits on silence. Setting a deadline is one store; instead of a timer for each wait, all deadlines of
//! a thread are checked four times a second.
//!
//! The clock counts the time in which its thread ran: a thread that was suspended for a minute does not conclude that all
//! of its peers were silent for a minute.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    sync::LazyLock,
    task::{Poll, Waker},
    time::{Duration, SystemTime},
};

use http::HeaderValue;
use slab::Slab;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The time between two checks. A deadline is noticed up to two ticks late, and never early.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// The number of ticks in a second.
const PER_SECOND: u32 = 1000 / TICK.subsec_millis();

thread_local! {
    static CLOCK: RefCell<Clock> = const { RefCell::new(Clock { now: 0, watches: Slab::new() }) };
    static DATE: RefCell<Date> = const { RefCell::new(Date { text: HeaderValue::from_static(""), until: 0 }) };
}

/// The date as HTTP writes it (RFC 9110, 5.6.7).
struct Date {
    text: HeaderValue,
    /// The tick at which the text is out of date.
    until: u32,
}

#[derive(Debug)]
struct Clock {
    /// Ticks since the thread began.
    now: u32,
    watches: Slab<Entry>,
}

#[derive(Debug)]
struct Entry {
    due: u32,
    waker: Option<Waker>,
}

/// A deadline of one task. Once it has passed, the thread's clock wakes the task at each tick. It belongs to the thread that
/// made it.
#[derive(Debug)]
pub(crate) struct Watch {
    key: usize,
}

/// A time of the clock, or a duration, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(u32);

/// Runs this thread's clock. Never returns.
pub(crate) async fn run() {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tick();
    }
}

/// The time now.
pub(crate) fn now() -> Ticks {
    Ticks(CLOCK.with_borrow(|clock| clock.now))
}

/// Milliseconds since the process began to count them.
pub(crate) fn milliseconds() -> u32 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // It wraps around after 49 days.
    BEGAN.elapsed().as_millis() as u32
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Passes the current date in HTTP's format to `use_it`. It may be up to a second old.
pub(crate) fn with_date<T>(use_it: impl FnOnce(&HeaderValue) -> T) -> T {
    let now = now().0;
    DATE.with_borrow_mut(|date| {
        if date.until <= now {
            let text = httpdate::fmt_http_date(SystemTime::now());
            date.text = HeaderValue::try_from(text).expect("a date is visible ASCII");
            date.until = now + 3;
        }
        use_it(&date.text)
    })
}

fn tick() {
    CLOCK.with_borrow_mut(|clock| {
        clock.now += 1;
        let now = clock.now;
        for (_, entry) in &clock.watches {
            if entry.due <= now
                && let Some(waker) = &entry.waker
            {
                waker.wake_by_ref();
            }
        }
    });
}

impl Ticks {
    /// The number of ticks in `time`, rounded up.
    pub(crate) fn of(time: Duration) -> Self {
        Self(ticks(time, time.subsec_millis().div_ceil(TICK.subsec_millis())))
    }

    /// A number of ticks that certainly pass within `time`; `None` if there is none.
    pub(crate) fn within(time: Duration) -> Option<Self> {
        ticks(time, time.subsec_millis() / TICK.subsec_millis()).checked_sub(2).map(Self)
    }

    /// One of this many equal parts, rounded up; no parts are one.
    pub(crate) fn part(self, parts: u32) -> Self {
        Self(self.0.div_ceil(parts.max(1)))
    }

    /// Whether at least `limit` has passed since this time.
    pub(crate) fn is_past(self, limit: Self) -> bool {
        // One tick more: this time may have been at the end of its tick.
        now().0.saturating_sub(self.0) > limit.0
    }
}

/// The number of ticks in the whole seconds of `time`, plus `rest`. `Duration::as_millis` would need a division of 128 bits, which
/// is slow.
fn ticks(time: Duration, rest: u32) -> u32 {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    seconds.saturating_mul(PER_SECOND).saturating_add(rest)
}

impl Watch {
    /// A deadline that is not set.
    pub(crate) fn new() -> Self {
        let entry = Entry { due: u32::MAX, waker: None };
        Self { key: CLOCK.with_borrow_mut(|clock| clock.watches.insert(entry)) }
    }

    /// Sets the task to wake. A task's waker stays the same for its life, so the clone is made once.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        self.with(|entry, _| entry.set_waker(waker));
    }

    /// Sets the deadline to `limit` from now.
    pub(crate) fn set(&self, limit: Ticks) {
        self.with(|entry, now| entry.set(limit, now));
    }

    /// Sets the task to wake, as [`Self::set_waker`] does, and the deadline to `limit` from now.
    pub(crate) fn begin(&self, limit: Ticks, waker: &Waker) {
        self.with(|entry, now| {
            entry.set_waker(waker);
            entry.set(limit, now);
        });
    }

    /// Takes the deadline away.
    pub(crate) fn lift(&self) {
        self.with(|entry, _| entry.due = u32::MAX);
    }

    /// Sets the task to wake, as [`Self::set_waker`] does. Returns whether the deadline has passed.
    pub(crate) fn look(&self, waker: &Waker) -> bool {
        self.with(|entry, now| {
            entry.set_waker(waker);
            entry.due <= now
        })
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_due(&self) -> bool {
        self.with(|entry, now| entry.due <= now)
    }

    /// Runs `work` until it is done or the deadline has passed, which returns `None`.
    ///
    /// The future is passed pinned, so that it is not moved.
    pub(crate) async fn until_due<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if self.look(cx.waker()) => Poll::Ready(None),
            done => done.map(Some),
        })
        .await
    }

    fn with<T>(&self, act: impl FnOnce(&mut Entry, u32) -> T) -> T {
        CLOCK.with_borrow_mut(|clock| {
            let now = clock.now;
            act(&mut clock.watches[self.key], now)
        })
    }
}

impl Entry {
    fn set(&mut self, limit: Ticks, now: u32) {
        self.due = now.saturating_add(limit.0).saturating_add(1);
    }

    fn set_waker(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_none_or(|before| !before.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread may be ending.
        let _ = CLOCK.try_with(|clock| clock.borrow_mut().watches.try_remove(self.key));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::pin,
    };

    use tokio::time::Instant;

    use super::*;

    async fn due(watch: &Watch) {
        assert_eq!(watch.until_due(pin!(pending::<()>())).await, None);
    }

    #[test]
    fn durations_are_counted_in_ticks() {
        for (ms, of, within) in [
            (0, 0, None),
            (1, 1, None),
            (250, 1, None),
            (251, 2, None),
            (999, 4, Some(1)),
            (1000, 4, Some(2)),
            (1001, 5, Some(2)),
            (60_000, 240, Some(238)),
            (u64::MAX, u32::MAX, Some(u32::MAX - 2)),
        ] {
            let time = Duration::from_millis(ms);
            assert_eq!((Ticks::of(time), Ticks::within(time)), (Ticks(of), within.map(Ticks)), "{ms} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_never_early_and_at_most_two_ticks_late() {
        tokio::spawn(run());
        for ms in [1, 250, 251, 1000, 60_000] {
            for offset in [0, 1, 100, 249] {
                tokio::time::sleep(Duration::from_millis(offset)).await;
                let (watch, begin, limit) = (Watch::new(), Instant::now(), Duration::from_millis(ms));
                watch.set(Ticks::of(limit));
                due(&watch).await;
                let waited = begin.elapsed();
                assert!(waited >= limit && waited <= limit + 2 * TICK, "{ms} ms: {waited:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_can_be_moved_and_lifted() {
        tokio::spawn(run());
        let (watch, begin) = (Watch::new(), Instant::now());
        let second = Ticks::of(Duration::from_secs(1));
        for _ in 0..10 {
            watch.set(second);
            tokio::time::sleep(Duration::from_millis(900)).await;
            assert!(!watch.is_due());
        }
        watch.lift();
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(!watch.is_due());
        watch.set(second);
        due(&watch).await;
        assert!(begin.elapsed() >= Duration::from_secs(110));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_wakes_the_task_that_it_was_set_with() {
        tokio::spawn(run());
        let (watch, begin, limit) = (Watch::new(), Instant::now(), Duration::from_secs(1));
        let mut polls = 0;
        let woken = poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                watch.begin(Ticks::of(limit), cx.waker());
            }
            if polls == 2 { Poll::Ready(watch.is_due()) } else { Poll::Pending }
        });
        assert_eq!(tokio::time::timeout(10 * limit, woken).await, Ok(true));
        let waited = begin.elapsed();
        assert!(waited >= limit && waited <= limit + 2 * TICK, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_done_in_time_is_not_late() {
        tokio::spawn(run());
        let watch = Watch::new();
        watch.set(Ticks::of(Duration::from_secs(1)));
        let work = pin!(tokio::time::sleep(Duration::from_millis(900)));
        assert_eq!(watch.until_due(work).await, Some(()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(watch.until_due(pin!(ready(1))).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_passed_is_known_within_a_tick() {
        tokio::spawn(run());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (since, limit) = (now(), Duration::from_secs(4));
        tokio::time::sleep(limit - Duration::from_millis(1)).await;
        assert!(!since.is_past(Ticks::of(limit)));
        tokio::time::sleep(2 * TICK).await;
        assert!(since.is_past(Ticks::of(limit)));
    }

    #[test]
    fn watches_that_end_leave_their_place() {
        let first = Watch::new();
        let key = first.key;
        drop(first);
        assert_eq!(Watch::new().key, key);
    }
}
