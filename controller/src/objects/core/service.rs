//! Service.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Service as WrittenService, ServicePort as WrittenPort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::OwnerReference, util::intstr::IntOrString},
};
use portcullis_routing::ProxyProtocol;
use serde::Deserialize as _;
use serde_json::Value;

use super::addresses::addresses_of_service;

use crate::{
    ir::{
        Meta, Service,
        core::{ClusterIps, GatewayService, PROXY_PROTOCOL, ServicePort, SpecialService, TransportProtocol},
        ingress::PortRef,
    },
    objects::{
        checks::{Checks, Path},
        names::{self, quoted},
        typed,
    },
};

/// The label of what is made for a Gateway that has addresses of its own.
pub(crate) const MARK: (&str, &str) = ("portcullis.dev/addressing", "Dedicated");

/// The maximum number of characters of an invalid value that are kept for messages.
const SHOWN: usize = 40;

/// Reads a Service.
pub(crate) fn read(
    document: &Value,
    meta: Meta,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    checks: &mut Checks,
) -> Option<Service> {
    let spec: ServiceSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let is_external = kind == "ExternalName";
    if !matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName") {
        let message =
            format!("{} is not one of ClusterIP, NodePort, LoadBalancer, ExternalName", quoted(kind));
        checks.unknown_value(&at.field("type"), message);
    }
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let cluster_ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).map(String::as_str);
    let cluster_ips = ClusterIps::parse(cluster_ips);
    let ports = spec.ports.unwrap_or_default();
    let at_ports = at.field("ports");
    if ports.is_empty() && !is_external && !is_headless {
        checks.error(&at_ports, "is required");
    }
    if is_headless && matches!(kind, "NodePort" | "LoadBalancer") {
        checks.error(&at.field("clusterIP"), format!("must not be None for the type {kind}"));
    }
    check_names(&ports, checks, &at_ports);
    let gateway = gateway(document, labels);
    let ports = ports.into_iter().enumerate();
    let ports = ports.filter_map(|(i, p)| port(p, checks, &at_ports.index(i))).collect();
    // One last dot is allowed (core/v1, ValidateService).
    let name = spec.external_name.unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if is_external {
        checks.form(name, names::SUBDOMAIN, &at.field("externalName"));
    }
    let external_name = is_external.then(|| name.into());
    let proxy_protocol = proxy_protocol(annotations, checks);
    let special = SpecialService { external_name, proxy_protocol, gateway }.boxed();
    Some(Service { meta, cluster_ips, ports, special })
}

fn proxy_protocol(
    annotations: &BTreeMap<String, String>,
    checks: &mut Checks,
) -> Result<Option<ProxyProtocol>, Box<str>> {
    match annotations.get(PROXY_PROTOCOL).map(String::as_str) {
        None => Ok(None),
        Some("v1") => Ok(Some(ProxyProtocol::V1)),
        Some("v2") => Ok(Some(ProxyProtocol::V2)),
        Some(other) => {
            let at = Path::Root.field("metadata");
            let message = format!("{} is not v1 or v2; streams to the Service are refused", quoted(other));
            checks.warning(&at.field("annotations").field(PROXY_PROTOCOL), message);
            Err(other.chars().take(SHOWN).collect::<String>().into())
        }
    }
}

/// What is known of a Service that was made for a Gateway. What does not fit is an API server's affair.
fn gateway(document: &Value, labels: &BTreeMap<String, String>) -> Option<GatewayService> {
    if labels.get(MARK.0).is_none_or(|value| *value != MARK.1) {
        return None;
    }
    let owners = document.get("metadata")?.get("ownerReferences")?.as_array()?;
    let owners = owners.iter().filter_map(|owner| OwnerReference::deserialize(owner).ok());
    let owner = owners.into_iter().find(is_gateway)?;
    let addresses = WrittenService::deserialize(document).map(|service| addresses_of_service(&service));
    Some(GatewayService { owner: owner.uid.into(), addresses: addresses.unwrap_or_default() })
}

fn is_gateway(owner: &OwnerReference) -> bool {
    owner.kind == "Gateway" && owner.api_version.starts_with("gateway.networking.k8s.io/")
}

fn check_names(ports: &[WrittenPort], checks: &mut Checks, at: &Path<'_>) {
    let (mut names_seen, mut numbers_seen) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = port.name.as_deref().unwrap_or_default();
        match name {
            "" if ports.len() > 1 => {
                checks.error(&at.field("name"), "is required if there are several ports")
            }
            "" => {}
            name => {
                checks.form(name, names::LABEL, &at.field("name"));
                checks.require(names_seen.insert(name), &at.field("name"), "is duplicated");
            }
        }
        let number = (port.protocol.as_deref().unwrap_or("TCP"), port.port);
        checks.require(numbers_seen.insert(number), &at, "another port has the same number and protocol");
    }
}

/// `None` where its protocol is not known here.
fn port(written: WrittenPort, checks: &mut Checks, at: &Path<'_>) -> Option<ServicePort> {
    let number = checks.port(written.port, &at.field("port"));
    let target = match written.target_port {
        None | Some(IntOrString::Int(0)) => PortRef::Number(number),
        Some(IntOrString::Int(target)) => PortRef::Number(checks.port(target, &at.field("targetPort"))),
        Some(IntOrString::String(name)) => {
            checks.form(&name, names::PORT_NAME, &at.field("targetPort"));
            PortRef::Name(name.into())
        }
    };
    checks.optional_form(written.app_protocol.as_deref(), names::QUALIFIED, &at.field("appProtocol"));
    Some(ServicePort {
        name: written.name.unwrap_or_default().into(),
        port: number,
        target,
        protocol: protocol(written.protocol.as_deref(), checks, &at.field("protocol"))?,
        app_protocol: written.app_protocol.map(Into::into),
    })
}

/// The protocol of a port, with its default; `None` where it is not known here.
pub(super) fn protocol(
    written: Option<&str>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Option<TransportProtocol> {
    match written {
        None | Some("TCP") => Some(TransportProtocol::Tcp),
        Some("UDP") => Some(TransportProtocol::Udp),
        Some("SCTP") => Some(TransportProtocol::Sctp),
        Some(other) => {
            checks.unknown_value(at, format!("{} is not one of TCP, UDP, SCTP", quoted(other)));
            None
        }
    }
}
