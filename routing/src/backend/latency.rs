//! How long an endpoint takes to answer: a mean in which the latest answers count most.
//!
//! The mean decays to 0 while nothing is heard of the endpoint, so that one that was slow is asked again (the `ewma` of
//! ingress-nginx, after Finagle's peak EWMA). All threads share it, and only backends that are balanced by it touch it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A mean of durations. The upper half is the mean in seconds, as a float; the lower half is the time of the last one,
/// in milliseconds since any instant.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

/// After so many seconds a duration counts for a third of what it counted.
const DECAY: f32 = 10.0;

impl Latency {
    /// Begins with a mean, known at this time.
    pub(super) fn begin(&self, mean: f32, now: u32) {
        self.0.store(pack(mean, now), Ordering::Relaxed);
    }

    /// The mean and the time of the last duration; `None` if there was none.
    pub(super) fn last(&self) -> Option<(f32, u32)> {
        Some(unpack(self.0.load(Ordering::Relaxed))).filter(|(mean, _)| *mean > 0.0)
    }

    /// The mean, as far as it has decayed by now.
    pub(super) fn now(&self, now: u32) -> f32 {
        let (mean, at) = unpack(self.0.load(Ordering::Relaxed));
        mean * decayed(at, now)
    }

    /// Counts a duration, in seconds. Of two threads at the same time, one may be lost.
    pub(super) fn count(&self, took: f32, now: u32) {
        let (mean, at) = unpack(self.0.load(Ordering::Relaxed));
        let weight = if mean > 0.0 { decayed(at, now) } else { 0.0 };
        self.begin(mean * weight + took * (1.0 - weight), now);
    }
}

fn decayed(at: u32, now: u32) -> f32 {
    // The clock wraps around after 49 days. What is half of that ago is read as in the future, and has not decayed.
    let passed = now.wrapping_sub(at).cast_signed().max(0);
    (-(passed as f32) / 1000.0 / DECAY).exp()
}

fn pack(mean: f32, at: u32) -> u64 {
    u64::from(mean.to_bits()) << 32 | u64::from(at)
}

fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_decays_and_the_latest_duration_counts_most() {
        let latency = Latency::default();
        assert_eq!((latency.now(5), latency.last()), (0.0, None));
        latency.count(1.0, 1_000);
        assert_eq!((latency.now(1_000), latency.now(500)), (1.0, 1.0));
        let later = latency.now(11_000);
        assert!((0.36..0.37).contains(&later), "{later}");
        latency.count(3.0, 11_000);
        let mean = latency.now(11_000);
        assert!((2.2..2.3).contains(&mean), "{mean}");
        assert_eq!(latency.last(), Some((mean, 11_000)));
    }

    #[test]
    fn the_clock_may_wrap_around() {
        let latency = Latency::default();
        latency.count(1.0, u32::MAX - 4_999);
        assert!((0.36..0.37).contains(&latency.now(5_000)));
    }
}
