//! Shares the turns of a connection's task among h2 and the streams that are being carried.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::task::coop::has_budget_remaining;

use super::{carried::Carried, wakes::Wakes};

/// The maximum number of streams that are polled before the worker's other connections are served. A stream that compresses a body, for example, takes
/// nothing of the budget that the runtime gives to a task for each turn.
const MAX_POLLS: u32 = 64;

/// Polls h2 and those streams of a connection that were woken.
pub(super) struct Driver<'c> {
    wakes: Arc<Wakes>,
    h2_waker: Waker,
    carried: Carried<'c>,
    /// Whether the last turn used up the task's budget. Without it, h2 can neither read nor write.
    is_spent: bool,
}

impl<'c> Driver<'c> {
    pub(super) fn new() -> Self {
        let wakes = Wakes::new();
        Self { h2_waker: wakes.h2_waker(), carried: Carried::new(&wakes), wakes, is_spent: false }
    }

    /// Has the next turn poll h2.
    pub(super) fn wake_h2(&self) {
        self.h2_waker.wake_by_ref();
    }

    /// Polls what was woken. Ready when `poll_h2` is: the connection has ended. The streams that `poll_h2` begins to carry are polled in
    /// the same turn, as far as there is room and budget.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut poll_h2: impl FnMut(&mut Context<'_>, &mut Carried<'c>) -> Poll<()>,
    ) -> Poll<()> {
        self.wakes.begin_turn(cx, &mut self.carried.woken);
        let mut room = MAX_POLLS;
        if mem::take(&mut self.is_spent) && self.poll_h2(&mut poll_h2).is_ready() {
            return Poll::Ready(());
        }
        // First, so that h2 sends what all of them have for the client.
        self.carried.poll(&mut room);
        if self.wakes.is_h2_woken() && has_budget_remaining() && self.poll_h2(&mut poll_h2).is_ready() {
            return Poll::Ready(());
        }
        self.carried.poll(&mut room);
        self.end_turn(cx);
        Poll::Pending
    }

    /// Carries the streams of a connection that has ended. Ready when none is left.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wakes.begin_turn(cx, &mut self.carried.woken);
        self.carried.poll(&mut { MAX_POLLS });
        if self.carried.is_empty() {
            return Poll::Ready(());
        }
        self.wakes.begin_h2_poll();
        self.end_turn(cx);
        Poll::Pending
    }

    fn poll_h2(
        &mut self,
        poll_h2: &mut impl FnMut(&mut Context<'_>, &mut Carried<'c>) -> Poll<()>,
    ) -> Poll<()> {
        self.wakes.begin_h2_poll();
        poll_h2(&mut Context::from_waker(&self.h2_waker), &mut self.carried)
    }

    /// Wakes the task for another turn if this one was too short.
    fn end_turn(&mut self, cx: &Context<'_>) {
        self.is_spent = !has_budget_remaining();
        if self.is_spent || !self.carried.woken.is_empty() || !self.wakes.end_turn() {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicU32, Ordering},
        task::ready,
        time::Duration,
    };

    use tokio::{
        sync::oneshot,
        task::{coop::poll_proceed, yield_now},
        time::timeout,
    };

    use super::*;

    /// A turn of a connection that does not end, and what the runtime does between two turns.
    async fn turn<'c>(driver: &mut Driver<'c>, mut poll_h2: impl FnMut(&mut Context<'_>, &mut Carried<'c>)) {
        poll_fn(|cx| {
            let ended = driver.poll(cx, |cx, carried| {
                poll_h2(cx, carried);
                Poll::Pending
            });
            assert!(ended.is_pending());
            Poll::Ready(())
        })
        .await;
        yield_now().await;
    }

    /// Uses up what is left of the task's budget.
    fn poll_busy(cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(poll_proceed(cx)).made_progress();
        }
    }

    #[tokio::test]
    async fn h2_sends_the_answers_of_all_streams_in_their_turn() {
        let answers = AtomicU32::new(0);
        let (mut driver, mut h2_polls) = (Driver::new(), 0);
        turn(&mut driver, |cx, carried| {
            h2_polls += 1;
            for _ in 0..3 {
                let (h2, answers, mut waits) = (cx.waker().clone(), &answers, false);
                carried.begin(|| {
                    poll_fn(move |cx| {
                        if !mem::replace(&mut waits, true) {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        answers.fetch_add(1, Ordering::Relaxed);
                        h2.wake_by_ref();
                        Poll::Ready(())
                    })
                });
            }
        })
        .await;
        assert_eq!((h2_polls, answers.load(Ordering::Relaxed)), (1, 0), "each stream was polled once");
        let mut sent = None;
        turn(&mut driver, |_, _| sent = Some(answers.load(Ordering::Relaxed))).await;
        assert_eq!(sent, Some(3));
    }

    /// Otherwise busy streams would keep the connection from reading, and from sending what they have for the client.
    #[tokio::test]
    async fn h2_is_polled_first_after_streams_have_used_up_the_budget() {
        let (mut driver, mut h2_polls) = (Driver::new(), 0);
        for number in 1..=6 {
            turn(&mut driver, |cx, carried| {
                if h2_polls == 0 {
                    (0..3).for_each(|_| carried.begin(|| poll_fn(poll_busy)));
                }
                assert!(has_budget_remaining(), "poll {h2_polls}");
                h2_polls += 1;
                // It has something to do in each turn.
                cx.waker().wake_by_ref();
            })
            .await;
            assert_eq!(h2_polls, number, "it had its turn");
        }
    }

    /// Such a poll achieves nothing, but would be taken for a sign of life of the stream's backend.
    #[tokio::test]
    async fn no_stream_is_polled_without_budget() {
        let polls = AtomicU32::new(0);
        let (mut driver, mut begun) = (Driver::new(), false);
        for _ in 0..8 {
            turn(&mut driver, |_, carried| {
                let begun = mem::replace(&mut begun, true);
                for _ in 0..if begun { 0 } else { 2 } {
                    carried.begin(|| poll_fn(poll_busy));
                    carried.begin(|| {
                        poll_fn(|_| {
                            // A panic would end the stream, and not fail this test.
                            polls.fetch_add(if has_budget_remaining() { 1 } else { 100 }, Ordering::Relaxed);
                            Poll::Pending
                        })
                    });
                }
            })
            .await;
        }
        assert_eq!(polls.load(Ordering::Relaxed), 2, "each was polled once: nothing wakes them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_bounded_and_followed_by_another() {
        let polls = AtomicU32::new(0);
        let (mut driver, mut turns) = (Driver::new(), 0);
        let served = poll_fn(|cx| {
            let _ = driver.poll(cx, |_, carried| {
                for _ in 0..3 * MAX_POLLS {
                    carried.begin(|| {
                        poll_fn(|_| {
                            polls.fetch_add(1, Ordering::Relaxed);
                            Poll::Pending
                        })
                    });
                }
                Poll::Pending
            });
            turns += 1;
            assert_eq!(polls.load(Ordering::Relaxed), turns * MAX_POLLS);
            if turns == 3 { Poll::Ready(()) } else { Poll::Pending }
        });
        timeout(Duration::from_secs(1), served).await.expect("the task is woken");
    }

    #[tokio::test]
    async fn the_streams_of_a_connection_that_has_ended_are_carried_to_their_ends() {
        let (mut driver, mut gone) = (Driver::new(), None);
        let ended = poll_fn(|cx| {
            let ended = driver.poll(cx, |_, carried| {
                let (go, going) = oneshot::channel::<()>();
                gone = Some(go);
                carried.begin(|| async { drop(going.await) });
                Poll::Ready(())
            });
            Poll::Ready(ended)
        });
        assert!(ended.await.is_ready());
        assert!(poll_fn(|cx| Poll::Ready(driver.poll_rest(cx))).await.is_pending());
        gone.unwrap().send(()).unwrap();
        poll_fn(|cx| driver.poll_rest(cx)).await;
    }
}
