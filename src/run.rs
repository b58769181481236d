//! Wires the controller to the proxy and carries the process from start to stop.
//!
//! ```text
//! controller --Publication--> proxy.publish
//! proxy.bindings ----------> controller (conditions of listeners), readiness
//! SIGTERM -> not ready -> pre-stop delay -> drain -> end; a second one ends at once
//! ```

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use portcullis_controller::{
    Controller, Handle, Settings,
    ir::{Kind, ObjectKey},
    source::FolderOptions,
    translate::Address,
};
use portcullis_proxy::{Bindings, Options, Proxy};
use portcullis_tls::Certificate;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::{
    admin::{self, Told},
    cli::ServeArgs,
    server::Server,
    signals::Stop,
};

/// A process that serves: proxy, controller and admin port.
#[derive(Debug)]
pub struct Running {
    proxy: Arc<Proxy>,
    readiness: Readiness,
    admin: Server,
}

/// What readiness is made of.
#[derive(Clone, Debug)]
struct Readiness {
    controller: Handle,
    bindings: watch::Receiver<Arc<Bindings>>,
    /// The ports of the table that was published last.
    ports: watch::Sender<BTreeSet<u16>>,
    stopping: watch::Sender<bool>,
}

/// Serves the objects of a folder until a signal says to stop.
///
/// # Errors
/// Where the folder cannot be read, the admin port cannot be bound, or threads cannot be started.
pub async fn run(manifests: &Path, args: &ServeArgs) -> anyhow::Result<()> {
    // Taken before anything serves, so that no signal is lost in between.
    let signals = Stop::listen()?;
    let running = Running::start(manifests, args).await?;
    info!(manifests = %manifests.display(), admin = %running.admin.address(), "serving");
    running.until_stopped(signals, args).await;
    Ok(())
}

impl Running {
    /// Starts everything; returns before the first table is served ([`Running::ready`]).
    ///
    /// # Errors
    /// As [`run`].
    pub async fn start(manifests: &Path, args: &ServeArgs) -> anyhow::Result<Self> {
        raise_file_limit();
        let proxy = Arc::new(Proxy::start(options(args)).context("the proxy cannot be started")?);
        let folder = FolderOptions::new(manifests);
        let (controller, handle) = Controller::folder(folder, settings(args)?)
            .with_context(|| format!("--manifests {}", manifests.display()))?;
        let readiness = Readiness {
            controller: handle,
            bindings: proxy.bindings(),
            ports: watch::Sender::default(),
            stopping: watch::Sender::new(false),
        };
        let admin = admin::bind(args.admin, readiness.clone())
            .await
            .with_context(|| format!("the admin port {} cannot be bound (--admin)", args.admin))?;
        tokio::spawn(report_bindings(proxy.bindings(), readiness.controller.clone()));
        let (publish_to, ports) = (Arc::clone(&proxy), readiness.ports.clone());
        tokio::spawn(controller.run(move |publication| {
            ports.send_replace(publication.table.ports.keys().copied().collect());
            publish_to.publish(publication.table, publication.certificates);
        }));
        Ok(Self { proxy, readiness, admin })
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
        let _ = bindings.wait_for(|bound| ports.borrow().iter().all(|p| bound.contains_key(p))).await;
    }

    /// Which ports could not be bound, and why.
    pub fn unbound(&self) -> Vec<(u16, String)> {
        let bindings = self.readiness.bindings.borrow();
        bindings.iter().filter_map(|(port, bound)| Some((*port, bound.clone().err()?))).collect()
    }

    /// Stops as the signals say.
    pub async fn until_stopped(self, mut signals: Stop, args: &ServeArgs) {
        signals.asked().await;
        info!("stopping");
        let stopped = tokio::select! {
            () = self.stop(args.pre_stop_delay, args.drain_timeout) => true,
            () = signals.asked() => false,
        };
        match stopped {
            true => info!("stopped"),
            false => warn!("a second signal: what was in flight is cut"),
        }
    }

    /// Not ready, then no longer accepting, then drained.
    pub async fn stop(&self, pre_stop_delay: Duration, drain_timeout: Duration) {
        self.readiness.stopping.send_replace(true);
        tokio::time::sleep(pre_stop_delay).await;
        self.proxy.drain(drain_timeout).await;
    }
}

async fn report_bindings(mut bindings: watch::Receiver<Arc<Bindings>>, controller: Handle) {
    while bindings.changed().await.is_ok() {
        let now = Arc::clone(&bindings.borrow_and_update());
        controller.bindings((*now).clone());
    }
}

impl Told for Readiness {
    fn missing(&self) -> Vec<String> {
        if *self.stopping.borrow() {
            return vec!["the process is stopping".to_owned()];
        }
        if !*self.controller.ready().borrow() {
            return vec!["the first table".to_owned()];
        }
        let bindings = self.bindings.borrow();
        let ports = self.ports.borrow();
        let missing = ports.iter().filter_map(|port| match bindings.get(port) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(format!("port {port}: {error}")),
            None => Some(format!("port {port}: not bound yet")),
        });
        missing.collect()
    }

    fn statuses(&self) -> serde_json::Value {
        self.controller.report()
    }
}

/// A connection is a file or two: takes as many as the system gives without privileges.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}

fn options(args: &ServeArgs) -> Options {
    let base = Options::default();
    Options {
        bind: args.bind.clone(),
        port_offset: args.port_offset,
        workers: args.workers.map_or(base.workers, usize::from),
        trusted: args.trusted_proxies.clone(),
        proxy_protocol: args.proxy_protocol.clone(),
        ..base
    }
}

fn settings(args: &ServeArgs) -> anyhow::Result<Settings> {
    let secret = |(namespace, name): &(String, String)| ObjectKey::new(Kind::Secret, namespace, name);
    let addresses = args.bind.iter().map(|ip| match ip.is_unspecified() {
        true => Address::Ip(IpAddr::from(Ipv4Addr::LOCALHOST)),
        false => Address::Ip(*ip),
    });
    Ok(Settings {
        ingress_class: args.ingress_class.as_str().into(),
        watch_ingress_without_class: args.watch_ingress_without_class,
        ssl_redirect: !args.no_ssl_redirect,
        default_certificate: args.default_certificate.as_ref().map(secret),
        fallback_certificate: Some(Arc::new(self_signed().context("the default certificate")?)),
        addresses: addresses.collect::<BTreeSet<_>>().into_iter().collect(),
        ..Settings::default()
    })
}

/// What is shown for hosts without a certificate of their own: encrypted, and known to nobody.
fn self_signed() -> anyhow::Result<Certificate> {
    let mut params = rcgen::CertificateParams::new(["default.portcullis.invalid".to_owned()])?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Portcullis default certificate");
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Certificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())?)
}
