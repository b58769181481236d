//! Replaces the endpoints of a pool: an address that stays keeps its endpoint.

use std::{net::SocketAddr, sync::Arc};

use super::Endpoint;

/// The number of addresses up to which comparing all pairs takes no longer than making a set.
const FEW: usize = 16;

/// Returns the endpoints of these addresses, each once and in their order.
pub(super) fn all(known: &[Arc<Endpoint>], addresses: &[SocketAddr]) -> Box<[Arc<Endpoint>]> {
    let endpoints = match addresses.len().max(known.len()) {
        0..=FEW => carry_over_few(known, addresses),
        _ => carry_over(known, addresses),
    };
    begin_slowly(known, &endpoints);
    endpoints
}

/// Returns the endpoints of these addresses, each once and in their order: the known endpoint of an address, or else a
/// new one.
fn carry_over(known: &[Arc<Endpoint>], addresses: &[SocketAddr]) -> Box<[Arc<Endpoint>]> {
    let by_address: foldhash::HashMap<_, _> = known.iter().map(|e| (e.address, e)).collect();
    let mut seen = foldhash::HashSet::default();
    let addresses = addresses.iter().filter(|address| seen.insert(**address));
    addresses
        .map(|address| match by_address.get(address) {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::new(Endpoint::new(*address)),
        })
        .collect()
}

/// Does the same as [`carry_over`] for at most [`FEW`] addresses; nearly all backends have so few.
fn carry_over_few(known: &[Arc<Endpoint>], addresses: &[SocketAddr]) -> Box<[Arc<Endpoint>]> {
    let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(addresses.len());
    for address in addresses {
        let is_it = |endpoint: &&Arc<Endpoint>| endpoint.address == *address;
        if !endpoints.iter().any(|endpoint| is_it(&endpoint)) {
            let before = known.iter().find(is_it).cloned();
            endpoints.push(before.unwrap_or_else(|| Arc::new(Endpoint::new(*address))));
        }
    }
    endpoints.into()
}

/// Lets new endpoints begin with the mean latency of those that are known, so that they do not get all requests at once.
fn begin_slowly(known: &[Arc<Endpoint>], endpoints: &[Arc<Endpoint>]) {
    let lasts: Vec<_> = known.iter().filter_map(|endpoint| endpoint.latency.last()).collect();
    let Some(now) = lasts.iter().map(|(_, at)| *at).max() else { return };
    let mean = lasts.iter().map(|(mean, _)| mean).sum::<f32>() / lasts.len() as f32;
    // Nobody else has it yet.
    let is_new = |endpoint: &&Arc<Endpoint>| Arc::strong_count(endpoint) == 1;
    endpoints.iter().filter(is_new).for_each(|endpoint| endpoint.latency.begin(mean, now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_endpoint_begins_with_the_mean_of_the_others() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let known = all(&[], &[address(1), address(2), address(3)]);
        assert!(known.iter().all(|endpoint| endpoint.latency.last().is_none()));
        known[0].took(1.0, 1_000);
        known[1].took(3.0, 2_000);
        let now = all(&known, &[address(2), address(4)]);
        assert_eq!((now[0].latency.last(), now[1].latency.last()), (Some((3.0, 2_000)), Some((2.0, 2_000))));
    }
}
