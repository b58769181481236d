//! What the backends of a case received.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Backend;
use crate::wire::{Header, digest};

/// A request that a backend received.
#[derive(Clone, Debug, Default)]
pub struct Hit {
    pub name: String,
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Vec<Header>,
    /// Length and digest.
    pub body: (usize, String),
    pub tls: bool,
    pub sni: Option<String>,
    pub cert: String,
    /// Nothing more of it will come.
    pub complete: bool,
    pub number: u64,
}

/// Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Hits(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    hits: Vec<Hit>,
    next: u64,
}

/// A hit that is not complete.
#[derive(Debug)]
pub struct Open {
    hits: Hits,
    number: u64,
}

impl Hits {
    /// Notes a request of which the head is here.
    pub(super) fn open(&self, backend: &Backend, line: [String; 3], headers: &[Header]) -> Open {
        let [method, target, version] = line;
        let hit = Hit {
            name: backend.name.as_ref().to_owned(),
            method,
            target,
            version,
            headers: headers.to_vec(),
            tls: backend.tls.is_some(),
            sni: backend.tls.as_ref().and_then(|tls| tls.sni.clone()),
            cert: backend.tls.as_ref().map(|tls| tls.subject.clone()).unwrap_or_default(),
            ..Hit::default()
        };
        let mut noted = self.lock();
        let number = noted.next;
        noted.next += 1;
        noted.hits.push(Hit { number, ..hit });
        Open { hits: self.clone(), number }
    }

    /// Those until now, once there are so many and all are complete; what is there when the time is over otherwise.
    pub async fn settled(&self, count: usize, time: Duration) -> Vec<Hit> {
        let begin = Instant::now();
        loop {
            {
                let hits = &self.lock().hits;
                let enough = hits.len() >= count && hits.iter().all(|hit| hit.complete);
                if enough || begin.elapsed() >= time {
                    return hits.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.lock().hits.clear();
    }

    /// Changes a hit, unless it has been forgotten since.
    fn change(&self, number: u64, change: impl FnOnce(&mut Hit)) {
        if let Some(hit) = self.lock().hits.iter_mut().find(|hit| hit.number == number) {
            change(hit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The body is here.
    pub(super) fn complete(self, body: &[u8]) {
        self.hits.change(self.number, |hit| hit.body = (body.len(), digest(body)));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.hits.change(self.number, |hit| hit.complete = true);
    }
}
