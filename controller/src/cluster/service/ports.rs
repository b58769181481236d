//! Reads which ports the Service has and who added them, and computes what has to change. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use portcullis_routing::{PortKey, Transport};
use serde_json::{Value, json};

/// The prefix of the names of the ports that we add. Nobody else gives ports such names.
const PORT_NAME: &str = "listener-";

/// A port that the Service has.
pub(super) struct Port {
    /// Whether the port's name is one of ours.
    is_ours: bool,
    /// The number of the target port; 0 if the target is a name.
    target: u16,
}

/// A change to our ports on the Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The port is added, or gets another target.
    Set {
        port: PortKey,
        target: u16,
    },
    Remove {
        port: PortKey,
    },
}

impl Change {
    pub(super) fn port(self) -> PortKey {
        match self {
            Self::Set { port, .. } | Self::Remove { port } => port,
        }
    }
}

/// Returns the TCP and UDP ports of the Service.
pub(super) fn ports(service: &Service) -> BTreeMap<PortKey, Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let read = |port: &ServicePort| {
        let is_ours = port.name.as_deref().is_some_and(|name| name.starts_with(PORT_NAME));
        let target = match port.target_port {
            Some(IntOrString::Int(number)) => u16::try_from(number).unwrap_or_default(),
            Some(IntOrString::String(_)) => 0,
            None => u16::try_from(port.port).unwrap_or_default(),
        };
        Some((port_key(port.protocol.as_deref(), port.port)?, Port { is_ours, target }))
    };
    ports.filter_map(read).collect()
}

/// Returns the ports that we added to the Service, each with its target.
pub(super) fn ours(service: &Service) -> BTreeMap<PortKey, u16> {
    let ours = ports(service).into_iter().filter(|(_, port)| port.is_ours);
    ours.map(|(key, port)| (key, port.target)).collect()
}

/// Returns the ports of listeners that nobody else added to the Service, each with the target that it has to have.
pub(super) fn wanted(service: &Service, needed: &BTreeSet<PortKey>, offset: u16) -> BTreeMap<PortKey, u16> {
    let has = ports(service);
    let of_others = |port: &PortKey| has.get(port).is_some_and(|port| !port.is_ours);
    let wanted = needed.iter().filter(|port| !of_others(port));
    wanted.map(|port| (*port, port.number.saturating_add(offset))).collect()
}

/// Returns the changes that lead from our ports to the wanted ones.
pub(super) fn changes(ours: &BTreeMap<PortKey, u16>, wanted: &BTreeMap<PortKey, u16>) -> Vec<Change> {
    let set = wanted.iter().filter(|(port, target)| ours.get(port) != Some(target));
    let set = set.map(|(port, target)| Change::Set { port: *port, target: *target });
    let gone = ours.keys().filter(|port| !wanted.contains_key(port));
    set.chain(gone.map(|port| Change::Remove { port: *port })).collect()
}

/// Returns our ports after these changes, in the form in which they are written.
pub(super) fn changed(ours: &BTreeMap<PortKey, u16>, changes: &[Change]) -> Vec<Value> {
    let mut ports = ours.clone();
    for change in changes {
        match *change {
            Change::Set { port, target } => drop(ports.insert(port, target)),
            Change::Remove { port } => drop(ports.remove(&port)),
        }
    }
    ports.iter().map(|(port, target)| written(*port, *target)).collect()
}

fn written(port: PortKey, target: u16) -> Value {
    let PortKey { transport, number } = port;
    let (name, protocol) = match transport {
        Transport::Tcp => (format!("{PORT_NAME}{number}"), "TCP"),
        Transport::Udp => (format!("{PORT_NAME}{number}-udp"), "UDP"),
    };
    json!({ "name": name, "port": number, "protocol": protocol, "targetPort": target })
}

/// Returns the ports that the load balancer serves at none of its addresses, each with the reason (`PortStatus.error`).
pub(super) fn unserved(service: &Service) -> BTreeMap<PortKey, String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let ports = points.flat_map(|point| point.ports.iter().flatten());
    let mut served: BTreeMap<PortKey, Option<String>> = BTreeMap::new();
    for port in ports {
        let Some(key) = port_key(Some(&port.protocol), port.port) else { continue };
        let error = port.error.clone();
        served.entry(key).and_modify(|before| *before = before.take().and(error.clone())).or_insert(error);
    }
    served.into_iter().filter_map(|(port, error)| Some((port, error?))).collect()
}

/// Returns the key of a port; `None` if its protocol is neither TCP nor UDP, or its number is out of range.
fn port_key(protocol: Option<&str>, number: i32) -> Option<PortKey> {
    let transport = match protocol {
        None | Some("TCP") => Transport::Tcp,
        Some("UDP") => Transport::Udp,
        Some(_) => return None,
    };
    Some(PortKey { transport, number: u16::try_from(number).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_others_are_not_asked_for_again() {
        let object: Service = serde_json::from_value(json!({"spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "listener-8081", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "listener-5353-udp", "port": 5353, "protocol": "UDP"},
        ]}}))
        .unwrap();
        let (tcp, udp) = (PortKey::tcp, PortKey::udp);
        for (needed, want) in [
            (&[tcp(80)][..], &[][..]),
            (&[tcp(80), tcp(8081)], &[(tcp(8081), 16081)]),
            (&[tcp(80), tcp(443), tcp(53)], &[(tcp(53), 8053), (tcp(443), 8443)]),
            (&[udp(53)], &[]),
            (&[udp(80), udp(5353)], &[(udp(80), 8080), (udp(5353), 13353)]),
        ] {
            let needed = needed.iter().copied().collect();
            assert_eq!(wanted(&object, &needed, 8000), want.iter().copied().collect(), "{needed:?}");
        }
        assert_eq!(ours(&object), BTreeMap::from([(tcp(8081), 8081), (udp(5353), 5353)]));
    }

    #[test]
    fn what_changes_is_carried_out_and_nothing_else() {
        let (tcp, udp) = (PortKey::tcp, PortKey::udp);
        let ours = BTreeMap::from([(tcp(8081), 16081), (tcp(8082), 8082), (tcp(8083), 16083)]);
        let wanted = BTreeMap::from([(tcp(8081), 16081), (tcp(8082), 16082), (udp(8082), 16082)]);
        let all = changes(&ours, &wanted);
        assert_eq!(
            all,
            [
                Change::Set { port: tcp(8082), target: 16082 },
                Change::Set { port: udp(8082), target: 16082 },
                Change::Remove { port: tcp(8083) },
            ]
        );
        let targets = |changes: &[Change]| {
            let ports = changed(&ours, changes);
            let text = |port: &Value| {
                let name = port["name"].as_str().unwrap_or_default();
                format!("{name} {} -> {}", port["protocol"].as_str().unwrap_or_default(), port["targetPort"])
            };
            ports.iter().map(text).collect::<Vec<_>>()
        };
        let (first, udp) = ("listener-8081 TCP -> 16081", "listener-8082-udp UDP -> 16082");
        assert_eq!(targets(&all), [first, "listener-8082 TCP -> 16082", udp]);
        assert_eq!(
            targets(&all[1..2]),
            [first, "listener-8082 TCP -> 8082", "listener-8083 TCP -> 16083", udp]
        );
    }
}
