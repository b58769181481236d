//! Which hostnames cover a host.

use std::sync::Arc;

use portcullis_routing::HostPattern;

/// The patterns that cover a host, the most specific first: the order in which a port looks for its listeners. As many
/// as the host has labels, and a few more.
pub(crate) fn covering(name: &Arc<str>) -> impl Iterator<Item = HostPattern> {
    let parents = std::iter::successors(parent(name), |name| parent(name));
    let wildcards = parents.map(Arc::from).enumerate().flat_map(|(number, suffix): (usize, Arc<str>)| {
        let label = (number == 0).then(|| HostPattern::WildcardLabel(Arc::clone(&suffix)));
        label.into_iter().chain([HostPattern::Wildcard(suffix)])
    });
    let exact = HostPattern::Exact(Arc::clone(name));
    [exact].into_iter().chain(wildcards).chain([HostPattern::Any])
}

fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use portcullis_routing::HostMap;

    use super::*;

    #[test]
    fn patterns_cover_a_host_in_the_order_in_which_a_port_asks_them() {
        for name in ["a.b.example.com", "example.com", "localhost", "a.b.c.d.e"] {
            let all: Vec<_> = covering(&name.into()).collect();
            let mut map = HostMap::default();
            for pattern in &all {
                map.insert(pattern.clone(), ());
            }
            assert_eq!(map.matches(name).map(|(pattern, ())| pattern.clone()).collect::<Vec<_>>(), all);
            assert!(all.len() >= 2 && all.iter().all(|pattern| pattern.matches(name)), "{all:?}");
        }
    }
}
