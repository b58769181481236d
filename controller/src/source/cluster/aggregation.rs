//! Collects what the watches report.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::Client;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    ClusterOptions, Happening, Outlets, Progress, Refusal, Told,
    definitions::Definitions,
    kinds::{Reads, Watched},
    on_demand::{Fetched, OnDemand},
    trouble::Trouble,
};
use crate::{
    Problem,
    cluster::{Observation, Sighting},
    ir::{Object, ObjectKey},
    kinds::Kind,
    problem::Severity,
    snapshot::Change,
    source::{Delta, Demand, Extent},
};

/// The receiver is gone.
pub(super) struct Closed;

/// What the watches have reported, and what of it has not been handed on yet.
pub(super) struct Aggregation {
    watches: Vec<Watched>,
    /// The watches that have reported everything once, or that are not waited for.
    settled: BTreeSet<usize>,
    stage: Stage,
    /// How many deltas were handed on.
    sequence: u64,
    changes: Vec<Change>,
    released: Vec<ObjectKey>,
    seen: Vec<Observation>,
    refused: BTreeMap<ObjectKey, Vec<Problem>>,
    is_refused_new: bool,
    trouble: BTreeMap<usize, Trouble>,
    pub(super) on_demand: OnDemand,
    /// Whether Pods may be read, and whether an XBackend has selected some.
    may_read_pods: bool,
    wants_pods: bool,
    /// Whether any of those was handed on since the last request for the demand: it may refer to more.
    leads_further: bool,
    definitions: watch::Sender<Definitions>,
    are_definitions_new: bool,
    outlets: Outlets,
}

/// How far the start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reading objects that may refer to those that are fetched on demand.
    References,
    /// The delta with this sequence has asked what to fetch.
    Asked(u64),
    /// That is being fetched.
    Fetching,
    Complete,
}

impl Aggregation {
    pub(super) fn new(
        client: Client,
        options: &ClusterOptions,
        watches: Vec<Watched>,
        definitions: watch::Sender<Definitions>,
        outlets: Outlets,
    ) -> Self {
        let aggregation = Self {
            watches,
            settled: BTreeSet::new(),
            stage: Stage::References,
            sequence: 0,
            changes: Vec::new(),
            released: Vec::new(),
            seen: Vec::new(),
            refused: BTreeMap::new(),
            is_refused_new: false,
            trouble: BTreeMap::new(),
            on_demand: OnDemand::new(client, options),
            may_read_pods: options.pods,
            wants_pods: false,
            leads_further: false,
            definitions,
            are_definitions_new: false,
            outlets,
        };
        aggregation.tell_progress();
        aggregation
    }

    pub(super) fn take(&mut self, told: Told) {
        match told.happening {
            Happening::Changed(change) => self.change(change),
            Happening::Refused(refusal) => self.refuse(refusal),
            Happening::Seen(observation) => self.seen.push(observation),
            Happening::Noticed(noticed) => {
                if let Some(change) = self.on_demand.notice(noticed) {
                    self.change(change);
                }
            }
            Happening::Definition(name, release) => {
                self.definitions.send_if_modified(|definitions| {
                    let is_new = definitions.take(name, release);
                    self.are_definitions_new |= is_new;
                    is_new
                });
            }
            Happening::Synced => self.settle(told.watch),
            Happening::Recovered => {
                if self.trouble.remove(&told.watch).is_some() {
                    info!(kind = self.watches[told.watch].plural, "can be read again");
                    self.tell_progress();
                }
            }
            Happening::Trouble(trouble) => self.suffer(told.watch, trouble),
        }
    }

    pub(super) fn take_fetched(&mut self, key: &ObjectKey, fetched: Fetched) {
        match self.on_demand.done(key, fetched) {
            Some(Ok(change)) => self.change(change),
            Some(Err(refusal)) => self.refuse(refusal),
            None => {}
        }
    }

    pub(super) fn take_demand(&mut self, demand: &Demand) {
        for key in self.on_demand.want(&demand.objects) {
            self.is_refused_new |= self.refused.remove(&key).is_some();
            self.released.push(key);
        }
        if let Stage::Asked(sequence) = self.stage
            && demand.sequence >= sequence
        {
            self.stage = Stage::Fetching;
            self.tell_progress();
        }
    }

    /// Whether it is known that a watch has to be open. Kinds that are fetched on demand are watched once it is known what is
    /// wanted; ConfigMaps once one is: a cluster without references to ConfigMaps needs no permission to read them. So are
    /// Pods.
    pub(super) fn needs(&self, watched: &Watched) -> bool {
        let knows_demand = matches!(self.stage, Stage::Fetching | Stage::Complete);
        match watched.on_demand() {
            Some(kind @ Kind::ConfigMap) => knows_demand && self.on_demand.wants(kind),
            Some(_) => knows_demand,
            None => !watched.is_of_pods() || self.wants_pods,
        }
    }

    fn change(&mut self, change: Change) {
        self.is_refused_new |= self.refused.remove(change.key()).is_some();
        self.hand_over(change);
    }

    fn refuse(&mut self, Refusal { key, mut problems, change }: Refusal) {
        problems.retain(|problem| problem.severity == Severity::Error);
        self.is_refused_new |= self.refused.get(&key) != Some(&problems);
        self.refused.insert(key, problems);
        change.into_iter().for_each(|change| self.hand_over(change));
    }

    fn hand_over(&mut self, change: Change) {
        self.leads_further |= change.key().kind.resource().is_on_demand();
        let selects = |change: &Change| matches!(change, Change::Apply(Object::XBackend(backend)) if backend.selector().is_some());
        self.wants_pods |= self.may_read_pods && selects(&change);
        self.changes.push(change);
    }

    fn settle(&mut self, watch: usize) {
        if self.watches[watch].reads == Reads::Definitions {
            self.definitions
                .send_if_modified(|definitions| !std::mem::replace(&mut definitions.complete, true));
            self.are_definitions_new = true;
        }
        if self.settled.insert(watch) {
            self.tell_progress();
        }
    }

    fn suffer(&mut self, watch: usize, trouble: Trouble) {
        let kind = self.watches[watch].plural;
        // A kind that fails is waited for, since it may have objects. One that does not exist has none, and one that
        // may not be read is not waited for. Settings always are: they may forbid something.
        if trouble.is_settled() && self.watches[watch].reads != Reads::Settings {
            self.settled.insert(watch);
        }
        let before = self.trouble.insert(watch, trouble.clone());
        if before.as_ref() == Some(&trouble) {
            return;
        }
        if before.is_none_or(|before| !before.is_like(&trouble)) {
            match &trouble {
                Trouble::Absent => {
                    info!(kind, "not known to the API server; watched as soon as it is")
                }
                Trouble::Unserved(why) => {
                    warn!(
                        kind,
                        why, "cannot be read; objects of this kind that were read before are still served"
                    )
                }
                Trouble::Forbidden(why) => {
                    warn!(
                        kind,
                        why,
                        "no permission to read; objects of this kind that were read before are still served"
                    )
                }
                Trouble::Failing(why) => {
                    warn!(kind, why, "cannot be read; the current configuration stays in effect, retrying")
                }
            }
        }
        self.tell_progress();
    }

    fn tell_progress(&self) {
        let unreadable = self.trouble.iter().filter_map(|(watch, trouble)| {
            let why = match trouble {
                Trouble::Absent => return None,
                Trouble::Forbidden(why) => format!("forbidden: {why}"),
                Trouble::Unserved(why) | Trouble::Failing(why) => why.clone(),
            };
            Some((self.watches[*watch].plural, why))
        });
        let is_awaited = |watched: &Watched| match self.stage {
            Stage::References | Stage::Asked(_) => watched.is_on_demand() || self.needs(watched),
            Stage::Fetching => self.needs(watched),
            Stage::Complete => !watched.is_on_demand() && self.needs(watched),
        };
        let unread = (0..self.watches.len()).filter(|watch| !self.settled.contains(watch));
        let unread = unread.filter(|watch| is_awaited(&self.watches[*watch]));
        let unread = unread.map(|watch| self.watches[watch].plural).collect();
        self.outlets.progress.send_replace(Progress { unread, unreadable: unreadable.collect() });
    }

    /// Hands on everything that is new.
    pub(super) async fn hand_on(&mut self) -> Result<(), Closed> {
        let extent = self.extent();
        let problems = std::mem::take(&mut self.is_refused_new)
            .then(|| self.refused.values().flatten().cloned().collect::<Arc<[_]>>());
        let bundle = std::mem::take(&mut self.are_definitions_new)
            .then(|| self.definitions.borrow().bundle())
            .flatten();
        let changes = last_of_each(std::mem::take(&mut self.changes));
        let released = std::mem::take(&mut self.released);
        let mut delta = Delta { changes, problems, released, extent, bundle, sequence: 0 };
        if !delta.is_empty() {
            self.sequence += 1;
            delta.sequence = self.sequence;
            self.outlets.deltas.send(delta).await.map_err(|_| Closed)?;
        }
        match extent {
            Extent::Partial => {}
            Extent::References => {
                self.stage = Stage::Asked(self.sequence);
                self.leads_further = false;
            }
            Extent::Complete => {
                self.stage = Stage::Complete;
                self.say_what_is_missing();
            }
        }
        for what in self.seen.drain(..) {
            // The writer of statuses may be gone; serving does not depend on it.
            let _ = self.outlets.seen.send(Sighting { sequence: self.sequence, what }).await;
        }
        Ok(())
    }

    /// How much has been told with what is handed on now.
    fn extent(&self) -> Extent {
        let are_settled = |is_waited_for: &dyn Fn(&Watched) -> bool| {
            let watches = self.watches.iter().enumerate();
            let mut ids = watches.filter(|(_, watched)| is_waited_for(watched)).map(|(id, _)| id);
            ids.all(|id| self.settled.contains(&id))
        };
        match self.stage {
            Stage::References if are_settled(&|watched| !watched.is_on_demand() && self.needs(watched)) => {
                Extent::References
            }
            Stage::Fetching if are_settled(&|watched| self.needs(watched)) && self.on_demand.is_settled() => {
                match self.leads_further {
                    true => Extent::References,
                    false => Extent::Complete,
                }
            }
            _ => Extent::Partial,
        }
    }

    fn say_what_is_missing(&self) {
        let absent = |watch: &usize| self.trouble.get(watch) == Some(&Trouble::Absent);
        let is_missed = |watched: &Watched| watched.definition().is_some() && !watched.is_optional();
        let missing: BTreeSet<_> = (0..self.watches.len())
            .filter(|watch| absent(watch) && is_missed(&self.watches[*watch]))
            .map(|watch| self.watches[watch].plural)
            .collect();
        if !missing.is_empty() {
            warn!(
                ?missing,
                "the Gateway API CRDs are not installed, or only some of them; Ingress is served"
            );
        }
        info!("all objects have been read");
    }
}

/// A delta names each object once.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let last: HashMap<_, _> =
        changes.iter().enumerate().map(|(at, change)| (change.key().clone(), at)).collect();
    if last.len() == changes.len() {
        return changes;
    }
    let mut at = 0..;
    changes.into_iter().filter(|change| at.next() == last.get(change.key()).copied()).collect()
}
