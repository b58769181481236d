//! Facts: everything that translation reads. A change of a fact makes the units stale that read it.
//!
//! A unit of translation records each fact that it reads ([`crate::translate::Reader`]). `facts_of` returns the facts
//! that a change of an object affects. The result of one unit may in turn be a fact that other units read.

use std::sync::Arc;

use portcullis_routing::{HostPattern, PortKey};

use crate::{
    ir::{
        ClusterTrustBundle, ConfigMap, EndpointSlice, Ingress, Namespace, Object, ObjectKey, Secret, Service,
        XBackend, ingress::Annotations,
    },
    kinds::{Kind, Typed},
};

/// Something that a unit of translation can read, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fact {
    // What objects say
    /// The fields of an object that translation reads.
    Object(ObjectKey),
    /// Whether there is such an object; of none that is fetched on demand.
    Existence(ObjectKey),
    /// All Gateways, with all their fields.
    Gateways,
    /// All ListenerSets, with all their fields.
    ListenerSets,
    /// The ReferenceGrants in a namespace.
    GrantsIn(Box<str>),
    /// The IngressClasses.
    IngressClasses,
    /// The hosts, TLS sections and classes of all Ingresses.
    IngressHosts,
    /// The same of one Ingress.
    HostsOf(ObjectKey),
    /// The endpoints of a Service or an XBackend.
    EndpointsOf(ObjectKey),
    /// The Pods of a namespace.
    PodsIn(Box<str>),
    /// The addresses of a Service and of its endpoints, and its external name; the external hostname of an XBackend;
    /// whether an Ingress names a URL.
    AddressesOf(ObjectKey),

    // What translation made of the objects
    /// What ListenerSets read of their Gateway.
    GatewayOfSets(ObjectKey),
    /// Which hosts of Ingresses Gateways and ListenerSets have, too, and how much of the limits of their namespaces they
    /// leave.
    LeftToIngresses,
    /// What routes read of the listeners of a Gateway or a ListenerSet.
    ListenersOf(ObjectKey),
    /// Which Ingresses name a host, and where its requests arrive.
    ListenerAt(HostPattern),
    /// How many routes are attached to the listeners of a Gateway or a ListenerSet.
    RoutesOn(ObjectKey),
    /// What Ingresses say of a Service's port, across hosts.
    IngressBackend(ObjectKey, PortKey),
    /// Whether the regular expressions of a route or an Ingress are within the budget of its namespace.
    PatternsOf(ObjectKey),
    /// Which of its claimed streams a route gets.
    StreamsOf(ObjectKey),
    /// The oldest object that serves a hostname.
    OwnerOf(Arc<str>),
    /// The same of all hostnames below a name.
    OwnersBelow(Arc<str>),
    /// The policies that name an object as their target.
    PoliciesOn(ObjectKey),
    /// The outcome of an object's translation, which its status reports.
    Outcome(ObjectKey),

    // What this process reports and is set to
    /// Whether a port is bound.
    Binding(PortKey),
    /// Where clients reach us.
    Addresses,
    /// Why the Service of a Gateway could not be brought to its desired state.
    ProvisioningError(ObjectKey),
    /// Which ports are bound for Gateways with addresses of their own.
    Allocation,
    /// The releases of the CRDs.
    Bundle,
    /// The operator's limits on the shared addresses.
    Entrance,
    /// Everything else in the settings.
    Settings,
}

impl Fact {
    /// The object that has to be fetched for it, if it is of a kind that is fetched on demand.
    pub(crate) fn on_demand(&self) -> Option<&ObjectKey> {
        match self {
            Self::Object(key) if key.kind.resource().is_on_demand() => Some(key),
            _ => None,
        }
    }
}

/// The facts that differ once an object has changed from `before` to `after`. One of the two may be missing.
pub(crate) fn facts_of(before: Option<&Object>, after: Option<&Object>) -> Vec<Fact> {
    let Some(key) = after.or(before).map(|object| &object.meta().key) else { return Vec::new() };
    let change = Difference { before, after };
    let object = || vec![Fact::Object(key.clone())];
    let object_if = |differs: bool| if differs { object() } else { Vec::new() };
    let mut facts = match key.kind {
        Kind::GatewayClass
        | Kind::GatewayParameters
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::TlsRoute
        | Kind::TcpRoute
        | Kind::UdpRoute
        | Kind::BackendTlsPolicy => object(),
        Kind::Gateway => vec![Fact::Object(key.clone()), Fact::Gateways],
        Kind::ListenerSet => vec![Fact::Object(key.clone()), Fact::ListenerSets],
        Kind::ReferenceGrant => vec![Fact::GrantsIn(key.namespace.clone())],
        Kind::XBackend => of_x_backend(key, change),
        Kind::Ingress => of_ingress(key, change),
        Kind::IngressClass => vec![Fact::IngressClasses],
        Kind::Service => of_service(key, change),
        Kind::EndpointSlice => of_slice(key, change),
        Kind::Pod => vec![Fact::PodsIn(key.namespace.clone())],
        Kind::Secret => object_if(change.of(|secret: &Secret| (&secret.kind, &secret.data))),
        Kind::ConfigMap => object_if(change.of(|config: &ConfigMap| &config.data)),
        Kind::ClusterTrustBundle => object_if(change.of(|bundle: &ClusterTrustBundle| &bundle.certificates)),
        Kind::Namespace => object_if(change.of(|namespace: &Namespace| &namespace.labels)),
    };
    if before.is_some() != after.is_some() {
        facts.push(Fact::Existence(key.clone()));
    }
    facts
}

fn of_ingress(key: &ObjectKey, change: Difference<'_>) -> Vec<Fact> {
    let mut facts = vec![Fact::Object(key.clone())];
    // These fields decide about listeners; an edit of paths and backends does not concern them.
    let is_other = change.of(|ingress: &Ingress| {
        let Ingress { meta, class, legacy_class, default_backend, tls, rules, annotations, refused: _ } =
            ingress;
        let Annotations {
            unserved,
            own_tls,
            rewrite,
            redirects,
            auth_tls,
            server_alias,
            canary,
            cors: _,
            balancing: _,
            hashing: _,
            affinity: _,
            external_auth: _,
            body: _,
            upstream: _,
            backend: _,
            errors: _,
            answers: _,
            upstream_vhost: _,
            logs: _,
            access: _,
            limits: _,
            basic_auth: _,
            passthrough,
            pacing: _,
            mirroring: _,
            risk,
            ciphers,
        } = &**annotations;
        let hosts: Vec<_> = rules.iter().map(|rule| &rule.host).collect();
        let of_hosts =
            (auth_tls, ciphers, server_alias, redirects.from_to_www, canary.is_some(), passthrough);
        // An Ingress that is too risky loses the other names of its hosts.
        let risk = risk.filter(|_| !server_alias.hosts.is_empty());
        let closes = (unserved, rewrite.may_make_regex(), own_tls, risk, of_hosts);
        (meta.created, class, legacy_class, default_backend.is_some(), tls, hosts, closes)
    });
    if is_other {
        facts.extend([Fact::IngressHosts, Fact::HostsOf(key.clone())]);
    }
    if change.of(|ingress: &Ingress| ingress.annotations.names_url()) {
        facts.push(Fact::AddressesOf(key.clone()));
    }
    facts
}

fn of_service(key: &ObjectKey, change: Difference<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    // Which endpoints it has depends on its ports and its type; its own address may be one.
    if change.of(|service: &Service| {
        (&service.ports, service.external_name().map(str::to_owned), &service.cluster_ips)
    }) {
        facts.push(Fact::EndpointsOf(key.clone()));
    }
    let is_other = change.of(|service: &Service| {
        let Service { meta, ports, cluster_ips, special } = service;
        // Its Gateway may ask for them.
        let cluster_ips = service.gateway().is_some().then_some(cluster_ips);
        // Sessions depend on its identity.
        (&meta.uid, ports, cluster_ips, special)
    });
    if is_other {
        facts.push(Fact::Object(key.clone()));
    }
    if change.of(|service: &Service| {
        (&service.cluster_ips, service.external_name().map(str::to_owned), service.gateway().cloned())
    }) {
        facts.push(Fact::AddressesOf(key.clone()));
    }
    facts
}

fn of_x_backend(key: &ObjectKey, change: Difference<'_>) -> Vec<Fact> {
    let mut facts = vec![Fact::Object(key.clone())];
    if change.of(|backend: &XBackend| (backend.selector(), backend.hostname().map(str::to_owned))) {
        facts.push(Fact::EndpointsOf(key.clone()));
        facts.push(Fact::AddressesOf(key.clone()));
    }
    facts
}

/// A slice may belong to another Service than before.
fn of_slice(key: &ObjectKey, change: Difference<'_>) -> Vec<Fact> {
    let (before, after) = change.both::<EndpointSlice>();
    let mut services: Vec<_> =
        [before, after].into_iter().flatten().filter_map(|s| s.service.as_deref()).collect();
    services.dedup();
    let service = |name| ObjectKey::new(Kind::Service, &key.namespace, name);
    let facts = |name| [Fact::EndpointsOf(service(name)), Fact::AddressesOf(service(name))];
    services.into_iter().flat_map(facts).collect()
}

/// An object before and after a change.
#[derive(Clone, Copy)]
struct Difference<'o> {
    before: Option<&'o Object>,
    after: Option<&'o Object>,
}

impl<'o> Difference<'o> {
    fn both<T: Typed>(self) -> (Option<&'o T>, Option<&'o T>) {
        (self.before.and_then(T::of), self.after.and_then(T::of))
    }

    /// Whether a part of it differs. It does where the object appears or vanishes.
    fn of<T: Typed + 'o, P: PartialEq>(self, part: impl Fn(&'o T) -> P) -> bool {
        let (before, after) = self.both::<T>();
        before.map(&part) != after.map(&part)
    }
}
