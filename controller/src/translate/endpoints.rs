//! The endpoints of a Service's port.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use portcullis_routing::EndpointPool;

use crate::ir::{
    EndpointSlice, Service,
    core::{SliceEndpoint, SlicePort},
};

/// Where the requests for a Service's port go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// To these addresses, in their order; to none is 503.
    Addresses(Vec<SocketAddr>),
    /// To the addresses of a DNS name.
    Name { host: Box<str>, port: u16 },
}

impl Resolved {
    /// Makes them the endpoints of a pool.
    pub fn store(&self, pool: &EndpointPool) {
        match self {
            Self::Addresses(addresses) => pool.store_addresses(addresses),
            Self::Name { host, port } => pool.store_name(host, *port),
        }
    }
}

/// The endpoints of a Service's port, out of the EndpointSlices of that Service (in any order).
///
/// The ready ones; where none is ready, those that still serve while they terminate. An endpoint that moves between
/// slices stands in both for a while and counts once. A Service that is gone, or has no such port, has none.
pub fn endpoints<'s>(
    slices: impl IntoIterator<Item = &'s EndpointSlice>,
    service: Option<&Service>,
    port: u16,
) -> Resolved {
    let Some(service) = service else { return Resolved::Addresses(Vec::new()) };
    if let Some(host) = &service.external_name {
        return Resolved::Name { host: host.clone(), port };
    }
    let Some(name) = service.tcp_port(port).map(|p| &p.name) else { return Resolved::Addresses(Vec::new()) };
    let (mut ready, mut draining) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        for port in slice.ports.iter().filter(|p| p.name == *name).filter_map(|p: &SlicePort| p.port) {
            let of = |chosen: fn(&SliceEndpoint) -> bool| {
                slice.endpoints.iter().filter(move |e| chosen(e)).filter_map(move |e| address(e, port))
            };
            ready.extend(of(|e| e.ready));
            draining.extend(of(|e| e.serving && e.terminating));
        }
    }
    let chosen = if ready.is_empty() { draining } else { ready };
    Resolved::Addresses(chosen.into_iter().collect())
}

fn address(endpoint: &SliceEndpoint, port: u16) -> Option<SocketAddr> {
    endpoint.addresses.first().map(|ip: &IpAddr| SocketAddr::new(*ip, port))
}
