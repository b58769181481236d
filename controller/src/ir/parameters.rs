//! GatewayParameters.

use std::collections::BTreeMap;

pub use portcullis_crds::{Addressing, IpFamilyPolicy, Override, ServiceType, TrafficPolicy};

use super::Meta;

/// A GatewayParameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayParameters {
    pub meta: Meta,
    /// What it asks for, or why it cannot be read: whoever refers to it has to be told.
    pub spec: Result<Parameters, Box<str>>,
}

/// What Gateways ask for; every field may be left to another object, and at last to its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    pub addressing: Option<Addressing>,
    pub service: ServiceParameters,
}

/// The Service that is made for a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceParameters {
    pub kind: Option<ServiceType>,
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    pub traffic_policy: Option<TrafficPolicy>,
    pub load_balancer_class: Option<Box<str>>,
    pub source_ranges: Option<Vec<Box<str>>>,
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// The node's port by the listener's.
    pub node_ports: BTreeMap<u16, u16>,
    /// Of a class: what its Gateways may set themselves.
    pub allow_overrides: Vec<Override>,
}

impl Parameters {
    /// These, and what they leave open as the others have it.
    pub fn over(&self, others: &Self) -> Self {
        Self {
            addressing: self.addressing.or(others.addressing),
            service: self.service.over(&others.service),
        }
    }
}

impl ServiceParameters {
    fn over(&self, others: &Self) -> Self {
        // Of several annotations or node ports, each is a field of its own.
        let mut annotations = others.annotations.clone();
        annotations.extend(self.annotations.clone());
        let mut node_ports = others.node_ports.clone();
        node_ports.extend(self.node_ports.clone());
        Self {
            kind: self.kind.or(others.kind),
            annotations,
            traffic_policy: self.traffic_policy.or(others.traffic_policy),
            load_balancer_class: self
                .load_balancer_class
                .clone()
                .or_else(|| others.load_balancer_class.clone()),
            source_ranges: self.source_ranges.clone().or_else(|| others.source_ranges.clone()),
            ip_family_policy: self.ip_family_policy.or(others.ip_family_policy),
            node_ports,
            allow_overrides: others.allow_overrides.clone(),
        }
    }

    /// The first field that differs from what a class says and that the class does not let its Gateways set.
    pub fn forbidden_by(&self, class: &Self) -> Option<&'static str> {
        let mut annotations = self.annotations.iter();
        let fields = [
            (Override::Type, "type", self.kind.is_some() && self.kind != class.kind),
            (
                Override::Annotations,
                "annotations",
                annotations.any(|(name, value)| class.annotations.get(name) != Some(value)),
            ),
            (
                Override::LoadBalancerClass,
                "loadBalancerClass",
                self.load_balancer_class.is_some() && self.load_balancer_class != class.load_balancer_class,
            ),
        ];
        let forbidden =
            fields.iter().find(|(field, _, is_set)| *is_set && !class.allow_overrides.contains(field));
        forbidden.map(|(_, name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_sets_what_its_class_allows() {
        let service = |kind, annotation: Option<&str>, class: Option<&str>| ServiceParameters {
            kind,
            annotations: annotation.iter().map(|value| ("a".into(), (*value).into())).collect(),
            load_balancer_class: class.map(Into::into),
            ..ServiceParameters::default()
        };
        let class = service(Some(ServiceType::NodePort), Some("class"), Some("example.com/class"));
        for (own, want) in [
            (service(None, None, None), None),
            (class.clone(), None),
            (service(Some(ServiceType::ClusterIp), None, None), Some("type")),
            (service(None, Some("own"), None), Some("annotations")),
            (service(None, None, Some("example.com/own")), Some("loadBalancerClass")),
        ] {
            assert_eq!(own.forbidden_by(&class), want);
            let all = vec![Override::Type, Override::Annotations, Override::LoadBalancerClass];
            let open = ServiceParameters { allow_overrides: all, ..class.clone() };
            assert_eq!(own.forbidden_by(&open), None);
        }
    }

    #[test]
    fn what_one_leaves_open_is_as_the_other_has_it() {
        let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let class = Parameters {
            addressing: Some(Addressing::Dedicated),
            service: ServiceParameters {
                kind: Some(ServiceType::NodePort),
                annotations: text(&[("a", "class"), ("b", "class")]),
                source_ranges: Some(vec!["192.0.2.0/24".into()]),
                node_ports: BTreeMap::from([(80, 30080), (443, 30443)]),
                ..ServiceParameters::default()
            },
        };
        let own = Parameters {
            addressing: None,
            service: ServiceParameters {
                kind: Some(ServiceType::ClusterIp),
                annotations: text(&[("b", "own")]),
                traffic_policy: Some(TrafficPolicy::Local),
                source_ranges: Some(Vec::new()),
                node_ports: BTreeMap::from([(80, 31080)]),
                ..ServiceParameters::default()
            },
        };
        let want = Parameters {
            addressing: Some(Addressing::Dedicated),
            service: ServiceParameters {
                kind: Some(ServiceType::ClusterIp),
                annotations: text(&[("a", "class"), ("b", "own")]),
                traffic_policy: Some(TrafficPolicy::Local),
                source_ranges: Some(Vec::new()),
                node_ports: BTreeMap::from([(80, 31080), (443, 30443)]),
                ..ServiceParameters::default()
            },
        };
        assert_eq!(own.over(&class), want);
        assert_eq!(Parameters::default().over(&class), class);
        assert_eq!(class.over(&Parameters::default()), class);
    }
}
