//! The one Service through which everything comes in: its addresses, and the ports that listeners need of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Service, ServicePort};
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
    /// The ports that listeners are served on.
    pub ports: watch::Receiver<BTreeSet<u16>>,
    /// Whether this process may write.
    pub leads: watch::Receiver<bool>,
    /// Where clients reach us.
    pub addresses: watch::Sender<Vec<Address>>,
    /// The ports of listeners that the Service lacks and that are not added to it.
    pub missing: watch::Sender<BTreeSet<u16>>,
}

impl SharedService {
    /// Follows the Service until the process ends. While it cannot be read, the addresses stay what they were.
    pub async fn follow(self, client: Client, mut links: ServiceLinks) {
        let services: Api<Service> = Api::namespaced(client, &self.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut events = pin!(watcher(services.clone(), config));
        let mut live = None;
        let (mut told, mut failed) = (false, false);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        told = false;
                        live = seen(event).unwrap_or(live);
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
            if let Some(service) = &live {
                failed = !self.carry_out(&services, service, &mut links).await;
            }
        }
    }

    /// Tells what the Service says and asks it for the ports that it lacks; `false` where that failed.
    async fn carry_out(&self, services: &Api<Service>, service: &Service, links: &mut ServiceLinks) -> bool {
        let addresses = addresses(service);
        // Never cleared: a Service that waits for its address again says nothing of what clients use.
        if !addresses.is_empty() {
            tell(&links.addresses, addresses);
        }
        let needed = links.ports.borrow_and_update().clone();
        let wanted = wanted(service, &needed);
        let lacking: BTreeSet<u16> = if self.add_ports { BTreeSet::new() } else { wanted.clone() };
        tell(&links.missing, lacking);
        if !self.add_ports || !*links.leads.borrow_and_update() || wanted == ours(service) {
            return true;
        }
        match self.apply(services, &wanted).await {
            Ok(()) => {
                info!(service = %self, ports = ?wanted, "ports of listeners on the Service");
                true
            }
            Err(error) => {
                warn!(service = %self, ports = ?wanted, error, "the Service does not take the ports of listeners");
                false
            }
        }
    }

    async fn apply(&self, services: &Api<Service>, ports: &BTreeSet<u16>) -> Result<(), String> {
        let ports: Vec<_> = ports.iter().map(|port| service_port(*port, self.port_offset)).collect();
        let patch = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": { "ports": ports },
        });
        let params = PatchParams::apply(FIELD_MANAGER);
        match timeout(CALL, services.patch(&self.name, &params, &Patch::Apply(patch))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {CALL:?}")),
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

/// What an event says of the one object that is watched: `Some(None)` is that it is gone.
fn seen(event: watcher::Event<Service>) -> Option<Option<Service>> {
    match event {
        watcher::Event::Apply(service) | watcher::Event::InitApply(service) => Some(Some(service)),
        watcher::Event::Delete(_) => Some(None),
        watcher::Event::Init | watcher::Event::InitDone => None,
    }
}

/// The ports of listeners that nobody else put on the Service.
fn wanted(service: &Service, needed: &BTreeSet<u16>) -> BTreeSet<u16> {
    let by_name = ports(service);
    let others: BTreeSet<_> = by_name.iter().filter(|(_, ours)| !**ours).map(|(port, _)| *port).collect();
    needed.difference(&others).copied().collect()
}

/// Those that we put there.
fn ours(service: &Service) -> BTreeSet<u16> {
    ports(service).into_iter().filter_map(|(port, ours)| ours.then_some(port)).collect()
}

/// TCP ports, and whether they are called as ours are.
fn ports(service: &Service) -> BTreeMap<u16, bool> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    let named = |port: &ServicePort| port.name.as_deref().is_some_and(|name| name.starts_with(PORT_NAME));
    tcp.filter_map(|port| Some((u16::try_from(port.port).ok()?, named(port)))).collect()
}

fn service_port(port: u16, offset: u16) -> serde_json::Value {
    json!({
        "name": format!("{PORT_NAME}{port}"),
        "port": port,
        "protocol": "TCP",
        "targetPort": port.saturating_add(offset),
    })
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
        for (needed, want) in [(&[80][..], &[][..]), (&[80, 8081], &[8081]), (&[80, 443, 53], &[53, 443])] {
            let needed = needed.iter().copied().collect();
            assert_eq!(wanted(&object, &needed), want.iter().copied().collect(), "{needed:?}");
        }
        assert_eq!(ours(&object), BTreeSet::from([8081]));
    }
}
