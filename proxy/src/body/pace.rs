//! The rate at which the body of a response is sent.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use portcullis_routing::step::Pace;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::stall::poll_timer;

/// The minimum size of a write is the number of bytes for this fraction of a second.
const PART: u64 = 8;

/// Limits the rate of one response.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    /// When the first part of the body could be sent.
    begin: Option<Instant>,
    sent: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pacer {
    /// Creates a pacer. The time is counted from the first part of the body.
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, begin: None, sent: 0, timer: None }
    }

    /// Ready with the number of bytes, at most `wanted`, that can be sent now.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        if wanted == 0 {
            return Poll::Ready(0);
        }
        let begin = *self.begin.get_or_insert_with(Instant::now);
        let least = ((u64::from(self.pace.rate.get()) << 10) / PART).min(wanted as u64);
        loop {
            let now = Instant::now();
            let room = self.pace.allowed(now - begin).saturating_sub(self.sent);
            if room >= least {
                return Poll::Ready(usize::try_from(room).unwrap_or(usize::MAX).min(wanted));
            }
            let at = begin + self.pace.time_of(self.sent.saturating_add(least));
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            ready!(poll_timer(timer.as_mut(), cx));
        }
    }

    /// Waits until bytes can be sent, and returns how many, at most `wanted`.
    pub(crate) async fn room(&mut self, wanted: usize) -> usize {
        poll_fn(|cx| self.poll_room(cx, wanted)).await
    }

    /// Notes that bytes were sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_as_long_as_its_pace_says() {
        for (rate, after, bytes, seconds) in [
            (10, 0, 10 << 10, 0.0),
            (10, 0, 30 << 10, 2.0),
            (10, 5, 35 << 10, 2.0),
            (1, 0, 10 << 10, 9.0),
            (1000, 0, 1 << 20, 0.024),
            (u32::MAX, 0, 1 << 20, 0.0),
        ] {
            let mut pacer = Pacer::new(Pace { rate: NonZeroU32::new(rate).unwrap(), after });
            // The time before the body is not counted.
            assert_eq!(pacer.room(0).await, 0);
            sleep_until(Instant::now() + Duration::from_secs(5)).await;
            let begin = Instant::now();
            let (mut left, mut writes) = (bytes, 0);
            while left > 0 {
                let n = pacer.room(left.min(64 << 10)).await;
                assert!(n > 0);
                pacer.sent(n);
                (left, writes) = (left - n, writes + 1);
            }
            let took = begin.elapsed().as_secs_f64();
            assert!((took - seconds).abs() < 0.01, "{rate} {after} {bytes}: {took}");
            assert!(writes <= 17 + 8 * took as usize, "{writes} writes");
        }
    }
}
