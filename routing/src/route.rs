//! A rule of a route: what happens to the requests that it takes.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Backends, IngressLabels, Steps, Transport};

/// The kind of object that a rule was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `gateway.networking.k8s.io/v1` HTTPRoute.
    Http,
    /// `gateway.networking.k8s.io/v1` GRPCRoute.
    Grpc,
    /// `gateway.networking.k8s.io/v1` TLSRoute.
    Tls,
    /// `gateway.networking.k8s.io/v1` TCPRoute.
    Tcp,
    /// `gateway.networking.k8s.io/v1` UDPRoute.
    Udp,
    /// A ConfigMap of TCP services (`--tcp-services-configmap`).
    TcpServices,
    /// A ConfigMap of UDP services (`--udp-services-configmap`).
    UdpServices,
}

/// Which object a rule was written in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId {
    /// The object's kind.
    pub kind: RouteKind,
    /// The object's namespace.
    pub namespace: Box<str>,
    /// The object's name.
    pub name: Box<str>,
}

/// One rule, compiled. Shared by every host and listener that its route is attached to.
#[derive(Debug)]
pub struct Rule {
    /// The object that it was written in.
    pub route: Arc<RouteId>,
    /// Its place in that object, from 0.
    pub index: usize,
    /// Its name in that object.
    pub name: Option<Box<str>>,
    /// What is done to requests and their answers.
    pub steps: Steps,
    /// Who answers.
    pub backends: Backends,
    /// How long they may take; [`Rule::timeouts`] reads it. Many rules share one value.
    pub timeouts: Option<Arc<Timeouts>>,
    /// When another attempt is made. Most rules of Ingresses share one value.
    pub retry: Option<Arc<Retry>>,
    /// The labels of its requests in the metrics of ingress-nginx, if these are enabled and it is a rule of an Ingress.
    pub labels: Option<Arc<IngressLabels>>,
}

/// Limits of time; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// From the request's first byte to the response's last (HTTPRouteTimeouts `request`).
    pub request: Option<Duration>,
    /// For one attempt at a backend (HTTPRouteTimeouts `backendRequest`).
    pub backend_request: Option<Duration>,
    /// Limits that stand in place of the proxy's own.
    pub own: OwnTimeouts,
}

impl Rule {
    /// Returns how long its requests may take.
    pub fn timeouts(&self) -> &Timeouts {
        self.timeouts.as_deref().unwrap_or(&Timeouts::NONE)
    }
}

impl Timeouts {
    /// No limits.
    const NONE: Self = Self {
        request: None,
        backend_request: None,
        own: OwnTimeouts { connect: None, send: None, read: None },
    };

    /// Returns them as a rule has them: `None` if there is no limit.
    pub fn of_rule(self) -> Option<Arc<Self>> {
        (self != Self::NONE).then(|| Arc::new(self))
    }
}

/// Limits of time that the proxy has for every backend, where a rule has its own (`proxy-*-timeout` of an Ingress); `None` is
/// the proxy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnTimeouts {
    /// For a connection to a backend.
    pub connect: Option<Duration>,
    /// Between two writes of a request to a backend.
    pub send: Option<Duration>,
    /// Between two reads of an answer of a backend.
    pub read: Option<Duration>,
}

/// When another attempt at a backend is made (HTTPRouteRetry, `proxy-next-upstream` of an Ingress).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Retry {
    /// Status codes of a backend that are worth another attempt.
    pub codes: Box<[u16]>,
    /// How many attempts follow the first.
    pub attempts: u32,
    /// The pause before each of them.
    pub backoff: Option<Duration>,
    /// How long after the first attempt others are begun.
    pub within: Option<Duration>,
    /// What beside the codes is worth another attempt.
    pub failures: Failures,
    /// Which requests are sent again.
    pub repeats: Repeats,
}

/// What of an attempt without an answer is worth another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failures {
    /// The backend could not be connected to, or broke off.
    pub error: bool,
    /// It took too long.
    pub timeout: bool,
    /// Its answer is malformed.
    pub invalid: bool,
}

/// Which requests are sent again though a backend may have acted on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Repeats {
    /// Those of idempotent methods; for a status code, all: the backend has answered (HTTPRouteRetry).
    #[default]
    IdempotentOrAnswered,
    /// Those of idempotent methods.
    Idempotent,
    /// All of them.
    All,
}

/// What HTTPRouteRetry repeats.
impl Default for Failures {
    fn default() -> Self {
        Self { error: true, timeout: true, invalid: false }
    }
}

impl Retry {
    /// What holds for Ingresses without annotations: the default of `proxy-next-upstream` and `proxy-next-upstream-tries`.
    pub fn of_ingresses() -> Self {
        let repeats = Repeats::Idempotent;
        Self { attempts: 2, backoff: Some(Duration::ZERO), repeats, ..Self::default() }
    }

    /// Returns whether a request may be sent again though a backend may have acted on it. `idempotent` is whether its method
    /// is.
    pub fn repeats(&self, idempotent: bool) -> bool {
        idempotent || self.repeats == Repeats::All
    }

    /// Returns whether an answer with this status is worth another attempt.
    pub fn wants(&self, status: u16, idempotent: bool) -> bool {
        self.codes.contains(&status) && self.keeps(idempotent)
    }

    /// Returns whether what is sent of a request may have to be sent again.
    pub fn keeps(&self, idempotent: bool) -> bool {
        idempotent || self.repeats != Repeats::Idempotent
    }
}

impl RouteKind {
    /// Returns whether routes of this kind can name hostnames.
    pub fn has_hostnames(self) -> bool {
        match self {
            Self::Ingress | Self::Http | Self::Grpc | Self::Tls => true,
            Self::Tcp | Self::Udp | Self::TcpServices | Self::UdpServices => false,
        }
    }

    /// Returns whether the rules of this kind take requests. The rules of the other kinds take streams or datagrams.
    pub fn takes_requests(self) -> bool {
        match self {
            Self::Ingress | Self::Http | Self::Grpc => true,
            Self::Tls | Self::Tcp | Self::Udp | Self::TcpServices | Self::UdpServices => false,
        }
    }

    /// Returns the transport that routes of this kind need of their backends.
    pub fn transport(self) -> Transport {
        match self {
            Self::Ingress | Self::Http | Self::Grpc | Self::Tls | Self::Tcp | Self::TcpServices => {
                Transport::Tcp
            }
            Self::Udp | Self::UdpServices => Transport::Udp,
        }
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "Ingress",
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
            Self::TcpServices | Self::UdpServices => "ConfigMap",
        })
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
