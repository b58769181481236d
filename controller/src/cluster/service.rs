//! The one Service through which everything comes in: its addresses, and the ports that listeners need of it.
//!
//! - `ports.rs`: which ports it has, and what has to change
//! - `refusals.rs`: changes that the API server does not take, and when each is asked for again

mod ports;
mod refusals;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    time::Duration,
};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::watcher,
};
use portcullis_routing::PortKey;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

pub use crate::cluster::Leadership;
use crate::objects::addresses_of_service as addresses;
use crate::translate::Address;
use ports::{Change, changed, changes, ours, ports, unserved, wanted};
use refusals::Refusals;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// Seconds that a watch is asked to last; an API server that is silent for longer is taken for gone.
const WATCH_LASTS: u32 = 60;
/// How long to wait after a failure, a watch's or a call's.
const PAUSE: Duration = Duration::from_secs(3);
/// Calls in a row to find out which ports are refused; the others wait for the next time.
const MOST_CALLS: usize = 64;

/// Which Service that is, and what may be done to it.
#[derive(Clone, Debug)]
pub struct SharedService {
    pub namespace: String,
    pub name: String,
    /// Whether the ports of listeners are added to it.
    pub add_ports: bool,
    /// What lies between a listener's port and the one that our pods bind for it.
    pub port_offset: u16,
    /// What we are called in `metadata.managedFields`.
    pub field_manager: String,
}

/// What the Service is told by the rest of the process, and what it reports back.
#[derive(Debug)]
pub struct ServiceLinks {
    /// The ports that listeners are served on; `None` before they are known. Without `None`, a process that begins to
    /// lead just after its start would remove the ports of all listeners from the Service until it has read the
    /// listeners.
    pub ports: watch::Receiver<Option<BTreeSet<PortKey>>>,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// The addresses at which clients reach us.
    pub addresses: watch::Sender<Vec<Address>>,
    /// Whether the Service has been read, or is known to be missing. The addresses are sent before this becomes true.
    pub read: watch::Sender<bool>,
    /// The ports of listeners that clients do not reach through the Service, each with a sentence for the listener's
    /// owner.
    pub missing: watch::Sender<BTreeMap<PortKey, String>>,
}

/// Why the Service was not written.
enum Failure {
    /// The API server does not take it: part of it may be taken.
    Refused(String),
    /// There was no answer, or none to what was asked.
    Failed(String),
}

impl SharedService {
    /// Follows the Service until the process ends. While it cannot be read, the addresses stay what they were.
    pub async fn follow(self, client: Client, mut links: ServiceLinks) {
        let services: Api<Service> = Api::namespaced(client, &self.namespace);
        let fields = format!("metadata.name={}", self.name);
        let config = watcher::Config::default().fields(&fields).timeout(WATCH_LASTS);
        let mut events = pin!(watcher(services.clone(), config));
        let mut live = None;
        let mut refusals = Refusals::default();
        let (mut told, mut is_read) = (false, false);
        loop {
            let wake = refusals.wake();
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        if !matches!(event, watcher::Event::Init) && std::mem::take(&mut told) {
                            info!(service = %self, "the Service can be read again");
                        }
                        is_read |= matches!(event, watcher::Event::InitDone);
                        live = seen(event, live);
                    }
                    Some(Err(error)) => {
                        if !std::mem::replace(&mut told, true) {
                            warn!(service = %self, %error, "the Service cannot be read; its last known addresses stay in use");
                        }
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    None => return,
                },
                Ok(()) = links.ports.changed() => {}
                Ok(()) = links.leadership.changed() => drop(links.leadership.is_told()),
                () = sleep_until(wake), if wake.is_some() => {}
            }
            if let Some(service) = &mut live {
                self.carry_out(&services, service, &mut links, &mut refusals).await;
            }
            tell(&links.read, is_read);
        }
    }

    /// Tells what the Service says, and asks it for the ports that it lacks.
    async fn carry_out(
        &self,
        services: &Api<Service>,
        live: &mut Service,
        links: &mut ServiceLinks,
        refusals: &mut Refusals,
    ) {
        let addresses = addresses(live);
        // Never cleared: a Service that waits for its address again says nothing of what clients use.
        if !addresses.is_empty() {
            tell(&links.addresses, addresses);
        }
        let (needed, leads) = (links.ports.borrow_and_update().clone(), links.leadership.holds());
        let Some(needed) = needed else { return };
        match (self.add_ports, leads) {
            (true, true) => self.ask(services, live, &needed, refusals).await,
            _ => refusals.clear(),
        }
        tell(&links.missing, self.missing(live, &needed, refusals));
    }

    /// Returns the ports that clients do not reach, each with a sentence that says why.
    fn missing(
        &self,
        live: &Service,
        needed: &BTreeSet<PortKey>,
        refusals: &Refusals,
    ) -> BTreeMap<PortKey, String> {
        let (has, unserved) = (ports(live), unserved(live));
        let sentence = |port: PortKey| {
            let why = refusals.of(port);
            match (has.contains_key(&port), why, unserved.get(&port)) {
                (false, _, _) if !self.add_ports => Some(format!(
                    "Service {self} has no port {port}, and ports are not added to it (--no-service-ports)"
                )),
                (false, Some(why), _) => {
                    Some(format!("Service {self} has no port {port}, and it could not be added: {why}"))
                }
                (true, Some(why), _) => Some(format!(
                    "Service {self} has a port {port} with another target, and it could not be changed: {why}"
                )),
                (true, None, Some(why)) => Some(format!(
                    "Service {self} has port {port}, but its load balancer does not serve it: {why}"
                )),
                (_, None, _) => None,
            }
        };
        needed.iter().filter_map(|port| Some((*port, sentence(*port)?))).collect()
    }

    /// Asks the Service for the ports that it lacks: for all of them at once and, where that is refused, for so few
    /// that one port that is refused costs no other.
    async fn ask(
        &self,
        services: &Api<Service>,
        live: &mut Service,
        needed: &BTreeSet<PortKey>,
        refusals: &mut Refusals,
    ) {
        let changes = changes(&ours(live), &wanted(live, needed, self.port_offset));
        if refusals.waits(&changes, Instant::now()) {
            return;
        }
        let (fresh, due) = refusals.sort(&changes, Instant::now());
        let fresh = Some(fresh).filter(|fresh| !fresh.is_empty());
        let mut groups: VecDeque<_> =
            fresh.into_iter().chain(due.into_iter().map(|change| vec![change])).collect();
        let mut calls = 0;
        // Whether a write was taken, so that refusals are a matter of ports.
        let mut is_taken = false;
        while let Some(group) = groups.pop_front() {
            calls += 1;
            let outcome = match calls {
                ..=MOST_CALLS => self.apply(services, live, &group).await,
                _ => Err(Failure::Failed(
                    "ports of other listeners are rejected, and this port is added later".into(),
                )),
            };
            let failed = match (outcome, group.as_slice()) {
                (Ok(()), group) => {
                    is_taken = true;
                    group.iter().for_each(|change| refusals.forget(*change));
                    None
                }
                (Err(Failure::Refused(why)), [change]) => {
                    self.refuse(*change, why, refusals);
                    None
                }
                (Err(Failure::Refused(why)), group) => {
                    // Where not even what is there is taken, it is no matter of ports.
                    is_taken = is_taken || self.apply(services, live, &[]).await.is_ok();
                    let (first, second) = group.split_at(group.len() / 2);
                    [second, first].into_iter().for_each(|half| groups.push_front(half.to_vec()));
                    Some(why).filter(|_| !is_taken)
                }
                (Err(Failure::Failed(why)), group) => {
                    groups.push_front(group.to_vec());
                    Some(why)
                }
            };
            if let Some(why) = failed {
                return self.fail(why, groups.into_iter().flatten().collect(), refusals);
            }
        }
        refusals.is_well();
    }

    fn refuse(&self, change: Change, why: String, refusals: &mut Refusals) {
        let port = change.port();
        if refusals.of(port) != Some(&*why) {
            warn!(service = %self, ports = ?[port.to_string()], why, "the API server rejects ports of listeners on the Service");
        }
        refusals.refuse(change, why, Instant::now());
    }

    fn fail(&self, why: String, changes: Vec<Change>, refusals: &mut Refusals) {
        if refusals.failure() != Some(&*why) {
            let ports: Vec<_> = changes.iter().map(|change| change.port().to_string()).collect();
            warn!(service = %self, ?ports, why, "the API server rejects ports of listeners on the Service");
        }
        refusals.fail(why, changes, Instant::now());
    }

    /// Writes the ports that the Service has, with these changes.
    async fn apply(
        &self,
        services: &Api<Service>,
        live: &mut Service,
        changes: &[Change],
    ) -> Result<(), Failure> {
        let patch = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": { "ports": changed(&ours(live), changes) },
        });
        let params = PatchParams::apply(&self.field_manager);
        match timeout(CALL, services.patch(&self.name, &params, &Patch::Apply(patch))).await {
            Ok(Ok(now)) => {
                *live = now;
                if !changes.is_empty() {
                    let ports: Vec<_> = ours(live).keys().map(ToString::to_string).collect();
                    info!(service = %self, ?ports, "ports of listeners on the Service");
                }
                Ok(())
            }
            // 500 is a range of node ports that is full, among others.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 403 | 409 | 422 | 500) => {
                Err(Failure::Refused(status.message.clone()))
            }
            Ok(Err(kube::Error::Api(status))) => Err(Failure::Failed(status.message.clone())),
            Ok(Err(error)) => Err(Failure::Failed(error.to_string())),
            Err(_) => Err(Failure::Failed(format!("no response within {CALL:?}"))),
        }
    }
}

impl std::fmt::Display for SharedService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

async fn sleep_until(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
}

fn tell<T: PartialEq>(to: &watch::Sender<T>, now: T) {
    to.send_if_modified(|before| {
        let is_other = *before != now;
        *before = now;
        is_other
    });
}

/// The one object that is watched, after an event.
fn seen(event: watcher::Event<Service>, live: Option<Service>) -> Option<Service> {
    match (event, live) {
        // What we wrote was known before the watch tells of it, and of what was before.
        (watcher::Event::Apply(service), Some(live)) if is_older(&service, &live) => Some(live),
        (watcher::Event::Apply(service) | watcher::Event::InitApply(service), _) => Some(service),
        (watcher::Event::Delete(_), _) => None,
        (watcher::Event::Init | watcher::Event::InitDone, live) => live,
    }
}

fn is_older(one: &Service, other: &Service) -> bool {
    let number = |of: &Service| of.metadata.resource_version.as_deref()?.parse::<u64>().ok();
    one.metadata.uid == other.metadata.uid
        && number(one).zip(number(other)).is_some_and(|(one, other)| one < other)
}
