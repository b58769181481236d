//! What the Ingresses that use a Service's port say of it: how its requests are spread, and its canary. As in
//! ingress-nginx, it holds for the Service's port at every host and in every Ingress.
//!
//! ```text
//! load-balance, upstream-hash-by   the oldest Ingress that uses the port, whether it says anything or not
//! whether it is a canary           the same one
//! affinity                         any; the attributes of the cookie are the youngest's
//! its canary                       the oldest canary Ingress that has a host and path of it
//! ```
//!
//! Hosts claim ([`IngressBackends::set_host`]), the claims are brought together ([`IngressBackends::settle`]), and hosts
//! read the result ([`IngressBackends::of`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use foldhash::{HashMap, HashSet};
use portcullis_routing::{HostPattern, PortKey};

use super::Reader;
use crate::{
    facts::Fact,
    ir::{
        ObjectKey,
        ingress::{Affinity, Age, Balancing, Canary, Hashing, Session},
    },
};

/// A Service's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePort {
    pub service: ObjectKey,
    pub port: PortKey,
}

/// What an Ingress says of the Services that it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub balancing: Balancing,
    pub hashing: Hashing,
    pub affinity: Affinity,
    pub canary: Option<Canary>,
    /// Whether the regular expression of the canary is beyond the budget of its namespace.
    pub is_over_budget: bool,
}

/// A statement of a host about a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub of: ServicePort,
    /// The age of the Ingress that it follows from.
    pub age: Age,
    pub what: Claimed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// An Ingress uses it.
    Use(Option<Arc<Said>>),
    /// A canary Ingress has a host and path of it. Boxed, since few have one.
    Canary(Box<Alternative>),
    /// A canary Ingress that uses it has a path at the host that no other Ingress has.
    Astray,
}

/// The Service of a canary Ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alternative {
    pub service: ServicePort,
    /// Whether the sessions of the main Service do not concern it.
    pub is_legacy: bool,
    /// Its port as the Ingress has it.
    pub written_port: Box<str>,
}

/// What holds for a Service's port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressBackend {
    /// What the oldest Ingress that uses it says.
    first: Option<Arc<Said>>,
    /// The cookie that keeps clients at an endpoint.
    pub session: Option<Session>,
    pub is_persistent: bool,
    /// Those who ask to be its canary, in their order. The first one is.
    pub canaries: Vec<Alternative>,
    /// Whether one of its paths as a canary has no other Ingress. No request gets to it then.
    pub is_astray: bool,
}

/// Every Service's port that Ingresses use.
#[derive(Debug, Default)]
pub struct IngressBackends {
    hosts: HashMap<HostPattern, Box<[Claim]>>,
    records: HashMap<ServicePort, Record>,
    /// Those of which claims have changed since they were settled last.
    touched: HashSet<ServicePort>,
}

/// The claims about a Service's port. The oldest comes first.
#[derive(Debug, Default)]
struct Record {
    uses: Uses,
    /// Boxed, as few have canaries.
    of_canaries: Option<Box<OfCanaries>>,
    /// What was made of them; `None` is the default.
    settled: Option<Arc<IngressBackend>>,
}

/// What canary Ingresses claim about a Service's port.
#[derive(Debug, Default)]
struct OfCanaries {
    canaries: BTreeSet<(Age, HostPattern, Alternative)>,
    astray: BTreeSet<(Age, HostPattern)>,
}

/// The Ingresses that use a Service's port, at each of their hosts, and what each says. Nearly every port is used by one.
#[derive(Debug, Default)]
enum Uses {
    #[default]
    None,
    One(Use, Option<Arc<Said>>),
    Many(BTreeMap<Use, Option<Arc<Said>>>),
}

/// An Ingress by its age, and a host.
type Use = (Age, HostPattern);

impl IngressBackends {
    /// Records the claims of a host in place of those from before.
    pub fn set_host(&mut self, host: &HostPattern, claims: Vec<Claim>) {
        if *self.hosts.get(host).map_or(&[][..], |before| before) == *claims {
            return;
        }
        for claim in self.hosts.remove(host).into_iter().flatten() {
            self.touched.insert(claim.of.clone());
            if let Some(record) = self.records.get_mut(&claim.of) {
                record.remove(host, &claim);
            }
        }
        for claim in &claims {
            self.touched.insert(claim.of.clone());
            self.records.entry(claim.of.clone()).or_default().add(host, claim);
        }
        if !claims.is_empty() {
            self.hosts.insert(host.clone(), claims.into());
        }
    }

    /// Brings together what was claimed. Returns the facts that differ.
    pub fn settle(&mut self) -> Vec<Fact> {
        let mut changed = Vec::new();
        for of in std::mem::take(&mut self.touched) {
            let Some(record) = self.records.get_mut(&of) else { continue };
            let now = record.settle();
            if record.settled.as_deref() != now.as_ref() {
                record.settled = now.map(Arc::new);
                changed.push(of.fact());
            }
            if record.is_empty() {
                self.records.remove(&of);
            }
        }
        changed
    }

    /// What holds for a Service's port.
    pub fn of(&self, reader: &Reader<'_>, of: &ServicePort) -> Arc<IngressBackend> {
        reader.note(|| of.fact());
        self.records.get(of).and_then(|record| record.settled.clone()).unwrap_or_default()
    }
}

impl Uses {
    fn insert(&mut self, of: Use, said: Option<Arc<Said>>) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(of, said),
            Self::One(other, _) if other == of => Self::One(of, said),
            Self::One(other, before) => Self::Many([(other, before), (of, said)].into()),
            Self::Many(mut all) => {
                all.insert(of, said);
                Self::Many(all)
            }
        };
    }

    fn remove(&mut self, of: &Use) {
        match self {
            Self::One(other, _) if other == of => *self = Self::None,
            Self::None | Self::One(..) => {}
            Self::Many(all) => {
                all.remove(of);
                if all.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What they say, the oldest Ingress first.
    fn said(&self) -> impl DoubleEndedIterator<Item = &Option<Arc<Said>>> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(_, said) => (Some(said), None),
            Self::Many(all) => (None, Some(all)),
        };
        one.into_iter().chain(many.into_iter().flat_map(BTreeMap::values))
    }
}

impl Record {
    fn add(&mut self, host: &HostPattern, Claim { age, what, .. }: &Claim) {
        let (age, host) = (age.clone(), host.clone());
        match what {
            Claimed::Use(said) => self.uses.insert((age, host), said.clone()),
            Claimed::Canary(canary) => {
                self.of_canaries.get_or_insert_default().canaries.insert((age, host, (**canary).clone()));
            }
            Claimed::Astray => drop(self.of_canaries.get_or_insert_default().astray.insert((age, host))),
        }
    }

    fn remove(&mut self, host: &HostPattern, Claim { age, what, .. }: &Claim) {
        let (age, host) = (age.clone(), host.clone());
        let mut of_canaries = self.of_canaries.take().unwrap_or_default();
        match what {
            Claimed::Use(_) => self.uses.remove(&(age, host)),
            Claimed::Canary(canary) => drop(of_canaries.canaries.remove(&(age, host, (**canary).clone()))),
            Claimed::Astray => drop(of_canaries.astray.remove(&(age, host))),
        }
        self.of_canaries = Some(of_canaries).filter(|of_canaries| !of_canaries.is_empty());
    }

    fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.of_canaries.is_none()
    }

    fn settle(&self) -> Option<IngressBackend> {
        let first = self.uses.said().next().cloned().flatten();
        let is_canary = first.as_ref().is_some_and(|said| said.canary.is_some());
        let said = || self.uses.said().flatten().map(|said| &said.affinity).filter(|_| !is_canary);
        let mut canaries: Vec<Alternative> = Vec::new();
        for (_, _, canary) in self.of_canaries.iter().flat_map(|of_canaries| &of_canaries.canaries) {
            if !canaries.iter().any(|before| before.service == canary.service) {
                canaries.push(canary.clone());
            }
        }
        let state = IngressBackend {
            session: said().filter_map(|affinity| affinity.session.clone()).next_back(),
            is_persistent: said().find_map(|affinity| affinity.is_persistent).unwrap_or_default(),
            canaries,
            is_astray: self.of_canaries.as_ref().is_some_and(|of_canaries| !of_canaries.astray.is_empty()),
            first,
        };
        (state != IngressBackend::default()).then_some(state)
    }
}

impl OfCanaries {
    fn is_empty(&self) -> bool {
        self.canaries.is_empty() && self.astray.is_empty()
    }
}

impl IngressBackend {
    /// Which requests it gets as a canary; `None` if it is none.
    pub fn canary(&self) -> Option<&Canary> {
        self.first.as_ref()?.canary.as_ref()
    }

    /// Whether its regular expression, as a canary, is beyond the budget of its namespace.
    pub fn is_over_budget(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.is_over_budget)
    }

    pub fn hashing(&self) -> Option<&Hashing> {
        Some(&self.first.as_ref()?.hashing)
    }

    pub fn balancing(&self) -> Option<&Balancing> {
        Some(&self.first.as_ref()?.balancing)
    }
}

impl ServicePort {
    fn fact(&self) -> Fact {
        Fact::IngressBackend(self.service.clone(), self.port)
    }
}

impl std::fmt::Display for ServicePort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} port {}", self.service, self.port)
    }
}

#[cfg(test)]
mod tests;
