//! Notices that nothing moves any more: a write that nobody takes, a request on which nothing happens.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep},
};

use crate::clock::{Ticks, Watch};

/// How often it is looked within the limit, at least. What has not moved is noticed an eighth to two eighths after it: later
/// than a limit of the same length that something else keeps, and can say what was wrong.
const LOOKS: u32 = 8;
/// How often it is looked at most: limits of hours are looked at less often than each [`PAUSE`].
const MANY_LOOKS: u32 = 1000;
/// The longest time between two looks, at which it is also seen whether the client is there.
const PAUSE: Duration = Duration::from_millis(7500);
/// Limits that are shorter are looked at once, at their end, by the coarse clock.
pub(crate) const COARSE: Duration = Duration::from_secs(4);

/// How often it is looked within this limit.
fn looks(limit: Duration) -> u32 {
    // Divisions of 128 bits are slow.
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    u32::try_from(limit.div_ceil(PAUSE.as_millis() as u64)).unwrap_or(u32::MAX).clamp(LOOKS, MANY_LOOKS)
}

thread_local! {
    /// The limit that was divided last, and what came of it. Nearly all requests have the same one, and divisions are slow.
    static DIVIDED: Cell<Option<(Duration, u32, Ticks)>> = const { Cell::new(None) };
}

/// How often the coarse clock is looked at within this limit, beside the look at its end, and the time between two looks.
fn divided(limit: Duration) -> (u32, Ticks) {
    if let Some((divided, looks, pause)) = DIVIDED.get()
        && divided == limit
    {
        return (looks, pause);
    }
    let looks = if limit < COARSE { 0 } else { looks(limit) };
    let pause = Ticks::of(limit).part(looks);
    DIVIDED.set(Some((limit, looks, pause)));
    (looks, pause)
}

/// Looks from time to time whether something has moved. What moves leaves a mark and no more, so that a fast transfer
/// does not pay for a timer at each turn.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    timer: Option<Pin<Box<Sleep>>>,
    pause: Duration,
    moved: bool,
    quiet: u32,
}

impl Stall {
    /// Something has moved.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }

    /// Ready at each look: whether nothing has moved for `limit`. To be polled again then.
    pub(crate) fn poll_look(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<bool> {
        let looks = looks(limit);
        let pause = limit / looks;
        let timer = self.timer.get_or_insert_with(|| {
            self.moved = true;
            Box::pin(sleep(pause))
        });
        if std::mem::replace(&mut self.pause, pause) > pause {
            timer.as_mut().reset(Instant::now() + pause);
        }
        ready!(poll_timer(timer.as_mut(), cx));
        timer.as_mut().reset(Instant::now() + pause);
        self.quiet = if std::mem::take(&mut self.moved) { 0 } else { self.quiet + 1 };
        Poll::Ready(self.quiet > looks)
    }
}

/// The same by the coarse clock, for requests: it sets no timer.
#[derive(Debug)]
pub(crate) struct CoarseStall {
    limit: Duration,
    looks: u32,
    pause: Ticks,
    quiet: u32,
}

impl CoarseStall {
    /// Begins to count to `limit`, by this deadline of the clock.
    pub(crate) fn begin(limit: Duration, watch: &Watch) -> Self {
        let mut stall = Self::new(limit);
        stall.moved(watch);
        stall
    }

    /// Begins to count to `limit` as soon as something [moves](Self::moved).
    pub(crate) fn new(limit: Duration) -> Self {
        let (looks, pause) = divided(limit);
        Self { limit, looks, pause, quiet: 0 }
    }

    /// Counts to this limit, from now on if it is another one.
    pub(crate) fn set_limit(&mut self, limit: Duration, watch: &Watch) {
        if limit != self.limit {
            *self = Self::begin(limit, watch);
        }
    }

    /// Something has moved just before the task waits. Returns whether to wait: `false` for a limit of 0.
    pub(crate) fn moved_and_waits(&mut self, watch: &Watch, waker: &Waker) -> bool {
        self.quiet = 0;
        watch.begin(self.pause, waker);
        !self.limit.is_zero()
    }

    /// Something has moved.
    pub(crate) fn moved(&mut self, watch: &Watch) {
        self.quiet = 0;
        watch.set(self.pause);
    }

    /// Ready at each look: whether nothing has moved for the limit. To be polled again then.
    pub(crate) fn poll_look(&mut self, cx: &mut Context<'_>, watch: &Watch) -> Poll<bool> {
        if !watch.look(cx.waker()) && !self.limit.is_zero() {
            return Poll::Pending;
        }
        self.quiet += 1;
        watch.set(self.pause);
        Poll::Ready(self.quiet > self.looks)
    }
}

/// Polls a timer that wakes its task when it goes off, though it be polled no more. Outside of the task's budget: where
/// that is used up, a timer says that it is pending and notes nobody to wake.
pub(crate) fn poll_timer(timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    pin!(unconstrained(timer)).poll(cx)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn stops(stall: &mut Stall, limit: Duration) {
        poll_fn(|cx| {
            while !ready!(stall.poll_look(cx, limit)) {}
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_moves_is_noticed_within_a_quarter_after_the_limit() {
        let (mut stall, begin) = (Stall::default(), Instant::now());
        stops(&mut stall, LIMIT).await;
        let noticed = begin.elapsed();
        assert!(noticed > LIMIT && noticed <= LIMIT * 5 / 4, "{noticed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_now_and_then_goes_on() {
        let mut stall = Stall::default();
        for seconds in [1, 30, 59, 60] {
            assert!(
                tokio::time::timeout(Duration::from_secs(seconds), stops(&mut stall, LIMIT)).await.is_err()
            );
            stall.moved();
        }
        let begin = Instant::now();
        stops(&mut stall, LIMIT).await;
        let noticed = begin.elapsed();
        assert!(noticed > LIMIT && noticed <= LIMIT * 5 / 4, "{noticed:?}");
    }

    /// Counts to the limit of a request that moves once, at its beginning.
    async fn request_stops(limit: Duration, watch: &Watch) -> Duration {
        let begin = Instant::now();
        let (mut stall, mut begins) = (CoarseStall::new(limit), true);
        poll_fn(|cx| {
            if std::mem::take(&mut begins) && stall.moved_and_waits(watch, cx.waker()) {
                return Poll::Pending;
            }
            while !ready!(stall.poll_look(cx, watch)) {}
            Poll::Ready(())
        })
        .await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_of_a_connection_counts_to_its_own_limit() {
        tokio::spawn(crate::clock::run());
        let watch = Watch::new();
        for limit in [LIMIT, LIMIT, LIMIT / 2, COARSE / 2, LIMIT, LIMIT * 10] {
            assert!(
                tokio::time::timeout(limit / 2, request_stops(limit, &watch)).await.is_err(),
                "{limit:?}"
            );
            let noticed = request_stops(limit, &watch).await;
            let latest = limit * 5 / 4 + 3 * crate::clock::TICK;
            assert!(noticed >= limit && noticed <= latest, "{limit:?}: {noticed:?}");
        }
        assert_eq!(request_stops(Duration::ZERO, &watch).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_gets_shorter_holds_at_once() {
        let mut stall = Stall::default();
        assert!(tokio::time::timeout(LIMIT, stops(&mut stall, LIMIT * 100)).await.is_err());
        stall.moved();
        let begin = Instant::now();
        stops(&mut stall, LIMIT).await;
        assert!(begin.elapsed() <= LIMIT * 5 / 4, "{:?}", begin.elapsed());
    }
}
