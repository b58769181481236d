//! What all worker threads have in common.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use portcullis_routing::{self as routing, Carrier, Headers, Table};
use portcullis_tls::Certificates;

use crate::{
    LiveOptions, LocalBackends, Options, Own,
    admission::Admission,
    body::Spools,
    http::{
        Budget,
        check::AuthCache,
        client::{self, Client},
        forwarded,
    },
    http1::IdleLimit,
    ingress_metrics,
    limiter::Limiter,
    load::Load,
    passwords::{self, Passwords},
    ranges,
    tls::HandshakeError,
    upstream::{connections::Connections, refusals::Refusals, tls::ClientConfigs},
    versioned::{Cached, Version, Versioned},
};

/// What all worker threads have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The current table. Requests read it by [`Self::with_table`].
    pub(crate) table: Versioned<Table>,
    /// The certificates of connections that begin now.
    pub(crate) certificates: ArcSwap<Certificates>,
    /// What does not change.
    pub(crate) options: Options,
    /// What can change; set by [`Self::set_live`].
    pub(crate) live: ArcSwap<LiveOptions>,
    /// Whether any peer is trusted. Where none is, requests need not load `live`.
    trusts: AtomicBool,
    /// TLS towards backends.
    pub(crate) backend_tls: ClientConfigs,
    /// The connections of our own carrier to backends.
    pub(crate) backend_connections: Connections,
    /// How many of them may be idle.
    pub(crate) idle_backends: Arc<IdleLimit>,
    /// Addresses that backends must not have. Requests read them by [`Self::with_own`].
    pub(crate) own: Versioned<Own>,
    /// The version of the table and of those addresses.
    pub(crate) version: Version,
    /// Addresses of backends that were refused.
    pub(crate) refusals: Refusals,
    /// Handshakes that failed, by [`HandshakeError::reason`].
    pub(crate) failed_handshakes: [AtomicU64; HandshakeError::REASONS.len()],
    /// Answers of services that check the requests of Ingresses.
    pub(crate) auth_cache: AuthCache,
    /// What this proxy adds to the requests of its checks, which nobody can guess.
    pub(crate) mark: Box<str>,
    /// The bytes that mirrored requests hold.
    pub(crate) mirrors: Arc<Budget>,
    /// What the spooled bodies of requests may hold.
    pub(crate) spools: Spools,
    /// Whether the process is stopping: responses close their connections.
    pub(crate) draining: AtomicBool,
    /// The connections of clients, and their limits.
    pub(crate) admission: Arc<Admission>,
    /// What clients have sent to rules that limit them.
    pub(crate) limiter: Limiter,
    /// What verifies clients' passwords.
    pub(crate) passwords: Arc<Passwords>,
    /// One for each worker thread.
    pub(crate) loads: Box<[Arc<Load>]>,
}

thread_local! {
    static TABLE: Cached<Table> = const { Cached::new() };
    static OWN: Cached<Own> = const { Cached::new() };
}

impl Shared {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let labels = Arc::new(ingress_metrics::Limiter::new(options.ingress_label_sets));
        let loads = (0..options.workers.max(1)).map(|_| Arc::new(Load::new(&labels))).collect();
        let version = Version::new();
        Arc::new(Self {
            table: Versioned::new(&version),
            certificates: ArcSwap::from_pointee(Certificates::default()),
            limiter: Limiter::new(),
            passwords: passwords::shared(options.workers),
            admission: Admission::new(options.live.connections),
            trusts: AtomicBool::new(trusts_any(&options.live)),
            live: ArcSwap::from_pointee(options.live.clone()),
            mirrors: Budget::new(options.mirror_bytes),
            spools: Spools::new(
                options.spool_memory,
                options.spool_directory.as_deref(),
                options.spool_bytes,
                // Such a request has no connection to a backend while its file grows, and both later.
                options.max_requests / 4,
            ),
            idle_backends: IdleLimit::new(options.idle_connections, options.workers),
            options,
            backend_tls: ClientConfigs::default(),
            backend_connections: Connections::new(),
            own: Versioned::new(&version),
            version,
            refusals: Refusals::default(),
            auth_cache: AuthCache::default(),
            mark: String::from_utf8_lossy(&forwarded::request_id()).into(),
            failed_handshakes: Default::default(),
            draining: AtomicBool::new(false),
            loads,
        })
    }

    /// Calls `read` with the current table.
    pub(crate) fn with_table<R>(&self, read: impl FnOnce(&Table) -> R) -> R {
        self.table.with_cached(&TABLE, read)
    }

    /// Calls `read` with the addresses that backends must not have.
    pub(crate) fn with_own<R>(&self, read: impl FnOnce(&Own) -> R) -> R {
        self.own.with_cached(&OWN, read)
    }

    /// Whether a peer is one of our own pods.
    pub(crate) fn is_ours(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let is_local = peer.is_loopback() && self.options.local_backends == LocalBackends::Allowed;
        is_local || self.with_own(|own| own.addresses.contains(&peer))
    }

    /// Releases the rules and the table that this thread has cached and no longer uses, and the TLS configurations of
    /// backends that are gone. Worker threads call this once a second, so that an idle thread does not keep an old table
    /// alive.
    pub(crate) fn renew(&self) {
        routing::renew_rules();
        self.limiter.sweep();
        self.backend_tls.forget_unused();
        self.auth_cache.forget_expired();
        self.with_table(|_| ());
        self.with_own(|_| ());
    }

    /// Changes the options that can change.
    pub(crate) fn set_live(&self, options: LiveOptions) {
        self.admission.set_limits(options.connections);
        let trusts = trusts_any(&options);
        self.live.store(Arc::new(options));
        self.trusts.store(trusts, Ordering::Release);
    }

    /// The client behind a peer; see [`client::of`].
    pub(crate) fn client<'l, L: DoubleEndedIterator<Item = &'l [u8]>>(
        &self,
        peer: IpAddr,
        lists: impl FnOnce() -> L,
        headers: &'l dyn Headers,
    ) -> Client {
        match self.trusts.load(Ordering::Acquire) {
            true => client::of(peer, lists, headers, &self.live.load()),
            false => Client::untrusted(peer),
        }
    }

    /// Whether a peer is a proxy that stands for many clients.
    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        let is_one_of = |live: &LiveOptions| {
            ranges::hold(&live.trusted, peer) || ranges::hold(&live.trusted_for_address, peer)
        };
        self.trusts.load(Ordering::Acquire) && is_one_of(&self.live.load())
    }

    /// Requests, h2 streams and tunnels that are being answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.loads.iter().map(|load| load.in_flight()).sum()
    }

    /// Whether the limit of requests in flight is reached. `load` is that of the asking worker; the others are summed up only if
    /// this one has more than its share.
    pub(crate) fn is_full(&self, load: &Load) -> bool {
        let most = self.options.max_requests;
        load.in_flight() > most / self.loads.len() && self.in_flight() > most
    }

    /// The maximum number of streams and flows of datagrams of one worker.
    pub(crate) fn max_streams_of_worker(&self) -> usize {
        (self.options.max_streams / self.loads.len()).max(1)
    }

    /// Requests that are over, by the first digit of their status; 0 is those that were cut before any answer.
    pub(crate) fn answered(&self) -> [u64; 6] {
        std::array::from_fn(|class| self.loads.iter().map(|load| load.answers(class)).sum())
    }

    /// Completed requests that a carrier forwarded or tried to forward, by carrier.
    pub(crate) fn forwarded(&self) -> Vec<(Carrier, u64)> {
        let count = |carrier| (carrier, self.loads.iter().map(|load| load.forwards(carrier)).sum());
        [Carrier::Http1, Carrier::Pingora].map(count).into()
    }

    /// Connections that clients hold, idle ones too.
    pub(crate) fn connections(&self) -> usize {
        self.loads.iter().map(|load| load.connections()).sum()
    }
}

fn trusts_any(options: &LiveOptions) -> bool {
    !options.trusted.is_empty() || !options.trusted_for_address.is_empty()
}
