//! What is remarked about accepted objects: which of it has not been told yet.
//!
//! A remark is not left out, since it is all that its owner sees of a path that is closed: it waits for its turn.

use std::collections::HashMap;

use tokio::time::Instant;

use super::super::{token_bucket::TokenBucket, turns::Turns};
use crate::ir::ObjectKey;

/// Remarks in a second, once the first [`BURST`] are told.
const A_SECOND: f64 = 1.0;
const BURST: f64 = 20.0;

/// The remarks about all objects, by their hashes.
#[derive(Debug)]
pub(super) struct Remarks {
    known: HashMap<ObjectKey, Known>,
    waiting: Turns<ObjectKey>,
    tokens: TokenBucket,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// `None` is no remark at all.
    now: Option<u64>,
    /// What was told last by this process.
    told: Option<u64>,
}

impl Remarks {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            waiting: Turns::default(),
            tokens: TokenBucket::full(BURST, A_SECOND, now),
        }
    }

    /// Takes up what there is to remark about an object.
    pub(super) fn note(&mut self, key: &ObjectKey, now: Option<u64>) {
        let known = self.known.entry(key.clone()).or_insert(Known { now: None, told: None });
        known.now = now;
        if known.now == known.told {
            self.waiting.remove(&key.namespace, key);
        } else {
            self.waiting.insert(&key.namespace, key.clone(), ());
        }
    }

    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.known.remove(key);
        self.waiting.remove(&key.namespace, key);
    }

    /// The next one that may be told now.
    pub(super) fn next(&mut self, now: Instant) -> Option<ObjectKey> {
        if self.waiting.is_empty() || !self.tokens.any(now) {
            return None;
        }
        self.tokens.take();
        self.waiting.next().map(|(key, ())| key)
    }

    /// It is told.
    pub(super) fn told(&mut self, key: &ObjectKey) {
        if let Some(known) = self.known.get_mut(key) {
            known.told = known.now;
        }
    }

    /// It could not be told.
    pub(super) fn again(&mut self, key: ObjectKey) {
        self.waiting.insert(&key.namespace.clone(), key, ());
    }

    /// When the next one may be told.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.tokens.next(now).unwrap_or(now))
    }
}
