//! The one Service through which everything comes in: its addresses, and the ports that listeners need of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};

use futures_util::StreamExt as _;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::watcher,
};
use serde_json::json;
use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

use super::FIELD_MANAGER;
pub use crate::objects::addresses_of_service as addresses;
use crate::translate::Address;

/// How the ports that we add are called; whoever else adds ports calls them otherwise.
const PORT_NAME: &str = "listener-";
/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// Seconds that a watch is asked to last; an API server that is silent for longer is taken for gone.
const WATCH_LASTS: u32 = 60;
/// How long to wait after a failure, a watch's or a call's.
const PAUSE: Duration = Duration::from_secs(3);

/// Which Service that is, and what may be done to it.
#[derive(Clone, Debug)]
pub struct SharedService {
    pub namespace: String,
    pub name: String,
    /// Whether the ports of listeners are added to it.
    pub add_ports: bool,
    /// What lies between a listener's port and the one that our pods bind for it.
    pub port_offset: u16,
}

/// What the rest of the process tells of and learns from the Service.
#[derive(Debug)]
pub struct ServiceLinks {
    /// The ports that listeners are served on; `None` before it is known which those are. Whoever begins to lead just
    /// after its start would take the ports of all listeners from the Service until it has read them.
    pub ports: watch::Receiver<Option<BTreeSet<u16>>>,
    /// Whether this process may write.
    pub leads: watch::Receiver<bool>,
    /// Where clients reach us.
    pub addresses: watch::Sender<Vec<Address>>,
    /// Whether it has been read, or is known to be missing; addresses are told before.
    pub read: watch::Sender<bool>,
    /// The ports of listeners that the Service lacks and does not get, each with a sentence for the listener's owner.
    pub missing: watch::Sender<BTreeMap<u16, String>>,
}

impl SharedService {
    /// Follows the Service until the process ends. While it cannot be read, the addresses stay what they were.
    pub async fn follow(self, client: Client, mut links: ServiceLinks) {
        let services: Api<Service> = Api::namespaced(client, &self.namespace);
        let fields = format!("metadata.name={}", self.name);
        let config = watcher::Config::default().fields(&fields).timeout(WATCH_LASTS);
        let mut events = pin!(watcher(services.clone(), config));
        let mut live = None;
        // What was said in the log, and whether to try again.
        let (mut told, mut told_refusal, mut failed) = (false, false, false);
        let mut is_read = false;
        loop {
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
                            warn!(service = %self, %error, "the Service cannot be read; its addresses stay");
                        }
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    None => return,
                },
                Ok(()) = links.ports.changed() => {}
                Ok(()) = links.leads.changed() => {}
                () = tokio::time::sleep(PAUSE), if failed => {}
            }
            if let Some(service) = &mut live {
                failed = !self.carry_out(&services, service, &mut links, &mut told_refusal).await;
            }
            tell(&links.read, is_read);
        }
    }

    /// Tells what the Service says and asks it for the ports that it lacks; `false` where that failed.
    async fn carry_out(
        &self,
        services: &Api<Service>,
        live: &mut Service,
        links: &mut ServiceLinks,
        told: &mut bool,
    ) -> bool {
        let addresses = addresses(live);
        // Never cleared: a Service that waits for its address again says nothing of what clients use.
        if !addresses.is_empty() {
            tell(&links.addresses, addresses);
        }
        let (needed, leads) = (links.ports.borrow_and_update().clone(), *links.leads.borrow_and_update());
        let Some(needed) = needed else { return true };
        let refused = if !self.add_ports {
            Some("and none is added to it (--no-service-ports)".to_owned())
        } else if leads {
            self.ask(services, live, &needed, told).await.err()
        } else {
            None
        };
        let is_well = refused.is_none() || !self.add_ports;
        let has = ports(live);
        let lacking = needed.iter().filter(|port| !has.contains_key(*port));
        let sentence = |why: &String| {
            let text = |port: &u16| (*port, format!("Service {self} has no port {port}, {why}"));
            lacking.map(text).collect()
        };
        tell(&links.missing, refused.as_ref().map(sentence).unwrap_or_default());
        is_well
    }

    /// Asks the Service for the ports that it lacks, and says in the log what came of it: a refusal once.
    async fn ask(
        &self,
        services: &Api<Service>,
        live: &mut Service,
        needed: &BTreeSet<u16>,
        told: &mut bool,
    ) -> Result<(), String> {
        let wanted = self.wanted(live, needed);
        if wanted == ours(live) {
            *told = false;
            return Ok(());
        }
        match self.apply(services, &wanted).await {
            Ok(now) => {
                *live = now;
                *told = false;
                info!(service = %self, ports = ?wanted.keys(), "ports of listeners on the Service");
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(told, true) {
                    let ports = wanted.keys();
                    warn!(service = %self, ?ports, error, "the Service does not take the ports of listeners");
                }
                Err(error)
            }
        }
    }

    /// The ports of listeners that nobody else put on the Service, and where each leads.
    fn wanted(&self, service: &Service, needed: &BTreeSet<u16>) -> BTreeMap<u16, u16> {
        let has = ports(service);
        let of_others = |port: &u16| has.get(port).is_some_and(|port| !port.is_ours);
        let wanted = needed.iter().filter(|port| !of_others(port));
        wanted.map(|port| (*port, port.saturating_add(self.port_offset))).collect()
    }

    async fn apply(&self, services: &Api<Service>, ports: &BTreeMap<u16, u16>) -> Result<Service, String> {
        let ports: Vec<_> = ports.iter().map(|(port, target)| service_port(*port, *target)).collect();
        let patch = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": { "ports": ports },
        });
        let params = PatchParams::apply(FIELD_MANAGER);
        match timeout(CALL, services.patch(&self.name, &params, &Patch::Apply(patch))).await {
            Ok(Ok(now)) => Ok(now),
            Ok(Err(kube::Error::Api(status))) => {
                Err(format!("and it could not be added: {}", status.message))
            }
            Ok(Err(error)) => Err(format!("and it could not be added: {error}")),
            Err(_) => Err(format!("and it could not be added: no answer within {CALL:?}")),
        }
    }
}

impl std::fmt::Display for SharedService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
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

/// A port that the Service has.
struct Port {
    /// Whether it is called as ours are.
    is_ours: bool,
    /// 0 where it leads to a port by name.
    target: u16,
}

/// Those that we put there, and where each leads.
fn ours(service: &Service) -> BTreeMap<u16, u16> {
    let ours = ports(service).into_iter().filter(|(_, port)| port.is_ours);
    ours.map(|(number, port)| (number, port.target)).collect()
}

/// The TCP ports.
fn ports(service: &Service) -> BTreeMap<u16, Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    let read = |port: &ServicePort| {
        let is_ours = port.name.as_deref().is_some_and(|name| name.starts_with(PORT_NAME));
        let target = match port.target_port {
            Some(IntOrString::Int(number)) => u16::try_from(number).unwrap_or_default(),
            Some(IntOrString::String(_)) => 0,
            None => u16::try_from(port.port).unwrap_or_default(),
        };
        Some((u16::try_from(port.port).ok()?, Port { is_ours, target }))
    };
    tcp.filter_map(read).collect()
}

fn service_port(port: u16, target: u16) -> serde_json::Value {
    json!({ "name": format!("{PORT_NAME}{port}"), "port": port, "protocol": "TCP", "targetPort": target })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: serde_json::Value) -> Service {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn ports_of_others_are_not_asked_for_again() {
        let object = service(json!({"spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "listener-8081", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"},
        ]}}));
        let shared = SharedService {
            namespace: "infra".into(),
            name: "portcullis".into(),
            add_ports: true,
            port_offset: 8000,
        };
        for (needed, want) in [
            (&[80][..], &[][..]),
            (&[80, 8081], &[(8081, 16081)]),
            (&[80, 443, 53], &[(53, 8053), (443, 8443)]),
        ] {
            let needed = needed.iter().copied().collect();
            assert_eq!(shared.wanted(&object, &needed), want.iter().copied().collect(), "{needed:?}");
        }
        assert_eq!(ours(&object), BTreeMap::from([(8081, 8081)]));
    }
}
