//! How slowly the body of a request may arrive while it is buffered.

use std::time::Duration;

use tokio::time::Instant;

/// The minimum rate in bytes per second, on average over the time limit.
const RATE: u64 = 1 << 10;

/// The progress of a body. The limit is the time without progress, and the time in which bytes must arrive at the minimum rate.
#[derive(Debug)]
pub(super) struct Progress {
    limit: Duration,
    /// When bytes last arrived.
    last: Instant,
    /// When the current measurement began.
    begin: Instant,
    /// The bytes that have arrived since then.
    bytes: u64,
}

impl Progress {
    pub(super) fn begin(limit: Duration) -> Self {
        let now = Instant::now();
        Self { limit, last: now, begin: now, bytes: 0 }
    }

    /// The time within which more bytes must arrive; `None` if it has passed.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let since = if self.is_fast_enough() { self.last } else { self.begin };
        let left = (since + self.limit).saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Notes that bytes have arrived.
    pub(super) fn arrived(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let now = Instant::now();
        if self.is_fast_enough() && now >= self.begin + self.limit {
            (self.begin, self.bytes) = (now, 0);
        }
        self.last = now;
        self.bytes += bytes as u64;
    }

    /// Excludes time in which nothing was read from the client.
    pub(super) fn exclude(&mut self, time: Duration) {
        self.last += time;
        self.begin += time;
    }

    fn is_fast_enough(&self) -> bool {
        u128::from(self.bytes) * 1000 >= u128::from(RATE) * self.limit.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Seconds until a body ends that has so many bytes each so many seconds, up to an hour.
    async fn ends(every: u64, bytes: usize) -> u64 {
        let begin = Instant::now();
        let mut progress = Progress::begin(LIMIT);
        while begin.elapsed() < Duration::from_secs(3600) {
            let left = progress.time_left().unwrap_or_default();
            if left < Duration::from_secs(every) {
                sleep(left).await;
                break;
            }
            sleep(Duration::from_secs(every)).await;
            progress.arrived(bytes);
        }
        begin.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_must_arrive_at_the_minimum_rate() {
        for (every, bytes, want) in [
            (1, 1 << 10, 3600),
            (1, 1023, 60),
            (1, 0, 60),
            (50, 1, 60),
            (50, 1 << 20, 3600),
            (61, 1 << 20, 60),
        ] {
            assert_eq!(ends(every, bytes).await / 10, want / 10, "{bytes} each {every} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_becomes_slow_is_ended() {
        let mut progress = Progress::begin(LIMIT);
        progress.arrived(1 << 20);
        sleep(Duration::from_secs(59)).await;
        progress.arrived(1);
        sleep(Duration::from_secs(2)).await;
        // Another minute is measured from here on.
        progress.arrived(1);
        sleep(Duration::from_secs(50)).await;
        progress.arrived(1);
        assert_eq!(progress.time_left().unwrap().as_secs(), 10);
        progress.exclude(Duration::from_secs(5));
        assert_eq!(progress.time_left().unwrap().as_secs(), 15);
        progress.arrived(60 << 10);
        assert_eq!(progress.time_left(), Some(LIMIT));
        sleep(LIMIT).await;
        assert_eq!(progress.time_left(), None);
    }
}
