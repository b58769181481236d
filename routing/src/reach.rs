//! Where the DNS names of backends (ExternalName) may lead, and which addresses of the cluster are whose.
//!
//! Whoever reads the objects keeps [`ClusterAddresses`]; whoever resolves a name asks it. Like endpoints they change
//! in place, without another table.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{RouteKind, address::Special};

/// Where the names of ExternalName Services may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalNames {
    /// Nowhere.
    None,
    /// Out of the cluster, and to Services and endpoints of their own namespace. Those of another one take a
    /// ReferenceGrant there, which names routes of the namespace that has the name.
    #[default]
    External,
    /// The same, but those that an Ingress refers to may lead to other namespaces too.
    Ingress,
    /// To other namespaces too.
    All,
}

/// A Service, whose addresses are its own and those of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// What a ReferenceGrant permits: routes of a namespace may refer to Services of another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameGrant {
    /// The kind of the routes.
    pub kind: RouteKind,
    /// Their namespace.
    pub from: Box<str>,
    /// The namespace of the Services.
    pub to: Box<str>,
    /// The Service; `None` is every one of that namespace.
    pub service: Option<Box<str>>,
}

/// Which addresses are whose in the cluster.
#[derive(Debug, Default)]
pub struct ClusterAddresses {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The Services of an address, in their order; nearly always one.
    owners: foldhash::HashMap<IpAddr, Vec<Arc<ServiceName>>>,
    /// The addresses of a Service, in their order.
    services: foldhash::HashMap<Arc<ServiceName>, Box<[IpAddr]>>,
    grants: BTreeSet<NameGrant>,
}

impl ExternalNames {
    /// All of them, in the order of what they permit.
    pub const ALL: [Self; 4] = [Self::None, Self::External, Self::Ingress, Self::All];

    /// How it is spelt.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::External => "external",
            Self::Ingress => "ingress",
            Self::All => "all",
        }
    }

    /// Whether it has to be known whose an address is.
    pub fn asks_for_owners(self) -> bool {
        matches!(self, Self::External | Self::Ingress)
    }
}

impl ClusterAddresses {
    /// Says which addresses a Service has; none is a Service that is gone. Special ones ([`Special`]) are nobody's.
    pub fn set(&self, service: ServiceName, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().map(|ip| ip.to_canonical());
        let mut now: Vec<_> = addresses.filter(|ip| Special::of(*ip).is_none()).collect();
        now.sort_unstable();
        now.dedup();
        self.write(|inner| inner.set(service, now.into()));
    }

    /// Says what ReferenceGrants permit.
    pub fn permit(&self, grants: impl IntoIterator<Item = NameGrant>) {
        let grants = grants.into_iter().collect();
        self.write(|inner| inner.grants = grants);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.write(|inner| *inner = Inner::default());
    }

    /// A Service of another namespace that has this address, where no grant lets names of `namespace`, for routes of
    /// this kind, lead to that namespace's.
    pub fn foreign(&self, ip: IpAddr, kind: RouteKind, namespace: &str) -> Option<ServiceName> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let owners = inner.owners.get(&ip.to_canonical())?;
        let by_namespace = owners.chunk_by(|a, b| a.namespace == b.namespace);
        let mut others = by_namespace.filter(|owners| *owners[0].namespace != *namespace);
        let refused = others.find(|owners| !inner.permits(kind, namespace, owners))?;
        Some(ServiceName::clone(&refused[0]))
    }

    /// Every address with its Services, in their order.
    pub fn owners(&self) -> Vec<(IpAddr, Vec<ServiceName>)> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let names = |owners: &Vec<Arc<ServiceName>>| owners.iter().map(|o| ServiceName::clone(o)).collect();
        let mut all: Vec<_> = inner.owners.iter().map(|(ip, owners)| (*ip, names(owners))).collect();
        all.sort();
        all
    }

    /// What is permitted, in its order.
    pub fn grants(&self) -> Vec<NameGrant> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).grants.iter().cloned().collect()
    }

    fn write(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Inner {
    fn set(&mut self, service: ServiceName, now: Box<[IpAddr]>) {
        let known = self.services.remove_entry(&service);
        let (service, before) = known.unwrap_or_else(|| (Arc::new(service), Box::default()));
        for gone in before.iter().filter(|ip| now.binary_search(ip).is_err()) {
            if let Some(owners) = self.owners.get_mut(gone) {
                owners.retain(|owner| *owner != service);
                if owners.is_empty() {
                    self.owners.remove(gone);
                }
            }
        }
        for new in now.iter().filter(|ip| before.binary_search(ip).is_err()) {
            let owners = self.owners.entry(*new).or_default();
            if let Err(place) = owners.binary_search(&service) {
                owners.insert(place, Arc::clone(&service));
            }
        }
        if !now.is_empty() {
            self.services.insert(service, now);
        }
    }

    /// Whether a grant permits one of these Services, all of one namespace.
    fn permits(&self, kind: RouteKind, from: &str, owners: &[Arc<ServiceName>]) -> bool {
        let to = &owners[0].namespace;
        let first = NameGrant { kind, from: from.into(), to: to.clone(), service: None };
        let of_these = |grant: &&NameGrant| grant.kind == kind && *grant.from == *from && grant.to == *to;
        let mut grants = self.grants.range(first..).take_while(of_these);
        grants.any(|grant| match &grant.service {
            None => true,
            Some(name) => owners.binary_search_by(|owner| owner.name.cmp(name)).is_ok(),
        })
    }
}

impl FromStr for ExternalNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|value| value.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not one of none, external, ingress, all"))
    }
}

impl fmt::Display for ExternalNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> ServiceName {
        let (namespace, name) = text.split_once('/').unwrap();
        ServiceName { namespace: namespace.into(), name: name.into() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn set(addresses: &ClusterAddresses, name: &str, ips: &[&str]) {
        addresses.set(service(name), ips.iter().map(|text| ip(text)));
    }

    fn grant(kind: RouteKind, from: &str, to: &str, service: Option<&str>) -> NameGrant {
        NameGrant { kind, from: from.into(), to: to.into(), service: service.map(Into::into) }
    }

    #[test]
    fn an_address_is_foreign_where_another_namespace_has_it() {
        let addresses = ClusterAddresses::default();
        set(&addresses, "a/web", &["10.96.0.1", "10.0.0.1"]);
        set(&addresses, "b/db", &["10.96.0.2", "10.0.0.2", "fd00::2"]);
        set(&addresses, "a/copy", &["10.0.0.2"]);
        for (address, namespace, want) in [
            ("10.96.0.1", "a", None),
            ("10.96.0.1", "b", Some("a/web")),
            ("10.96.0.2", "a", Some("b/db")),
            ("fd00::2", "a", Some("b/db")),
            ("::ffff:10.96.0.2", "a", Some("b/db")),
            // Whoever lists another's address among his endpoints has not got it by that.
            ("10.0.0.2", "a", Some("b/db")),
            ("10.0.0.2", "b", Some("a/copy")),
            ("192.0.2.1", "a", None),
        ] {
            let found = addresses.foreign(ip(address), RouteKind::Http, namespace);
            assert_eq!(found, want.map(service), "{address} from {namespace}");
        }
    }

    #[test]
    fn a_grant_of_the_other_namespace_permits_its_services_to_routes() {
        use RouteKind::{Grpc, Http, Ingress};
        let addresses = ClusterAddresses::default();
        set(&addresses, "b/db", &["10.0.0.1"]);
        set(&addresses, "b/web", &["10.0.0.1"]);
        set(&addresses, "c/db", &["10.0.0.2"]);
        set(&addresses, "b/db2", &["10.0.0.2"]);
        for (grants, address, kind, want) in [
            (vec![grant(Http, "a", "b", None)], "10.0.0.1", Http, None),
            (vec![grant(Http, "a", "b", Some("web"))], "10.0.0.1", Http, None),
            (
                vec![grant(Http, "a", "b", Some("api")), grant(Http, "a", "b", Some("db"))],
                "10.0.0.1",
                Http,
                None,
            ),
            (vec![grant(Http, "a", "b", Some("api"))], "10.0.0.1", Http, Some("b/db")),
            (vec![grant(Http, "a", "b", None)], "10.0.0.1", Grpc, Some("b/db")),
            (vec![grant(Http, "a", "b", None)], "10.0.0.1", Ingress, Some("b/db")),
            (vec![grant(Http, "c", "b", None)], "10.0.0.1", Http, Some("b/db")),
            (vec![grant(Http, "a", "c", None)], "10.0.0.1", Http, Some("b/db")),
            // Of several namespaces that have an address, each has to agree.
            (vec![grant(Http, "a", "b", None)], "10.0.0.2", Http, Some("c/db")),
            (vec![grant(Http, "a", "b", None), grant(Http, "a", "c", None)], "10.0.0.2", Http, None),
        ] {
            addresses.permit(grants.clone());
            let found = addresses.foreign(ip(address), kind, "a");
            assert_eq!(found, want.map(service), "{grants:?} {address} {kind}");
        }
    }

    #[test]
    fn addresses_follow_their_services() {
        let addresses = ClusterAddresses::default();
        let owners = || {
            let all = addresses.owners().into_iter();
            let text = |(ip, of): (IpAddr, Vec<ServiceName>)| {
                format!("{ip} {}", of.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            };
            all.map(text).collect::<Vec<_>>()
        };
        set(&addresses, "b/db", &["10.0.0.2", "10.0.0.1", "10.0.0.2", "127.0.0.1", "::ffff:10.0.0.3"]);
        set(&addresses, "a/web", &["10.0.0.1"]);
        assert_eq!(owners(), ["10.0.0.1 a/web b/db", "10.0.0.2 b/db", "10.0.0.3 b/db"]);
        set(&addresses, "b/db", &["10.0.0.1", "10.0.0.4"]);
        assert_eq!(owners(), ["10.0.0.1 a/web b/db", "10.0.0.4 b/db"]);
        set(&addresses, "b/db", &[]);
        set(&addresses, "b/db", &[]);
        assert_eq!(owners(), ["10.0.0.1 a/web"]);
        addresses.clear();
        assert!(owners().is_empty() && addresses.inner.read().unwrap().services.is_empty());
    }

    #[test]
    fn every_value_is_read_as_it_is_spelt() {
        for value in ExternalNames::ALL {
            assert_eq!(value.to_string().parse(), Ok(value));
        }
        assert!("cluster".parse::<ExternalNames>().is_err());
    }
}
