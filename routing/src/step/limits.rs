//! Limits of requests per client: `limit-rps`, `limit-rpm` and `limit-connections` of an Ingress.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

use http::StatusCode;

use crate::networks::Networks;

/// The limits of each client's requests to all rules of an Ingress together.
#[derive(Debug)]
pub struct Limits {
    /// The owner of the rules, as `namespace/name`: all rules of an owner share the limits.
    pub owner: Arc<str>,
    /// The rates of a client's requests.
    pub rates: Rates,
    /// The maximum number of requests in flight.
    pub in_flight: Option<u32>,
    /// How many leading bits of an IPv6 address identify a client: 128 counts each address, 64 a subscriber's network. The
    /// maximum is 128.
    pub ipv6_prefix: u8,
    /// Clients that are not limited.
    pub exempt: Option<Arc<Networks>>,
    /// The status of requests that exceed a rate.
    pub rate_status: StatusCode,
    /// The status of requests that exceed the number in flight.
    pub in_flight_status: StatusCode,
    /// The counters of the carrier.
    pub counts: Counts,
}

/// Rate limits; a request must comply with all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Configured in requests per second.
    pub second: Option<Rate>,
    /// Configured in requests per minute.
    pub minute: Option<Rate>,
}

/// A rate, and the burst by which requests can exceed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of a request per second.
    pub speed: u64,
    /// Thousandths of a request.
    pub burst: u64,
}

/// The counters of an owner's clients. The carrier looks them up by the owner and stores them here, so that they are looked
/// up once per table and not for each request.
#[derive(Default)]
pub struct Counts(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Rate {
    /// A rate of `requests` in `seconds`, with a burst.
    pub fn new(requests: u32, seconds: u32, burst: u64) -> Self {
        // Rounded down, as in nginx.
        let speed = u64::from(requests) * 1000 / u64::from(seconds.max(1));
        Self { speed, burst: burst.saturating_mul(1000) }
    }
}

impl Limits {
    /// Whether there is a rate limit.
    pub fn is_any(&self) -> bool {
        self.rates != Rates::default() || self.in_flight.is_some()
    }
}

impl Counts {
    /// The counters that were stored first; `find` is called once. `None` if they have another type.
    pub fn get_or_find<T: Any + Send + Sync>(&self, find: impl FnOnce() -> Arc<T>) -> Option<Arc<T>> {
        Arc::clone(self.0.get_or_init(|| find())).downcast().ok()
    }
}

/// Equal if the configuration is equal; counters are not compared.
impl PartialEq for Limits {
    fn eq(&self, other: &Self) -> bool {
        let parts = |limits: &Self| {
            (limits.rates, limits.in_flight, limits.ipv6_prefix, limits.rate_status, limits.in_flight_status)
        };
        self.owner == other.owner && parts(self) == parts(other) && self.exempt == other.exempt
    }
}

impl Eq for Limits {}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner: _, rates: Rates { second, minute }, in_flight, exempt, .. } = self;
        let (rate, status) = (self.rate_status.as_u16(), self.in_flight_status.as_u16());
        f.write_str("limits")?;
        for rate in [second, minute].into_iter().flatten() {
            write!(f, " {}/1000 in a second and {} at once", rate.speed, rate.burst / 1000)?;
        }
        if second.or(*minute).is_some() {
            write!(f, " else {rate}")?;
        }
        in_flight.iter().try_for_each(|most| write!(f, " {most} in flight else {status}"))?;
        if self.ipv6_prefix < 128 {
            write!(f, " by /{} of IPv6", self.ipv6_prefix)?;
        }
        exempt.iter().try_for_each(|networks| write!(f, " not for {networks}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_cut_as_in_nginx() {
        for (requests, seconds, burst, want) in [
            (1, 1, 5, (1000, 5000)),
            (2, 60, 10, (33, 10_000)),
            (1, 60, 5, (16, 5000)),
            (u32::MAX, 1, u64::MAX, (u64::from(u32::MAX) * 1000, u64::MAX)),
        ] {
            let Rate { speed, burst } = Rate::new(requests, seconds, burst);
            assert_eq!((speed, burst), want, "{requests} in {seconds} s");
        }
    }

    #[test]
    fn what_was_found_first_is_kept() {
        let counts = Counts::default();
        assert_eq!(counts.get_or_find(|| Arc::new(1_u8)).as_deref(), Some(&1));
        assert_eq!(counts.get_or_find(|| Arc::new(2_u8)).as_deref(), Some(&1));
        assert_eq!(counts.get_or_find(|| Arc::new("other")), None);
    }
}
