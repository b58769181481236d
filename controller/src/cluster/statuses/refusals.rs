//! Statuses that the API server refuses as invalid or too large: each is written once more with shortened messages, and
//! then not again until the status or the object changes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::ir::ObjectKey;

/// How many objects have a status that is refused even with shortened messages. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct RefusedStatuses(Arc<AtomicUsize>);

/// The refused status of each object.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    last: HashMap<ObjectKey, Refused>,
    given_up: RefusedStatuses,
}

#[derive(Clone, Debug)]
struct Refused {
    /// Hash of the desired status.
    desired: u64,
    /// The version of the object that it was written over.
    version: Box<str>,
    /// Whether it was refused with shortened messages too.
    is_final: bool,
}

/// How a status is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Whole,
    /// With shortened messages.
    Short,
    /// Not at all, since it would be refused again.
    Never,
}

impl RefusedStatuses {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Refusals {
    pub(super) fn counted(&self) -> RefusedStatuses {
        self.given_up.clone()
    }

    pub(super) fn manner(&self, key: &ObjectKey, desired: u64, version: &str) -> Manner {
        match self.last.get(key).filter(|refused| refused.desired == desired) {
            None => Manner::Whole,
            Some(refused) if refused.is_final && *refused.version == *version => Manner::Never,
            Some(_) => Manner::Short,
        }
    }

    /// Records a refusal; returns whether to try again.
    pub(super) fn note(&mut self, key: &ObjectKey, desired: u64, version: &str, manner: Manner) -> bool {
        let is_final = manner != Manner::Whole;
        self.last.insert(key.clone(), Refused { desired, version: version.into(), is_final });
        self.count();
        !is_final
    }

    /// Records that a status was written.
    pub(super) fn written(&mut self, key: &ObjectKey, manner: Manner) {
        match (manner, self.last.get_mut(key)) {
            (_, None) => {}
            (Manner::Whole, Some(_)) => self.forget(key),
            // In full it would be refused again.
            (_, Some(refused)) => {
                refused.is_final = false;
                self.count();
            }
        }
    }

    /// Records that the object is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        if self.last.remove(key).is_some() {
            self.count();
        }
    }

    fn count(&self) {
        let count = self.last.values().filter(|refused| refused.is_final).count();
        self.given_up.0.store(count, Ordering::Relaxed);
    }
}
