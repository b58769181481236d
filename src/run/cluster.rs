//! What runs beside controller and proxy in a cluster: watches, the Lease, the writer of statuses, the Service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::Context as _;
use kube::{Client, Config};
use portcullis_controller::{
    Handle, Settings,
    cluster::{
        DedicatedLinks, DedicatedOptions, Leadership, ServiceLinks, SharedService, dedicated,
        lease::{self, LeaseOptions},
        own,
        statuses::{ControllerNames, Writer},
    },
    ir::ObjectKey,
    objects::AnnotationsPrefix,
    source::{
        Delta,
        cluster::{self, ClusterOptions, Outlets},
    },
    translate::{DedicatedPorts, PortRange},
};
use portcullis_routing::PortKey;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
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
    pub(super) default_certificate: Option<ObjectKey>,
    pub(super) settings_map: Option<ObjectKey>,
    pub(super) service_maps: Vec<ObjectKey>,
    pub(super) annotations_prefix: AnnotationsPrefix,
}

/// A client of the cluster that this process runs in, or that the kubeconfig names.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.context(
        "no cluster: neither a service account nor a kubeconfig (--manifests DIR serves a folder)",
    )?;
    // Each part knows what is worth another try, when, and until when.
    config.default_retry = false;
    Client::try_from(config).context("the client of the API server")
}

pub(super) fn controllers(settings: &Settings, field_manager: &str) -> ControllerNames {
    ControllerNames {
        gateway: settings.gateway_controller.clone(),
        ingress: settings.ingress_controller.clone(),
        field_manager: field_manager.into(),
    }
}

/// The addresses of our Service and of the replicas behind it, as they change; none without a Service.
pub(super) fn own_addresses(client: &Client, args: &ClusterArgs) -> watch::Receiver<BTreeSet<IpAddr>> {
    let (to, told) = watch::channel(BTreeSet::new());
    if let Some((namespace, name)) = args.service.clone() {
        let client = client.clone();
        tokio::spawn(async move { own::follow(client, &namespace, &name, to).await });
    }
    told
}

/// Starts everything; tells the ports that the Service lacks, and what ends when the Lease is given up.
pub(super) fn start(
    links: Links,
    args: &ClusterArgs,
    readiness: &Readiness,
) -> (watch::Receiver<Lacking>, JoinHandle<()>) {
    let Links {
        client,
        deltas,
        controllers,
        port_offset,
        default_certificate,
        settings_map,
        service_maps,
        annotations_prefix,
    } = links;
    let (seen, observed) = mpsc::channel(OBSERVATIONS_WAITING);
    let options = ClusterOptions {
        namespaces: args.watch_namespace.clone(),
        default_certificate,
        settings_map,
        service_maps,
        annotations_prefix,
        pods: !args.no_pods,
        ..ClusterOptions::default()
    };
    let outlets = Outlets { deltas, seen, progress: readiness.progress.clone() };
    let demand = readiness.controller.demand();
    tokio::spawn(cluster::watch(client.clone(), options, demand, outlets));

    let (leads, leading) = watch::channel(false);
    let _ = readiness.leads.set(leading.clone());
    let mut stopping = readiness.stopping.subscribe();
    let stop = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let (namespace, name) = args.lease.clone();
    let identity = args.identity.clone().unwrap_or_else(machine);
    let mut lease = LeaseOptions::new(namespace, name, identity.clone());
    lease.field_manager.clone_from(&args.field_manager);
    let term = lease.term.clone();
    let leadership = Leadership::within(leading.clone(), term.clone());
    provide(&client, args, &controllers, &identity, readiness, leadership.clone());
    let release = tokio::spawn(lease::compete(client.clone(), lease, leads, stop));
    let feed = readiness.controller.status_feed();
    let (settled, writes) = watch::channel(false);
    let writes = Leadership::within(writes, term);
    let writer = Writer::new(client.clone(), feed, observed, writes, controllers, &identity);
    let _ = readiness.refused.set(writer.refused());
    tokio::spawn(writer.run());
    let lacking = watch::Sender::default();
    let lacks = lacking.subscribe();
    let service = |(namespace, name): (String, String), add_ports| SharedService {
        namespace,
        name,
        add_ports,
        port_offset,
        field_manager: args.field_manager.clone(),
    };
    let published = args.publish_service.clone().map(|named| {
        let links = (leadership.clone(), readiness.controller.clone());
        publish(client.clone(), service(named, false), links)
    });
    let own = args.service.clone().map(|named| {
        let service = service(named, !args.no_service_ports);
        let addresses = published.is_none().then(|| readiness.controller.clone());
        let ports = shared_ports(readiness, args.dedicated_ports.range());
        follow(client, service, ports, (leadership, addresses), lacking)
    });
    let located = published.or(own).unwrap_or_else(|| watch::channel(true).1);
    tokio::spawn(lead_when_settled(leading, located, readiness.clone(), settled));
    (lacks, release)
}

/// Makes the Services of Gateways that have addresses of their own.
fn provide(
    client: &Client,
    args: &ClusterArgs,
    controllers: &ControllerNames,
    identity: &str,
    readiness: &Readiness,
    leadership: Leadership,
) {
    let DedicatedPorts::Of(range) = args.dedicated_ports else { return };
    let (namespace, name) = &args.lease;
    let options = DedicatedOptions {
        namespaces: args.watch_namespace.clone(),
        own_service: args.service.clone(),
        range,
        record: (namespace.clone(), format!("{name}-ports")),
        reports: (namespace.clone(), format!("{name}-bound-ports")),
        identity: identity.to_owned(),
        controller: (&*controllers.gateway).into(),
        field_manager: args.field_manager.clone(),
    };
    let controller = &readiness.controller;
    let links = DedicatedLinks {
        desired: controller.desired_services(),
        leadership,
        bindings: readiness.bindings.clone(),
        provisioning_errors: controller.provisioning_errors(),
        allocation: controller.allocation(),
    };
    tokio::spawn(dedicated::provide(client.clone(), options, links));
}

/// How long addresses and ports are waited for before statuses are written without them.
const SETTLING: Duration = Duration::from_secs(15);

/// Who leads writes, once there is something to say that will stay: a start says nothing of ports that are not bound
/// yet and addresses that were not read yet.
async fn lead_when_settled(
    mut leads: watch::Receiver<bool>,
    mut located: watch::Receiver<bool>,
    readiness: Readiness,
    writes: watch::Sender<bool>,
) {
    let _ = readiness.controller.ready().wait_for(|ready| *ready).await;
    let settled = async {
        let _ = located.wait_for(|located| *located).await;
        let mut bindings = readiness.bindings.clone();
        let ports = readiness.ports.subscribe();
        let _ = bindings
            .wait_for(|bound| ports.borrow().keys().all(|bound_port| bound.contains_key(bound_port)))
            .await;
        // What is bound has to be taken up.
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let _ = timeout(SETTLING, settled).await;
    loop {
        let now = *leads.borrow_and_update();
        writes.send_if_modified(|before| std::mem::replace(before, now) != now);
        if leads.changed().await.is_err() {
            return;
        }
    }
}

/// Follows the Service with the addresses that are reported. Returns whether they are known.
fn publish(
    client: Client,
    service: SharedService,
    (leadership, controller): (Leadership, Handle),
) -> watch::Receiver<bool> {
    // Without ports, nothing is written, and none is missing.
    let ports = watch::channel(None).1;
    follow(client, service, ports, (leadership, Some(controller)), watch::Sender::default())
}

/// Follows a Service. Reports its addresses to the controller, if there is one, and the ports that it lacks. Returns whether it has been read.
fn follow(
    client: Client,
    service: SharedService,
    ports: watch::Receiver<Option<BTreeSet<PortKey>>>,
    (leadership, controller): (Leadership, Option<Handle>),
    lacking: watch::Sender<Lacking>,
) -> watch::Receiver<bool> {
    let (addresses, mut located) = watch::channel(Vec::new());
    let (missing, mut lacks) = watch::channel(BTreeMap::new());
    let (read, mut is_read) = watch::channel(false);
    let (known, is_known) = watch::channel(false);
    let offset = service.port_offset;
    tokio::spawn(service.follow(client, ServiceLinks { ports, leadership, addresses, read, missing }));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                Ok(()) = located.changed() => {
                    let now = located.borrow_and_update().clone();
                    controller.iter().for_each(|controller| controller.addresses(now.clone()));
                }
                Ok(()) = is_read.changed() => drop(known.send_replace(true)),
                Ok(()) = lacks.changed() => {
                    // `lacks` has the ports that listeners name; bindings are keyed by the bound ports.
                    let bound = |(port, why): (&PortKey, &String)| {
                        Some((PortKey { number: port.number.checked_add(offset)?, ..*port }, why.clone()))
                    };
                    lacking.send_replace(lacks.borrow_and_update().iter().filter_map(bound).collect());
                }
                else => return,
            }
        }
    });
    is_known
}

/// Returns the ports of the listeners that clients reach through our own Service; `None` before the first table.
fn shared_ports(readiness: &Readiness, dedicated: PortRange) -> watch::Receiver<Option<BTreeSet<PortKey>>> {
    let (mut ports, mut ready) = (readiness.ports.subscribe(), readiness.controller.ready());
    let shared = move |ports: &BTreeMap<PortKey, u16>| -> BTreeSet<PortKey> {
        let shared = ports.iter().filter(|(bound, _)| !dedicated.contains(bound.number));
        shared.map(|(bound, number)| PortKey { number: *number, ..*bound }).collect()
    };
    let (to, told) = watch::channel(None);
    tokio::spawn(async move {
        let _ = ready.wait_for(|ready| *ready).await;
        loop {
            let now = Some(shared(&ports.borrow_and_update()));
            to.send_if_modified(|before| {
                let is_other = *before != now;
                *before = now;
                is_other
            });
            if ports.changed().await.is_err() {
                return;
            }
        }
    });
    told
}

/// What this machine calls itself: in a pod its name.
pub(super) fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => format!("portcullis-{}", std::process::id()),
        name => name.to_owned(),
    }
}
