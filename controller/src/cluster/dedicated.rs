//! Makes the Service of each Gateway that has addresses of its own, and the EndpointSlices that lead from it to us.
//!
//! ```text
//! index        --DesiredServices--------------------------------\
//! watches      --Live: Services and slices of ours, the slices of   > plan() -> Acts -> backoff -> apply, patch, delete
//!                the Service that we come in through, the record,   |
//!                what pods report---------------------------------- |
//! proxy        --which ports are bound------------------------------|
//! lease        --who leads-----------------------------------------/
//! watches      --the record: which of our ports is whose----------> index, which binds them
//! ```
//!
//! The leader writes at once, and only where desired and observed state differ. First it records which of our ports
//! belongs to which Gateway. Every replica reads the record, binds the ports and reports them; a pod that has reported
//! a port becomes an endpoint of it. Slices have to follow even if the leader dies: if a difference lasts for some
//! seconds, the other replicas write them, each once per difference.
//!
//! - `desired.rs`: the desired Services, as translation has them
//! - `plan.rs`: pure: desired and observed state -> what to write
//! - `record.rs`: which of our ports belongs to which Gateway
//! - `allocate.rs`: pure: which are given to Gateways and taken back next
//! - `reports.rs`: which ports pods have bound
//! - `manifests.rs`: the desired Services and slices
//! - `difference.rs`: whether the observed ones differ from those
//! - `backoff.rs`: what may be done now, and what has to wait
//! - `live.rs`: watches
//! - `target.rs`: what is written, by name

mod allocate;
mod backoff;
mod desired;
mod difference;
mod live;
mod manifests;
mod plan;
mod record;
mod reports;
mod target;
mod written;

pub use desired::{DesiredService, DesiredServices};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
};
use portcullis_routing::PortKey;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use crate::{
    Bindings,
    cluster::Leadership,
    ir::ObjectKey,
    translate::{Allocation, PortRange},
};
use allocate::QUARANTINE;
use backoff::WriteBackoff;
use live::Live;
use plan::{Act, Deed, Identity, Now, Place, Plan, plan};
use record::Record;
use target::{Target, TargetKind};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// Writes at a time.
const AT_ONCE: usize = 8;
/// Events of watches that may wait to be handled.
const WAITING: usize = 256;

/// By Gateway: why its Service could not be brought to its desired state.
pub type ProvisioningErrors = BTreeMap<ObjectKey, Box<str>>;

/// Where Services are made, and with what.
#[derive(Clone, Debug)]
pub struct DedicatedOptions {
    /// Namespaces that are watched; all when empty.
    pub namespaces: Vec<String>,
    /// The Service that all other traffic comes in through, and whose endpoints our pods are: `(namespace, name)`.
    pub own_service: Option<(String, String)>,
    /// The ports that Services may lead to.
    pub range: PortRange,
    /// The ConfigMap that records which port belongs to which Gateway: `(namespace, name)`.
    pub record: (String, String),
    /// The ConfigMap in which replicas report what they have bound.
    pub reports: (String, String),
    /// The name of this replica's pod; it keeps replicas from stepping in for the leader at the same time.
    pub identity: String,
    /// The controller whose Gateways these are; what was made for Gateways of another one is left alone.
    pub controller: Box<str>,
    /// Our name in `metadata.managedFields`.
    pub field_manager: String,
}

/// The channels to and from the rest of the process.
#[derive(Debug)]
pub struct DedicatedLinks {
    /// `None` until everything has been read.
    pub desired: watch::Receiver<Option<Arc<DesiredServices>>>,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Which ports are bound.
    pub bindings: watch::Receiver<Arc<Bindings>>,
    pub provisioning_errors: watch::Sender<ProvisioningErrors>,
    /// The recorded ports; `None` until the record has been read, or is known to be unreadable.
    pub allocation: watch::Sender<Option<Arc<Allocation>>>,
}

/// Creates and deletes Services and EndpointSlices until the sender of the desired ones is gone.
pub async fn provide(client: Client, options: DedicatedOptions, mut links: DedicatedLinks) {
    let (tell, mut seen) = mpsc::channel(WAITING);
    let live = Live::watch(&client, &options, &tell);
    drop(tell);
    let mut provider = Provider::new(client, &options, live);
    let mut leads = links.leadership.is_told();
    loop {
        let wake = provider.backoff.wake();
        tokio::select! {
            Ok(()) = links.leadership.changed() => {
                // A report comes with each renewal of the Lease.
                let now = links.leadership.is_told();
                if std::mem::replace(&mut leads, now) != now {
                    provider.turn();
                }
            }
            Ok(()) = links.bindings.changed() => {}
            changed = links.desired.changed() => if changed.is_err() { return },
            happened = seen.recv() => match happened {
                Some(happened) => provider.live.take(happened),
                None => return,
            },
            Some(done) = provider.writes.join_next() => if let Ok((target, outcome)) = done {
                provider.done(target, outcome);
            },
            () = sleep_until(wake), if wake.is_some() => {}
        }
        // Events that have arrived together are handled together.
        while let Ok(happened) = seen.try_recv() {
            provider.live.take(happened);
        }
        provider.take_record();
        provider.tell_allocation(&links.allocation);
        provider.bind(&links.bindings.borrow_and_update());
        let desired = links.desired.borrow_and_update().clone();
        let errors = match desired {
            Some(desired) if provider.live.is_complete() => {
                let may_write = links.leadership.holds();
                Some(provider.go_on(&desired, leads, may_write))
            }
            Some(desired) if leads => provider.unreadable(&desired),
            _ => None,
        };
        if let Some(errors) = errors {
            links.provisioning_errors.send_if_modified(|before| {
                let is_other = *before != errors;
                *before = errors;
                is_other
            });
        }
    }
}

struct Provider {
    client: Client,
    place: Place,
    live: Live,
    backoff: WriteBackoff,
    /// The record as it was read last; if somebody deletes the ConfigMap, it is created again from this.
    recorded: Option<Record>,
    /// Ports that were taken out of the record by hand, and when, in seconds since 1970.
    lost: BTreeMap<u16, u64>,
    /// The broken lines of the record that were logged last.
    broken: Vec<String>,
    bound: Option<BTreeSet<PortKey>>,
    in_flight: BTreeSet<Target>,
    writes: JoinSet<(Target, Result<(), String>)>,
}

impl Provider {
    fn new(client: Client, options: &DedicatedOptions, live: Live) -> Self {
        let name = |(namespace, name): &(String, String)| (namespace.as_str().into(), name.as_str().into());
        Self {
            client,
            backoff: WriteBackoff::new(&options.identity),
            place: Place {
                range: options.range,
                record: name(&options.record),
                reports: name(&options.reports),
                pod: reports::key(&options.identity),
                identity: Identity {
                    controller: options.controller.clone(),
                    field_manager: options.field_manager.clone(),
                },
                has_endpoints: options.own_service.is_some(),
            },
            live,
            recorded: None,
            lost: BTreeMap::new(),
            broken: Vec::new(),
            bound: None,
            in_flight: BTreeSet::new(),
            writes: JoinSet::new(),
        }
    }

    /// Takes up the record if it has changed.
    fn take_record(&mut self) {
        let record::Read { record, broken } = self.live.record();
        if let (Some(first), true) = (broken.first(), *broken != self.broken) {
            let (namespace, name) = &self.place.record;
            let count = broken.len();
            warn!(config_map = %format!("{namespace}/{name}"), count, first, "the port allocations have invalid lines");
        }
        self.broken.clone_from(broken);
        if record.is_none() || *record == self.recorded {
            return;
        }
        let now = seconds();
        if let (Some(before), Some(record)) = (&self.recorded, record) {
            self.lost.extend(record.lost_since(before).map(|port| (port, now)));
        }
        self.lost.retain(|_, when| now.saturating_sub(*when) < QUARANTINE);
        self.recorded.clone_from(record);
    }

    /// Sends the recorded ports, as soon as they are known.
    fn tell_allocation(&self, to: &watch::Sender<Option<Arc<Allocation>>>) {
        let now = match (self.live.knows_record(), &self.recorded) {
            (None, _) => return,
            (Some(_), Some(record)) => record.allocation.clone(),
            (Some(_), None) => Allocation::default(),
        };
        to.send_if_modified(|before| {
            let is_other = before.as_deref() != Some(&now);
            if is_other {
                *before = Some(Arc::new(now));
            }
            is_other
        });
    }

    fn bind(&mut self, bindings: &Bindings) {
        let is_ours = |port: &PortKey| self.place.range.contains(port.number);
        let bound = bindings.iter().filter(|(_, bound)| bound.is_ok()).map(|(port, _)| *port);
        let bound: BTreeSet<_> = bound.filter(is_ours).collect();
        // At first nothing is bound because nothing has been tried.
        if self.bound.is_some() || !bindings.is_empty() {
            self.bound = Some(bound);
        }
    }

    /// The errors of Gateways while the record may not be read.
    fn unreadable(&self, desired: &DesiredServices) -> Option<ProvisioningErrors> {
        let Some(Err(why)) = self.live.knows_record() else { return None };
        let (namespace, name) = &self.place.record;
        let text = format!("ConfigMap {namespace}/{name} with the port allocations cannot be read: {why}");
        Some(desired.services.keys().map(|gateway| (gateway.clone(), text.as_str().into())).collect())
    }

    /// This replica has become the leader, or no longer is.
    fn turn(&mut self) {
        // Writes that were begun in the former role are abandoned.
        self.writes.abort_all();
        self.in_flight.clear();
        self.backoff.clear();
    }

    /// Begins the writes that are due and allowed now, and returns the provisioning error of each Gateway. `may_write`
    /// is false for a leader whose term is over, even before it learns that another one leads.
    fn go_on(&mut self, desired: &DesiredServices, leads: bool, may_write: bool) -> ProvisioningErrors {
        let now = Now {
            recorded: self.recorded.as_ref(),
            lost: &self.lost,
            bound: self.bound.as_ref(),
            time: seconds(),
        };
        let Plan { acts, mut errors } = plan(desired, &self.live, &self.place, now);
        let now = Instant::now();
        self.backoff.settle_all_but(acts.iter().map(|act| &act.target), now);
        for act in acts {
            if let Some(why) = self.backoff.trouble(&act.target) {
                let text = match act.target.kind {
                    TargetKind::ConfigMap => format!("{}: {why}", act.target),
                    TargetKind::Service | TargetKind::EndpointSlice => why.to_owned(),
                };
                for gateway in &act.gateways {
                    errors.entry(gateway.clone()).or_insert_with(|| text.as_str().into());
                }
            }
            let is_free = !self.in_flight.contains(&act.target) && self.in_flight.len() < AT_ONCE;
            if is_free && self.backoff.lets_go(&act, may_write, now) {
                self.begin(act);
            }
        }
        // Only the leader knows what came of its writes.
        if leads { errors } else { ProvisioningErrors::new() }
    }

    fn begin(&mut self, act: Act) {
        self.in_flight.insert(act.target.clone());
        let (client, field_manager) = (self.client.clone(), self.place.identity.field_manager.clone());
        self.writes.spawn(async move {
            let outcome = match timeout(CALL, carry_out(client, &field_manager, &act)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(text(error)),
                Err(_) => Err(format!("no response within {CALL:?}")),
            };
            (act.target, outcome)
        });
    }

    fn done(&mut self, target: Target, outcome: Result<(), String>) {
        self.in_flight.remove(&target);
        match &outcome {
            Ok(()) => info!(%target, "objects of Gateways with dedicated addresses written"),
            Err(why) if self.backoff.is_news(&target, why) => {
                warn!(%target, why, "cannot be written; retrying")
            }
            Err(_) => {}
        }
        self.backoff.done(target, outcome, Instant::now());
    }
}

async fn carry_out(client: Client, field_manager: &str, act: &Act) -> kube::Result<()> {
    let Target { kind, namespace, name } = &act.target;
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind.resource());
    match &act.deed {
        Deed::Apply(manifest) => {
            // The whole object is ours: fields of other managers are taken over.
            let params = PatchParams::apply(field_manager).force();
            api.patch(name, &params, &Patch::Apply(manifest)).await.map(drop)
        }
        Deed::Merge(fields) => {
            let params =
                PatchParams { field_manager: Some(field_manager.to_owned()), ..PatchParams::default() };
            api.patch(name, &params, &Patch::Merge(fields)).await.map(drop)
        }
        Deed::Create(manifest) => {
            let params =
                PostParams { field_manager: Some(field_manager.to_owned()), ..PostParams::default() };
            let object = serde_json::from_value(manifest.clone()).map_err(kube::Error::SerdeError)?;
            api.create(&params, &object).await.map(drop)
        }
        Deed::Delete { uid } => {
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(name, &params).await {
                // It is gone, or another object has its name.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                done => done.map(drop),
            }
        }
    }
}

fn text(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn sleep_until(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
}
