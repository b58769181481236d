//! The task that owns everything: deltas and bindings in, publications and statuses out.

mod handle;

pub use handle::Handle;

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::timeout_at,
};
use tracing::{debug, warn};

use crate::{
    Bindings, Problem, Publication, Settings,
    cluster::dedicated::{DesiredServices, ProvisioningErrors},
    index::Index,
    problem::Severity,
    source::{Delta, Demand, Extent, Folder, FolderError, FolderOptions},
    status::Statuses,
    status_feed::Changed,
    translate::{Address, Allocation, DedicatedPorts},
};

/// Deltas that may wait; a source that is faster waits itself.
const WAITING: usize = 64;
/// Under load, how long nothing must come before what came is published.
const QUIET: Duration = Duration::from_millis(5);
/// Under load, how long a publication waits for more at most. Whoever was idle for as long publishes at once.
const CEILING: Duration = Duration::from_millis(20);

/// How long the ports of Gateways with addresses of their own are waited for: they must not keep all others waiting.
const PORTS_WAITED_FOR: Duration = Duration::from_secs(15);

/// Everything between objects and what is served of them. Made with a [`Handle`], then [`Controller::run`].
#[derive(Debug)]
pub struct Controller {
    index: Index,
    deltas: mpsc::Receiver<Delta>,
    bindings: watch::Receiver<Arc<Bindings>>,
    addresses: watch::Receiver<Vec<Address>>,
    provisioning_errors: watch::Receiver<ProvisioningErrors>,
    allocation: watch::Receiver<Option<Arc<Allocation>>>,
    /// Whether it is not known yet which ports Gateways with addresses of their own have.
    waits_for_ports: bool,
    /// Until when that is waited for, once every object has been read.
    ports_by: Option<tokio::time::Instant>,
    desired_services: watch::Sender<Option<Arc<DesiredServices>>>,
    gateway_addresses: watch::Sender<BTreeSet<IpAddr>>,
    statuses: watch::Sender<Arc<Statuses>>,
    problems: watch::Sender<Arc<[Problem]>>,
    /// Those that the source told.
    of_documents: Arc<[Problem]>,
    unclaimed: Vec<Problem>,
    /// Of the ConfigMap of settings.
    of_settings: Vec<Problem>,
    ready: watch::Sender<bool>,
    changed: Arc<Changed>,
    demand: watch::Sender<Demand>,
    /// Whether the source has asked what it has to fetch, and was not answered.
    asked: bool,
    /// The last delta that was taken up.
    taken: u64,
    /// Whether every object has been read.
    read: bool,
    complete: bool,
}

impl Controller {
    /// A controller that reads its objects from a folder, and reads them again as they change. The folder is watched
    /// from now on, in a thread of its own.
    ///
    /// # Errors
    /// Where the folder is missing or cannot be listed.
    pub fn folder(options: FolderOptions, settings: Settings) -> Result<(Self, Handle), FolderError> {
        let (sender, deltas) = mpsc::channel(WAITING);
        Folder::open(options)?.watch(sender)?;
        Ok(Self::of(deltas, settings))
    }

    /// A controller that is told of objects by whoever holds the sender of `deltas`.
    pub fn of(deltas: mpsc::Receiver<Delta>, settings: Settings) -> (Self, Handle) {
        let (bindings, bound) = watch::channel(Arc::default());
        let (addresses, located) = watch::channel(settings.addresses.clone());
        let (provisioning_errors, failed_provisioning) = watch::channel(ProvisioningErrors::default());
        let (allocation, allocated) = watch::channel(None);
        let waits_for_ports = matches!(settings.dedicated, DedicatedPorts::Of(_));
        let (desired_services, of_gateways_desired) = watch::channel(None);
        let (gateway_addresses, of_gateways) = watch::channel(BTreeSet::new());
        let (statuses, of_objects) = watch::channel(Arc::default());
        let (problems, all_problems) = watch::channel(Arc::default());
        let (ready, is_ready) = watch::channel(false);
        let (demand, demanded) = watch::channel(Demand::default());
        let changed = Arc::<Changed>::default();
        let settings_map = settings.settings_map.clone();
        let default_backend = settings.default_backend.as_ref().map(|default| default.service.clone());
        let index = Index::new(settings);
        let cluster_addresses = Arc::clone(index.cluster_addresses());
        let served = Arc::clone(index.served_namespaces());
        let controller = Self {
            index,
            deltas,
            bindings: bound,
            addresses: located,
            provisioning_errors: failed_provisioning,
            allocation: allocated,
            waits_for_ports,
            ports_by: None,
            desired_services,
            gateway_addresses,
            statuses,
            problems,
            of_documents: Arc::default(),
            unclaimed: Vec::new(),
            of_settings: Vec::new(),
            ready,
            changed: Arc::clone(&changed),
            demand,
            asked: false,
            taken: 0,
            read: false,
            complete: false,
        };
        let handle = Handle {
            bindings,
            addresses,
            provisioning_errors,
            allocation,
            desired_services: of_gateways_desired,
            gateway_addresses: of_gateways,
            statuses: of_objects,
            problems: all_problems,
            ready: is_ready,
            cluster_addresses,
            served,
            changed,
            demand: demanded,
            default_backend,
            settings_map,
        };
        (controller, handle)
    }

    /// Hands each publication to `publish`, the first one when every object has been read; ends when the source does.
    /// At once when nothing was published for 20 ms, else when nothing happened for 5 ms, after 20 ms at the latest.
    pub async fn run(mut self, mut publish: impl FnMut(Publication)) {
        let mut last: Option<Instant> = None;
        while self.next().await {
            if last.is_some_and(|last| last.elapsed() < CEILING) {
                self.coalesce().await;
            }
            while let Ok(delta) = self.deltas.try_recv() {
                self.take(delta);
            }
            if self.publish(&mut publish) {
                last = Some(Instant::now());
            }
        }
    }

    /// Waits for something to happen and takes it up; `false` when nothing will.
    async fn next(&mut self) -> bool {
        tokio::select! {
            delta = self.deltas.recv() => match delta {
                Some(delta) => self.take(delta),
                None => return false,
            },
            Ok(()) = self.bindings.changed() => {
                let bindings = Arc::clone(&self.bindings.borrow_and_update());
                self.index.set_bindings(&bindings);
            }
            Ok(()) = self.addresses.changed() => {
                let addresses = self.addresses.borrow_and_update().clone();
                self.index.set_addresses(addresses);
            }
            Ok(()) = self.provisioning_errors.changed() => {
                let provisioning_errors = self.provisioning_errors.borrow_and_update().clone();
                self.index.set_provisioning_errors(provisioning_errors);
            }
            Ok(()) = self.allocation.changed() => {
                let allocation = self.allocation.borrow_and_update().clone();
                if let Some(allocation) = allocation {
                    self.index.set_allocation(allocation);
                    self.waits_for_ports = false;
                    self.complete_when_known();
                }
            }
            () = sleep_until(self.ports_by), if self.waits_for_ports && self.ports_by.is_some() => {
                warn!("the ports of Gateways with dedicated addresses are not known; these Gateways are not served");
                self.waits_for_ports = false;
                self.complete_when_known();
            }
        }
        true
    }

    async fn coalesce(&mut self) {
        let end = tokio::time::Instant::now() + CEILING;
        loop {
            let until = end.min(tokio::time::Instant::now() + QUIET);
            match timeout_at(until, self.next()).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    fn take(&mut self, delta: Delta) {
        let Delta { changes, problems, released, extent, bundle, sequence } = delta;
        self.taken = self.taken.max(sequence);
        if let Some(bundle) = bundle {
            self.index.set_bundle(bundle);
        }
        if let Some(problems) = problems {
            self.of_documents = problems;
            self.tell_problems();
        }
        if !changes.is_empty() {
            let (begun, count) = (Instant::now(), changes.len());
            self.index.apply(changes);
            debug!(changes = count, took = ?begun.elapsed(), "objects changed");
        }
        self.index.release(released);
        match extent {
            Extent::Partial => {}
            Extent::References => self.asked = true,
            Extent::Complete => {
                self.read = true;
                self.ports_by = Some(tokio::time::Instant::now() + PORTS_WAITED_FOR);
            }
        }
        self.complete_when_known();
    }

    /// Whoever serves before it knows its ports would say that it is ready without them.
    fn complete_when_known(&mut self) {
        if self.read && !self.waits_for_ports && !self.complete {
            self.index.complete();
            self.complete = true;
        }
    }

    /// Brings everything up to date; says whether there was a publication.
    fn publish(&mut self, publish: &mut impl FnMut(Publication)) -> bool {
        let begun = Instant::now();
        let is_asked = std::mem::take(&mut self.asked);
        if is_asked {
            self.index.survey();
        }
        let publication = self.index.publish();
        self.tell_demand(is_asked);
        let is_published = publication.is_some();
        if self.index.settings_problems() != self.of_settings {
            self.of_settings = self.index.settings_problems().to_vec();
            self.tell_problems();
        }
        if let Some(publication) = publication {
            let generation = publication.table.generation;
            publish(publication);
            debug!(generation, took = ?begun.elapsed(), "table published");
        }
        let ours = self.index.gateway_addresses();
        self.gateway_addresses.send_if_modified(|before| std::mem::replace(before, ours) != *before);
        if self.index.has_stale_statuses() {
            // In place, as long as nobody holds the statuses from before.
            let index = &mut self.index;
            let mut changed = Vec::new();
            self.statuses.send_if_modified(|now| {
                changed = index.update_statuses(Arc::make_mut(now));
                !changed.is_empty()
            });
            self.changed.add(changed);
        }
        if self.complete {
            self.changed.tell(self.taken);
        }
        if let Some(desired) = self.index.desired_services() {
            self.desire(desired);
        }
        if let Some(unclaimed) = self.index.unclaimed().filter(|now| *now != self.unclaimed) {
            self.unclaimed = unclaimed;
            self.tell_problems();
        }
        // Last: whoever waits for readiness finds statuses too.
        self.ready.send_if_modified(|ready| is_published && !std::mem::replace(ready, true));
        is_published
    }

    fn desire(&self, now: DesiredServices) {
        self.desired_services.send_if_modified(|before| {
            let is_other = before.as_deref() != Some(&now);
            if is_other {
                *before = Some(Arc::new(now));
            }
            is_other
        });
    }

    /// Tells the source what it has to fetch. Nobody waits for the source: it takes up the latest as it gets to it.
    fn tell_demand(&self, is_asked: bool) {
        let (sequence, objects) = (self.taken, self.index.demand());
        self.demand.send_if_modified(|demand| {
            let is_same = Arc::ptr_eq(&demand.objects, objects) || demand.objects == *objects;
            *demand = Demand { sequence, objects: Arc::clone(objects) };
            is_asked || !is_same
        });
    }

    fn tell_problems(&self) {
        let problems: Arc<[_]> =
            self.of_documents.iter().chain(&self.of_settings).chain(&self.unclaimed).cloned().collect();
        let before = self.problems.send_replace(Arc::clone(&problems));
        let known: HashSet<_> = before.iter().collect();
        problems.iter().filter(|problem| !known.contains(problem)).for_each(log);
    }
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
}

fn log(problem: &Problem) {
    let Problem { severity, object, field, message, place, .. } = problem;
    let place = place.as_ref().map(|place| format!("{}:{}", place.file, place.line)).unwrap_or_default();
    match severity {
        Severity::Error => warn!(%object, %field, place, "refused: {message}"),
        Severity::Warning => warn!(%object, %field, place, "{message}"),
    }
}
