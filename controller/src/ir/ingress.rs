//! Ingress and IngressClass.

mod annotations;
mod auth;
mod balancing;
mod tls;

use std::{cmp::Ordering, collections::BTreeSet, fmt, sync::Arc};

use portcullis_routing::HostPattern;

use super::{Kind, Meta, ObjectKey, gateway::Reference};
pub use annotations::{
    Access, Annotations, Answers, AuthTls, BackendSpeech, BasicAuth, Body, Errors, Limits, Logs, Mirroring,
    NextUpstream, Pacing, Passwords, ProxySsl, Redirects, Rewrite, Risk, SecretForm, ServerAlias, Speech,
    SslPassthrough, Unserved, UnservedProtection, Upstream, UpstreamVhost,
};
pub use auth::{AuthOptions, CONSTANTS, ExternalAuth, ServiceTarget};
pub use balancing::{Affinity, Balancing, Canary, CanaryHeader, Hashing, LoadBalance, Session};
pub use tls::{IngressTls, TlsSections};

/// An IngressClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    pub meta: Meta,
    pub controller: Box<str>,
    /// `ingressclass.kubernetes.io/is-default-class: "true"`.
    pub default: bool,
}

/// An Ingress.
#[derive(Clone, Debug)]
pub struct Ingress {
    pub meta: Meta,
    /// `spec.ingressClassName`.
    pub class: Option<Box<str>>,
    /// The annotation `kubernetes.io/ingress.class`.
    pub legacy_class: Option<Box<str>>,
    pub default_backend: Option<IngressBackend>,
    pub tls: TlsSections,
    pub rules: IngressRules,
    /// Ingresses with the same annotations share them.
    pub annotations: Arc<Annotations>,
    /// Why it is refused as a whole. Such an Ingress has no rules.
    pub refused: Option<Box<str>>,
}

impl Ingress {
    /// The hosts that its rules name, their other names, and those that it redirects to these. Hosts that only its TLS names are not among
    /// them: rules without a host answer their requests.
    pub fn hosts(&self) -> BTreeSet<HostPattern> {
        let named = self.rules.iter().map(|rule| &rule.host);
        let redirected = named.clone().filter(|_| self.annotations.redirects.from_to_www);
        let redirected = redirected.filter_map(with_or_without_www);
        let aliases = self.annotations.server_alias.hosts.iter().filter(|_| !self.rules.is_empty());
        redirected.chain(named.cloned()).chain(aliases.cloned()).collect()
    }

    /// The host that its other names stand for (`server-alias`): the first of its hosts in alphabetical order.
    pub fn aliased_host(&self) -> Option<&HostPattern> {
        self.rules.iter().map(|rule| &rule.host).min_by_key(|host| host.to_string())
    }

    /// The host to which requests for this one are redirected, since it is the same with or without `www.`
    /// (`from-to-www-redirect`).
    pub fn redirected_host(&self, from: &HostPattern) -> Option<HostPattern> {
        let to = with_or_without_www(from).filter(|_| self.annotations.redirects.from_to_www)?;
        (!self.rules.of_host(&to).is_empty()).then_some(to)
    }

    /// An Ingress that stands for the default backend of the operator: for hosts that no Ingress names, unless an Ingress
    /// has a default backend for them.
    pub fn of_default_backend(service: &ObjectKey) -> Self {
        // No object has this name, and none is younger.
        let key = ObjectKey::new(Kind::Ingress, &service.namespace, "--default-backend-service");
        let meta =
            Meta { key, uid: None, generation: 0, version: 0, created: i64::MAX, warnings: Box::default() };
        let backend = IngressBackend::Service { name: service.name.clone(), port: PortRef::First };
        Self {
            meta,
            class: None,
            legacy_class: None,
            default_backend: Some(backend),
            tls: TlsSections::default(),
            rules: IngressRules::default(),
            annotations: Arc::default(),
            refused: None,
        }
    }

    /// The same, and every host if there is nothing but a default backend.
    pub fn served_hosts(&self) -> BTreeSet<HostPattern> {
        let any = self.is_default_backend().then_some(HostPattern::Any);
        self.hosts().into_iter().chain(any).collect()
    }

    /// Whether it has a default backend and no rules: it answers for all hosts that no Ingress names. Beside rules, a default
    /// backend answers for their hosts alone.
    pub fn is_default_backend(&self) -> bool {
        self.default_backend.is_some() && self.rules.is_empty()
    }

    /// Its place among others: the older one comes first; of those created in the same second, the one whose
    /// `namespace/name` is greater, as in ingress-nginx.
    pub fn age(&self) -> Age {
        Age { created: self.meta.created, key: self.meta.key.clone() }
    }
}

/// The same name with `www.` if it lacks it, and without if it has it.
fn with_or_without_www(host: &HostPattern) -> Option<HostPattern> {
    let HostPattern::Exact(name) = host else { return None };
    let other = match name.strip_prefix("www.") {
        Some(without) => without.to_owned(),
        None => format!("www.{name}"),
    };
    HostPattern::parse(&other).ok()
}

/// The place of an Ingress among others; see [`Ingress::age`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Age {
    created: i64,
    key: ObjectKey,
}

impl Age {
    /// The order of `namespace/name`.
    fn cmp_name(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.key, &other.key);
        if a.namespace == b.namespace {
            return a.name.cmp(&b.name);
        }
        let [a, b] = [a, b].map(|key| key.namespace.bytes().chain([b'/']).chain(key.name.bytes()));
        a.cmp(b)
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        self.created.cmp(&other.created).then_with(|| other.cmp_name(self))
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `rules`, indexed by host: one Ingress may have thousands of hosts.
#[derive(Clone, Debug, Default)]
pub struct IngressRules {
    rules: Vec<IngressRule>,
    /// Place of each rule and of its first path, sorted by host; empty if there are no more than [`FEW`] rules.
    by_host: Box<[(usize, usize)]>,
}

/// Up to so many rules or hosts are searched one by one.
const FEW: usize = 8;

impl IngressRules {
    /// The rules of a host in their order, each with the place of its first path among all paths of the Ingress.
    pub fn of_host(&self, host: &HostPattern) -> Vec<(usize, &IngressRule)> {
        if self.by_host.is_empty() {
            return with_first_paths(&self.rules).filter(|(_, rule)| rule.host == *host).collect();
        }
        let host_at = |(place, _): &(usize, usize)| &self.rules[*place].host;
        let begin = self.by_host.partition_point(|at| host_at(at) < host);
        let of_host = self.by_host[begin..].iter().take_while(|at| host_at(at) == host);
        of_host.map(|(place, first)| (*first, &self.rules[*place])).collect()
    }

    /// How many paths there are.
    pub fn paths(&self) -> usize {
        self.rules.iter().map(|rule| rule.paths.len()).sum()
    }

    /// The same without some of them.
    pub fn retain(&mut self, keep: impl FnMut(&IngressRule) -> bool) {
        let mut rules = std::mem::take(&mut self.rules);
        rules.retain(keep);
        *self = rules.into();
    }
}

fn with_first_paths(rules: &[IngressRule]) -> impl Iterator<Item = (usize, &IngressRule)> {
    rules.iter().scan(0, |next, rule| {
        let first = *next;
        *next += rule.paths.len();
        Some((first, rule))
    })
}

impl From<Vec<IngressRule>> for IngressRules {
    fn from(rules: Vec<IngressRule>) -> Self {
        if rules.len() <= FEW {
            return Self { rules, by_host: Box::default() };
        }
        let mut by_host: Vec<_> =
            with_first_paths(&rules).enumerate().map(|(place, (first, _))| (place, first)).collect();
        by_host.sort_by(|(a, _), (b, _)| (&rules[*a].host, a).cmp(&(&rules[*b].host, b)));
        Self { rules, by_host: by_host.into() }
    }
}

impl std::ops::Deref for IngressRules {
    type Target = [IngressRule];

    fn deref(&self) -> &[IngressRule] {
        &self.rules
    }
}

/// `rules[]`.
#[derive(Clone, Debug)]
pub struct IngressRule {
    /// [`HostPattern::Any`] where it names none.
    pub host: HostPattern,
    pub paths: Vec<IngressPath>,
}

/// `rules[].http.paths[]`.
#[derive(Clone, Debug)]
pub struct IngressPath {
    /// As it is written: each character stands for itself, unless the paths of the host are regular expressions.
    pub text: Box<str>,
    pub kind: PathKind,
    pub backend: IngressBackend,
}

/// `pathType`. `ImplementationSpecific` is `Prefix`, as in ingress-nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathKind {
    Exact,
    Prefix,
}

/// A backend of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressBackend {
    Service {
        name: Box<str>,
        port: PortRef,
    },
    /// A `resource`; not served, and said so. Boxed, since it is large.
    Resource(Box<Reference>),
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    Number(u16),
    Name(Box<str>),
    /// The first port of the Service, which no Ingress can ask for in so many words.
    First,
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::First => f.write_str("(the first)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(count: usize) -> Vec<IngressRule> {
        let path = |index: usize| IngressPath {
            text: format!("/{index}").into(),
            kind: PathKind::Exact,
            backend: IngressBackend::Service { name: "web".into(), port: PortRef::Number(80) },
        };
        let rule = |index: usize| IngressRule {
            host: HostPattern::parse(&format!("{}.example.com", index % 5)).unwrap(),
            paths: (0..index % 3).map(|n| path(10 * index + n)).collect(),
        };
        (0..count).map(rule).collect()
    }

    #[test]
    fn ingresses_of_one_second_are_ordered_by_their_names_with_the_namespace() {
        let keys = [("a", "b"), ("a", "z"), ("a-b", "c"), ("a.b", "c"), ("ab", "c"), ("a0", "a"), ("b", "a")];
        let age = |(namespace, name), created| {
            let key = ObjectKey::new(Kind::Ingress, namespace, name);
            (Age { created, key }, std::cmp::Reverse(format!("{namespace}/{name}")))
        };
        for one in keys {
            for other in keys {
                let ((one, one_name), (other, other_name)) = (age(one, 1), age(other, 1));
                assert_eq!(one.cmp(&other), one_name.cmp(&other_name), "{one:?} and {other:?}");
            }
            let ((older, _), (younger, _)) = (age(one, 0), age(("z", "z"), 1));
            assert!(older < younger, "{older:?} is the older");
        }
    }

    #[test]
    fn the_rules_of_a_host_are_those_that_a_look_at_each_finds() {
        for count in [0, 1, FEW, FEW + 1, 50] {
            let all = rules(count);
            let found = IngressRules::from(all.clone());
            assert_eq!(found.paths(), all.iter().map(|rule| rule.paths.len()).sum::<usize>());
            for host in 0..6 {
                let host = HostPattern::parse(&format!("{host}.example.com")).unwrap();
                let mut next = 0;
                let mut want = Vec::new();
                for rule in &all {
                    if rule.host == host {
                        want.push((next, format!("{rule:?}")));
                    }
                    next += rule.paths.len();
                }
                let got: Vec<_> = found
                    .of_host(&host)
                    .into_iter()
                    .map(|(first, rule)| (first, format!("{rule:?}")))
                    .collect();
                assert_eq!(got, want, "{count} rules, {host}");
            }
        }
    }
}
