//! pingora's peer: where to connect, how, and which pooled connections are as good.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock},
    time::Duration,
};

use pingora_core::{
    protocols::{ALPN, TcpKeepalive},
    upstreams::peer::{H1UpgradePolicy, HttpPeer},
};
use portcullis_routing::{Backend, BackendProtocol, BackendTls, TlsVersions, Verify};

use super::{dial::Permitted, relayed::Relayed};
use crate::{random, shared::Shared};

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

impl Liveness {
    /// How long the kernel waits before it asks whether the other machine is there. It counts in seconds.
    pub(super) fn probe_interval(self) -> Duration {
        (self.idle_limit / 4).max(Duration::from_secs(1))
    }
}

/// Whether TLS to a backend is ours, under pingora ([`Relayed`]); else it is pingora's own.
pub(crate) fn is_relayed(tls: &BackendTls) -> bool {
    let BackendTls { server_name: _, verify, subject_names, client_certificate, hides_name, versions } = tls;
    matches!(verify, Verify::Authorities(_))
        || !subject_names.is_empty()
        || client_certificate.is_some()
        || *hides_name
        || *versions != TlsVersions::All
}

/// The peer of one attempt.
pub(crate) fn peer(shared: &Arc<Shared>, backend: &Arc<Backend>, attempt: &Attempt) -> Box<HttpPeer> {
    let address = attempt.address.address();
    let relayed = backend.tls.as_ref().filter(|tls| is_relayed(tls)).map(|tls| Relayed {
        shared: Arc::clone(shared),
        backend: Arc::clone(backend),
        tls: Arc::clone(tls),
        address: attempt.address,
        limit: attempt.connect_timeout,
        liveness: attempt.liveness.filter(|_| backend.protocol == BackendProtocol::Http2),
    });
    let mut peer = Box::new(match (&relayed, &backend.tls) {
        // pingora compares a pooled connection's address with that of the peer, unless this is 0.0.0.0.
        (Some(_), _) => {
            let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            HttpPeer::new(nowhere, false, String::new())
        }
        (None, tls) => {
            let sni = tls.as_ref().map_or_else(String::new, |tls| tls.server_name.to_string());
            HttpPeer::new(address, tls.is_some(), sni)
        }
    });
    peer.group_key = match attempt.fresh {
        // pingora takes what the pool has under a key; there is nothing under this one.
        true => random::number(),
        false => group_key(address, backend.protocol, backend.tls.as_deref()),
    };
    let options = &mut peer.options;
    options.custom_l4 = relayed.map(|relayed| Arc::new(relayed) as _);
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
        if let Some(liveness @ Liveness { idle_limit, ping_interval }) = attempt.liveness {
            options.h2_ping_interval = Some(ping_interval);
            let probes = liveness.probe_interval();
            options.tcp_keepalive =
                Some(TcpKeepalive { idle: probes, interval: probes, count: 3, user_timeout: idle_limit });
        }
    }
    if backend.tls.as_ref().is_some_and(|tls| tls.verify == Verify::Nothing) {
        options.verify_cert = false;
        options.verify_hostname = false;
    }
    peer
}

/// Returns a different key for connections that must not be used in place of each other. pingora's own key knows address, SNI and the flags of
/// verification, but neither the protocol nor what the certificate was verified against, and not the address of a relayed
/// connection. Like the number of an identity ([`super::tls::identity`]), the hash has a random key.
///
/// The Service is not part of it: a connection to an address is the same whichever Service led there.
fn group_key(address: SocketAddr, protocol: BackendProtocol, tls: Option<&BackendTls>) -> u64 {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    match tls {
        None => protocol as u64,
        Some(tls) => HASHER.hash_one((address, protocol, tls)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use portcullis_routing::{SubjectName, TlsMaterial};

    use super::*;

    #[test]
    fn connections_are_shared_only_where_address_protocol_and_tls_are_the_same() {
        let addresses = [SocketAddr::from(([192, 0, 2, 1], 443)), SocketAddr::from(([192, 0, 2, 2], 443))];
        let authorities = |byte| Verify::Authorities([TlsMaterial::new([byte; 32], Arc::new(()))].into());
        let mut all = vec![
            BackendTls::new("a.example", Verify::System),
            BackendTls::new("b.example", Verify::System),
            BackendTls::new("a.example", Verify::Nothing),
            BackendTls::new("a.example", authorities(1)),
            BackendTls::new("a.example", authorities(2)),
        ];
        let names = [SubjectName::Dns("b.example".into())].into();
        all.push(BackendTls { subject_names: names, ..all[3].clone() });
        let certificate = TlsMaterial::new([3; 32], Arc::new(()));
        all.push(BackendTls { client_certificate: Some(certificate), ..all[3].clone() });
        all.push(BackendTls { hides_name: true, ..all[3].clone() });
        all.push(BackendTls { versions: TlsVersions::Tls13, ..all[3].clone() });
        let mut keys = HashSet::new();
        for protocol in [BackendProtocol::Http1, BackendProtocol::Http2] {
            assert!(keys.insert(group_key(addresses[0], protocol, None)), "{protocol:?}");
            for (address, tls) in addresses.iter().flat_map(|a| all.iter().map(move |tls| (*a, tls))) {
                let key = group_key(address, protocol, Some(tls));
                assert_eq!(key, group_key(address, protocol, Some(&tls.clone())));
                assert!(keys.insert(key), "{address} {protocol:?} {tls}");
            }
        }
    }

    #[test]
    fn what_pingora_cannot_do_is_relayed() {
        let plain = BackendTls::new("a.example", Verify::System);
        let material = || TlsMaterial::new([1; 32], Arc::new(()));
        for (tls, want) in [
            (plain.clone(), false),
            (BackendTls::new("a.example", Verify::Nothing), false),
            (BackendTls::new("a.example", Verify::Authorities([material()].into())), true),
            (BackendTls { subject_names: [SubjectName::Uri("a:b".into())].into(), ..plain.clone() }, true),
            (BackendTls { client_certificate: Some(material()), ..plain.clone() }, true),
            (BackendTls { hides_name: true, ..plain.clone() }, true),
            (BackendTls { versions: TlsVersions::Tls12, ..plain }, true),
        ] {
            assert_eq!(is_relayed(&tls), want, "{tls}");
        }
    }
}
