//! Objects of a cluster, by watches.
//!
//! ```text
//! a task for each kind (and namespace): list, watch, decode, compare   watching.rs, reading.rs, trouble.rs
//!   -> one task that aggregates what they tell                         aggregation.rs
//!        the CRDs that there are                                       definitions.rs
//!        the objects that translation reads, fetched on demand         on_demand.rs
//!   -> Delta        to the controller; Demand comes back from it
//!   -> Sighting     to whoever writes statuses
//!   -> Progress     what is not read yet, and what cannot be
//! ```
//!
//! Nothing is cleared because a watch breaks: what was read last stays until the API server says otherwise.
//!
//! An object that is refused is not served, whatever was served of it before: a process that starts now would not know,
//! and all replicas serve the same.

mod aggregation;
mod definitions;
mod kinds;
mod on_demand;
mod reading;
mod trouble;
mod watching;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{Delta, Demand};
use crate::{
    Problem,
    cluster::{Observation, Sighting},
    ir::ObjectKey,
    objects::AnnotationsPrefix,
    snapshot::Change,
};
use aggregation::Aggregation;
use definitions::{Definitions, Release};
use kinds::{Watched, watched};
use on_demand::Noticed;
use trouble::Trouble;
use watching::Watching;

/// What to watch.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Namespaces to watch; all when empty.
    pub namespaces: Vec<String>,
    /// A Secret that is read whether an object refers to it or not.
    pub default_certificate: Option<ObjectKey>,
    /// The ConfigMap of settings, wherever it is.
    pub settings_map: Option<ObjectKey>,
    /// The ConfigMaps of TCP and UDP services, wherever they are.
    pub service_maps: Vec<ObjectKey>,
    /// Whether Pods are watched as soon as an XBackend selects some.
    pub pods: bool,
    /// A further prefix of the annotations of Ingresses.
    pub annotations_prefix: AnnotationsPrefix,
    /// How long a watch is asked to last, at least. An API server that is silent for twice as long is taken for gone.
    pub watch_lasts: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            default_certificate: None,
            settings_map: None,
            service_maps: Vec::new(),
            pods: true,
            annotations_prefix: AnnotationsPrefix::default(),
            watch_lasts: Duration::from_secs(60),
        }
    }
}

/// Where what is read goes.
#[derive(Debug)]
pub struct Outlets {
    pub deltas: mpsc::Sender<Delta>,
    /// To whoever writes statuses.
    pub seen: mpsc::Sender<Sighting>,
    pub progress: watch::Sender<Progress>,
}

/// How far reading has come, by the plurals of kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Not read yet; nothing is served before they are.
    pub unread: BTreeSet<&'static str>,
    /// Why a kind cannot be read: `("httproutes", "forbidden: ...")`. Kinds that the API server does not know are not
    /// among them.
    pub unreadable: BTreeMap<&'static str, String>,
}

/// What watches may tell before somebody listens.
const WAITING: usize = 256;

/// What a watch tells.
struct Told {
    watch: usize,
    happening: Happening,
}

enum Happening {
    Changed(Change),
    Refused(Refusal),
    Seen(Observation),
    /// Something about an object of a kind that is fetched on demand.
    Noticed(Noticed),
    /// A CRD, by its name, and its release; nothing where it is gone.
    Definition(Box<str>, Option<Release>),
    /// All that exists has been told.
    Synced,
    Trouble(Trouble),
    /// That has passed.
    Recovered,
}

/// An object that is refused.
struct Refusal {
    key: ObjectKey,
    problems: Vec<Problem>,
    /// What is served in its place; `None` leaves what was read before.
    change: Option<Change>,
}

/// Watches until the receiver of deltas is gone, or the sender of `demand`.
pub async fn watch(
    client: Client,
    options: ClusterOptions,
    mut demand: watch::Receiver<Demand>,
    outlets: Outlets,
) {
    let (to, mut told) = mpsc::channel(WAITING);
    let kinds = watched().into_iter().chain(kinds::on_demand());
    let mut watches: Vec<_> = kinds.flat_map(|watched| places(&watched, &options.namespaces)).collect();
    if let Some(map) = &options.settings_map {
        watches.push((kinds::settings(&map.name), Some((*map.namespace).to_owned())));
    }
    let of_services = options.service_maps.iter();
    watches.extend(of_services.map(|map| (kinds::services(&map.name), Some((*map.namespace).to_owned()))));
    let definitions = watch::Sender::new(Definitions::default());
    let mut tasks = JoinSet::new();
    let mut later = Vec::new();
    for (id, (watched, namespace)) in watches.iter().cloned().enumerate() {
        let (to, definitions) = (to.clone(), definitions.subscribe());
        let is_opened_later = watched.is_opened_later();
        let place = (id, watched, namespace);
        let watching = Watching::new(place, client.clone(), &options, to, definitions);
        match is_opened_later {
            true => later.push(watching),
            false => drop(tasks.spawn(watching.run())),
        }
    }
    drop(to);
    let watched = watches.into_iter().map(|(watched, _)| watched).collect();
    let mut aggregation = Aggregation::new(client, &options, watched, definitions, outlets);
    loop {
        tokio::select! {
            first = told.recv() => {
                let Some(first) = first else { return };
                aggregation.take(first);
                while let Ok(more) = told.try_recv() {
                    aggregation.take(more);
                }
            }
            (key, fetched) = aggregation.on_demand.next() => aggregation.take_fetched(&key, fetched),
            changed = demand.changed() => {
                if changed.is_err() {
                    return;
                }
                let demand = demand.borrow_and_update().clone();
                aggregation.take_demand(&demand);
            }
        }
        if aggregation.hand_on().await.is_err() {
            return;
        }
        let needed = later.extract_if(.., |watching| aggregation.needs(watching.watched()));
        needed.for_each(|watching| drop(tasks.spawn(watching.run())));
    }
}

/// One watch for everything, or one for each namespace.
fn places(watched: &Watched, namespaces: &[String]) -> Vec<(Watched, Option<String>)> {
    if namespaces.is_empty() || !watched.is_namespaced() {
        return vec![(watched.clone(), None)];
    }
    namespaces.iter().map(|namespace| (watched.clone(), Some(namespace.clone()))).collect()
}
