//! Every listener that is ours: those of Gateways and their ListenerSets, and the hosts of Ingresses beside them.
//!
//! ```text
//! renew.rs     all of them, kept up to date
//! gateways.rs  a Gateway of our classes, and a ListenerSet of one
//! alone.rs     each listener, regardless of all others
//! filters.rs   what requests have to pass at a listener before a route is chosen
//! states.rs    a Gateway or a ListenerSet, in the order of precedence
//! entrance.rs  what namespaces may take of the shared addresses
//! conflicts.rs which listener has a port and a hostname: that of the oldest object
//! host.rs      the state of one host of the Ingresses
//! hosts.rs     the hosts of Ingresses, kept up to date
//! named.rs     which Ingresses name which hosts
//! ingress.rs   those hosts, with or without TLS
//! closed.rs    which of those hosts are closed, since what protects them is not served
//! client_auth.rs what those hosts ask of clients' certificates
//! reach.rs     how far annotations reach that are for a whole host
//! passthrough.rs which of those hosts have their TLS passed through
//! tls.rs       which certificates are shown for those hosts
//! places.rs    where those hosts are in the table
//! mode.rs      what a listener of a protocol speaks, and which kinds of routes may attach
//! overlaps.rs  which listeners of a port have hosts in common
//! plan.rs      what each place of the table has, and with which certificates
//! ```

mod alone;
mod client_auth;
mod closed;
mod conflicts;
mod entrance;
mod filters;
mod gateways;
mod host;
mod hosts;
mod ingress;
mod mode;
mod named;
mod overlaps;
mod passthrough;
mod places;
mod plan;
mod reach;
mod renew;
mod states;
mod tls;

pub use client_auth::{ClientAuthOf, HostClientAuth};
pub use closed::{Closer, Closure};
pub(crate) use conflicts::name_for;
pub use filters::{FilterError, ListenerFilters};
pub use host::{FoundAs, IngressHost};
pub(crate) use ingress::{ClassOwner, Classes, shared_with};
pub use mode::{Mode, Traffic};
pub(crate) use renew::ChangedPlaces;
use renew::Touched;
pub use renew::{Listeners, listeners};

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderValue;
use portcullis_routing::{
    ClientAuth, HostPattern, ListenerId, PortKey, Protocol, RouteKind, TlsMaterial, TlsMode,
    step::{AddedHeaders, Check},
};
use portcullis_tls::Certificate;

use super::{
    AuthorityRefError, CertificateRefError, Dedicated, DedicatedPorts, HostRefusal, ListenerKey,
    PortUnavailable, Settings,
};
use crate::{
    ir::{Gateway, ListenerSet, ObjectKey, gateway::AllowedNamespaces},
    status::Message,
};

/// A Gateway of ours and what its listeners come to.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayState {
    pub gateway: Arc<Gateway>,
    /// Why none of it is served.
    pub refused: Option<GatewayRefusal>,
    pub addressing: Addressing,
    /// In the order of the Gateway.
    pub listeners: Vec<ListenerState>,
    /// The certificate that it presents to backends, if it names one.
    pub backend_certificate: Option<Result<Arc<Certificate>, CertificateRefError>>,
    /// The number of its ListenerSets that are accepted.
    pub attached_sets: u32,
}

/// A ListenerSet of a Gateway of ours, and the states of its listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSetState {
    pub set: Arc<ListenerSet>,
    /// The Gateway that it names.
    pub gateway: ObjectKey,
    /// Why none of it is served.
    pub refused: Option<ListenerSetRefusal>,
    /// That of the Gateway.
    pub addressing: Addressing,
    /// The later of the creation times of the ListenerSet and its Gateway.
    pub since: i64,
    /// In the order of the ListenerSet.
    pub listeners: Vec<ListenerState>,
}

/// Why a ListenerSet is not accepted as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenerSetRefusal {
    #[error("{gateway} does not allow ListenerSets from namespace {namespace} (spec.allowedListeners)")]
    NotAllowed { gateway: ObjectKey, namespace: Box<str> },
    #[error("{0} is not accepted")]
    ParentNotAccepted(ObjectKey),
    #[error("{}", crate::status::refused(.0))]
    Invalid(Box<str>),
}

/// At which addresses a Gateway is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// At ours, with all others.
    Shared,
    /// The same, though it asks for its own: nobody makes Services of a folder's Gateways.
    SharedInstead,
    /// At its own.
    Dedicated(Arc<Dedicated>),
    /// Its parameters cannot be read.
    Unknown,
}

/// Why a Gateway is not accepted as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayRefusal {
    #[error("{0}")]
    InvalidParameters(String),
    #[error("addresses of type {0} are not supported; use IPAddress or Hostname")]
    UnsupportedAddress(Box<str>),
    #[error("{0}")]
    UnsupportedRoutability(String),
    #[error("{}", crate::status::refused(.0))]
    UnsupportedValue(Box<str>),
}

/// The state of a listener of a Gateway or a ListenerSet.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerState {
    /// What routes read of it.
    pub point: Arc<AttachPoint>,
    /// Why it is not accepted.
    pub refused: Option<ListenerRefusal>,
    /// `None` where no TLS ends here; else one for each reference.
    pub certificates: Option<Vec<Result<Arc<Certificate>, CertificateRefError>>>,
    /// The references to authorities for clients' certificates that cannot be used.
    pub authority_errors: Vec<AuthorityRefError>,
    /// Whether clients have to show a certificate and no authority is available to verify it. Such a listener shows no
    /// certificate itself, so every handshake fails.
    pub is_closed: bool,
    pub filters: ListenerFilters,
    /// The `allowedRoutes.kinds` that are not served here.
    pub unknown_kinds: Vec<Box<str>>,
    /// TLS listeners of the same port whose hostnames have hosts in common with this one's.
    pub overlaps: FirstOf<Arc<ListenerId>>,
    /// Whether Ingresses answer what its routes leave.
    pub ingress_behind: bool,
    /// Hosts of Ingresses that its own hostname covers and that are listeners of their own: its routes never see
    /// requests for them.
    pub ingress_before: FirstOf<HostPattern>,
}

/// The first few of many, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstOf<T> {
    pub first: Vec<T>,
    pub count: usize,
}

impl<T> FirstOf<T> {
    const KEPT: usize = 5;

    pub(crate) fn add(&mut self, one: impl FnOnce() -> T) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(one());
        }
    }
}

impl<T> Default for FirstOf<T> {
    fn default() -> Self {
        Self { first: Vec::new(), count: 0 }
    }
}

impl<T: std::fmt::Display> std::fmt::Display for FirstOf<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::status::list(&self.first))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What routes read of a listener. Where it stays equal, no route has to be translated again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPoint {
    pub id: Arc<ListenerId>,
    /// The listener's name in its Gateway or ListenerSet.
    pub section: Box<str>,
    /// The port that it names.
    pub port: u16,
    /// Where its routes go in the table, once it is known which port is bound for it.
    pub slot: Option<Arc<ListenerKey>>,
    pub hostname: HostPattern,
    /// `None` if the listener's protocol is not served.
    pub mode: Option<Mode>,
    /// The kinds of routes that may attach.
    pub kinds: Vec<RouteKind>,
    pub namespaces: AllowedNamespaces,
    /// The certificate that is presented to backends that ask for one.
    pub backend_certificate: Option<TlsMaterial>,
    /// Whether its Gateway allows it; only a ListenerSet may not be allowed.
    pub is_allowed: bool,
    /// Whether it shares its addresses with other Gateways and with Ingresses.
    pub shared: bool,
    /// Whether it is in the table as soon as a port is bound for it. Routes attach all the same where it is not.
    pub served: bool,
}

impl AttachPoint {
    /// Returns whether the listener's routes serve hostnames. The routes of TCP and UDP listeners take all traffic of
    /// the port.
    pub fn has_hostnames(&self) -> bool {
        self.mode.as_ref().is_none_or(|mode| matches!(mode.protocol, Protocol::Http | Protocol::Tls))
    }

    /// Returns whether the listener takes requests, as Ingresses do.
    pub fn takes_requests(&self) -> bool {
        self.mode.as_ref().is_some_and(|mode| mode.traffic == Traffic::Requests)
    }

    /// Returns the port that is bound for the listener, once it is known.
    pub fn bound(&self) -> Option<PortKey> {
        self.slot.as_ref().map(|slot| slot.port)
    }
}

/// Why a listener is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenerRefusal {
    #[error("protocol {0} is not supported; use HTTP, HTTPS, TLS, TCP or UDP")]
    UnsupportedProtocol(Box<str>),
    #[error("{0}")]
    UnsupportedValue(Box<str>),
    #[error("{with} has {} on port {port}{way_out}", host_text(hostname))]
    HostnameConflict { with: Box<str>, hostname: HostPattern, port: u16, way_out: WayOut },
    #[error("port {port} is used with another protocol by {with}{way_out}")]
    ProtocolConflict { with: Box<str>, port: u16, way_out: WayOut },
    /// Two listeners have the same TCP or UDP port. Nothing distinguishes their connections or datagrams.
    #[error(
        "port {port} is already in use by {with}, and only one listener of protocol TCP or UDP can use it{way_out}"
    )]
    PortTaken { with: Box<str>, port: u16, way_out: WayOut },
    #[error(transparent)]
    PortUnavailable(#[from] PortUnavailable),
    #[error(transparent)]
    HostnameRefused(#[from] HostRefusal),
    #[error("its namespace already has {limit} {of} at the shared addresses (limit {setting})")]
    OverLimit { of: &'static str, limit: usize, setting: &'static str },
    #[error(
        "its Gateway already uses {limit} ports, the maximum; use one of those ports, or another Gateway"
    )]
    TooManyPorts { limit: usize },
    /// No `Conflicted`: it is refused whether another listener names the port or not.
    #[error(
        "port {port} is always {speaks} at shared addresses; use another port for protocol {asked}{way_out}"
    )]
    PortSpeaks { port: u16, speaks: &'static str, asked: Box<str>, way_out: WayOut },
    /// The same: an entry takes precedence, however old the listener is.
    #[error("port {port} is used by an entry of {map}, which takes precedence{way_out}")]
    PortOfService { port: PortKey, map: ObjectKey, way_out: WayOut },
}

/// What can be done about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// The Gateway is at odds with itself, or there is nobody to give it an address.
    Nothing,
    OwnAddress,
}

impl WayOut {
    fn of(settings: &Settings) -> Self {
        match settings.dedicated {
            DedicatedPorts::Of(_) => Self::OwnAddress,
            DedicatedPorts::AsShared | DedicatedPorts::Refused => Self::Nothing,
        }
    }
}

impl std::fmt::Display for WayOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "",
            Self::OwnAddress => {
                "; a Gateway with addressing Dedicated (GatewayParameters) has its own address"
            }
        })
    }
}

/// The hosts of Ingresses.
#[derive(Clone, Debug, Default)]
pub struct IngressSide {
    /// By host as the Ingress names it.
    pub hosts: BTreeMap<HostPattern, IngressHost>,
    /// What the owners of Ingresses should know of hosts, ports and certificates.
    pub messages: BTreeMap<ObjectKey, Vec<Message>>,
}

/// What a port of the table has.
#[derive(Clone, Debug)]
pub struct PortPlan {
    pub protocol: Protocol,
    /// The port that its listeners name.
    pub number: u16,
    /// What clients add to that number to get here.
    pub offset: u16,
    /// Whether load balancers send a PROXY protocol header at the start of each connection.
    pub proxy_protocol: bool,
    /// By the hostname under which the port finds a listener.
    pub listeners: BTreeMap<HostPattern, ListenerPlan>,
    /// The headers of responses to requests that no rule of Ingresses takes.
    pub unmatched: Option<Arc<AddedHeaders>>,
}

/// What a listener of the table has: a Gateway's routes, the Ingresses' rules, or the former before the latter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    pub tls: TlsMode,
    /// Only a listener of requests may also have Ingresses.
    pub traffic: Traffic,
    /// Boxed, as there are thousands of hosts of Ingresses, and few listeners of Gateways.
    pub gateway: Option<Box<GatewayPart>>,
    /// The host of Ingresses, whose listeners on all ports have the same id; or a TCP or UDP service of the operator.
    pub ingress: Option<Arc<ListenerId>>,
    /// HSTS of responses to requests that no rule of Ingresses matches.
    pub hsts: Option<Arc<HeaderValue>>,
}

/// The part of a table's listener that comes from a listener of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayPart {
    pub id: Arc<ListenerId>,
    /// What its requests have to pass.
    pub filters: Arc<[Check]>,
}

impl PortPlan {
    /// Returns whether the port itself is the same, whatever its listeners are.
    pub(crate) fn is_same_port(&self, other: &Self) -> bool {
        let port = |plan: &Self| (plan.protocol, plan.number, plan.offset, plan.proxy_protocol);
        port(self) == port(other) && self.unmatched == other.unmatched
    }
}

impl ListenerPlan {
    /// Returns a listener of requests without routes and Ingresses, on a port that speaks this protocol.
    fn on(protocol: Protocol) -> Self {
        let tls = match protocol {
            Protocol::Tls => TlsMode::Terminate(ClientAuth::Unasked),
            Protocol::Http | Protocol::Tcp | Protocol::Udp => TlsMode::None,
        };
        Self { tls, traffic: Traffic::Requests, gateway: None, ingress: None, hsts: None }
    }
}

impl GatewayState {
    /// Returns whether any listener of the Gateway is in the table.
    pub fn served(&self) -> bool {
        self.listeners.iter().any(|l| l.point.served)
    }
}

impl ListenerSetState {
    /// Returns whether the ListenerSet is accepted: at least one of its listeners is valid.
    pub fn is_accepted(&self) -> bool {
        self.refused.is_none() && self.listeners.iter().any(ListenerState::is_valid)
    }
}

impl ListenerState {
    /// Returns whether the listener is valid. References that have not been read yet count as valid.
    pub fn is_valid(&self) -> bool {
        let is_usable = |certificate: &Result<_, CertificateRefError>| match certificate {
            Ok(_) => true,
            Err(error) => error.is_pending(),
        };
        self.is_accepted()
            && self.filters.errors.is_empty()
            && self.certificates.as_ref().is_none_or(|all| all.iter().any(is_usable))
    }

    /// Returns whether the listener is accepted, whether its references can be used or not.
    pub fn is_accepted(&self) -> bool {
        self.refused.is_none() && !self.lacks_authorities() && !self.filters.are_refused()
    }

    /// Returns whether none of the references to authorities for clients' certificates can be used. References that have
    /// not been read yet count as usable.
    pub fn lacks_authorities(&self) -> bool {
        self.is_closed && !self.authority_errors.iter().any(AuthorityRefError::is_pending)
    }

    /// The certificates that can be shown.
    pub fn usable_certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        let all = self.certificates.iter().flatten().filter(|_| !self.is_closed);
        all.filter_map(|c| c.as_ref().ok())
    }
}

pub(super) fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "every hostname".into(),
        host => format!("hostname {host}"),
    }
}
