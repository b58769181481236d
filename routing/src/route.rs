//! A rule of a route: what happens to the requests that it takes.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Backends, Steps};

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
    /// How long they may take.
    pub timeouts: Timeouts,
    /// When another attempt is made.
    pub retry: Option<Retry>,
}

/// Limits of time; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's first byte to the response's last (HTTPRouteTimeouts `request`).
    pub request: Option<Duration>,
    /// For one attempt at a backend (HTTPRouteTimeouts `backendRequest`).
    pub backend_request: Option<Duration>,
}

/// When another attempt at a backend is made (HTTPRouteRetry).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Status codes of a backend that are worth another attempt.
    pub codes: Box<[u16]>,
    /// How many attempts follow the first.
    pub attempts: u32,
    /// The pause before each of them.
    pub backoff: Option<Duration>,
}

impl RouteKind {
    /// Returns whether routes of this kind can name hostnames.
    pub fn has_hostnames(self) -> bool {
        match self {
            Self::Ingress | Self::Http | Self::Grpc | Self::Tls => true,
            Self::Tcp | Self::Udp => false,
        }
    }

    /// Returns whether the rules of this kind take requests. The rules of the other kinds take streams or datagrams.
    pub fn takes_requests(self) -> bool {
        match self {
            Self::Ingress | Self::Http | Self::Grpc => true,
            Self::Tls | Self::Tcp | Self::Udp => false,
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
        })
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
