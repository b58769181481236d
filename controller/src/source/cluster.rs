//! Objects of a cluster, by watches.
//!
//! ```text
//! a task for each kind (and namespace): list, watch, decode, compare   watching.rs
//!   -> one task that gathers what they tell                            this file
//!        -> Delta        to the controller
//!        -> Observation  to whoever writes statuses
//!        -> Hindrances   what cannot be read
//! ```
//!
//! Nothing is cleared because a watch breaks: what was read last stays until the API server says otherwise.

mod kinds;
mod watching;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use super::Delta;
use crate::{Problem, cluster::Observation, ir::ObjectKey, problem::Severity, snapshot::Change};
use kinds::{WATCHED, Watched};
use watching::{Closed, Trouble, Watching};

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Namespaces to watch; all when empty.
    pub namespaces: Vec<String>,
}

/// Why a kind cannot be read, by its plural: `("httproutes", "forbidden: ...")`. Kinds that the API server does not
/// know are not among them.
pub type Hindrances = BTreeMap<&'static str, String>;

/// What watches may tell before somebody listens.
const WAITING: usize = 1024;

/// What a watch tells.
struct Told {
    watch: usize,
    happening: Happening,
}

enum Happening {
    Changed(Change),
    Refused(ObjectKey, Vec<Problem>),
    Seen(Observation),
    /// All that exists has been told.
    Synced,
    Trouble(Trouble),
    /// That has passed.
    Recovered,
}

/// Watches until the receiver of deltas is gone.
pub async fn watch(
    client: Client,
    options: ClusterOptions,
    deltas: mpsc::Sender<Delta>,
    seen: mpsc::Sender<Observation>,
    hindrances: watch::Sender<Hindrances>,
) {
    let (to, mut told) = mpsc::channel(WAITING);
    let watches: Vec<_> = WATCHED.iter().flat_map(|watched| places(watched, &options.namespaces)).collect();
    let mut gathering = Gathering::new(watches.iter().map(|(watched, _)| *watched).collect(), hindrances);
    let mut tasks = JoinSet::new();
    for (id, (watched, namespace)) in watches.into_iter().enumerate() {
        let watching = Watching {
            id,
            watched,
            namespace,
            to: to.clone(),
            known: HashMap::new(),
            listed: None,
            refusals: 0,
            failures: 0,
            troubled: false,
        };
        tasks.spawn(watching.run(client.clone()));
    }
    drop(to);
    while let Some(first) = told.recv().await {
        gathering.take(first);
        while let Ok(more) = told.try_recv() {
            gathering.take(more);
        }
        if gathering.hand_on(&deltas, &seen).await.is_err() {
            return;
        }
    }
}

/// One watch for everything, or one for each namespace.
fn places(watched: &Watched, namespaces: &[String]) -> Vec<(Watched, Option<String>)> {
    if namespaces.is_empty() || !watched.is_namespaced() {
        return vec![(*watched, None)];
    }
    namespaces.iter().map(|namespace| (*watched, Some(namespace.clone()))).collect()
}

/// What has been told since it was handed on.
struct Gathering {
    watches: Vec<Watched>,
    /// Those that have told everything once, or that nobody waits for.
    settled: BTreeSet<usize>,
    complete: bool,
    changes: Vec<Change>,
    seen: Vec<Observation>,
    refused: BTreeMap<ObjectKey, Vec<Problem>>,
    is_refused_new: bool,
    trouble: BTreeMap<usize, Trouble>,
    hindrances: watch::Sender<Hindrances>,
}

impl Gathering {
    fn new(watches: Vec<Watched>, hindrances: watch::Sender<Hindrances>) -> Self {
        Self {
            watches,
            settled: BTreeSet::new(),
            complete: false,
            changes: Vec::new(),
            seen: Vec::new(),
            refused: BTreeMap::new(),
            is_refused_new: false,
            trouble: BTreeMap::new(),
            hindrances,
        }
    }

    fn take(&mut self, told: Told) {
        match told.happening {
            Happening::Changed(change) => {
                let key = match &change {
                    Change::Apply(object) => &object.meta().key,
                    Change::Delete(key) => key,
                };
                self.is_refused_new |= self.refused.remove(key).is_some();
                self.changes.push(change);
            }
            Happening::Refused(key, mut problems) => {
                problems.retain(|problem| problem.severity == Severity::Error);
                self.is_refused_new |= self.refused.insert(key, problems.clone()) != Some(problems);
            }
            Happening::Seen(observation) => self.seen.push(observation),
            Happening::Synced => {
                self.settled.insert(told.watch);
            }
            Happening::Recovered => {
                if self.trouble.remove(&told.watch).is_some() {
                    info!(kind = self.watches[told.watch].plural, "can be read again");
                    self.tell_hindrances();
                }
            }
            Happening::Trouble(trouble) => self.suffer(told.watch, trouble),
        }
    }

    fn suffer(&mut self, watch: usize, trouble: Trouble) {
        let kind = self.watches[watch].plural;
        // A kind that fails may have objects that are served: it is waited for. One that does not exist has none, and
        // one that we may not read is not ours to wait for.
        if !matches!(trouble, Trouble::Failing(_)) {
            self.settled.insert(watch);
        }
        let before = self.trouble.insert(watch, trouble.clone());
        if before.map(|before| std::mem::discriminant(&before)) != Some(std::mem::discriminant(&trouble)) {
            match &trouble {
                Trouble::Absent => {
                    info!(kind, "not known to the API server; served as soon as its CRD is installed")
                }
                Trouble::Forbidden(why) => warn!(kind, why, "may not be read; it is served without"),
                Trouble::Failing(why) => {
                    warn!(kind, why, "cannot be read; what is served stays, trying again")
                }
            }
            self.tell_hindrances();
        }
    }

    fn tell_hindrances(&self) {
        let named = self.trouble.iter().filter_map(|(watch, trouble)| {
            let why = match trouble {
                Trouble::Absent => return None,
                Trouble::Forbidden(why) => format!("forbidden: {why}"),
                Trouble::Failing(why) => why.clone(),
            };
            Some((self.watches[*watch].plural, why))
        });
        self.hindrances.send_replace(named.collect());
    }

    async fn hand_on(
        &mut self,
        deltas: &mpsc::Sender<Delta>,
        seen: &mpsc::Sender<Observation>,
    ) -> Result<(), Closed> {
        let is_complete = !self.complete && self.settled.len() == self.watches.len();
        if is_complete {
            self.complete = true;
            self.say_what_is_missing();
        }
        let problems = std::mem::take(&mut self.is_refused_new)
            .then(|| self.refused.values().flatten().cloned().collect::<Arc<[_]>>());
        let changes = last_of_each(std::mem::take(&mut self.changes));
        let delta = Delta { changes, problems, complete: is_complete };
        if !delta.is_empty() {
            deltas.send(delta).await.map_err(|_| Closed)?;
        }
        for observation in self.seen.drain(..) {
            // Whoever writes statuses may be gone; what is served is served all the same.
            let _ = seen.send(observation).await;
        }
        Ok(())
    }

    fn say_what_is_missing(&self) {
        let absent = |watch: &usize| self.trouble.get(watch) == Some(&Trouble::Absent);
        let missing: BTreeSet<_> =
            (0..self.watches.len()).filter(absent).map(|watch| self.watches[watch].plural).collect();
        if !missing.is_empty() {
            warn!(
                ?missing,
                "the Gateway API's CRDs are not installed, or not all of them; Ingress is served without"
            );
        }
        info!("every object has been read");
    }
}

/// A delta names each object once.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let key = |change: &Change| match change {
        Change::Apply(object) => object.meta().key.clone(),
        Change::Delete(key) => key.clone(),
    };
    let last: HashMap<_, _> = changes.iter().enumerate().map(|(at, change)| (key(change), at)).collect();
    let mut at = 0..;
    changes.into_iter().filter(|change| at.next() == last.get(&key(change)).copied()).collect()
}
