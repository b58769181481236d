//! Translates a [`Snapshot`](crate::snapshot::Snapshot) into table, certificates and statuses, without I/O.
//!
//! ```text
//! listeners()  Gateways, classes, certificates, hosts of Ingresses -> Listeners
//! route()      one route at those listeners                        -> Translated
//! IngressBackends what Ingresses say of the Services they share    -> IngressBackend
//! ingress_host() the Ingresses of one host                         -> HostTranslation
//! SharedHosts  hosts that routes and Ingresses both name           -> who is asked first, and whose certificate is shown
//! BackendTlsPolicies what TLS policies ask for towards Services   -> PolicyState
//! XBackends    backends of the Gateway API's own: Pods, or a hostname -> the same
//! port_services() TCP and UDP services without routes            -> ServicesTranslation
//! endpoints()  the EndpointSlices of one Service                   -> Resolved      into an EndpointPool; no table
//! ```
//!
//! Each Gateway, ListenerSet, route and host of Ingresses is a unit: it reads through a [`Reader`], and is translated
//! again when a fact that it read changes. [`full()`] does all of it at once. It is used at start-up, and tests compare
//! incremental builds with it.

mod allocation;
pub mod assemble;
mod attached;
mod authorities;
mod backend_refs;
mod backend_tls;
mod backends;
mod certificates;
mod dedicated;
mod default_backend;
mod endpoints;
mod fault;
mod full;
mod grants;
mod header_maps;
mod host_tables;
mod ingress;
mod ingress_backends;
mod listeners;
mod memo;
mod owners;
mod parameters;
mod pattern_quotas;
mod patterns;
mod permissions;
mod persistence;
pub mod policies;
mod port_services;
mod ports;
mod reader;
mod route;
mod scope;
mod services;
mod settings;
mod shared;
mod slots;
mod streams;
mod unclaimed;
mod users;
mod x_backends;

pub use allocation::{Allocation, is_uid};
pub use assemble::Slots;
pub use attached::Attached;
pub use authorities::{AuthoritiesPool, AuthorityRefError};
pub(crate) use backend_refs::tls_towards;
pub use backend_tls::{BackendTlsPolicies, PolicyError, PolicyState, PolicyUse, PolicyUser, PolicyUsers};
pub use backends::{BackendPool, ConnectionSettings};
pub use certificates::{CertificatePool, CertificateRefError};
pub use dedicated::{Dedicated, DedicatedState, label_value, service_name};
pub use endpoints::{Resolved, endpoints, fill};
pub(crate) use fault::Fault;
pub use full::full;
pub(crate) use header_maps::Fetches;
pub use host_tables::HostTablePool;
use ingress::may_serve;
pub use ingress::{CommonParts, LabelPool, OtherHosts, ingress_claims, ingress_host, ingress_patterns};
pub(crate) use ingress::{
    are_regex, closed_by_annotations, closed_by_settings, is_closed_by_settings, of_unmatched,
};
pub use ingress_backends::{IngressBackends, ServicePort};
pub use listeners::{
    Addressing, AttachPoint, ClientAuthOf, Closer, Closure, FilterError, FirstOf, FoundAs, GatewayPart,
    GatewayRefusal, GatewayState, HostClientAuth, IngressHost, IngressSide, ListenerFilters, ListenerPlan,
    ListenerRefusal, ListenerSetRefusal, ListenerSetState, ListenerState, Listeners, Mode, PortPlan, Traffic,
    WayOut, listeners,
};
pub(crate) use listeners::{ChangedPlaces, ClassOwner, Classes, name_for, shared_with};
pub use owners::HostOwners;
pub(crate) use parameters::of_class as parameters_of_class;
pub use pattern_quotas::PatternQuotas;
pub(crate) use pattern_quotas::over_budget;
pub use patterns::PatternPool;
pub use permissions::HostRefusal;
pub(crate) use permissions::Taker;
pub use port_services::{PortServices, ServiceMessages, ServicesTranslation, port_services};
pub use ports::{DedicatedPorts, PortRange, PortUnavailable};
pub use reader::{Binding, Reader};
pub(crate) use route::{InvalidRules, NotAttached, Unresolved};
pub use route::{OtherRoutes, is_attached, route, stream_places};
pub use scope::ServedNamespaces;
pub(crate) use scope::{depends_on_namespace, is_selected, served_objects};
pub(crate) use services::reason as backend_reason;
pub use settings::{Bundle, DefaultBackend, NGINX_CONTROLLER, NginxClasses, Settings};
pub(crate) use shared::{Change as SharedChange, Place};
pub use shared::{SharedHost, SharedHosts};
pub use users::UsersPool;
pub use x_backends::{pods_of, x_backends_in};

pub use crate::ir::Address;
pub use slots::{
    Attachment, HostMessages, HostTableKey, HostTranslation, ListenerKey, RuleSource, Translated,
};
pub use streams::{StreamClaims, StreamPlace};
pub use unclaimed::unclaimed;

use std::sync::Arc;

use portcullis_routing::Table;
use portcullis_tls::Certificates;

use crate::status::Statuses;

/// Everything that the objects mean.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// Its generation is 0; the publisher numbers it.
    pub table: Arc<Table>,
    pub certificates: Arc<Certificates>,
    pub statuses: Statuses,
}

/// What outlives a translation: backends with their endpoints, certificates and authorities that were read, regular
/// expressions that were compiled, labels of metrics, and parts that many rules have in common.
#[derive(Debug, Default)]
pub struct Pools {
    pub backends: BackendPool,
    pub certificates: CertificatePool,
    pub authorities: AuthoritiesPool,
    pub patterns: PatternPool,
    pub users: UsersPool,
    pub host_tables: HostTablePool,
    pub labels: LabelPool,
    pub common: CommonParts,
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
