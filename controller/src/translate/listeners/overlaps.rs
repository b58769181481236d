//! Which listeners of a port have hosts in common.
//!
//! From each hostname to the wildcards above it: as many steps as it has labels, however many listeners there are. Two
//! exact hostnames have a host in common only where they are the same, and then they are at odds.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use portcullis_routing::{HostPattern, PortKey};

use super::{AttachPoint, FirstOf, PortPlan, states::States};

/// Finds the TLS listeners of the same port that a listener has hosts in common with.
pub(super) fn between_listeners(states: &mut States) {
    let listeners = states.listeners();
    // Clients send requests for other hosts over the same connection; streams are of one host.
    let ends_tls =
        listeners.filter(|l| l.point.served && l.certificates.is_some() && l.point.takes_requests());
    let points: Vec<_> = ends_tls.map(|listener| Arc::clone(&listener.point)).collect();
    let wide = Wide::of(&points);
    let mut pairs: Vec<Vec<usize>> = vec![Vec::new(); points.len()];
    for (one, point) in points.iter().enumerate() {
        for other in wide.above(point.bound(), &point.hostname) {
            pairs[one].push(other);
            pairs[other].push(one);
        }
    }
    let mut overlaps = BTreeMap::new();
    for (one, mut others) in pairs.into_iter().enumerate().filter(|(_, others)| !others.is_empty()) {
        let mut found = FirstOf::default();
        others.sort_unstable();
        others.into_iter().for_each(|other| found.add(|| Arc::clone(&points[other].id)));
        overlaps.insert(Arc::clone(&points[one].id), found);
    }
    drop(points);
    for listener in states.listeners_mut() {
        listener.overlaps = overlaps.remove(&listener.point.id).unwrap_or_default();
    }
}

/// Finds the hosts of Ingresses that a listener's hostname covers and that are listeners of their own.
pub(super) fn with_ingresses(states: &mut States, ports: &BTreeMap<PortKey, PortPlan>) {
    let served = states.listeners().filter(|l| l.point.served);
    let points: Vec<_> = served.map(|listener| Arc::clone(&listener.point)).collect();
    let wide = Wide::of(&points);
    let mut before: BTreeMap<_, FirstOf<HostPattern>> = BTreeMap::new();
    for (bound, plan) in ports {
        for (host, _) in plan.listeners.iter().filter(|(_, plan)| plan.gateway.is_none()) {
            for covering in wide.above(Some(*bound), host) {
                before.entry(Arc::clone(&points[covering].id)).or_default().add(|| host.clone());
            }
        }
    }
    for listener in states.listeners_mut() {
        listener.ingress_before = before.remove(&listener.point.id).unwrap_or_default();
    }
}

/// The listeners whose hostname is a wildcard, or none at all. Of the same port none has the hostname of another.
struct Wide<'p> {
    any: HashMap<PortKey, usize>,
    wildcards: HashMap<(PortKey, &'p str), usize>,
}

impl<'p> Wide<'p> {
    fn of(points: &'p [Arc<AttachPoint>]) -> Self {
        let mut wide = Self { any: HashMap::new(), wildcards: HashMap::new() };
        for (index, point) in points.iter().enumerate() {
            let Some(bound) = point.bound() else { continue };
            match &point.hostname {
                HostPattern::Any => drop(wide.any.insert(bound, index)),
                HostPattern::Wildcard(suffix) | HostPattern::WildcardLabel(suffix) => {
                    wide.wildcards.insert((bound, suffix), index);
                }
                HostPattern::Exact(_) => {}
            }
        }
        wide
    }

    /// Those whose hostname covers all of another one's hosts, and more.
    fn above<'s>(
        &'s self,
        bound: Option<PortKey>,
        host: &'s HostPattern,
    ) -> impl Iterator<Item = usize> + 's {
        let (own, rest) = match host {
            HostPattern::Any => (None, None),
            HostPattern::Exact(name) => (None, parent(name)),
            HostPattern::Wildcard(suffix) => (None, parent(suffix)),
            // One label under that name, of all that a wildcard covers.
            HostPattern::WildcardLabel(suffix) => (Some(&**suffix), parent(suffix)),
        };
        let names = own.into_iter().chain(std::iter::successors(rest, |name| parent(name)));
        let wildcards = bound.into_iter().flat_map(move |bound| names.clone().map(move |name| (bound, name)));
        let any = bound.filter(|_| *host != HostPattern::Any).and_then(|bound| self.any.get(&bound).copied());
        wildcards.filter_map(|place| self.wildcards.get(&place).copied()).chain(any)
    }
}

/// A name without its first label.
fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use portcullis_routing::ListenerId;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ir::gateway::AllowedNamespaces,
        translate::{ListenerKey, RuleSource},
    };

    fn point(number: usize, (port, hostname): &(u16, HostPattern)) -> Arc<AttachPoint> {
        let section: Box<str> = number.to_string().into();
        let id = Arc::new(ListenerId::gateway("a", "g", &section));
        let owner = RuleSource::Gateway(Arc::clone(&id));
        let slot = ListenerKey { port: PortKey::tcp(*port), listener: hostname.clone(), owner };
        Arc::new(AttachPoint {
            id,
            section,
            port: *port,
            slot: Some(Arc::new(slot)),
            hostname: hostname.clone(),
            mode: None,
            kinds: Vec::new(),
            namespaces: AllowedNamespaces::All,
            backend_certificate: None,
            is_allowed: true,
            shared: true,
            served: true,
        })
    }

    proptest! {
        #[test]
        fn pairs_are_those_that_a_look_at_all_finds(texts in prop::collection::btree_set((80..82_u16, "(\\*\\.)?([ab]\\.){0,3}[ab]|"), 0..20)) {
            let all: Vec<_> =
                texts.iter().map(|(port, text)| (*port, HostPattern::parse(text).unwrap())).collect();
            let points: Vec<_> = all.iter().enumerate().map(|(number, one)| point(number, one)).collect();
            let wide = Wide::of(&points);
            for (port, host) in &all {
                let mut found: Vec<_> = wide.above(Some(PortKey::tcp(*port)), host).collect();
                found.sort_unstable();
                let is_above = |(_, (other_port, other)): &(usize, &(u16, HostPattern))| {
                    other_port == port && other != host && other.intersects(host) && other.specificity() < host.specificity()
                };
                let want: Vec<_> = all.iter().enumerate().filter(is_above).map(|(index, _)| index).collect();
                prop_assert_eq!(found, want, "{} on {}", host, port);
            }
        }
    }

    #[test]
    fn one_label_of_an_ingress_is_below_the_wildcard_of_the_same_name() {
        let wildcard = HostPattern::parse("*.a.test").unwrap();
        let points = [point(0, &(80, wildcard)), point(1, &(80, HostPattern::Any))];
        let label = HostPattern::parse_ingress("*.a.test").unwrap();
        assert_eq!(Wide::of(&points).above(Some(PortKey::tcp(80)), &label).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(Wide::of(&points).above(None, &label).count(), 0);
    }
}
