//! The leaky bucket of nginx' `limit_req` (`ngx_http_limit_req_module.c`): in thousandths of a request, by milliseconds, with
//! its rounding. A request that is refused adds nothing.

use portcullis_routing::step::Rate;

/// How far a client's requests are ahead of the speed that is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Thousandths of a request.
    excess: u64,
    /// When it was filled last, in milliseconds; 0 is never.
    last: u64,
}

impl Bucket {
    /// The bucket with one more request at this time; `None` if that is too many.
    pub(super) fn with_request(self, rate: Rate, now: u64) -> Option<Self> {
        if self.last == 0 {
            return Some(Self { excess: 0, last: now });
        }
        // Another thread's clock may be ahead.
        let passed = now.saturating_sub(self.last);
        let excess = (self.excess + 1000).saturating_sub(leaked(rate, passed));
        (excess <= rate.burst).then_some(Self { excess, last: if passed == 0 { self.last } else { now } })
    }

    /// Whether it says no more than one that was never filled, whatever the speed: after a minute at the least.
    pub(super) fn is_empty(self, rate: Option<Rate>, now: u64) -> bool {
        let passed = now.saturating_sub(self.last);
        let leaked = rate.map_or(0, |rate| leaked(rate, passed));
        self.last == 0 || (passed >= 60_000 && (rate.is_none() || leaked >= self.excess))
    }
}

fn leaked(rate: Rate, passed: u64) -> u64 {
    rate.speed.saturating_mul(passed) / 1000
}
