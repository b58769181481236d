//! Changes of ports that the API server refuses. Each change is tried again by itself, at growing intervals.

use std::{collections::BTreeMap, time::Duration};

use portcullis_routing::PortKey;
use tokio::time::Instant;

use super::{PAUSE, ports::Change};

/// The longest pause before a refused change is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The changes that are refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    each: BTreeMap<PortKey, Refusal>,
    /// Why the remaining changes of the last attempt failed.
    failure: Option<Failed>,
}

#[derive(Debug)]
struct Refusal {
    change: Change,
    why: String,
    tries: u32,
    until: Instant,
}

#[derive(Debug)]
struct Failed {
    why: String,
    changes: Vec<Change>,
    until: Instant,
}

impl Refusals {
    /// Nothing is asked for.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether these came to nothing a moment ago: whatever happens meanwhile, they wait.
    pub(super) fn waits(&self, changes: &[Change], now: Instant) -> bool {
        let waiting = self.failure.as_ref().filter(|failed| failed.until > now);
        !changes.is_empty()
            && waiting.is_some_and(|failed| changes.iter().all(|change| failed.changes.contains(change)))
    }

    /// Of these changes those that were not refused yet, and those that are to be asked for again. What is not among
    /// them is forgotten.
    pub(super) fn sort(&mut self, changes: &[Change], now: Instant) -> (Vec<Change>, Vec<Change>) {
        self.each.retain(|_, refusal| changes.contains(&refusal.change));
        let (known, fresh): (Vec<_>, Vec<_>) =
            changes.iter().copied().partition(|change| self.each.contains_key(&change.port()));
        let is_due =
            |change: &Change| self.each.get(&change.port()).is_some_and(|refusal| refusal.until <= now);
        (fresh, known.into_iter().filter(is_due).collect())
    }

    /// A change is refused.
    pub(super) fn refuse(&mut self, change: Change, why: String, now: Instant) {
        let tries = self.each.get(&change.port()).map_or(0, |before| before.tries.saturating_add(1));
        let pause = PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
        self.each.insert(change.port(), Refusal { change, why, tries, until: now + pause });
    }

    /// A change was carried out.
    pub(super) fn forget(&mut self, change: Change) {
        self.each.remove(&change.port());
    }

    /// These came to nothing, for a reason that has nothing to do with them.
    pub(super) fn fail(&mut self, why: String, changes: Vec<Change>, now: Instant) {
        let until = now + PAUSE;
        for change in &changes {
            if let Some(refusal) = self.each.get_mut(&change.port()) {
                refusal.until = refusal.until.max(until);
            }
        }
        self.failure = Some(Failed { why, changes, until });
    }

    /// All that was asked for was answered.
    pub(super) fn is_well(&mut self) {
        self.failure = None;
    }

    /// Returns why the last change to a port failed, if it did.
    pub(super) fn of(&self, port: PortKey) -> Option<&str> {
        let refused = self.each.get(&port).map(|refusal| &*refusal.why);
        let failed =
            || self.failure.as_ref().filter(|failed| failed.changes.iter().any(|c| c.port() == port));
        refused.or_else(|| failed().map(|failed| &*failed.why))
    }

    /// Why nothing was written.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(|failed| &*failed.why)
    }

    /// When something is to be asked for again.
    pub(super) fn wake(&self) -> Option<Instant> {
        let each = self.each.values().map(|refusal| refusal.until);
        each.chain(self.failure.iter().map(|failed| failed.until)).min()
    }
}
