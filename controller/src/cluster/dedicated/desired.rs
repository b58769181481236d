//! The desired Services: those of Gateways with addresses of their own, as translation determines them.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_routing::PortKey;

use crate::{
    ir::{
        Gateway, Kind, ObjectKey,
        gateway::{GatewayListener, Routability},
        parameters::{ServiceParameters, ServiceType},
    },
    snapshot::Snapshot,
    translate::{
        Addressing, Dedicated, DedicatedState, GatewayState, ListenerState, Listeners, service_name,
    },
};

/// The desired Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredServices {
    /// By Gateway.
    pub services: BTreeMap<ObjectKey, DesiredService>,
    /// The uids of Gateways that no longer have a Service of their own: what was made for them is deleted. A Gateway
    /// whose class or parameters cannot be seen is not among them.
    pub left: BTreeSet<Box<str>>,
    /// The uids of all other Gateways, served or not, and namespace and name of the Service that each has or may have.
    pub kept: BTreeMap<Box<str>, (Box<str>, Box<str>)>,
}

/// The desired Service of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    pub uid: Box<str>,
    pub class: Box<str>,
    /// The name of the Service; its namespace is the Gateway's.
    pub service: Box<str>,
    pub parameters: ServiceParameters,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// The address that it asks for.
    pub address: Option<Box<str>>,
    /// The address that it asks for inside the cluster.
    pub cluster_address: Option<Box<str>>,
    /// The ports of its listeners, and of those of its ListenerSets.
    pub ports: BTreeSet<PortKey>,
}

impl DesiredServices {
    pub(crate) fn of(snapshot: &Snapshot, listeners: &Listeners) -> Self {
        let mut desired = Self::default();
        for (key, gateway) in &snapshot.gateways {
            match listeners.gateway(key) {
                Some(state) => desired.add(key, state),
                None => {
                    let class = ObjectKey::new(Kind::GatewayClass, "", &gateway.class);
                    match snapshot.gateway_classes.contains_key(&class) {
                        true => drop(desired.left.insert(gateway.meta.uid().into())),
                        false => desired.keep(gateway),
                    }
                }
            }
        }
        for (_, state) in listeners.sets().filter(|(_, state)| state.refused.is_none()) {
            if let Some(service) = desired.services.get_mut(&state.gateway) {
                service.ports.extend(accepted_ports(&state.set.listeners, &state.listeners));
            }
        }
        // A Service needs a port. Without one an existing Service is left as it is and keeps its address.
        desired.services.retain(|_, service| !service.ports.is_empty());
        desired
    }

    fn keep(&mut self, gateway: &Gateway) {
        let service = (gateway.meta.namespace().into(), service_name(gateway.meta.name()).into());
        self.kept.insert(gateway.meta.uid().into(), service);
    }

    fn add(&mut self, key: &ObjectKey, state: &GatewayState) {
        match &state.addressing {
            Addressing::Unknown => self.keep(&state.gateway),
            Addressing::Shared | Addressing::SharedInstead => {
                self.left.insert(state.gateway.meta.uid().into());
            }
            Addressing::Dedicated(dedicated) => {
                self.keep(&state.gateway);
                if state.refused.is_none() && dedicated.state != DedicatedState::Foreign {
                    self.services.insert(key.clone(), spec(state, dedicated));
                }
            }
        }
    }
}

fn spec(state: &GatewayState, dedicated: &Dedicated) -> DesiredService {
    let gateway = &state.gateway;
    let address = |routability| {
        let mut addresses = gateway.addresses.iter();
        addresses.find_map(|address| {
            let is_meant = &*address.kind == "IPAddress" && address.routability == routability;
            address.value.clone().filter(|_| is_meant)
        })
    };
    let mut parameters = dedicated.parameters.clone();
    if gateway.is_for_cluster_alone() {
        parameters.kind = Some(ServiceType::ClusterIp);
    }
    DesiredService {
        uid: gateway.meta.uid().into(),
        class: gateway.class.clone(),
        service: dedicated.service.name.clone(),
        parameters,
        labels: gateway.labels.clone(),
        annotations: gateway.annotations.clone(),
        address: address(Routability::Default),
        cluster_address: address(Routability::Cluster),
        ports: accepted_ports(&gateway.listeners, &state.listeners).collect(),
    }
}

fn accepted_ports<'l>(
    listeners: &'l [GatewayListener],
    states: &'l [ListenerState],
) -> impl Iterator<Item = PortKey> + 'l {
    let accepted = listeners.iter().zip(states).filter(|(_, state)| state.refused.is_none());
    accepted.map(|(listener, _)| listener.port_key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::{DedicatedPorts, Pools, Reader, Settings, listeners, testing::snapshot};

    /// The Service of a Gateway of a class with addressing Dedicated that asks for these addresses.
    fn of_addresses(kind: &str, addresses: &str) -> Option<DesiredService> {
        let snapshot = snapshot(&format!(
            "
kind: GatewayClass
metadata: {{ name: dedicated }}
spec:
  controllerName: portcullis.dev/gateway-controller
  parametersRef: {{ group: portcullis.dev, kind: GatewayParameters, name: edge, namespace: infra }}
---
kind: GatewayParameters
metadata: {{ namespace: infra, name: edge }}
spec: {{ addressing: Dedicated, service: {{ type: {kind} }} }}
---
kind: Gateway
metadata: {{ namespace: infra, name: edge }}
spec:
  gatewayClassName: dedicated
  listeners: [{{ name: http, port: 80, protocol: HTTP }}]
  addresses: [{addresses}]
---
"
        ));
        let dedicated = DedicatedPorts::Of("20000-20009".parse().unwrap());
        let settings = Settings { dedicated, ..Settings::default() };
        let listeners = listeners(&Reader::new(&snapshot, &settings, None), &Pools::default());
        DesiredServices::of(&snapshot, &listeners).services.into_values().next()
    }

    #[test]
    fn addresses_for_the_cluster_alone_make_a_service_of_type_cluster_ip() {
        use ServiceType::{ClusterIp, LoadBalancer, NodePort};
        let (any, one) = ("{routability: Cluster}", "{value: 10.96.0.8, routability: Cluster}");
        let outside = "{value: 203.0.113.7}";
        for (of_class, addresses, kind, address, cluster_address) in [
            ("LoadBalancer", String::new(), LoadBalancer, None, None),
            ("LoadBalancer", outside.to_owned(), LoadBalancer, Some("203.0.113.7"), None),
            ("LoadBalancer", any.to_owned(), ClusterIp, None, None),
            ("NodePort", one.to_owned(), ClusterIp, None, Some("10.96.0.8")),
            ("NodePort", format!("{outside}, {any}"), NodePort, Some("203.0.113.7"), None),
            (
                "LoadBalancer",
                format!("{one}, {outside}"),
                LoadBalancer,
                Some("203.0.113.7"),
                Some("10.96.0.8"),
            ),
        ] {
            let desired = of_addresses(of_class, &addresses).expect("a Service");
            let got =
                (desired.parameters.kind, desired.address.as_deref(), desired.cluster_address.as_deref());
            assert_eq!(got, (Some(kind), address, cluster_address), "{of_class}: {addresses}");
        }
        for refused in ["{routability: example.com/other}", "{type: Hostname, routability: Cluster}"] {
            assert!(of_addresses("LoadBalancer", refused).is_none(), "{refused}");
        }
    }
}
