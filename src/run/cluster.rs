//! What runs beside controller and proxy in a cluster: watches, the Lease, the writer of statuses, the Service.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use kube::{Client, Config};
use portcullis_controller::{
    Settings,
    cluster::{
        DedicatedLinks, DedicatedOptions, ServiceLinks, SharedService, dedicated,
        lease::{self, LeaseOptions},
        statuses::{ControllerNames, Writer},
    },
    source::{
        Delta,
        cluster::{self, ClusterOptions},
    },
    translate::PortRange,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{Lacking, readiness::Readiness};
use crate::cli::ClusterArgs;

/// Observations that may wait for the writer of statuses.
const OBSERVATIONS_WAITING: usize = 1024;

/// What the parts have in common.
pub(super) struct Links {
    pub(super) client: Client,
    pub(super) deltas: mpsc::Sender<Delta>,
    pub(super) controllers: ControllerNames,
    pub(super) port_offset: u16,
}

/// A client of the cluster that this process runs in, or that the kubeconfig names.
pub(super) async fn client() -> anyhow::Result<Client> {
    let config = Config::infer().await.context(
        "no cluster: neither a service account nor a kubeconfig (--manifests DIR serves a folder)",
    )?;
    Client::try_from(config).context("the client of the API server")
}

pub(super) fn controllers(settings: &Settings) -> ControllerNames {
    ControllerNames {
        gateway: settings.gateway_controller.clone(),
        ingress: settings.ingress_controller.clone(),
    }
}

/// Starts everything; tells the ports that the Service lacks, and what ends when the Lease is given up.
pub(super) fn start(
    links: Links,
    args: &ClusterArgs,
    readiness: &Readiness,
) -> (watch::Receiver<Lacking>, JoinHandle<()>) {
    let Links { client, deltas, controllers, port_offset } = links;
    let (seen, observed) = mpsc::channel(OBSERVATIONS_WAITING);
    let options = ClusterOptions { namespaces: args.watch_namespace.clone() };
    tokio::spawn(cluster::watch(client.clone(), options, deltas, seen, readiness.hindrances.clone()));

    let (leads, leading) = watch::channel(false);
    let _ = readiness.leads.set(leading.clone());
    let mut stopping = readiness.stopping.subscribe();
    let stop = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let (namespace, name) = args.lease.clone();
    let identity = args.identity.clone().unwrap_or_else(machine);
    provide(&client, args, &identity, readiness, leading.clone());
    let release = tokio::spawn(lease::compete(
        client.clone(),
        LeaseOptions::new(namespace, name, identity),
        leads,
        stop,
    ));
    let feed = readiness.controller.status_feed();
    tokio::spawn(Writer::new(client.clone(), feed, observed, leading.clone(), controllers).run());
    let lacking = watch::Sender::default();
    let lacks = lacking.subscribe();
    if let Some((namespace, name)) = args.service.clone() {
        let add_ports = !args.no_service_ports;
        follow(
            client,
            SharedService { namespace, name, add_ports, port_offset },
            args.dedicated_ports,
            readiness,
            leading,
            lacking,
        );
    }
    (lacks, release)
}

/// Makes the Services of Gateways that have addresses of their own.
fn provide(
    client: &Client,
    args: &ClusterArgs,
    identity: &str,
    readiness: &Readiness,
    leads: watch::Receiver<bool>,
) {
    let options = DedicatedOptions {
        namespaces: args.watch_namespace.clone(),
        own_service: args.service.clone(),
        range: args.dedicated_ports,
        identity: identity.to_owned(),
    };
    let controller = &readiness.controller;
    let links = DedicatedLinks { wishes: controller.wishes(), leads, hindrances: controller.hindrances() };
    tokio::spawn(dedicated::provide(client.clone(), options, links));
}

/// Follows our Service, and hands on what it says.
fn follow(
    client: Client,
    service: SharedService,
    dedicated: PortRange,
    readiness: &Readiness,
    leads: watch::Receiver<bool>,
    lacking: watch::Sender<Lacking>,
) {
    let (addresses, mut located) = watch::channel(Vec::new());
    let (missing, mut lacks) = watch::channel(BTreeSet::new());
    let (controller, name, offset) = (readiness.controller.clone(), service.to_string(), service.port_offset);
    let ports = shared_ports(readiness.ports.subscribe(), dedicated);
    tokio::spawn(service.follow(client, ServiceLinks { ports, leads, addresses, missing }));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Ok(()) = located.changed() => controller.addresses(located.borrow_and_update().clone()),
                Ok(()) = lacks.changed() => {
                    let ports = lacks.borrow_and_update().clone();
                    lacking.send_replace(Lacking { service: name.clone(), ports, offset });
                }
                else => return,
            }
        }
    });
}

/// The ports of listeners that come in through our own Service.
fn shared_ports(
    mut ports: watch::Receiver<BTreeMap<u16, u16>>,
    dedicated: PortRange,
) -> watch::Receiver<BTreeSet<u16>> {
    let shared = move |ports: &BTreeMap<u16, u16>| -> BTreeSet<u16> {
        ports.iter().filter(|(bound, _)| !dedicated.contains(**bound)).map(|(_, port)| *port).collect()
    };
    let (to, told) = watch::channel(shared(&ports.borrow_and_update()));
    tokio::spawn(async move {
        while ports.changed().await.is_ok() {
            let now = shared(&ports.borrow_and_update());
            to.send_if_modified(|before| {
                let is_other = *before != now;
                *before = now;
                is_other
            });
        }
    });
    told
}

/// What this machine calls itself: in a pod its name.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => format!("portcullis-{}", std::process::id()),
        name => name.to_owned(),
    }
}
