//! Applies the settings that take effect without a restart, as publications bring them.

use std::sync::Arc;

use portcullis_controller::ir::{LiveSettings, live_settings::ProxySettings};
use portcullis_proxy::{Capacity, ConnectionLimits, LiveOptions, Proxy};
use tracing::{info, warn};

use crate::{cli::ServeArgs, logs};

/// Applies live settings to the data plane and the log.
pub(super) struct Live {
    capacity: Capacity,
    last: Arc<LiveSettings>,
}

impl Live {
    /// `last` are the settings in force.
    pub(super) fn new(capacity: Capacity, last: Arc<LiveSettings>) -> Self {
        Self { capacity, last }
    }

    /// Applies what has changed.
    pub(super) fn apply(&mut self, now: Arc<LiveSettings>, proxy: &Proxy) {
        if self.last == now {
            return;
        }
        if self.last.proxy != now.proxy {
            proxy.set_live_options(options(&now.proxy, self.capacity));
            logs::set_access_log(now.proxy.access_log);
        }
        info!("settings changed (--settings-configmap)");
        self.last = now;
    }
}

/// The live settings of the command line.
pub(super) fn of_flags(args: &ServeArgs) -> LiveSettings {
    let proxy = ProxySettings {
        trusted_proxies: args.trusted_proxies.clone(),
        proxy_protocol: args.proxy_protocol.clone(),
        max_connections: args.max_connections,
        max_connections_per_port: args.max_connections_per_port,
        max_connections_per_client: args.max_connections_per_client,
        access_log: args.access_log,
    };
    LiveSettings { proxy, ..LiveSettings::default() }
}

/// The same as options of the data plane.
pub(super) fn options(settings: &ProxySettings, capacity: Capacity) -> LiveOptions {
    LiveOptions {
        trusted: settings.trusted_proxies.clone(),
        proxy_protocol: settings.proxy_protocol.clone(),
        connections: connection_limits(settings, capacity),
    }
}

fn connection_limits(settings: &ProxySettings, capacity: Capacity) -> ConnectionLimits {
    let process = settings.max_connections.unwrap_or(capacity.clients);
    if process > capacity.clients {
        warn!(
            allowed = capacity.clients,
            "max-connections is more than the limit of open files (ulimit -n) allows"
        );
    }
    let clients = process.min(capacity.clients);
    let of_all = Capacity { clients, ..capacity }.connections();
    ConnectionLimits {
        port: settings.max_connections_per_port.unwrap_or(of_all.port),
        client: settings.max_connections_per_client,
        descriptors: capacity.clients,
        ..of_all
    }
}
