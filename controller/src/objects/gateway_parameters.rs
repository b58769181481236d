//! GatewayParameters, one of our own kinds: what its schema checks in an API server, and what a schema cannot say.

use std::{collections::BTreeMap, net::IpAddr};

use portcullis_crds::{GatewayParametersSpec, ServiceParameters as Written, limits};
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    names::{self, quoted},
    typed,
};
use crate::ir::{
    GatewayParameters, Meta,
    parameters::{Parameters, ServiceParameters},
};

/// Reads a GatewayParameters. One that is wrong is an object all the same: whoever refers to it is told why.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> GatewayParameters {
    let parameters = parameters(document, checks);
    let spec = match checks.first_error() {
        Some(why) => Err(why.into()),
        None => Ok(parameters.unwrap_or_default()),
    };
    GatewayParameters { meta, spec }
}

fn parameters(document: &Value, checks: &mut Checks) -> Option<Parameters> {
    let spec: GatewayParametersSpec = typed::field(document, "spec", checks)?;
    let (root, service) = (Path::Root.field("spec"), spec.service.unwrap_or_default());
    let service = self::service(service, checks, &root.field("service"));
    Some(Parameters { addressing: spec.addressing, service })
}

fn service(written: Written, checks: &mut Checks, at: &Path<'_>) -> ServiceParameters {
    let annotations = written.annotations.unwrap_or_default();
    let at_annotations = at.field("annotations");
    checks.entries(annotations.len(), 0..=limits::ANNOTATIONS, &at_annotations);
    for (name, value) in &annotations {
        // Keys of annotations may be written in capitals (apimachinery, ValidateAnnotations).
        checks.form(&name.to_ascii_lowercase(), names::QUALIFIED, &at_annotations.field(name));
        checks.length(value, 0..=limits::ANNOTATION, &at_annotations.field(name));
    }
    let class = written.load_balancer_class;
    checks.optional_form(class.as_deref(), names::QUALIFIED, &at.field("loadBalancerClass"));
    if let Some(ranges) = &written.load_balancer_source_ranges {
        check_ranges(ranges, checks, &at.field("loadBalancerSourceRanges"));
    }
    let (ports, at_ports) = (written.node_ports.unwrap_or_default(), at.field("nodePorts"));
    checks.entries(ports.len(), 0..=limits::NODE_PORTS, &at_ports);
    checks.unique(ports.iter().map(|p| p.port), &at_ports, |port| format!("port {port} is duplicated"));
    checks.unique(ports.iter().map(|p| p.node_port), &at_ports, |port| {
        format!("another port has the same nodePort {port}")
    });
    let mut node_ports = BTreeMap::new();
    for (i, port) in ports.iter().enumerate() {
        let at = at_ports.index(i);
        let number = checks.port(port.port, &at.field("port"));
        node_ports.insert(number, checks.port(port.node_port, &at.field("nodePort")));
    }
    let ranges = written.load_balancer_source_ranges;
    ServiceParameters {
        kind: written.kind,
        annotations: annotations.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        traffic_policy: written.external_traffic_policy,
        load_balancer_class: class.map(Into::into),
        source_ranges: ranges.map(|ranges| ranges.into_iter().map(Into::into).collect()),
        ip_family_policy: written.ip_family_policy,
        node_ports,
        allow_overrides: written.allow_overrides.unwrap_or_default(),
    }
}

fn check_ranges(ranges: &[String], checks: &mut Checks, at: &Path<'_>) {
    checks.entries(ranges.len(), 0..=limits::SOURCE_RANGES, at);
    checks.unique(ranges.iter(), at, |range| format!("{} is duplicated", quoted(range)));
    for (i, range) in ranges.iter().enumerate() {
        if !is_network(range) {
            let message = format!("{} is not a network such as 192.0.2.0/24 or 2001:db8::/32", quoted(range));
            checks.error(&at.index(i), message);
        }
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.bytes().all(|b| b.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|length| length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::{
            Object,
            parameters::{Addressing, ServiceType, TrafficPolicy},
        },
        objects::testing::{decode_text, problems},
        problem::Severity,
    };

    fn document(part: &str) -> String {
        format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: GatewayParameters\nmetadata: {{name: edge, namespace: infra}}\nspec: {{{part}}}"
        )
    }

    fn spec(part: &str) -> Result<Parameters, Box<str>> {
        match decode_text(&document(part)).object {
            Some(Object::GatewayParameters(read)) => read.spec.clone(),
            other => panic!("{part}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_kept_for_whoever_refers_to_it() {
        let many =
            |count: usize, item: fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
        let annotations = format!("service: {{annotations: {{{}}}}}", many(33, |i| format!("a{i}: b")));
        let long = format!("service: {{annotations: {{a: {}}}}}", "b".repeat(4097));
        let ranges = many(65, |i| format!("10.0.0.{i}/32"));
        let ranges = format!("service: {{loadBalancerSourceRanges: [{ranges}]}}");
        let ports = many(65, |i| format!("{{port: {}, nodePort: {}}}", i + 1, i + 30_000));
        let ports = format!("service: {{nodePorts: [{ports}]}}");
        for (part, want) in [
            ("addressing: Neither", "spec.addressing: "),
            ("service: {type: ExternalName}", "spec.service.type: "),
            ("service: {externalTrafficPolicy: Some}", "spec.service.externalTrafficPolicy: "),
            ("service: {ipFamilyPolicy: Dual}", "spec.service.ipFamilyPolicy: "),
            (&annotations, "spec.service.annotations: must have at most 32"),
            (&long, "spec.service.annotations.a: must have at most 4096"),
            ("service: {annotations: {'a b': c}}", "spec.service.annotations.a b: "),
            ("service: {loadBalancerClass: ''}", "spec.service.loadBalancerClass: "),
            ("service: {loadBalancerClass: 'a b'}", "spec.service.loadBalancerClass: "),
            (&ranges, "spec.service.loadBalancerSourceRanges: must have at most 64"),
            (
                "service: {loadBalancerSourceRanges: [192.0.2.0]}",
                "spec.service.loadBalancerSourceRanges[0]: \"192.0.2.0\" is not a network",
            ),
            (
                "service: {loadBalancerSourceRanges: [192.0.2.0/33]}",
                "spec.service.loadBalancerSourceRanges[0]: \"192.0.2.0/33\" is not a network",
            ),
            (
                "service: {loadBalancerSourceRanges: [::/0, ::/0]}",
                "spec.service.loadBalancerSourceRanges[1]: \"::/0\" is duplicated",
            ),
            (&ports, "spec.service.nodePorts: must have at most 64"),
            ("service: {nodePorts: [{port: 0, nodePort: 1}]}", "spec.service.nodePorts[0].port: "),
            ("service: {nodePorts: [{port: 80, nodePort: 65536}]}", "spec.service.nodePorts[0].nodePort: "),
            (
                "service: {nodePorts: [{port: 80, nodePort: 1}, {port: 80, nodePort: 2}]}",
                "spec.service.nodePorts[1]: port 80 is duplicated",
            ),
            (
                "service: {nodePorts: [{port: 80, nodePort: 1}, {port: 81, nodePort: 1}]}",
                "spec.service.nodePorts[1]: another port has the same nodePort 1",
            ),
        ] {
            let said = problems(&decode_text(&document(part)), Severity::Error);
            assert!(said.lines().any(|line| line.starts_with(want)), "{part}\nwant: {want}\nsays: {said}");
            let kept = spec(part).unwrap_err();
            assert!(kept.starts_with(want), "{part}\nwant: {want}\nkept: {kept}");
        }
    }

    #[test]
    fn every_field_can_be_left_out() {
        assert_eq!(spec(""), Ok(Parameters::default()));
        let read = spec(
            "addressing: Dedicated, service: {type: ClusterIP, annotations: {example.com/A: b}, \
             externalTrafficPolicy: Local, loadBalancerClass: example.com/lb, \
             loadBalancerSourceRanges: [192.0.2.0/24, '2001:db8::/32'], nodePorts: [{port: 80, nodePort: 30080}]}",
        )
        .unwrap();
        assert_eq!(read.addressing, Some(Addressing::Dedicated));
        let service = read.service;
        assert_eq!(
            (service.kind, service.traffic_policy),
            (Some(ServiceType::ClusterIp), Some(TrafficPolicy::Local))
        );
        assert_eq!(service.annotations["example.com/A"], "b".into());
        assert_eq!(service.node_ports, BTreeMap::from([(80, 30080)]));
        assert_eq!(service.source_ranges.unwrap().len(), 2);
    }
}
