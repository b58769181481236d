//! Which ports the Service has, whose they are, and what has to change: no I/O.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};

/// How the ports that we add are called; whoever else adds ports calls them otherwise.
const PORT_NAME: &str = "listener-";

/// A port that the Service has.
pub(super) struct Port {
    /// Whether it is called as ours are.
    is_ours: bool,
    /// 0 where it leads to a port by name.
    target: u16,
}

/// A change to the ports of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The port leads there.
    Set {
        port: u16,
        target: u16,
    },
    Remove {
        port: u16,
    },
}

impl Change {
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Set { port, .. } | Self::Remove { port } => port,
        }
    }
}

/// The TCP ports.
pub(super) fn ports(service: &Service) -> BTreeMap<u16, Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| is_tcp(port.protocol.as_deref()));
    let read = |port: &ServicePort| {
        let is_ours = port.name.as_deref().is_some_and(|name| name.starts_with(PORT_NAME));
        let target = match port.target_port {
            Some(IntOrString::Int(number)) => u16::try_from(number).unwrap_or_default(),
            Some(IntOrString::String(_)) => 0,
            None => u16::try_from(port.port).unwrap_or_default(),
        };
        Some((u16::try_from(port.port).ok()?, Port { is_ours, target }))
    };
    tcp.filter_map(read).collect()
}

/// Those that we put there, and where each leads.
pub(super) fn ours(service: &Service) -> BTreeMap<u16, u16> {
    let ours = ports(service).into_iter().filter(|(_, port)| port.is_ours);
    ours.map(|(number, port)| (number, port.target)).collect()
}

/// The ports of listeners that nobody else put on the Service, and where each is to lead.
pub(super) fn wanted(service: &Service, needed: &BTreeSet<u16>, offset: u16) -> BTreeMap<u16, u16> {
    let has = ports(service);
    let of_others = |port: &u16| has.get(port).is_some_and(|port| !port.is_ours);
    let wanted = needed.iter().filter(|port| !of_others(port));
    wanted.map(|port| (*port, port.saturating_add(offset))).collect()
}

/// What has to change.
pub(super) fn changes(ours: &BTreeMap<u16, u16>, wanted: &BTreeMap<u16, u16>) -> Vec<Change> {
    let set = wanted.iter().filter(|(port, target)| ours.get(port) != Some(target));
    let set = set.map(|(port, target)| Change::Set { port: *port, target: *target });
    let gone = ours.keys().filter(|port| !wanted.contains_key(port));
    set.chain(gone.map(|port| Change::Remove { port: *port })).collect()
}

/// Our ports after these changes, as they are written.
pub(super) fn changed(ours: &BTreeMap<u16, u16>, changes: &[Change]) -> Vec<Value> {
    let mut ports = ours.clone();
    for change in changes {
        match *change {
            Change::Set { port, target } => drop(ports.insert(port, target)),
            Change::Remove { port } => drop(ports.remove(&port)),
        }
    }
    let written = |(port, target): (&u16, &u16)| json!({ "name": format!("{PORT_NAME}{port}"), "port": port, "protocol": "TCP", "targetPort": target });
    ports.iter().map(written).collect()
}

/// The ports that the load balancer says it does not serve, at none of its addresses, and why (`PortStatus.error`).
pub(super) fn unserved(service: &Service) -> BTreeMap<u16, String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let ports = points.flat_map(|point| point.ports.iter().flatten());
    let mut served: BTreeMap<u16, Option<String>> = BTreeMap::new();
    for port in ports.filter(|port| is_tcp(Some(&port.protocol))) {
        let Ok(number) = u16::try_from(port.port) else { continue };
        let error = port.error.clone();
        served.entry(number).and_modify(|before| *before = before.take().and(error.clone())).or_insert(error);
    }
    served.into_iter().filter_map(|(port, error)| Some((port, error?))).collect()
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_others_are_not_asked_for_again() {
        let object: Service = serde_json::from_value(json!({"spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "listener-8081", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"},
        ]}}))
        .unwrap();
        for (needed, want) in [
            (&[80][..], &[][..]),
            (&[80, 8081], &[(8081, 16081)]),
            (&[80, 443, 53], &[(53, 8053), (443, 8443)]),
        ] {
            let needed = needed.iter().copied().collect();
            assert_eq!(wanted(&object, &needed, 8000), want.iter().copied().collect(), "{needed:?}");
        }
        assert_eq!(ours(&object), BTreeMap::from([(8081, 8081)]));
    }

    #[test]
    fn what_changes_is_carried_out_and_nothing_else() {
        let ours = BTreeMap::from([(8081, 16081), (8082, 8082), (8083, 16083)]);
        let wanted = BTreeMap::from([(8081, 16081), (8082, 16082), (8084, 16084)]);
        let all = changes(&ours, &wanted);
        assert_eq!(
            all,
            [
                Change::Set { port: 8082, target: 16082 },
                Change::Set { port: 8084, target: 16084 },
                Change::Remove { port: 8083 },
            ]
        );
        let targets = |changes: &[Change]| {
            let ports = changed(&ours, changes);
            ports.iter().map(|port| format!("{}->{}", port["port"], port["targetPort"])).collect::<Vec<_>>()
        };
        assert_eq!(targets(&all), ["8081->16081", "8082->16082", "8084->16084"]);
        assert_eq!(targets(&all[1..2]), ["8081->16081", "8082->8082", "8083->16083", "8084->16084"]);
    }
}
