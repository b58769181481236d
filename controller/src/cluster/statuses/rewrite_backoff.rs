//! How often the same was written over what somebody else made of it.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::ir::ObjectKey;

/// After so long a write is no answer to another one.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// So many times the same may be written without a pause: two replicas in a change of leaders do.
const FREE: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Writes that are remembered, at least.
const KEPT: usize = 1024;

/// What was written last of each object.
#[derive(Debug, Default)]
pub(super) struct RewriteBackoff {
    last: HashMap<ObjectKey, Written>,
}

#[derive(Debug)]
struct Written {
    /// Hash of what was to be said.
    desired: u64,
    at: Instant,
    /// How often the same was written before.
    times: u32,
}

impl RewriteBackoff {
    /// Notes a write; returns how long the next one of the object has to wait, and whether that is so for the first
    /// time.
    pub(super) fn again(&mut self, key: &ObjectKey, desired: u64, now: Instant) -> (Duration, bool) {
        if self.last.len() > KEPT {
            self.last.retain(|_, written| now.duration_since(written.at) < FORGOTTEN);
        }
        let before = self.last.get(key).filter(|written| now.duration_since(written.at) < FORGOTTEN);
        let times =
            before.filter(|written| written.desired == desired).map_or(0, |written| written.times + 1);
        self.last.insert(key.clone(), Written { desired, at: now, times });
        match times.checked_sub(FREE) {
            None => (Duration::ZERO, false),
            Some(over) => (FIRST_PAUSE.saturating_mul(1 << over.min(8)).min(LONGEST_PAUSE), over == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    #[test]
    fn the_same_again_and_again_takes_longer_each_time() {
        let (mut rewrites, mut now) = (RewriteBackoff::default(), Instant::now());
        let key = ObjectKey::new(Kind::HttpRoute, "shop", "web");
        for (desired, later, want) in
            [(1, 1, 0), (1, 1, 0), (1, 1, 1), (1, 1, 2), (1, 2, 4), (2, 4, 0), (1, 1, 0), (1, 301, 0)]
        {
            now += Duration::from_secs(later);
            let (pause, _) = rewrites.again(&key, desired, now);
            assert_eq!(pause, Duration::from_secs(want), "{desired} after {later} s");
        }
    }
}
