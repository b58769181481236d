//! Limits of what clients may send to an owner's rules. What was counted is kept here, beside the table, so that neither a new
//! table nor an edit of the limits gives a client another burst.
//!
//! ```text
//! limiter.rs   a zone for each owner
//! zone.rs      the clients of an owner, and their places
//! bucket.rs    nginx' leaky bucket
//! ```
//!
//! Memory is bounded: each zone holds as many clients as one of ingress-nginx (5 MB), and all of them together a fixed number.
//! Beyond that number a zone keeps a small share of its own, so that the clients of one owner do not displace those of
//! another.

mod bucket;
mod zone;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis_routing::step::Limits;
use tokio::time::Instant;

use self::zone::Zone;
pub(crate) use self::zone::{Place, Refused};

/// How many clients all zones together hold, apart from their shares: about 64 MB.
const CLIENTS: usize = 1 << 19;
/// How often zones that are no longer used are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// The zones of a process.
#[derive(Debug)]
pub(crate) struct Limiter {
    begun: Instant,
    zones: Mutex<HashMap<Box<str>, Arc<Zone>>>,
    /// How many clients the zones hold.
    clients: Arc<AtomicUsize>,
    /// The time of the next sweep, in milliseconds.
    sweep_at: AtomicU64,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            zones: Mutex::default(),
            clients: Arc::default(),
            sweep_at: AtomicU64::new(0),
        }
    }

    /// Counts a request of a client.
    ///
    /// # Errors
    /// If the client has sent too many, or there is no memory left to count it.
    pub(crate) fn admit(&self, limits: &Limits, client: std::net::IpAddr) -> Result<Option<Place>, Refused> {
        // Kept in the rule: the lock is taken once for each table.
        let zone = limits.counts.get_or_find(|| self.zone(&limits.owner)).ok_or(Refused::Full)?;
        zone.admit(limits, client, self.now())
    }

    /// Removes the zones of rules that are gone, once each of their clients could send a whole burst again. Cheap where there
    /// is nothing to do.
    pub(crate) fn sweep(&self) {
        let now = self.now();
        let at = self.sweep_at.load(Ordering::Relaxed);
        let next = now + u64::try_from(SWEEP.as_millis()).unwrap_or(u64::MAX);
        let is_ours = now >= at
            && self.sweep_at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_ours {
            let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody else can take a reference meanwhile: rules find it by this map.
            zones.retain(|_, zone| Arc::strong_count(zone) > 1 || !zone.is_idle(now));
        }
    }

    fn zone(&self, owner: &str) -> Arc<Zone> {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        match zones.get(owner) {
            Some(zone) => Arc::clone(zone),
            None => {
                let zone = Arc::new(Zone::new(Arc::clone(&self.clients), CLIENTS));
                Arc::clone(zones.entry(owner.into()).or_insert(zone))
            }
        }
    }

    /// Milliseconds, from 1 on.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests;
