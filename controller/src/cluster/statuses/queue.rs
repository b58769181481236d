//! What is to be looked at, and what has to wait before it is.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::{cluster::turns::Turns, ir::ObjectKey};

/// Objects whose statuses may have to be written; each is written by one at a time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Of a namespace Gateways first, then routes.
    ready: Turns<ObjectKey>,
    held: HashMap<ObjectKey, Held>,
    /// When those that are held are let go.
    times: BTreeSet<(Instant, ObjectKey)>,
}

#[derive(Debug)]
struct Held {
    /// `None` while it is being written.
    until: Option<Instant>,
    /// Whether it is let go as soon as the object is seen.
    until_seen: bool,
    /// Whether it is to be looked at then.
    again: bool,
}

impl Queue {
    /// To be looked at, as soon as it may be.
    pub(super) fn add(&mut self, key: ObjectKey) {
        match self.held.get_mut(&key) {
            Some(held) => held.again = true,
            None => self.make_ready(key),
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<ObjectKey> {
        self.ready.next().map(|(key, ())| key)
    }

    fn make_ready(&mut self, key: ObjectKey) {
        self.ready.insert(&key.clone().namespace, key, ());
    }

    /// Whether it was.
    fn unready(&mut self, key: &ObjectKey) -> bool {
        self.ready.remove(&key.namespace, key).is_some()
    }

    pub(super) fn is_held(&self, key: &ObjectKey) -> bool {
        self.held.contains_key(key)
    }

    /// It is being written.
    pub(super) fn begin(&mut self, key: ObjectKey) {
        self.unready(&key);
        self.put(key, Held { until: None, until_seen: false, again: false });
    }

    /// Not before then, or before it is seen.
    pub(super) fn hold(&mut self, key: ObjectKey, until: Instant, until_seen: bool) {
        let again = self.held.get(&key).is_some_and(|held| held.again) | self.unready(&key);
        self.put(key.clone(), Held { until: Some(until), until_seen, again });
        self.times.insert((until, key));
    }

    fn put(&mut self, key: ObjectKey, held: Held) {
        if let Some(Held { until: Some(until), .. }) = self.held.insert(key.clone(), held) {
            self.times.remove(&(until, key));
        }
    }

    pub(super) fn release(&mut self, key: &ObjectKey) {
        let Some(held) = self.held.remove(key) else { return };
        if let Some(until) = held.until {
            self.times.remove(&(until, key.clone()));
        }
        if held.again {
            self.make_ready(key.clone());
        }
    }

    /// The object was seen.
    pub(super) fn seen(&mut self, key: &ObjectKey) {
        if self.held.get(key).is_some_and(|held| held.until_seen) {
            self.release(key);
        }
    }

    /// The object is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.release(key);
        self.unready(key);
    }

    /// When the next one is let go.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.times.first().map(|(until, _)| *until)
    }

    pub(super) fn wait_no_longer(&mut self, now: Instant) {
        while let Some((_, key)) = self.times.first().filter(|(until, _)| *until <= now) {
            let key = key.clone();
            self.release(&key);
        }
    }
}
