//! Durations counted in buckets of constant relative width, so that a percentile costs no sorting and no memory
//! that grows with the number of requests.

use std::time::Duration;

/// Buckets to each power of two: a percentile is at most 1/64 too high.
const STEPS_LOG2: u32 = 6;
const STEPS: u64 = 1 << STEPS_LOG2;

/// How often each duration occurred, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket_of(nanos);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// The duration that `percent` (0 to 100) of all durations do not exceed; zero where none was counted.
    pub fn percentile(&self, percent: f64) -> Duration {
        let wanted = (self.count as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return Duration::from_nanos(highest_of(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// The longest duration.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }
}

fn bucket_of(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    let shift = power.saturating_sub(STEPS_LOG2);
    // Past the first 2 * STEPS values, which have a bucket each, every power of two has STEPS of them.
    (u64::from(shift) * STEPS + (nanos >> shift)) as usize
}

fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    let first = (bucket - shift * STEPS) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_values_within_a_64th() {
        for nanos in [0, 1, 63, 64, 127, 128, 129, 1_000, 4_095, 4_096, 123_456_789, 60_000_000_000] {
            let highest = highest_of(bucket_of(nanos));
            assert!(highest >= nanos, "{nanos} in a bucket that ends at {highest}");
            assert!(highest - nanos <= nanos / 64, "{nanos} in a bucket that ends at {highest}");
        }
    }

    #[test]
    fn percentiles_count_from_the_shortest() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), Duration::ZERO, "nothing counted");
        for nanos in 1..=100 {
            histogram.record(Duration::from_nanos(nanos));
        }
        for (percent, want) in [(0.0, 1), (1.0, 1), (50.0, 50), (99.0, 99), (100.0, 100)] {
            assert_eq!(histogram.percentile(percent), Duration::from_nanos(want), "{percent} %");
        }
        assert_eq!((histogram.max(), histogram.count()), (Duration::from_nanos(100), 100));
    }
}
