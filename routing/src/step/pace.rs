//! The rate of a response.

use std::{num::NonZeroU32, time::Duration};

/// The rate at which the body of a response is sent to the client (`limit-rate` and `limit-rate-after` of an Ingress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// KiB per second.
    pub rate: NonZeroU32,
    /// KiB at the beginning of the body that are not limited.
    pub after: u32,
}

impl Pace {
    /// Returns how many bytes can have been sent at this time after the first byte. As in nginx, the bytes of one second can
    /// be sent immediately.
    pub fn allowed(self, elapsed: Duration) -> u64 {
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_add(1000);
        // 1024 bytes per 1000 ms.
        let counted = u64::from(self.rate.get()).saturating_mul(milliseconds).saturating_mul(1024) / 1000;
        counted.saturating_add(u64::from(self.after) << 10)
    }

    /// Returns the time after the first byte at which this many bytes can have been sent.
    pub fn time_of(self, bytes: u64) -> Duration {
        let counted = bytes.saturating_sub(u64::from(self.after) << 10);
        let per_second = u64::from(self.rate.get()) << 10;
        let milliseconds = counted.saturating_mul(1000).div_ceil(per_second);
        Duration::from_millis(milliseconds.saturating_sub(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_grows_with_time() {
        let pace = Pace { rate: NonZeroU32::new(10).unwrap(), after: 5 };
        for (milliseconds, want) in [(0, 15 << 10), (500, 20 << 10), (1000, 25 << 10), (60_000, 615 << 10)] {
            let at = Duration::from_millis(milliseconds);
            assert_eq!(pace.allowed(at), want, "{milliseconds}");
            assert_eq!(pace.time_of(want), at, "{milliseconds}");
        }
        assert_eq!(pace.time_of(1), Duration::ZERO);
        let most = Pace { rate: NonZeroU32::MAX, after: u32::MAX };
        assert!(most.allowed(Duration::MAX) > 0);
        assert!(most.time_of(u64::MAX) > Duration::ZERO);
    }

    #[test]
    fn the_time_of_a_number_of_bytes_is_enough_for_them() {
        for rate in [1, 3, 7, 1000, u32::MAX] {
            let pace = Pace { rate: NonZeroU32::new(rate).unwrap(), after: 1 };
            for bytes in [0, 1, 1023, 1024, 4097, 1 << 20, 1 << 40] {
                assert!(pace.allowed(pace.time_of(bytes)) >= bytes, "{rate} {bytes}");
            }
        }
    }
}
