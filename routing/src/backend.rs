//! Backends and their endpoints: who answers a rule's requests.

mod in_flight;
mod tls;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

pub use in_flight::InFlight;
pub use tls::{BackendTls, SubjectName, TlsMaterial, Verify};

use in_flight::Number;

use crate::{PortKey, Rejection, Steps, Transport};

/// The backends of a rule, each with its share of the requests.
#[derive(Debug, Default)]
pub struct Backends {
    choices: Box<[WeightedBackend]>,
    total: u64,
}

/// One backend of a rule.
#[derive(Debug)]
pub struct WeightedBackend {
    /// Its share of the requests is this weight by the sum of all; 0 is none.
    pub weight: u32,
    /// The backend, or why its share of the requests is rejected.
    pub backend: Result<Arc<Backend>, BackendError>,
    /// Steps of this backend alone; they come after the rule's.
    pub steps: Steps,
}

/// A port of a Service and how it is spoken to.
#[derive(Debug)]
pub struct Backend {
    /// Which port of which Service.
    pub key: BackendKey,
    /// The protocol in which requests are carried to it. Streams and datagrams are carried as they come.
    pub protocol: BackendProtocol,
    /// TLS towards it, if it is asked for.
    pub tls: Option<Arc<BackendTls>>,
    /// Its endpoints; shared by all backends of the same key, and swapped without the table.
    pub endpoints: Arc<EndpointPool>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// The Service's namespace.
    pub namespace: Box<str>,
    /// The Service's name.
    pub service: Box<str>,
    /// The Service's port (not the endpoint's).
    pub port: PortKey,
}

/// What is spoken to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 by prior knowledge, or by ALPN over TLS (`kubernetes.io/h2c`, GRPCRoute).
    Http2,
}

/// Why a backend cannot be used; its share of the requests is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The Service does not exist.
    #[error("Service {0} not found")]
    NotFound(Box<str>),
    /// The Service has no such port.
    #[error("Service {service} has no port {port}")]
    PortNotFound {
        /// `namespace/name`.
        service: Box<str>,
        /// Number or name.
        port: Box<str>,
    },
    /// The reference names no port.
    #[error("the reference to Service {0} names no port")]
    PortMissing(Box<str>),
    /// No ReferenceGrant allows the reference.
    #[error("no ReferenceGrant in namespace {namespace} allows a reference to Service {name}")]
    NotPermitted {
        /// The Service's namespace.
        namespace: Box<str>,
        /// The Service's name.
        name: Box<str>,
    },
    /// The Service is a DNS name, and names may lead nowhere.
    #[error("Service {0} is of type ExternalName, which --external-names none forbids")]
    ExternalName(Box<str>),
    /// The reference's kind is not one that we serve.
    #[error("{0} is not a kind of backend that is served; use a Service")]
    InvalidKind(Box<str>),
    /// The Service's `appProtocol` is not one that this route can use.
    #[error("Service {service} port {port} has appProtocol {protocol}, which is not supported here")]
    UnsupportedProtocol {
        /// `namespace/name`.
        service: Box<str>,
        /// The port's number.
        port: u16,
        /// The `appProtocol`.
        protocol: Box<str>,
    },
    /// The Service's port is one of another transport than the route carries.
    #[error("port {port} of Service {service} is not a {} port", transport_name(*wanted))]
    OtherTransport {
        /// `namespace/name`.
        service: Box<str>,
        /// The port's number.
        port: u16,
        /// What the route carries.
        wanted: Transport,
    },
    /// A filter of the backend cannot be carried out.
    #[error("{0}")]
    InvalidFilter(Box<str>),
    /// What protects the rule is not served, so that nobody gets past it. Names what that is.
    #[error("closed, not served yet: {0}")]
    Closed(Box<str>),
    /// The policy that says how to connect to it cannot be carried out. Without TLS, or without verifying the
    /// certificate, nothing is sent.
    #[error("{policy} holds for Service {service} and cannot be carried out: {why}")]
    InvalidPolicy {
        /// The policy's kind, namespace and name.
        policy: Box<str>,
        /// `namespace/name`.
        service: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
}

/// The endpoints of a backend as they are now. Lives as long as its Service's port and outlives tables.
#[derive(Debug)]
pub struct EndpointPool {
    now: ArcSwap<Endpoints>,
    /// Whether there is none. Follows `now` a moment later.
    empty: AtomicBool,
}

/// Where a backend's requests can go.
#[derive(Debug)]
pub enum Endpoints {
    /// These addresses; none is 503.
    Addresses(Box<[Arc<Endpoint>]>),
    /// The addresses of a DNS name (ExternalName), looked up as its TTL asks.
    Name {
        /// The name.
        host: Box<str>,
        /// The port.
        port: u16,
    },
}

/// One address and what is known of it; outlives the edits of routes and of its neighbours.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    number: Number,
}

impl BackendError {
    /// How requests for the backend end.
    pub fn rejection(&self) -> Rejection {
        match self {
            Self::Closed(_) | Self::InvalidPolicy { .. } => Rejection::Closed,
            Self::NotFound(_)
            | Self::PortNotFound { .. }
            | Self::PortMissing(_)
            | Self::NotPermitted { .. }
            | Self::InvalidKind(_)
            | Self::UnsupportedProtocol { .. }
            | Self::OtherTransport { .. }
            | Self::ExternalName(_)
            | Self::InvalidFilter(_) => Rejection::BrokenBackend,
        }
    }
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

impl Backends {
    /// The backends in the order of the rule.
    pub fn new(choices: impl IntoIterator<Item = WeightedBackend>) -> Self {
        let choices: Box<[_]> = choices.into_iter().collect();
        let total = choices.iter().map(|c| u64::from(c.weight)).sum();
        Self { choices, total }
    }

    /// All backends, those of weight 0 too.
    pub fn all(&self) -> &[WeightedBackend] {
        &self.choices
    }

    /// The sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.total
    }

    /// The backend for a uniformly random number; `None` when the weights add up to 0.
    pub fn pick(&self, random: u64) -> Option<&WeightedBackend> {
        if self.total == 0 {
            return None;
        }
        let mut left = random % self.total;
        self.choices.iter().find(|choice| {
            let weight = u64::from(choice.weight);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }
}

impl EndpointPool {
    /// A pool that begins with these endpoints.
    pub fn new(endpoints: Endpoints) -> Self {
        let empty = AtomicBool::new(endpoints.is_empty());
        Self { now: ArcSwap::from_pointee(endpoints), empty }
    }

    /// Whether there is no endpoint, which costs less than to load them. While they are replaced, it may still be what was
    /// before.
    pub fn is_empty(&self) -> bool {
        self.empty.load(Ordering::Relaxed)
    }

    /// The endpoints as they are now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Endpoints>> {
        self.now.load()
    }

    /// Replaces the endpoints; an address that stays keeps its [`Endpoint`], so what is known of it stays too.
    /// Addresses are used in the order given, each once.
    pub fn store_addresses(&self, addresses: &[SocketAddr]) {
        let before = self.now.load();
        let known = match &**before {
            Endpoints::Addresses(known) => &**known,
            Endpoints::Name { .. } => &[],
        };
        let endpoints = match addresses.len().max(known.len()) {
            0..=FEW => carry_over_few(known, addresses),
            _ => carry_over(known, addresses),
        };
        self.store(Endpoints::Addresses(endpoints));
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

/// So many addresses are compared in the time in which a set of them is made.
const FEW: usize = 16;

/// The endpoints of these addresses, each once and in their order: those that are known, and new ones.
fn carry_over(known: &[Arc<Endpoint>], addresses: &[SocketAddr]) -> Box<[Arc<Endpoint>]> {
    let by_address: foldhash::HashMap<_, _> = known.iter().map(|e| (e.address, e)).collect();
    let mut seen = foldhash::HashSet::default();
    let addresses = addresses.iter().filter(|address| seen.insert(**address));
    addresses
        .map(|address| match by_address.get(address) {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::new(Endpoint::new(*address)),
        })
        .collect()
}

/// The same for a few, as nearly all backends have them.
fn carry_over_few(known: &[Arc<Endpoint>], addresses: &[SocketAddr]) -> Box<[Arc<Endpoint>]> {
    let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(addresses.len());
    for address in addresses {
        let is_it = |endpoint: &&Arc<Endpoint>| endpoint.address == *address;
        if !endpoints.iter().any(|endpoint| is_it(&endpoint)) {
            let before = known.iter().find(is_it).cloned();
            endpoints.push(before.unwrap_or_else(|| Arc::new(Endpoint::new(*address))));
        }
    }
    endpoints.into()
}

impl Endpoints {
    /// Whether there is no address. A name may have some.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Addresses(all) if all.is_empty())
    }

    /// The endpoint with this address, if it is one of them.
    pub fn find(&self, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        match self {
            Self::Addresses(endpoints) => endpoints.iter().find(|endpoint| endpoint.address == address),
            Self::Name { .. } => None,
        }
    }

    /// One of the addresses, as [`pick`] chooses; `None` where there is none, and for a DNS name, whose
    /// addresses somebody else looks up.
    pub fn pick(&self, random: u64, avoid: &[SocketAddr]) -> Option<&Arc<Endpoint>> {
        match self {
            Self::Addresses(endpoints) => pick(endpoints, random, avoid),
            Self::Name { .. } => None,
        }
    }
}

/// Chooses an endpoint by the power of two choices: of two at random, the one with fewer requests of this thread in flight.
/// Those in `avoid` (tried before for this request) are left out as long as there is another.
///
/// `random` is uniformly random over all of `u64`.
pub fn pick<'e>(
    endpoints: &'e [Arc<Endpoint>],
    random: u64,
    avoid: &[SocketAddr],
) -> Option<&'e Arc<Endpoint>> {
    if avoid.is_empty() {
        let (a, b) = two_of(endpoints.len(), random)?;
        return Some(less_loaded(&endpoints[a], &endpoints[b]));
    }
    let fresh = || endpoints.iter().filter(|e| !avoid.contains(&e.address));
    match two_of(fresh().count(), random) {
        Some((a, b)) => Some(less_loaded(fresh().nth(a)?, fresh().nth(b)?)),
        None => pick(endpoints, random, &[]),
    }
}

/// Two places of `0..len`, different ones where there are two.
fn two_of(len: usize, random: u64) -> Option<(usize, usize)> {
    // Each half of the random number serves one choice; a multiplication maps it to the range evenly.
    let below = |random: u64, len: usize| (((random & 0xffff_ffff) * len as u64) >> 32) as usize;
    match len {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = below(random, len);
            let step = 1 + below(random >> 32, len - 1);
            Some((first, (first + step) % len))
        }
    }
}

fn less_loaded<'e>(a: &'e Arc<Endpoint>, b: &'e Arc<Endpoint>) -> &'e Arc<Endpoint> {
    if std::ptr::eq(a, b) {
        return a;
    }
    let [of_a, of_b] = Number::own([&a.number, &b.number]);
    if of_b < of_a { b } else { a }
}

impl Endpoint {
    /// An endpoint of which nothing is known yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, number: Number::new() }
    }

    /// Requests of all threads that are with it now. For metrics: it takes a lock and reads what other threads write.
    pub fn in_flight(&self) -> u32 {
        self.number.sum()
    }

    /// Counts a request of this thread as in flight until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        InFlight::begin(self.address, &self.number)
    }
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

#[cfg(test)]
mod tests;
