//! A bucket of tokens: so many at once, and so many in a second after that.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct TokenBucket {
    most: f64,
    a_second: f64,
    left: f64,
    counted: Instant,
}

impl TokenBucket {
    pub(super) fn full(most: f64, a_second: f64, now: Instant) -> Self {
        Self { most, a_second, left: most, counted: now }
    }

    pub(super) fn any(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.counted).as_secs_f64() * self.a_second;
        self.left = (self.left + earned).min(self.most);
        self.counted = now;
        self.left >= 1.0
    }

    pub(super) fn take(&mut self) {
        self.left -= 1.0;
    }

    /// When there is one again; `None` where there is one.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let lacks = 1.0 - self.left;
        // A little later than exactly then: what is added up of small steps may lack the last bit.
        let wait = Duration::from_secs_f64(lacks.max(0.0) / self.a_second) + Duration::from_millis(1);
        (lacks > 0.0).then(|| now.max(self.counted) + wait)
    }
}
