//! pingora's peer: where to connect, how, and which pooled connections are as good.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use pingora_core::{
    protocols::{ALPN, TcpKeepalive},
    upstreams::peer::{H1UpgradePolicy, HttpPeer},
};
use portcullis_routing::{Backend, BackendProtocol, BackendTls, Verify};

use super::dial::Permitted;
use crate::random;

/// Streams on one h2 connection; what most servers allow at least (RFC 9113, 6.5.2).
const H2_STREAMS: usize = 100;
/// What a backend may send ahead on one stream, and on all of a connection. Bounds what a slow client costs.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 8 << 20;
/// Pooled connections are kept idle for so long.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// What differs between the attempts of a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) address: Permitted,
    /// For TCP; with TLS as much again.
    pub(crate) connect_timeout: Duration,
    /// Between two reads.
    pub(crate) read_timeout: Option<Duration>,
    /// How long one write may block.
    pub(crate) write_timeout: Option<Duration>,
    /// Whether the request asks for an upgrade.
    pub(crate) upgrade: bool,
    /// Whether it takes a connection that no request has used, and none will after it.
    pub(crate) fresh: bool,
    /// How a connection to an h2 backend is looked after.
    pub(crate) liveness: Option<Liveness>,
}

/// How it is found out that an h2 backend is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    /// How long its machine may acknowledge nothing, or have no room for what was sent.
    pub(crate) idle_limit: Duration,
    /// How often it is pinged.
    pub(crate) ping_interval: Duration,
}

/// The peer of one attempt.
pub(crate) fn peer(backend: &Backend, attempt: &Attempt) -> Box<HttpPeer> {
    let sni = backend.tls.as_ref().map_or_else(String::new, |tls| tls.server_name.to_string());
    let mut peer = Box::new(HttpPeer::new(attempt.address.address(), backend.tls.is_some(), sni));
    peer.group_key = match attempt.fresh {
        // pingora takes what the pool has under a key; there is nothing under this one.
        true => random::number(),
        false => group_key(backend.protocol, backend.tls.as_ref()),
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(attempt.connect_timeout);
    options.total_connection_timeout = Some(match backend.tls {
        Some(_) => attempt.connect_timeout * 2,
        None => attempt.connect_timeout,
    });
    options.read_timeout = attempt.read_timeout;
    options.write_timeout = attempt.write_timeout;
    options.idle_timeout = Some(if attempt.fresh { Duration::ZERO } else { POOL_IDLE });
    // Whether a request may be upgraded is decided before; pingora's own rule knows WebSocket alone.
    options.http_upstream_request_policy.h1_upgrade =
        if attempt.upgrade { H1UpgradePolicy::Preserve } else { H1UpgradePolicy::Deny };
    if backend.protocol == BackendProtocol::Http2 {
        options.alpn = ALPN::H2;
        options.max_h2_streams = H2_STREAMS;
        options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
        options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
        if let Some(Liveness { idle_limit, ping_interval }) = attempt.liveness {
            options.h2_ping_interval = Some(ping_interval);
            // The kernel counts in seconds.
            let probes = (idle_limit / 4).max(Duration::from_secs(1));
            options.tcp_keepalive =
                Some(TcpKeepalive { idle: probes, interval: probes, count: 3, user_timeout: idle_limit });
        }
    }
    if let Some(BackendTls { verify: Verify::Nothing, .. }) = backend.tls {
        options.verify_cert = false;
        options.verify_hostname = false;
    }
    peer
}

/// Tells apart connections to one address that must not stand in for each other. pingora's own key knows address,
/// SNI and the flags of verification, but neither the protocol nor what the certificate was held against.
///
/// The Service is not part of it: a plain connection to an address is the same whichever Service led there.
fn group_key(protocol: BackendProtocol, tls: Option<&BackendTls>) -> u64 {
    match tls {
        None => protocol as u64,
        Some(tls) => {
            let mut hasher = DefaultHasher::new();
            (protocol, tls).hash(&mut hasher);
            hasher.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn connections_are_shared_only_where_protocol_and_tls_are_the_same() {
        let tls = |name: &str, verify| Some(BackendTls { server_name: name.into(), verify });
        let mut keys = HashSet::new();
        for protocol in [BackendProtocol::Http1, BackendProtocol::Http2] {
            for tls in [
                None,
                tls("a.example", Verify::System),
                tls("b.example", Verify::System),
                tls("a.example", Verify::Nothing),
            ] {
                assert_eq!(group_key(protocol, tls.as_ref()), group_key(protocol, tls.as_ref()));
                assert!(keys.insert(group_key(protocol, tls.as_ref())), "{protocol:?} {tls:?}");
            }
        }
    }
}
