//! A fixed rate of requests, whatever becomes of those before: an open loop.
//!
//! A request that is due while every client waits for an answer is sent late, and its latency counts from when it was
//! due. So a stall costs all the requests that it held up, and not only those that were under way (coordinated
//! omission).

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::File,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, sync::Semaphore};

/// Which requests are due.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    due: RefCell<VecDeque<Instant>>,
    ready: Semaphore,
}

impl Pace {
    pub(super) fn new(per_second: f64) -> Self {
        Self { per_second, due: RefCell::default(), ready: Semaphore::new(0) }
    }

    /// Waits for a request that is due, and returns since when.
    pub(super) async fn turn(&self) -> Instant {
        self.ready.acquire().await.expect("nobody closes it").forget();
        self.due.borrow_mut().pop_front().expect("as many as there are permits")
    }

    /// Takes back a request that could not be sent: it is still due since then.
    pub(super) fn take_back(&self, due: Instant) {
        let mut all = self.due.borrow_mut();
        let place = all.partition_point(|earlier| *earlier <= due);
        all.insert(place, due);
        self.ready.add_permits(1);
    }

    /// Makes requests due, until it is dropped.
    pub(super) async fn run(&self) -> Result<()> {
        let interval = Duration::try_from_secs_f64(1.0 / self.per_second).context("rate")?;
        // A timer of the kernel: those of tokio have a resolution of a millisecond, and would send in bursts.
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let every =
            Timespec { tv_sec: interval.as_secs().cast_signed(), tv_nsec: interval.subsec_nanos().into() };
        let mut next = Instant::now() + interval;
        let periodic = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &periodic)?;
        // It is read as a pipe is; `AsyncFd` would need unsafe code.
        let mut timer = pipe::Receiver::from_file_unchecked(File::from(timer))?;
        // Longer than the eight bytes that are read: a short read tells tokio that there are no more.
        let mut read = [0; 16];
        loop {
            timer.read(&mut read).await.context("timer")?;
            let count = read.first_chunk().expect("longer than a number");
            let expired = usize::try_from(u64::from_ne_bytes(*count))?;
            for _ in 0..expired {
                self.due.borrow_mut().push_back(next);
                next += interval;
            }
            self.ready.add_permits(expired);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn what_could_not_be_sent_is_still_due_since_then() {
        let pace = Pace::new(1.0);
        let due = [0, 1, 2].map(|seconds| Instant::now() + Duration::from_secs(seconds));
        for index in [1, 2, 0] {
            pace.take_back(due[index]);
        }
        for wanted in due {
            assert_eq!(pace.turn().await, wanted);
        }
    }

    #[tokio::test]
    async fn what_was_due_meanwhile_counts_from_when_it_was_due() {
        let paced = async {
            let pace = Rc::new(Pace::new(1000.0));
            let began = Instant::now();
            let runs = pace.clone();
            spawn_local(async move { runs.run().await });
            let first = pace.turn().await;
            // A stall, in which twenty requests become due.
            tokio::time::sleep(Duration::from_millis(20)).await;
            for number in 1..=20 {
                let due = pace.turn().await;
                assert_eq!(due - first, Duration::from_millis(number), "request {number}");
            }
            assert!(began.elapsed() >= Duration::from_millis(20));
        };
        LocalSet::new().run_until(paced).await;
    }
}
