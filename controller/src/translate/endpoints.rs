//! Finds the endpoints of a Service's port.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portcullis_routing::{BackendKey, BackendObject, EndpointPool, PortKey};

use super::x_backends;
use crate::{
    ir::{EndpointSlice, Kind, ObjectKey, Service, core::SlicePort},
    snapshot::Snapshot,
};

/// The destination of requests, streams or datagrams for a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// To these addresses, in their order. If there are none, requests get a 503.
    Addresses(Vec<SocketAddr>),
    /// To the addresses of a DNS name.
    Name { host: Box<str>, port: u16 },
}

impl Resolved {
    /// The endpoints that are ready; if none is ready, those that still serve while they terminate.
    pub(super) fn chosen(ready: Vec<SocketAddr>, draining: Vec<SocketAddr>) -> Self {
        let mut chosen = if ready.is_empty() { draining } else { ready };
        chosen.sort_unstable();
        chosen.dedup();
        Self::Addresses(chosen)
    }

    /// Stores the addresses or the name as the endpoints of a pool.
    pub fn store(&self, pool: &EndpointPool) {
        match self {
            Self::Addresses(addresses) => pool.store_addresses(addresses),
            Self::Name { host, port } => pool.store_name(host, *port),
        }
    }
}

/// Looks up the endpoints of these pools.
pub fn fill(snapshot: &Snapshot, pools: impl IntoIterator<Item = (BackendKey, Arc<EndpointPool>)>) {
    for (BackendKey { kind, namespace, service: name, port }, pool) in pools {
        if kind == BackendObject::XBackend {
            let key = ObjectKey::new(Kind::XBackend, &namespace, &name);
            x_backends::endpoints(snapshot, &key, port).store(&pool);
            continue;
        }
        let service = snapshot.services.find(Kind::Service, &namespace, &name);
        let address = service.filter(|_| pool.is_by_service()).and_then(|service| own_address(service, port));
        if let Some(address) = address {
            pool.store_addresses(&[address]);
            continue;
        }
        let slices = snapshot.endpoint_slices.of_service(&namespace, &name);
        endpoints(slices, service.map(|service| &**service), port).store(&pool);
    }
}

/// The address of a port of a Service itself; `None` if it has none, as one that is headless, or has no such port.
fn own_address(service: &Service, port: PortKey) -> Option<SocketAddr> {
    let ips = &service.cluster_ips;
    let ip = ips.v4.map(IpAddr::from).or(ips.v6.map(IpAddr::from))?;
    service.port(port).map(|_| SocketAddr::new(ip, port.number))
}

/// The endpoints of a Service's port, out of the EndpointSlices of that Service (in any order).
///
/// Returns the endpoints that are ready; if none is ready, those that still serve while they terminate. An endpoint
/// that moves between slices stands in both for a while, and counts once. A Service that is gone, or has no such port,
/// has no endpoints.
pub fn endpoints<'s>(
    slices: impl IntoIterator<Item = &'s EndpointSlice>,
    service: Option<&Service>,
    port: PortKey,
) -> Resolved {
    let Some(service) = service else { return Resolved::Addresses(Vec::new()) };
    if let Some(host) = service.external_name() {
        return Resolved::Name { host: host.into(), port: port.number };
    }
    let Some(name) = service.port(port).map(|p| &p.name) else { return Resolved::Addresses(Vec::new()) };
    let target = |of_slice: &SlicePort| {
        let is_its = |target: &PortKey| of_slice.name == *name && target.transport == port.transport;
        of_slice.port.filter(is_its).map(|target| target.number)
    };
    let (mut ready, mut draining) = (Vec::new(), Vec::new());
    for slice in slices {
        for port in slice.ports.iter().filter_map(target) {
            ready.reserve(slice.endpoints.len());
            for endpoint in &slice.endpoints {
                let address = SocketAddr::new(endpoint.address, port);
                if endpoint.ready {
                    ready.push(address);
                } else if endpoint.serving && endpoint.terminating {
                    draining.push(address);
                }
            }
        }
    }
    Resolved::chosen(ready, draining)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::testing::snapshot;

    const READY: &str = "";
    const STARTING: &str = "ready: false, serving: false";
    const DRAINING: &str = "ready: false, serving: true, terminating: true";
    const STOPPED: &str = "ready: false, serving: false, terminating: true";

    #[test]
    fn ready_endpoints_come_first_then_those_that_still_serve() {
        for (slices, want) in [
            (&[&[("10.0.0.2", READY), ("10.0.0.1", READY)][..]][..], &["10.0.0.1:8080", "10.0.0.2:8080"][..]),
            (&[&[("10.0.0.1", READY), ("10.0.0.2", DRAINING), ("10.0.0.3", STARTING)]], &["10.0.0.1:8080"]),
            (&[&[("10.0.0.1", DRAINING), ("10.0.0.2", STOPPED), ("10.0.0.3", STARTING)]], &["10.0.0.1:8080"]),
            (&[&[("10.0.0.1", STARTING), ("10.0.0.2", STOPPED)]], &[]),
            (&[&[("10.0.0.1", READY)], &[("10.0.0.1", READY)]], &["10.0.0.1:8080"]),
            (&[&[("10.0.0.1", DRAINING)], &[("10.0.0.2", READY)]], &["10.0.0.2:8080"]),
            (&[], &[]),
        ] {
            let Resolved::Addresses(found) = resolve("{ port: 80 }", slices, PortKey::tcp(80)) else {
                panic!("no addresses")
            };
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, want, "{slices:?}");
        }
    }

    #[test]
    fn a_port_is_found_by_its_name_and_protocol() {
        let (tcp, udp) = (PortKey::tcp(80), PortKey::udp(80));
        let one: &[&[(&str, &str)]] = &[&[("10.0.0.1", READY)]];
        for (ports, port, found) in [
            ("{ port: 80 }", tcp, true),
            ("{ port: 80 }", PortKey::tcp(81), false),
            ("{ port: 80 }", udp, false),
            ("{ name: other, port: 80 }", tcp, false),
            ("{ port: 80, protocol: UDP }", tcp, false),
            // The slice's port of that name is one of TCP.
            ("{ port: 80, protocol: UDP }", udp, false),
        ] {
            let addresses =
                Resolved::Addresses(if found { vec!["10.0.0.1:8080".parse().unwrap()] } else { vec![] });
            assert_eq!(resolve(ports, one, port), addresses, "{port} of {ports}");
        }
        assert_eq!(endpoints([], None, tcp), Resolved::Addresses(vec![]), "a Service that is gone");
    }

    #[test]
    fn ports_of_both_protocols_have_endpoints_of_their_own() {
        let snapshot = snapshot(
            "
kind: Service
metadata: { name: dns }
spec: { ports: [{ name: tcp, port: 53 }, { name: udp, port: 53, protocol: UDP }] }
---
kind: EndpointSlice
metadata: { name: dns-1 }
addressType: IPv4
ports: [{ name: tcp, port: 5301 }, { name: udp, port: 5302, protocol: UDP }]
endpoints: [{ addresses: [10.0.0.1] }]
",
        );
        let service = snapshot.services.values().next().map(|service| &**service);
        for (port, want) in [(PortKey::tcp(53), "10.0.0.1:5301"), (PortKey::udp(53), "10.0.0.1:5302")] {
            let slices = snapshot.endpoint_slices.values().map(|slice| &**slice);
            let want = Resolved::Addresses(vec![want.parse().unwrap()]);
            assert_eq!(endpoints(slices, service, port), want, "{port}");
        }
    }

    fn resolve(ports: &str, slices: &[&[(&str, &str)]], port: PortKey) -> Resolved {
        let mut text =
            format!("kind: Service\nmetadata: {{ name: web }}\nspec: {{ ports: [{ports}] }}\n---\n");
        for (index, slice) in slices.iter().enumerate() {
            let entry = |(ip, conditions): &(&str, &str)| {
                format!("{{ addresses: [{ip}], conditions: {{ {conditions} }} }}")
            };
            let entries: Vec<_> = slice.iter().map(entry).collect();
            text += &format!(
                "kind: EndpointSlice\nmetadata: {{ name: web-{index} }}\naddressType: IPv4\nports: [{{ port: 8080 }}]\nendpoints: [{}]\n---\n",
                entries.join(", ")
            );
        }
        let snapshot = snapshot(&text);
        let service = snapshot.services.values().next().map(|service| &**service);
        endpoints(snapshot.endpoint_slices.values().map(|slice| &**slice), service, port)
    }
}
