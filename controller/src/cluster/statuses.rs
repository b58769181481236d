//! Writes statuses: what translation says of an object, put into what its status is in the cluster.
//!
//! ```text
//! StatusFeed (desired) \
//! Observation (live)    > pending keys -> merge -> PUT /status with the resourceVersion that was seen
//! Lease (leads)        /
//! ```
//!
//! Only where there is a difference, one write of an object at a time, and none before the last one was seen.

mod merge;
mod put;

pub use put::ControllerNames;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use kube::Client;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{debug, warn};

use super::{Live, Observation};
use crate::{
    StatusFeed,
    ir::{Kind, ObjectKey},
};
use put::{Outcome, Write, put};

/// Writes at a time.
const AT_ONCE: usize = 8;
/// Writes in a second, once the first [`BURST`] are spent.
const A_SECOND: f64 = 50.0;
const BURST: f64 = 200.0;
/// How long the next write of an object waits for the last one to be seen.
const UNSEEN: Duration = Duration::from_secs(2);
/// Between two writes of one Gateway: each attached route changes its count.
const GATEWAY_PAUSE: Duration = Duration::from_millis(500);
/// After a failure all writes wait, for longer each time, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The one who writes statuses, while this process leads.
pub struct Writer {
    client: Client,
    feed: StatusFeed,
    seen: mpsc::Receiver<Observation>,
    leads: watch::Receiver<bool>,
    controllers: ControllerNames,
    live: HashMap<ObjectKey, Live>,
    /// What may have to be written.
    pending: BTreeSet<ObjectKey>,
    /// What waits until then, for its last write to be seen or for a pause to end.
    waiting: HashMap<ObjectKey, Instant>,
    in_flight: HashSet<ObjectKey>,
    writes: JoinSet<(ObjectKey, Outcome)>,
    tokens: Tokens,
    failures: u32,
    paused: Option<Instant>,
}

impl Writer {
    /// A writer of what `feed` wants, over what is `seen`, while this process `leads`.
    pub fn new(
        client: Client,
        feed: StatusFeed,
        seen: mpsc::Receiver<Observation>,
        leads: watch::Receiver<bool>,
        controllers: ControllerNames,
    ) -> Self {
        Self {
            client,
            feed,
            seen,
            leads,
            controllers,
            live: HashMap::new(),
            pending: BTreeSet::new(),
            waiting: HashMap::new(),
            in_flight: HashSet::new(),
            writes: JoinSet::new(),
            tokens: Tokens::full(Instant::now()),
            failures: 0,
            paused: None,
        }
    }

    /// Writes until nothing can be seen any more.
    pub async fn run(mut self) {
        let mut leading = *self.leads.borrow_and_update();
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                Ok(()) = self.leads.changed() => {
                    leading = *self.leads.borrow_and_update();
                    self.turn(leading);
                }
                observation = self.seen.recv() => match observation {
                    Some(observation) => self.observe(observation),
                    None => return,
                },
                Some(done) = self.writes.join_next() => if let Ok((key, outcome)) = done {
                    self.done(key, outcome);
                },
                keys = self.feed.changed() => self.pending.extend(keys),
                () = sleep_until(wake), if wake.is_some() => self.wait_no_longer(),
            }
            if leading {
                self.dispatch();
            } else {
                // All of it is asked again on becoming the leader.
                self.pending.clear();
            }
        }
    }

    /// What was begun as the leader ends with it; whoever becomes the leader looks at everything once.
    fn turn(&mut self, leading: bool) {
        self.waiting.clear();
        if leading {
            self.pending.extend(self.live.keys().cloned());
        } else {
            self.writes.abort_all();
            self.in_flight.clear();
        }
    }

    fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Seen(key, live) => {
                let is_gateway = key.kind == Kind::Gateway;
                if !is_gateway {
                    self.waiting.remove(&key);
                }
                self.live.insert(key.clone(), live);
                self.pending.insert(key);
            }
            Observation::Gone(key) => {
                self.live.remove(&key);
                self.pending.remove(&key);
                self.waiting.remove(&key);
            }
        }
    }

    fn done(&mut self, key: ObjectKey, outcome: Outcome) {
        let now = Instant::now();
        self.in_flight.remove(&key);
        match outcome {
            Outcome::Written => {
                self.failures = 0;
                let pause = if key.kind == Kind::Gateway { GATEWAY_PAUSE } else { UNSEEN };
                self.waiting.insert(key.clone(), now + pause);
                self.pending.insert(key);
            }
            // Somebody else wrote: what they wrote will be seen.
            Outcome::Conflict => {
                self.waiting.insert(key.clone(), now + UNSEEN);
                self.pending.insert(key);
            }
            Outcome::Gone => drop(self.pending.remove(&key)),
            Outcome::Refused(why) => warn!(object = %key, why, "status refused"),
            Outcome::Failed(why) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
                if self.failures == 0 {
                    warn!(object = %key, why, "statuses cannot be written; trying again");
                }
                self.failures = self.failures.saturating_add(1);
                self.paused = Some(now + pause);
                self.pending.insert(key);
            }
        }
    }

    /// The next time at which something that waits may go on.
    fn wake(&self) -> Option<Instant> {
        let next_token = self.tokens.next(Instant::now());
        let stuck = (!self.pending.is_empty()).then_some(()).and(next_token);
        let waiting =
            self.waiting.iter().filter(|(key, _)| self.pending.contains(*key)).map(|(_, until)| *until);
        waiting.chain(self.paused).chain(stuck).min()
    }

    fn wait_no_longer(&mut self) {
        let now = Instant::now();
        self.waiting.retain(|_, until| *until > now);
        self.paused = self.paused.filter(|until| *until > now);
    }

    /// Begins as many writes as may be.
    fn dispatch(&mut self) {
        if self.paused.is_some() {
            return;
        }
        let free = |key: &&ObjectKey| !self.waiting.contains_key(*key) && !self.in_flight.contains(*key);
        let ready: Vec<_> = self.pending.iter().filter(free).cloned().collect();
        for key in ready {
            if self.in_flight.len() >= AT_ONCE || !self.tokens.any(Instant::now()) {
                return;
            }
            self.pending.remove(&key);
            if let Some(write) = self.write(&key) {
                self.tokens.take();
                debug!(object = %key, "writing its status");
                self.in_flight.insert(key.clone());
                let client = self.client.clone();
                self.writes.spawn(async move { (key, put(&client, write).await) });
            }
        }
    }

    /// What has to be written of an object, if anything.
    fn write(&self, key: &ObjectKey) -> Option<Write> {
        let live = self.live.get(key)?;
        let (desired, generation) = match self.feed.desired(key) {
            Some((desired, generation)) => (Some(desired), generation),
            None => (None, None),
        };
        // Translated before or after what was seen: the other one comes.
        if generation.is_some_and(|generation| generation != live.generation) {
            return None;
        }
        let before: Value = serde_json::from_str(&live.status).unwrap_or(Value::Null);
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let controller = self.controllers.of(key.kind);
        let status = merge::merge(key.kind, &before, desired.as_ref(), controller, &now)?;
        Some(Write { key: key.clone(), resource_version: live.resource_version.clone(), status })
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pending, in_flight) = (self.pending.len(), self.in_flight.len());
        f.debug_struct("Writer")
            .field("pending", &pending)
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}

async fn sleep_until(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
}

/// A bucket of them: one a write.
#[derive(Debug)]
struct Tokens {
    left: f64,
    counted: Instant,
}

impl Tokens {
    fn full(now: Instant) -> Self {
        Self { left: BURST, counted: now }
    }

    fn any(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.counted).as_secs_f64() * A_SECOND;
        self.left = (self.left + earned).min(BURST);
        self.counted = now;
        self.left >= 1.0
    }

    fn take(&mut self) {
        self.left -= 1.0;
    }

    /// When there is one again; `None` where there is one.
    fn next(&self, now: Instant) -> Option<Instant> {
        let lacks = 1.0 - self.left;
        (lacks > 0.0).then(|| now.max(self.counted) + Duration::from_secs_f64(lacks / A_SECOND))
    }
}
