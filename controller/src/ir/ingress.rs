//! Ingress and IngressClass.

mod tls;

use std::collections::BTreeSet;

use portcullis_routing::{HostPattern, PathMatch};

use super::{Meta, gateway::Reference};
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
    pub redirect: Redirect,
    pub unserved: Unserved,
    /// The annotation by which it asks for TLS of its own: client certificates, or TLS that is passed through.
    pub own_tls: Option<&'static str>,
    /// Whether ingress-nginx would read the paths of its hosts as regular expressions (`use-regex`, `rewrite-target`).
    pub regex_paths: bool,
    /// Why it is refused as a whole. Such an Ingress has no rules.
    pub refused: Option<Box<str>>,
}

/// What its annotations say of redirects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// `nginx.ingress.kubernetes.io/ssl-redirect`: whether plain HTTP is redirected to HTTPS on hosts with TLS.
    pub ssl_redirect: Option<bool>,
}

/// The protections that an Ingress asks for and that are not served; what they protect is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    /// Annotations of ingress-nginx, without their prefix.
    pub protections: Box<[&'static str]>,
    /// The first annotation that is on no list; it closes paths if annotations are strict.
    pub unknown: Option<Box<str>>,
    /// Whether its hosts are protected as a whole, or it is not known which of their requests are.
    pub whole_hosts: bool,
}

impl Unserved {
    /// What closes the Ingress, as messages name it; `None` where nothing does. `strict` is whether an annotation that
    /// is on no list does.
    pub fn closed_by(&self, strict: bool) -> Option<String> {
        const NAMED: usize = 5;
        let unknown = self.unknown.as_deref().filter(|_| strict);
        let names: Vec<_> = self.protections.iter().copied().chain(unknown).collect();
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| names[..names.len().min(NAMED)].join(", ") + &more)
    }
}

impl Ingress {
    /// The hosts that its rules name. Hosts that only its TLS names are not among them: rules without a host answer
    /// their requests.
    pub fn hosts(&self) -> BTreeSet<HostPattern> {
        self.rules.iter().map(|rule| rule.host.clone()).collect()
    }

    /// The same, and every host where there is a default backend.
    pub fn served_hosts(&self) -> BTreeSet<HostPattern> {
        let any = self.default_backend.as_ref().map(|_| HostPattern::Any);
        self.hosts().into_iter().chain(any).collect()
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
    pub path: PathMatch,
    pub backend: IngressBackend,
}

/// A backend of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressBackend {
    Service {
        name: Box<str>,
        port: PortRef,
    },
    /// A `resource`; not served, and said so.
    Resource(Reference),
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    Number(u16),
    Name(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(count: usize) -> Vec<IngressRule> {
        let path = |index: usize| IngressPath {
            path: PathMatch::Exact(format!("/{index}").into()),
            backend: IngressBackend::Service { name: "web".into(), port: PortRef::Number(80) },
        };
        let rule = |index: usize| IngressRule {
            host: HostPattern::parse(&format!("{}.example.com", index % 5)).unwrap(),
            paths: (0..index % 3).map(|n| path(10 * index + n)).collect(),
        };
        (0..count).map(rule).collect()
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
