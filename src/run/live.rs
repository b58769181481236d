//! Applies the settings that take effect without a restart, as publications bring them.

use std::sync::Arc;

use portcullis_controller::ir::{LiveSettings, live_settings::ProxySettings};
use portcullis_proxy::{
    Capacity, ClientOptions, ConnectionLimits, ForwardedFor, HeaderNames, LiveOptions, LogOptions, Proxy,
};
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
        warn_of_too_many(None, last.proxy.max_connections, capacity);
        Self { capacity, last }
    }

    /// Applies what has changed.
    pub(super) fn apply(&mut self, now: Arc<LiveSettings>, proxy: &Proxy) {
        if self.last == now {
            return;
        }
        if self.last.proxy != now.proxy {
            warn_of_too_many(self.last.proxy.max_connections, now.proxy.max_connections, self.capacity);
            proxy.set_live_options(options(&now.proxy, self.capacity));
            logs::set_access_log(now.proxy.has_access_log());
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
        ..ProxySettings::default()
    };
    LiveSettings { proxy, ..LiveSettings::default() }
}

/// The same as options of the data plane.
pub(super) fn options(settings: &ProxySettings, capacity: Capacity) -> LiveOptions {
    LiveOptions {
        trusted: settings.trusted(),
        trusted_for_address: settings.trusted_for_address(),
        client_header: settings.forwarding.header.clone(),
        forwarded_for: match settings.forwards_client_alone() {
            true => ForwardedFor::Client,
            false => ForwardedFor::List,
        },
        proxy_protocol: settings.proxy_protocol(),
        port_proxies: settings.port_proxies(),
        log: LogOptions {
            format: settings.log.format().map(Arc::new),
            skipped: settings.log.skipped.clone(),
            is_off: settings.log.is_off_for_requests,
        },
        clients: ClientOptions {
            header_timeout: settings.header_timeout,
            keepalive_timeout: settings.keepalive_timeout,
            max_header_bytes: settings.max_header_bytes,
            body_timeout: settings.body_timeout,
            max_requests: settings.max_requests,
            without_request_ids: settings.without_request_ids,
            without_http2: settings.without_http2,
            header_names: match (settings.all_header_names, settings.underscores_in_headers) {
                (true, _) => HeaderNames::Any,
                (false, true) => HeaderNames::WithUnderscores,
                (false, false) => HeaderNames::Plain,
            },
        },
        connections: connection_limits(settings, capacity),
        offer: settings.offer.clone(),
    }
}

fn connection_limits(settings: &ProxySettings, capacity: Capacity) -> ConnectionLimits {
    let clients = settings.max_connections.unwrap_or(capacity.clients).min(capacity.clients);
    let of_all = Capacity { clients, ..capacity }.connections();
    ConnectionLimits {
        port: settings.max_connections_per_port.unwrap_or(of_all.port),
        client: settings.max_connections_per_client,
        descriptors: capacity.clients,
        ..of_all
    }
}

fn warn_of_too_many(before: Option<usize>, max_connections: Option<usize>, capacity: Capacity) {
    if is_newly_too_many(before, max_connections, capacity) {
        warn!(
            allowed = capacity.clients,
            "max-connections is more than the limit of open files (ulimit -n) allows"
        );
    }
}

fn is_newly_too_many(before: Option<usize>, max_connections: Option<usize>, capacity: Capacity) -> bool {
    max_connections != before && max_connections.is_some_and(|asked| asked > capacity.clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_of_requests_are_those_of_the_settings() {
        for (underscores_in_headers, all_header_names, want) in [
            (false, false, HeaderNames::Plain),
            (true, false, HeaderNames::WithUnderscores),
            (false, true, HeaderNames::Any),
            (true, true, HeaderNames::Any),
        ] {
            let settings =
                ProxySettings { underscores_in_headers, all_header_names, ..ProxySettings::default() };
            assert_eq!(options(&settings, Capacity::of(10_000, 1)).clients.header_names, want);
        }
    }

    #[test]
    fn too_many_connections_are_warned_of_when_their_number_changes() {
        let capacity = Capacity::of(10_000, 1);
        let (few, many, more) =
            (Some(capacity.clients), Some(capacity.clients + 1), Some(capacity.clients + 2));
        for (before, now, want) in [
            (None, None, false),
            (None, few, false),
            (None, many, true),
            (many, many, false),
            (many, more, true),
            (more, few, false),
            (more, None, false),
        ] {
            assert_eq!(is_newly_too_many(before, now, capacity), want, "{before:?} -> {now:?}");
        }
    }
}
