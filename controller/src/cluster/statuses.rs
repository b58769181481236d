//! Writes statuses: what translation says of an object, put into what its status is in the cluster.
//!
//! ```text
//! StatusFeed (desired) \
//! Sighting (live)       > queue -> merge -> write of /status with the resourceVersion that was seen -> events
//! Lease (leads)        /
//! ```
//!
//! Only where there is a difference, one write of an object at a time, and none before the last one was seen. What is
//! seen of an object counts as soon as what is to be said of it is known ([`Sighting`]): nothing is taken back because
//! it was not translated yet.

mod addresses;
mod default_backend;
mod merge;
mod put;
mod queue;
mod refusals;
mod remarks;
mod rewrite_backoff;

pub(super) use merge::same_object;
pub use put::ControllerNames;
pub use refusals::RefusedStatuses;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use kube::Client;
use rand::Rng as _;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tracing::{debug, info, warn};

use super::{
    Leadership, Live, Observation, Sighting,
    events::{self, Recorder, Transition},
    token_bucket::TokenBucket,
};
use crate::{
    StatusFeed,
    ir::{Kind, ObjectKey},
    status_feed::ProblemFeed,
};
use addresses::Addresses;
use default_backend::DefaultBackendRemark;
use put::{Outcome, Write, put};
use queue::Queue;
use refusals::{Manner, Refusals};
use remarks::Remarks;
use rewrite_backoff::RewriteBackoff;

/// Writes at a time.
const AT_ONCE: usize = 8;
/// Writes in a second, once the first [`BURST`] are spent.
const A_SECOND: f64 = 50.0;
const BURST: f64 = 200.0;
/// How long the next write of an object waits for the last one to be seen.
const UNSEEN: Duration = Duration::from_secs(2);
/// Between two writes of one Gateway: each attached route changes its count.
const GATEWAY_PAUSE: Duration = Duration::from_millis(500);
/// How long something new about a Gateway waits for the rest of it: its ports are bound a moment later.
const GATEWAY_REST: Duration = Duration::from_millis(50);
/// After a failure all writes wait, for longer each time, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks whether a term that was over goes on.
const LATE: Duration = Duration::from_millis(500);
/// How long one that we may not write waits.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);

/// The one who writes statuses, while this process leads.
pub struct Writer {
    client: Client,
    feed: StatusFeed,
    seen: mpsc::Receiver<Sighting>,
    leadership: Leadership,
    controllers: ControllerNames,
    recorder: Recorder,
    live: HashMap<ObjectKey, Live>,
    /// Up to which delta everything is said.
    told: Option<u64>,
    /// What was seen and is not said yet.
    early: VecDeque<Sighting>,
    queue: Queue,
    writes: JoinSet<(ObjectKey, Done)>,
    tokens: TokenBucket,
    failures: u32,
    paused: Option<Instant>,
    rewrites: RewriteBackoff,
    /// How often writes of an object conflicted since it was seen.
    conflicts: HashMap<ObjectKey, u32>,
    /// The kinds that we may not write.
    forbidden: BTreeSet<Kind>,
    remarks: Remarks,
    default_backend: DefaultBackendRemark,
    settings: ProblemFeed,
    refusals: Refusals,
    addresses: Addresses,
    hasher: RandomState,
}

/// A write that ended.
struct Done {
    outcome: Outcome,
    uid: Box<str>,
    version: Box<str>,
    /// Of what was to be said.
    desired: u64,
    manner: Manner,
    transitions: Vec<Transition>,
}

/// A write that is about to begin.
struct Begun {
    write: Write,
    desired: u64,
    manner: Manner,
    transitions: Vec<Transition>,
}

impl Writer {
    /// A writer of what `feed` wants, over what is `seen`, while this process leads; `instance` is what its events call it.
    pub fn new(
        client: Client,
        feed: StatusFeed,
        seen: mpsc::Receiver<Sighting>,
        leadership: Leadership,
        controllers: ControllerNames,
        instance: &str,
    ) -> Self {
        Self {
            recorder: Recorder::start(client.clone(), controllers.clone(), instance),
            client,
            default_backend: DefaultBackendRemark::of(feed.default_backend()),
            settings: feed.settings(),
            feed,
            seen,
            leadership,
            controllers,
            live: HashMap::new(),
            told: None,
            early: VecDeque::new(),
            queue: Queue::default(),
            writes: JoinSet::new(),
            tokens: TokenBucket::full(BURST, A_SECOND, Instant::now()),
            failures: 0,
            paused: None,
            rewrites: RewriteBackoff::default(),
            conflicts: HashMap::new(),
            forbidden: BTreeSet::new(),
            remarks: Remarks::new(Instant::now()),
            refusals: Refusals::default(),
            addresses: Addresses::default(),
            hasher: RandomState::new(),
        }
    }

    /// How many statuses the API server refuses.
    pub fn refused(&self) -> RefusedStatuses {
        self.refusals.counted()
    }

    /// Writes until nothing can be seen any more.
    pub async fn run(mut self) {
        let mut leading = self.leadership.is_told();
        loop {
            // A renewal that comes late is told to nobody.
            let wake =
                if leading && self.leadership.is_over() { Some(Instant::now() + LATE) } else { self.wake() };
            tokio::select! {
                biased;
                Ok(()) = self.leadership.changed() => {
                    leading = self.leadership.is_told();
                    self.turn(leading);
                }
                sighting = self.seen.recv() => match sighting {
                    Some(sighting) => self.early.push_back(sighting),
                    None => return,
                },
                Some(done) = self.writes.join_next() => if let Ok((key, done)) = done {
                    self.done(key, done);
                },
                news = self.feed.news(self.told) => {
                    self.told = news.told;
                    news.keys.into_iter().for_each(|key| self.look_at(key, leading));
                }
                () = self.default_backend.changed() => {}
                map = self.settings.changed() => self.note_remarks(&map),
                () = sleep_until(wake), if wake.is_some() => self.wait_no_longer(),
            }
            while self.early.front().is_some_and(|sighting| Some(sighting.sequence) <= self.told) {
                if let Some(Sighting { what, .. }) = self.early.pop_front() {
                    self.observe(what, leading);
                }
            }
            if leading && !self.leadership.is_over() {
                self.dispatch();
                self.tell_remarks();
                self.default_backend.report(&self.recorder);
            }
        }
    }

    /// What was begun as the leader ends with it; whoever becomes the leader looks at everything once.
    fn turn(&mut self, leading: bool) {
        self.queue = Queue::default();
        self.rewrites = RewriteBackoff::default();
        self.writes.abort_all();
        if leading {
            self.live.keys().for_each(|key| self.queue.add(key.clone()));
        }
    }

    fn look_at(&mut self, key: ObjectKey, leading: bool) {
        if !self.feed.serves(&key) {
            return self.remarks.forget(&key);
        }
        self.note_remarks(&key);
        if !leading {
            return;
        }
        if key.kind == Kind::Gateway && !self.queue.is_held(&key) {
            self.queue.hold(key.clone(), Instant::now() + GATEWAY_REST, false);
        }
        self.queue.add(key);
    }

    fn observe(&mut self, observation: Observation, leading: bool) {
        match observation {
            Observation::Seen(key, live) => {
                self.live.insert(key.clone(), live);
                self.conflicts.remove(&key);
                self.queue.seen(&key);
                self.look_at(key, leading);
            }
            Observation::Gone(key) => {
                self.live.remove(&key);
                self.conflicts.remove(&key);
                self.remarks.forget(&key);
                self.refusals.forget(&key);
                self.addresses.forget(&key);
                self.queue.forget(&key);
            }
        }
    }

    fn note_remarks(&mut self, key: &ObjectKey) {
        if self.live.contains_key(key) {
            let remarks = self.feed.remarks(key);
            self.remarks.note(key, (!remarks.is_empty()).then(|| self.hasher.hash_one(remarks)));
        }
    }

    /// Tells as many remarks as may be.
    fn tell_remarks(&mut self) {
        while let Some(key) = self.remarks.next(Instant::now()) {
            let Some(live) = self.live.get(&key) else { continue };
            let transition = events::remarked(&self.feed.remarks(&key));
            if !self.recorder.try_record_lasting(&key, &live.uid, transition) {
                return self.remarks.again(key);
            }
            self.remarks.told(&key);
        }
    }

    fn done(&mut self, key: ObjectKey, done: Done) {
        let now = Instant::now();
        if !matches!(done.outcome, Outcome::Failed(..)) && std::mem::take(&mut self.failures) > 0 {
            info!("statuses can be written again");
        }
        match done.outcome {
            Outcome::Written => {
                if self.forbidden.remove(&key.kind) {
                    info!(kind = %key.kind, "statuses can be written again");
                }
                self.refusals.written(&key, done.manner);
                for transition in done.transitions {
                    self.recorder.record(&key, &done.uid, transition);
                }
                self.wait_after(key, done.desired, now);
            }
            // Somebody else wrote: what they wrote will be seen.
            Outcome::Conflict => {
                let times = self.conflicts.entry(key.clone()).or_default();
                let pause = UNSEEN.saturating_mul(1 << (*times).min(5));
                *times += 1;
                self.queue.hold(key.clone(), now + pause, true);
                self.queue.add(key);
            }
            Outcome::Gone => self.queue.forget(&key),
            Outcome::Refused(why) => {
                let again = self.refusals.note(&key, done.desired, &done.version, done.manner);
                match again {
                    true => {
                        warn!(object = %key, why, "status rejected by the API server; retrying with shortened messages")
                    }
                    false => {
                        warn!(object = %key, why, "status rejected by the API server; not retried until something changes")
                    }
                }
                self.queue.release(&key);
                if again {
                    self.queue.add(key);
                }
            }
            Outcome::Forbidden(why) => {
                if self.forbidden.insert(key.kind) {
                    warn!(kind = %key.kind, why, "no permission to write statuses of this kind");
                }
                self.queue.hold(key.clone(), now + FORBIDDEN_PAUSE, false);
                self.queue.add(key);
            }
            Outcome::Failed(why, after) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
                if self.failures == 0 {
                    warn!(object = %key, why, "statuses cannot be written; retrying");
                }
                self.failures = self.failures.saturating_add(1);
                let pause = pause.max(after.unwrap_or_default()).mul_f64(rand::rng().random_range(1.0..1.5));
                self.paused = Some(now + pause);
                self.queue.release(&key);
                self.queue.add(key);
            }
        }
    }

    /// Until what was written is seen; a Gateway in any case for a while, and one for whose status somebody fights
    /// with us for longer each time.
    fn wait_after(&mut self, key: ObjectKey, desired: u64, now: Instant) {
        let (pause, is_new) = self.rewrites.again(&key, desired, now);
        if is_new {
            warn!(object = %key, "another client repeatedly overwrites this status");
        }
        let gateway = if key.kind == Kind::Gateway { GATEWAY_PAUSE } else { Duration::ZERO };
        let pause = pause.max(gateway);
        match pause.is_zero() {
            true => self.queue.hold(key.clone(), now + UNSEEN, true),
            false => self.queue.hold(key.clone(), now + pause, false),
        }
        self.queue.add(key);
    }

    /// The next time at which something that waits may go on.
    fn wake(&self) -> Option<Instant> {
        let next_token = self.tokens.next(Instant::now());
        let stuck = self.queue.any().then_some(()).and(next_token);
        let remarks = self.remarks.wake(Instant::now()).filter(|_| self.leadership.holds());
        self.queue.wake().into_iter().chain(self.paused).chain(stuck).chain(remarks).min()
    }

    fn wait_no_longer(&mut self) {
        let now = Instant::now();
        self.queue.wait_no_longer(now);
        self.paused = self.paused.filter(|until| *until > now);
    }

    /// Begins as many writes as may be.
    fn dispatch(&mut self) {
        if self.paused.is_some() {
            return;
        }
        while self.writes.len() < AT_ONCE && self.queue.any() && self.tokens.any(Instant::now()) {
            let Some(key) = self.queue.next() else { return };
            let Some(Begun { write, desired, manner, transitions }) = self.write(&key) else { continue };
            self.tokens.take();
            debug!(object = %key, "writing its status");
            self.queue.begin(key.clone());
            let uid = self.live.get(&key).map(|live| live.uid.clone()).unwrap_or_default();
            let (client, version) = (self.client.clone(), write.resource_version.clone());
            let field_manager = self.controllers.field_manager.clone();
            self.writes.spawn(async move {
                let outcome = put(&client, &field_manager, write).await;
                (key, Done { outcome, uid, version, desired, manner, transitions })
            });
        }
    }

    /// What has to be written of an object, if anything.
    fn write(&mut self, key: &ObjectKey) -> Option<Begun> {
        let live = self.live.get(key).filter(|_| self.feed.serves(key))?;
        let (mut desired, generation) = match self.feed.desired(key) {
            Some((desired, generation)) => (Some(desired), generation),
            None => (None, None),
        };
        // One that cannot be read is not what was translated.
        if generation.is_some_and(|generation| generation != live.generation) {
            return None;
        }
        let hash = self.hasher.hash_one(desired.as_ref().map(Value::to_string));
        let manner = self.refusals.manner(key, hash, &live.resource_version);
        match manner {
            Manner::Whole => {}
            Manner::Short => desired.iter_mut().for_each(merge::shorten),
            Manner::Never => return None,
        }
        let before: Value = serde_json::from_str(&live.status).unwrap_or(Value::Null);
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let shape = key.kind.resource().status_shape()?;
        let controller = self.controllers.of(shape);
        let left = self.addresses.note(key, live.generation, &before, desired.as_ref());
        let status = left.or_else(|| merge::merge(shape, &before, desired.as_ref(), controller, &now))?;
        let transitions = events::transitions(shape, &before, &status, controller);
        let resource_version = live.resource_version.clone();
        let write = Write { key: key.clone(), resource_version, status };
        Some(Begun { write, desired: hash, manner, transitions })
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("queue", &self.queue).finish_non_exhaustive()
    }
}

async fn sleep_until(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
}
