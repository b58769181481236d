//! Backends, which answer a rule's requests, and their endpoints.

mod carry_over;
mod hashing;
mod in_flight;
mod latency;
mod numbers;
mod pick;
mod tls;
mod turns;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

pub use in_flight::InFlight;
pub use pick::{Draw, Picked, Spread, pick};
pub use tls::{BackendTls, SubjectName, TlsMaterial, TlsVersions, Verify};

pub(crate) use hashing::{keyed_digits, keyed_hash, stable_hash};
use in_flight::Number;
use latency::Latency;
use turns::Turn;

use crate::{
    PortKey, Rejection, Steps, Transport,
    balance::{Balance, Canary},
    step::ErrorOrigin,
};

/// The backends of a rule, each with its share of the requests.
#[derive(Debug, Default)]
pub struct Backends {
    choices: Box<[WeightedBackend]>,
    total: u64,
    /// Which requests the second backend gets, of an Ingress that has a canary. Boxed, since few have one.
    canary: Option<Box<Canary>>,
    /// Whether the second of them has the requests of clients over TLS.
    by_tls: bool,
    /// If the last backend receives the requests of those without endpoints: the description of the rule that it receives.
    fallback: Option<Arc<ErrorOrigin>>,
}

/// One backend of a rule.
#[derive(Clone, Debug)]
pub struct WeightedBackend {
    /// Its share of the requests is this weight by the sum of all; 0 is none.
    pub weight: u32,
    /// The backend, or why its share of the requests is rejected. The error is boxed, as few have one.
    pub backend: Result<Arc<Backend>, Box<BackendError>>,
    /// Steps of this backend alone; they come after the rule's.
    pub steps: Steps,
    /// How its requests are spread over its endpoints.
    pub balance: Balance,
}

/// A port of a Service and how it is spoken to.
#[derive(Debug)]
pub struct Backend {
    /// Which port of which Service.
    pub key: BackendKey,
    /// The protocol in which requests are forwarded to the backend. Streams and datagrams are forwarded unchanged.
    pub protocol: BackendProtocol,
    /// TLS towards the backend, if it is used.
    pub tls: Option<Arc<BackendTls>>,
    /// The version of the PROXY protocol that tells the backend of a stream which client it is from. Connections that
    /// carry the requests of many clients, and datagrams, have no such header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The backend's endpoints. All backends with the same key share them, and they are replaced without a new table.
    pub endpoints: Arc<EndpointPool>,
}

/// A port of a Service or of an XBackend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// What kind of object it is.
    pub kind: BackendObject,
    /// The object's namespace.
    pub namespace: Box<str>,
    /// The object's name.
    pub service: Box<str>,
    /// The object's port (of a Service, not the endpoint's).
    pub port: PortKey,
}

/// A kind of object that a backend is a port of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackendObject {
    /// Service.
    #[default]
    Service,
    /// XBackend of the Gateway API.
    XBackend,
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

/// A version of the PROXY protocol.
///
/// <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
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
    /// The Service is a DNS name, and such Services are forbidden.
    #[error("Service {0} is of type ExternalName, which --external-names none forbids")]
    ExternalName(Box<str>),
    /// The XBackend does not exist.
    #[error("XBackend {0} not found")]
    XBackendNotFound(Box<str>),
    /// The XBackend is in another namespace than what refers to it.
    #[error("XBackend {0} must be in the namespace of the object that refers to it")]
    OtherNamespace(Box<str>),
    /// The XBackend is refused as a whole.
    #[error("XBackend {backend} cannot be used: {why}")]
    InvalidXBackend {
        /// `namespace/name`.
        backend: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// The protocol of the XBackend is not one that this route can use.
    #[error("XBackend {backend} has protocol {protocol}, which is not supported here")]
    XBackendProtocol {
        /// `namespace/name`.
        backend: Box<str>,
        /// `spec.protocol`.
        protocol: &'static str,
    },
    /// The XBackend is a DNS name, and such backends are forbidden.
    #[error("XBackend {0} is of type ExternalHostname, which --external-names none forbids")]
    ExternalHostname(Box<str>),
    /// The XBackend selects Pods, which are not read.
    #[error("XBackend {0} selects Pods, which are not read (--no-pods, or readPods: false of the chart)")]
    PodsNotRead(Box<str>),
    /// The TLS of the XBackend cannot be carried out. Requests are rejected rather than sent without it.
    #[error("the TLS of XBackend {backend} cannot be applied: {why}")]
    InvalidTls {
        /// `namespace/name`.
        backend: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// The reference's kind is not one that we serve.
    #[error("{0} is not a supported kind of backend; use a Service")]
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
    /// The Service's port has another transport than the route needs.
    #[error("port {port} of Service {service} is not a {} port", transport_name(*wanted))]
    OtherTransport {
        /// `namespace/name`.
        service: Box<str>,
        /// The port's number.
        port: u16,
        /// The transport that the route needs.
        wanted: Transport,
    },
    /// An annotation of the Service is invalid.
    #[error("Service {service} has the annotation {annotation}: {value}, which is not {expected}")]
    InvalidAnnotation {
        /// `namespace/name`.
        service: Box<str>,
        /// The annotation's name.
        annotation: &'static str,
        /// The annotation's value.
        value: Box<str>,
        /// The valid values.
        expected: &'static str,
    },
    /// What an Ingress names is missing, which counts as a Service without endpoints.
    #[error("{0}")]
    Missing(Box<BackendError>),
    /// No path of an Ingress host matches.
    #[error("no path of the host matches")]
    NoPath,
    /// A filter of the backend is invalid.
    #[error("{0}")]
    InvalidFilter(Box<str>),
    /// A protection of the rule cannot be served, so the rule is closed. Names the protection and the reason.
    #[error("closed: {0}")]
    Closed(Box<str>),
    /// What protects the rule cannot be used, so the rule is closed. Says why.
    #[error("closed: {0}")]
    Unprotected(Box<str>),
    /// The policy for connections to the Service cannot be carried out. Requests are rejected rather than sent without
    /// the verification that it asks for.
    #[error("{policy} applies to Service {service}, but cannot be applied: {why}")]
    InvalidPolicy {
        /// The policy's kind, namespace and name.
        policy: Box<str>,
        /// `namespace/name`.
        service: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
        /// Whether this is that an object that it refers to does not exist.
        is_missing: bool,
    },
}

/// The endpoints of a backend as they are now. Lives as long as its Service's port and outlives tables.
#[derive(Debug)]
pub struct EndpointPool {
    now: ArcSwap<Endpoints>,
    /// Whether `now` has no endpoint. Updated a moment after `now`.
    empty: AtomicBool,
    turn: Turn,
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
    /// See [`point`]: the same in every process.
    point: u64,
    number: Number,
    latency: Latency,
    /// The version of the proxy's address policy that last permitted connections to the address; 0, which is not a version,
    /// if none has. Written by the proxy's policy check, by [`Endpoint::permit`].
    permitted_by: AtomicU64,
}

impl BackendError {
    /// Returns whether an object that is referred to does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::NotFound(_) => true,
            Self::Missing(error) => error.is_missing(),
            Self::InvalidPolicy { is_missing, .. } => *is_missing,
            _ => false,
        }
    }

    /// Returns the rejection that requests for the backend get.
    pub fn rejection(&self) -> Rejection {
        match self {
            Self::Closed(_) | Self::Unprotected(_) | Self::InvalidPolicy { .. } | Self::InvalidTls { .. } => {
                Rejection::Closed
            }
            Self::Missing(_) => Rejection::NoEndpoints,
            Self::NoPath => Rejection::NoRoute,
            Self::NotFound(_)
            | Self::PortNotFound { .. }
            | Self::PortMissing(_)
            | Self::NotPermitted { .. }
            | Self::InvalidKind(_)
            | Self::UnsupportedProtocol { .. }
            | Self::OtherTransport { .. }
            | Self::ExternalName(_)
            | Self::XBackendNotFound(_)
            | Self::OtherNamespace(_)
            | Self::InvalidXBackend { .. }
            | Self::XBackendProtocol { .. }
            | Self::ExternalHostname(_)
            | Self::PodsNotRead(_)
            | Self::InvalidAnnotation { .. }
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
    /// Takes the backends in the order of the rule.
    pub fn new(choices: impl IntoIterator<Item = WeightedBackend>) -> Self {
        let choices: Box<[_]> = choices.into_iter().collect();
        let total = choices.iter().map(|c| u64::from(c.weight)).sum();
        Self { choices, total, canary: None, by_tls: false, fallback: None }
    }

    /// Makes two backends of an Ingress: `canary` says which requests the second one gets.
    pub fn with_canary(main: WeightedBackend, other: WeightedBackend, canary: Canary) -> Self {
        Self { canary: Some(Box::new(canary)), ..Self::new([main, other]) }
    }

    /// Returns which requests the second backend gets, of two that are main and canary.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_deref()
    }

    /// Takes two: one for requests of clients over plain HTTP, and one for those over TLS.
    pub fn by_tls(plain: WeightedBackend, tls: WeightedBackend) -> Self {
        Self { by_tls: true, ..Self::new([plain, WeightedBackend { weight: 0, ..tls }]) }
    }

    /// Adds a backend that receives the requests of those without endpoints (`default-backend` of an Ingress), and the
    /// description of the rule that it receives.
    #[must_use]
    pub fn with_fallback(mut self, fallback: WeightedBackend, origin: Arc<ErrorOrigin>) -> Self {
        let fallback = WeightedBackend { weight: 0, ..fallback };
        self.choices = self.choices.into_iter().chain([fallback]).collect();
        self.fallback = Some(origin);
        self
    }

    /// Returns the index of the backend that receives the requests of those without endpoints, and the description of the rule.
    pub(crate) fn fallback(&self) -> Option<(usize, &ErrorOrigin)> {
        Some((self.choices.len().checked_sub(1)?, self.fallback.as_deref()?))
    }

    /// Picks the backend for a request, as [`Self::pick`] does. `is_tls` is whether the client's TLS ends here.
    pub fn pick_for(&self, random: u64, is_tls: bool) -> Option<&WeightedBackend> {
        if self.by_tls && is_tls { self.choices.get(1) } else { self.pick(random) }
    }

    /// Returns all backends, including those of weight 0.
    pub fn all(&self) -> &[WeightedBackend] {
        &self.choices
    }

    /// Returns the sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.total
    }

    /// Picks the backend for a uniformly random number. Returns `None` if the weights add up to 0.
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

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == BackendObject::XBackend {
            f.write_str("XBackend ")?;
        }
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

#[cfg(test)]
mod tests;
