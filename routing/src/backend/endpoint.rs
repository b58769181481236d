//! The endpoints of a backend.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::{
    carry_over,
    hashing::stable_hash,
    in_flight::{InFlight, Number},
    latency::Latency,
    pick::pick,
    turns::Turn,
};

/// The endpoints of a backend as they are now. Lives as long as its Service's port and outlives tables.
#[derive(Debug)]
pub struct EndpointPool {
    now: ArcSwap<Endpoints>,
    /// Whether `now` has no endpoint. Updated a moment after `now`.
    empty: AtomicBool,
    pub(super) turn: Turn,
    by_service: bool,
}

/// Where a backend's requests can go.
#[derive(Debug)]
pub enum Endpoints {
    /// These addresses. If there are none, requests get a 503.
    Addresses(Box<[Arc<Endpoint>]>),
    /// The addresses of a DNS name (ExternalName). They are looked up again when the TTL has passed.
    Name {
        /// The name.
        host: Box<str>,
        /// The port.
        port: u16,
    },
}

/// One address, with the count of its requests. It stays the same when routes or other endpoints are edited.
#[derive(Debug)]
pub struct Endpoint {
    /// The address that the endpoint listens on.
    pub address: SocketAddr,
    /// The result of [`point`] for the address. It is the same in every process.
    pub(super) point: u64,
    pub(super) number: Number,
    pub(super) latency: Latency,
    /// The version of the proxy's address policy that last permitted connections to the address; 0, which is not a version,
    /// if none has. Written by the proxy's policy check, by [`Endpoint::permit`].
    permitted_by: AtomicU64,
}

impl EndpointPool {
    /// Makes a pool with these endpoints.
    pub fn new(endpoints: Endpoints) -> Self {
        let empty = AtomicBool::new(endpoints.is_empty());
        Self { now: ArcSwap::from_pointee(endpoints), empty, turn: Turn::new(), by_service: false }
    }

    /// Makes a pool without endpoints whose one endpoint will be the Service's own address (`service-upstream`).
    pub fn by_service() -> Self {
        Self { by_service: true, ..Self::new(Endpoints::Addresses(Box::default())) }
    }

    /// Returns whether its endpoint is the Service's own address.
    pub fn is_by_service(&self) -> bool {
        self.by_service
    }

    /// Returns whether there is no endpoint. This costs less than loading the endpoints. While they are being replaced,
    /// it may still describe the previous ones.
    pub fn is_empty(&self) -> bool {
        self.empty.load(Ordering::Relaxed)
    }

    /// Returns the current endpoints.
    pub fn load(&self) -> arc_swap::Guard<Arc<Endpoints>> {
        self.now.load()
    }

    /// Replaces the endpoints. An address that stays keeps its [`Endpoint`], and so the count of its requests.
    /// Addresses are used in the order given, each once.
    pub fn store_addresses(&self, addresses: &[SocketAddr]) {
        let before = self.now.load();
        let known = match &**before {
            Endpoints::Addresses(known) => &**known,
            Endpoints::Name { .. } => &[],
        };
        self.store(Endpoints::Addresses(carry_over::all(known, addresses)));
    }

    /// Replaces the endpoints by a DNS name.
    pub fn store_name(&self, host: &str, port: u16) {
        self.store(Endpoints::Name { host: host.into(), port });
    }

    fn store(&self, endpoints: Endpoints) {
        let empty = endpoints.is_empty();
        self.now.store(Arc::new(endpoints));
        self.empty.store(empty, Ordering::Relaxed);
    }
}

impl Endpoints {
    /// Returns whether there is no address. A DNS name may have addresses, so it does not count as empty.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Addresses(all) if all.is_empty())
    }

    /// Returns the endpoint with this address, if there is one.
    pub fn find(&self, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        match self {
            Self::Addresses(endpoints) => endpoints.iter().find(|endpoint| endpoint.address == address),
            Self::Name { .. } => None,
        }
    }

    /// Returns one of the endpoints, as [`pick()`] chooses it. Returns `None` if there is none, and for a DNS name, whose
    /// addresses the proxy looks up.
    pub fn pick(&self, random: u64, avoid: &[SocketAddr]) -> Option<&Arc<Endpoint>> {
        match self {
            Self::Addresses(endpoints) => pick(endpoints, random, avoid),
            Self::Name { .. } => None,
        }
    }
}

impl Endpoint {
    /// Makes an endpoint without requests.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            point: point(address),
            number: Number::new(),
            latency: Latency::default(),
            permitted_by: AtomicU64::new(0),
        }
    }

    /// Returns whether this version of the proxy's address policy has permitted connections to the address. Versions are
    /// greater than 0.
    pub fn is_permitted_by(&self, version: u64) -> bool {
        self.permitted_by.load(Ordering::Relaxed) == version
    }

    /// Records that this version of the proxy's address policy permits connections to the address, so that they need not be
    /// checked again under the same version. This replaces the permission of any other version.
    pub fn permit(&self, version: u64) {
        self.permitted_by.store(version, Ordering::Relaxed);
    }

    /// Counts how long the endpoint took to answer, in seconds; for backends that are balanced by that. `now` is in
    /// milliseconds since any instant.
    pub fn took(&self, seconds: f32, now: u32) {
        self.latency.count(seconds, now);
    }

    /// Returns the number of requests in flight to the endpoint, over all threads. For metrics: it takes a lock and
    /// reads memory that other threads write.
    pub fn in_flight(&self) -> u32 {
        self.number.sum()
    }

    /// Counts a request of this thread as in flight until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        InFlight::begin(self.address, &self.number)
    }
}

/// The place of an endpoint among the hashes of requests: the hash of its address and port. Text would take ten times as long.
fn point(address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    stable_hash(&bytes)
}
