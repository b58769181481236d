//! `spec.tls` of an Ingress.

use portcullis_routing::HostPattern;

use super::FEW;
use crate::ir::hosts::covering;

/// `tls[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressTls {
    /// Empty is every host of the Ingress.
    pub hosts: Vec<HostPattern>,
    /// `None` is the default certificate.
    pub secret: Option<Box<str>>,
}

/// `tls`, indexed by host: one Ingress may name thousands of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSections {
    sections: Vec<IngressTls>,
    /// Each host as `(section, host in it)`, sorted by host, then by section; empty if there are no more than [`FEW`].
    by_host: Box<[(u32, u32)]>,
}

impl TlsSections {
    /// The section that a host of the Ingress uses: the first that names it; or else the first with a wildcard that
    /// covers it; or else the first without hosts.
    pub fn of_host(&self, host: &HostPattern) -> Option<&IngressTls> {
        let exact = self.first_with(host);
        let covering = || {
            let HostPattern::Exact(name) = host else { return None };
            covering(name).filter_map(|pattern| self.first_with(&pattern)).min()
        };
        let every = || self.sections.iter().position(|section| section.hosts.is_empty());
        exact.or_else(covering).or_else(every).map(|place| &self.sections[place])
    }

    /// Removes the Secrets that `keep` does not accept; these sections get the default certificate.
    pub fn keep_secrets(&mut self, keep: impl Fn(&str) -> bool) {
        for section in &mut self.sections {
            section.secret = section.secret.take().filter(|secret| keep(secret));
        }
    }

    /// The place of the first section that names exactly this host.
    fn first_with(&self, host: &HostPattern) -> Option<usize> {
        if self.by_host.is_empty() {
            return self.sections.iter().position(|section| section.hosts.contains(host));
        }
        let begin = self.by_host.partition_point(|at| self.host_at(*at) < host);
        let first = self.by_host.get(begin).filter(|at| self.host_at(**at) == host)?;
        Some(first.0 as usize)
    }

    fn host_at(&self, (section, host): (u32, u32)) -> &HostPattern {
        &self.sections[section as usize].hosts[host as usize]
    }
}

impl From<Vec<IngressTls>> for TlsSections {
    fn from(sections: Vec<IngressTls>) -> Self {
        let mut found = Self { sections, by_host: Box::default() };
        if found.sections.iter().map(|section| section.hosts.len()).sum::<usize>() > FEW {
            let places = (0u32..).zip(&found.sections);
            let places = places
                .flat_map(|(section, tls)| (0u32..).zip(&tls.hosts).map(move |(host, _)| (section, host)));
            let mut by_host: Vec<_> = places.collect();
            by_host.sort_by(|a, b| (found.host_at(*a), a).cmp(&(found.host_at(*b), b)));
            found.by_host = by_host.into();
        }
        found
    }
}

impl std::ops::Deref for TlsSections {
    type Target = [IngressTls];

    fn deref(&self) -> &[IngressTls] {
        &self.sections
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plain reading: a look at every host of every section.
    fn scan<'s>(sections: &'s [IngressTls], host: &HostPattern) -> Option<&'s IngressTls> {
        let exact = sections.iter().find(|tls| tls.hosts.contains(host));
        let covering = || {
            let HostPattern::Exact(name) = host else { return None };
            sections.iter().find(|tls| tls.hosts.iter().any(|pattern| pattern.matches(name)))
        };
        let every = || sections.iter().find(|tls| tls.hosts.is_empty());
        exact.or_else(covering).or_else(every)
    }

    fn host() -> impl Strategy<Value = HostPattern> {
        let names = ["com", "x.com", "a.x.com", "b.x.com", "c.a.x.com"];
        let name = prop::sample::select(names.to_vec());
        prop_oneof![
            8 => name.clone().prop_map(|name| HostPattern::Exact(name.into())),
            2 => name.clone().prop_map(|name| HostPattern::WildcardLabel(name.into())),
            1 => name.prop_map(|name| HostPattern::Wildcard(name.into())),
            1 => Just(HostPattern::Any),
        ]
    }

    proptest! {
        #[test]
        fn the_section_of_a_host_is_the_one_that_a_look_at_each_finds(
            sections in prop::collection::vec(prop::collection::vec(host(), 0..6), 0..8), asked in host()
        ) {
            // Each with a Secret of its own, so that two sections are never equal.
            let secret = |number| Some(format!("secret-{number}").into());
            let sections = sections.into_iter().enumerate();
            let sections: Vec<_> =
                sections.map(|(number, hosts)| IngressTls { hosts, secret: secret(number) }).collect();
            let indexed = TlsSections::from(sections.clone());
            prop_assert_eq!(indexed.of_host(&asked), scan(&sections, &asked));
        }
    }

    #[test]
    fn many_hosts_are_found_by_an_index() {
        let hosts = (0..100).map(|n| HostPattern::Exact(format!("{n}.example.com").into())).collect();
        let sections = TlsSections::from(vec![IngressTls { hosts, secret: None }]);
        assert_eq!(sections.by_host.len(), 100);
    }
}
