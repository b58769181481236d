//! What of the deployment is ours: the proxy is told of it and carries no request there.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use portcullis_proxy::{Own, Proxy};
use tokio::{sync::watch, time::interval};
use tracing::warn;

/// Addresses of a machine come and go rarely, and no one tells of it.
const EVERY: Duration = Duration::from_secs(30);
/// Where kube-proxy (IPVS) keeps the addresses of every Service of the cluster, on each node.
const OF_SERVICES: &str = "kube-ipvs0";

/// Addresses that others know to be ours, as they change.
pub(super) struct Known {
    /// Those of other replicas and of the Service before them.
    pub(super) replicas: watch::Receiver<BTreeSet<IpAddr>>,
    /// Those of the Services before Gateways that have addresses of their own.
    pub(super) gateways: watch::Receiver<BTreeSet<IpAddr>>,
}

impl Known {
    /// Nothing but what this machine has.
    pub(super) fn nothing() -> Self {
        Self { replicas: watch::channel(BTreeSet::new()).1, gateways: watch::channel(BTreeSet::new()).1 }
    }
}

/// The addresses of this machine (or pod) but loopback.
///
/// # Errors
/// Where the system does not say.
pub(super) fn machine() -> io::Result<BTreeSet<IpAddr>> {
    let all = if_addrs::get_if_addrs()?.into_iter().filter(|of| of.name != OF_SERVICES);
    Ok(all.map(|of| of.ip()).filter(|ip| !ip.is_loopback()).collect())
}

/// Tells the proxy.
pub(super) fn tell(proxy: &Proxy, admin: SocketAddr, addresses: &BTreeSet<IpAddr>) {
    proxy.set_own(Own { addresses: addresses.iter().copied().collect(), admin: Some(admin) });
}

/// Keeps the proxy told until the process ends. `machine` is what it has been told already.
pub(super) async fn follow(
    proxy: Arc<Proxy>,
    admin: SocketAddr,
    mut machine: BTreeSet<IpAddr>,
    mut known: Known,
) {
    let mut looks = interval(EVERY);
    let mut told = machine.clone();
    loop {
        let all =
            machine.iter().chain(&*known.replicas.borrow_and_update()).copied().collect::<BTreeSet<_>>();
        let all = &all | &*known.gateways.borrow_and_update();
        if told != all {
            tell(&proxy, admin, &all);
            told = all;
        }
        tokio::select! {
            Ok(()) = known.replicas.changed() => {}
            Ok(()) = known.gateways.changed() => {}
            _ = looks.tick() => match self::machine() {
                Ok(now) => machine = now,
                Err(error) => warn!(%error, "the addresses of this machine cannot be read; those known stay"),
            },
        }
    }
}
