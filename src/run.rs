//! Wires the controller to the proxy and carries the process from start to stop.
//!
//! ```text
//! folder, cluster --Delta---> controller
//! controller --Publication--> proxy.publish
//! proxy.bindings ----------> controller (conditions of listeners), readiness
//! SIGTERM -> not ready -> pre-stop delay -> drain -> end; a second one ends at once
//! ```

mod cluster;
pub(crate) use cluster::client;
mod drain;
mod live;
mod own;
mod readiness;
mod rendered;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use portcullis_controller::{
    Controller, Handle, NGINX_CONTROLLER, Settings,
    ir::{Kind, ObjectKey},
    source::FolderOptions,
    translate::Address,
};
use portcullis_proxy::{Bindings, Capacity, Carriers, LocalBackends, Options, Proxy};
use portcullis_routing::PortKey;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{debug, info, warn};

use crate::{
    admin,
    cli::{CarriersArg, ClusterArgs, RunArgs, ServeArgs},
    metrics::nginx::ControllerLabels,
    server::Server,
    settings,
    signals::Stop,
};
use drain::DrainTimeout;
use live::Live;
use readiness::Readiness;

/// A process that serves: proxy, controller and admin port.
#[derive(Debug)]
pub struct Running {
    proxy: Arc<Proxy>,
    readiness: Readiness,
    admin: Server,
    /// How long requests in flight may take at the end.
    drain_timeout: watch::Receiver<Duration>,
    /// Ends when this replica has given up the Lease.
    release: Option<JoinHandle<()>>,
}

/// What differs between a folder and a cluster.
struct Links {
    /// Whether listeners are made by other people than those who run this process.
    many_owners: bool,
    local: LocalBackends,
    known: own::Known,
    /// The namespace and the name of this process as metrics have them.
    name: (String, String),
}

/// Deltas that may wait for the controller; a source that is faster has to wait.
const DELTAS_WAITING: usize = 64;

/// Serves the objects of a folder, or of a cluster, until a signal says to stop.
///
/// # Errors
/// Where the folder cannot be read, it is not known how to reach the cluster, the admin port cannot be bound, or
/// threads cannot be started.
pub async fn run(args: &RunArgs) -> anyhow::Result<()> {
    // Taken before anything serves, so that no signal is lost in between.
    let signals = Stop::listen()?;
    let running = match &args.manifests {
        Some(manifests) => Running::of_folder(manifests, &args.serve).await?,
        None => Running::of_cluster(cluster::client().await?, &args.cluster, &args.serve).await?,
    };
    let source = args.manifests.as_ref().map_or("the cluster".into(), |folder| folder.display().to_string());
    info!(source, admin = %running.admin.address(), "serving");
    running.until_stopped(signals, &args.serve).await;
    Ok(())
}

impl Running {
    /// Starts everything with the objects of a folder; returns before the first table is served ([`Running::ready`]).
    ///
    /// # Errors
    /// As [`run`].
    pub async fn of_folder(manifests: &Path, args: &ServeArgs) -> anyhow::Result<Self> {
        let settings = Settings { addresses: bound_addresses(args), ..settings(args)? };
        let annotations_prefix = settings.annotations_prefix.clone();
        let options = FolderOptions { annotations_prefix, ..FolderOptions::new(manifests) };
        let (controller, handle) = Controller::folder(options, settings)
            .with_context(|| format!("--manifests {}", manifests.display()))?;
        let links = Links {
            many_owners: false,
            local: LocalBackends::Allowed,
            known: own::Known::nothing(),
            name: ("default".into(), cluster::machine()),
        };
        let running = Self::serving(controller, handle, args, links).await?;
        let (bindings, handle) = (running.proxy.bindings(), running.readiness.controller.clone());
        tokio::spawn(report_bindings(bindings, watch::channel(Lacking::default()).1, handle));
        Ok(running)
    }

    /// The same with the objects of a cluster; statuses are written there while this process leads.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn of_cluster(
        client: kube::Client,
        cluster: &ClusterArgs,
        args: &ServeArgs,
    ) -> anyhow::Result<Self> {
        let settings = Settings {
            direct: false,
            dedicated: cluster.dedicated_ports,
            config_maps: !cluster.no_config_maps,
            pods: !cluster.no_pods,
            watched_namespaces: cluster.watch_namespace.iter().map(|name| name.as_str().into()).collect(),
            ..settings(args)?
        };
        let controllers = cluster::controllers(&settings, &cluster.field_manager);
        let default_certificate = settings.default_certificate.clone();
        let settings_map = settings.settings_map.clone();
        let annotations_prefix = settings.annotations_prefix.clone();
        let service_maps = settings.tcp_services.iter().chain(&settings.udp_services).cloned().collect();
        let (deltas, received) = mpsc::channel(DELTAS_WAITING);
        let (controller, handle) = Controller::of(received, settings);
        let local = if cluster.local_backends { LocalBackends::Allowed } else { LocalBackends::Refused };
        let known = own::Known {
            replicas: cluster::own_addresses(&client, cluster),
            gateways: handle.gateway_addresses(),
        };
        let name = (cluster.lease.0.clone(), cluster.identity.clone().unwrap_or_else(cluster::machine));
        let links = Links { many_owners: true, local, known, name };
        let mut running = Self::serving(controller, handle, args, links).await?;
        let links = cluster::Links {
            client,
            deltas,
            controllers,
            port_offset: args.port_offset,
            default_certificate,
            settings_map,
            service_maps,
            annotations_prefix,
        };
        let (lacking, release) = cluster::start(links, cluster, &running.readiness);
        let (bindings, handle) = (running.proxy.bindings(), running.readiness.controller.clone());
        tokio::spawn(report_bindings(bindings, lacking, handle));
        running.release = Some(release);
        Ok(running)
    }

    async fn serving(
        controller: Controller,
        handle: Handle,
        args: &ServeArgs,
        links: Links,
    ) -> anyhow::Result<Self> {
        let capacity = Capacity::of(raise_file_limit(), workers(args));
        let capacity = match args.carriers {
            CarriersArg::All => capacity,
            CarriersArg::Pingora => capacity.of_pingora_alone(workers(args)),
        };
        let options = Options {
            local_backends: links.local,
            external_names: args.objects.external_names,
            cluster_addresses: handle.cluster_addresses(),
            ..options(args, capacity)
        };
        let proxy = Arc::new(Proxy::start(options).context("the proxy cannot be started")?);
        let nginx = args.ingress_nginx_metrics.then(|| controller_labels(args, links.name));
        let readiness = Readiness::new(handle, Arc::clone(&proxy), links.many_owners, nginx);
        let admin = admin::bind(args.admin, readiness.clone())
            .await
            .with_context(|| format!("the admin port {} cannot be bound (--admin)", args.admin))?;
        let machine = own::machine().context("the addresses of this machine cannot be read")?;
        own::tell(&proxy, admin.address(), &machine);
        tokio::spawn(own::follow(Arc::clone(&proxy), admin.address(), machine, links.known));
        let (publish_to, published) = (Arc::clone(&proxy), readiness.ports.clone());
        let published_at = Arc::clone(&readiness.published_at);
        let mut live = Live::new(capacity, Arc::new(live::of_flags(args)));
        let (drain, mut last) = (DrainTimeout::of(args), None);
        drain.warn(last);
        let (drain_to, drain_timeout) = watch::channel(drain.with(last));
        tokio::spawn(controller.run(move |publication| {
            let timeout = publication.live.proxy.drain_timeout;
            if std::mem::replace(&mut last, timeout) != timeout {
                drain.warn(timeout);
                drain_to.send_replace(drain.with(timeout));
            }
            let ports = &publication.table.ports;
            let now: BTreeMap<_, _> = ports.iter().map(|(bound, port)| (*bound, port.number)).collect();
            live.apply(publication.live, &publish_to);
            publish_to.publish(publication.table, publication.certificates);
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            published_at.store(since.as_secs(), Ordering::Relaxed);
            published.send_if_modified(|before| {
                let is_other = *before != now;
                *before = now;
                is_other
            });
        }));
        Ok(Self { proxy, readiness, admin, drain_timeout, release: None })
    }

    /// Where the admin port is bound.
    pub fn admin(&self) -> std::net::SocketAddr {
        self.admin.address()
    }

    /// Waits until the first table is served and every port of it is bound, or could not be.
    pub async fn ready(&self) {
        let mut ready = self.readiness.controller.ready();
        let _ = ready.wait_for(|ready| *ready).await;
        let mut bindings = self.readiness.bindings.clone();
        let ports = self.readiness.ports.subscribe();
        let _ = bindings.wait_for(|bound| ports.borrow().keys().all(|p| bound.contains_key(p))).await;
    }

    /// Which ports could not be bound, and why.
    pub fn unbound(&self) -> Vec<(u16, String)> {
        let (bindings, ports) = (self.readiness.bindings.borrow(), self.readiness.ports.borrow());
        let number = |bound: &PortKey| ports.get(bound).copied().unwrap_or(bound.number);
        bindings.iter().filter_map(|(port, bound)| Some((number(port), bound.clone().err()?))).collect()
    }

    /// Stops as the signals say.
    pub async fn until_stopped(mut self, mut signals: Stop, args: &ServeArgs) {
        signals.asked().await;
        info!("stopping");
        let stopped = tokio::select! {
            () = self.stop(args.pre_stop_delay) => true,
            () = signals.asked() => false,
        };
        match stopped {
            true => info!("stopped"),
            false => warn!("second signal: requests in flight are aborted"),
        }
    }

    /// Not ready, then no longer accepting, then drained.
    pub async fn stop(&mut self, pre_stop_delay: Duration) {
        self.readiness.stopping.send_replace(true);
        tokio::time::sleep(pre_stop_delay).await;
        let drain_timeout = *self.drain_timeout.borrow();
        self.proxy.drain(drain_timeout).await;
        if let Some(release) = self.release.take() {
            let _ = release.await;
        }
    }
}

/// The labels of the metrics of ingress-nginx.
fn controller_labels(args: &ServeArgs, (namespace, pod): (String, String)) -> ControllerLabels {
    let class = match args.objects.ingress_nginx {
        true => NGINX_CONTROLLER.to_owned(),
        false => args.objects.ingress_controller.clone(),
    };
    ControllerLabels { class, namespace, pod }
}

/// Ports that our own Service lacks, by the bound port, and why.
type Lacking = BTreeMap<PortKey, String>;

/// Reports which ports are bound, and which of these clients cannot reach.
async fn report_bindings(
    mut bindings: watch::Receiver<Arc<Bindings>>,
    mut lacking: watch::Receiver<Lacking>,
    controller: Handle,
) {
    loop {
        tokio::select! {
            Ok(()) = lacking.changed() => {}
            changed = bindings.changed() => if changed.is_err() { return },
        }
        let mut now = (**bindings.borrow_and_update()).clone();
        let lacking = lacking.borrow_and_update();
        for (port, bound) in now.iter_mut().filter(|(_, bound)| bound.is_ok()) {
            if let Some(why) = lacking.get(port) {
                *bound = Err(why.clone());
            }
        }
        controller.bindings(now);
    }
}

/// Raises the limit of open files as far as the system allows without privileges, and returns it.
fn raise_file_limit() -> usize {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            warn!(%error, "the limit of open files cannot be raised");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(FEW_FILES, |(soft, _)| soft)
        }
    };
    debug!(limit, "open files");
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The limit of open files that is assumed if it cannot be read.
const FEW_FILES: u64 = 1024;

/// The shortest and the longest interval between pings of an HTTP/2 backend. gRPC servers tolerate one ping in five
/// minutes for ever.
const PINGS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

fn workers(args: &ServeArgs) -> usize {
    args.workers.map_or_else(|| Options::default().workers, usize::from)
}

fn options(args: &ServeArgs, capacity: Capacity) -> Options {
    Options {
        carriers: match args.carriers {
            CarriersArg::All => Carriers::All,
            CarriersArg::Pingora => Carriers::Pingora,
        },
        bind: args.bind.clone(),
        access_line: Some(crate::logs::write_access_line),
        name_servers: args.name_server.clone(),
        workers: workers(args),
        stream_idle_timeout: args.stream_idle_timeout,
        tcp_idle_timeout: args.tcp_idle_timeout,
        udp_idle_timeout: args.udp_idle_timeout,
        backend_ping_interval: (args.stream_idle_timeout / 3).clamp(PINGS.0, PINGS.1),
        upstream_idle_connections: capacity.idle_backends,
        idle_connections: capacity.idle_http1,
        max_requests: capacity.requests,
        max_mirrors: capacity.mirrors,
        max_streams: capacity.streams,
        pipes: capacity.pipes,
        spool_memory: usize::try_from(args.spool_memory).unwrap_or(usize::MAX),
        spool_directory: args.spool_dir.clone(),
        spool_bytes: args.spool_size,
        ingress_label_sets: args.ingress_nginx_metrics_limit,
        live: live::options(&live::of_flags(args).proxy, capacity),
        ..Options::default()
    }
}

/// Where clients on this machine reach us.
fn bound_addresses(args: &ServeArgs) -> Vec<Address> {
    let addresses = args.bind.iter().map(|ip| match ip.is_unspecified() {
        true => Address::Ip(IpAddr::from(Ipv4Addr::LOCALHOST)),
        false => Address::Ip(*ip),
    });
    addresses.collect::<BTreeSet<_>>().into_iter().collect()
}

fn settings(args: &ServeArgs) -> anyhow::Result<Settings> {
    let secret = |(namespace, name): &(String, String)| ObjectKey::new(Kind::Secret, namespace, name);
    Ok(Settings {
        default_certificate: args.default_certificate.as_ref().map(secret),
        port_offset: args.port_offset,
        ingress_labels: args.ingress_nginx_metrics,
        live: Arc::new(live::of_flags(args)),
        ..settings::of(&args.objects)?
    })
}
