//! Backends, which answer a rule's requests, and their endpoints.

mod carry_over;
mod endpoint;
mod error;
mod hashing;
mod in_flight;
mod latency;
mod numbers;
mod pick;
mod tls;
mod turns;

use std::{fmt, sync::Arc};

pub use endpoint::{Endpoint, EndpointPool, Endpoints};
pub use error::BackendError;
pub use in_flight::InFlight;
pub use pick::{Draw, Picked, Spread, pick};
pub use tls::{BackendTls, SubjectName, TlsMaterial, TlsVersions, Verify};

pub(crate) use hashing::{keyed_digits, keyed_hash, stable_hash};

use crate::{
    PortKey, Steps,
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
