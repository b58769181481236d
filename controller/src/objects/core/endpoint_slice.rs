//! EndpointSlice.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice as Written};
use portcullis_routing::{PortKey, Special};
use serde_json::Value;

use super::service;
use crate::{
    ir::{
        EndpointSlice, Meta,
        core::{SliceEndpoint, SlicePort, TransportProtocol},
    },
    objects::{
        checks::{Checks, Path},
        names::{self, quoted},
        typed,
    },
};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Reads an EndpointSlice. Loopback addresses, which the API server refuses, are wanted here.
pub(crate) fn read(
    document: &Value,
    meta: Meta,
    labels: &BTreeMap<String, String>,
    checks: &mut Checks,
) -> Option<EndpointSlice> {
    let written: Written = typed::whole(document, checks)?;
    let family = Family::of(&written.address_type, checks);
    let (at_ports, at_endpoints) = (Path::Root.field("ports"), Path::Root.field("endpoints"));
    let ports = written.ports.unwrap_or_default();
    checks.entries(ports.len(), 0..=20_000, &at_ports);
    checks.unique(ports.iter().map(|p| p.name.as_deref().unwrap_or_default()), &at_ports, |name| {
        format!("port name {name:?} is duplicated")
    });
    checks.entries(written.endpoints.len(), 0..=1_000, &at_endpoints);
    let service = labels.get(SERVICE_LABEL).map(|service| service.as_str().into());
    if service.is_none() {
        checks.warning(&Path::Root, format!("belongs to no Service: it has no label {SERVICE_LABEL}"));
    }
    let ports = ports.into_iter().enumerate().map(|(i, p)| port(p, checks, &at_ports.index(i))).collect();
    let mut seen = BTreeSet::new();
    let endpoints = written.endpoints.into_iter().enumerate();
    let endpoints =
        endpoints.filter_map(|(i, e)| endpoint(&e, family, &mut seen, checks, &at_endpoints.index(i)));
    Some(EndpointSlice { service, ports, endpoints: endpoints.collect(), meta })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Name,
    Unknown,
}

impl Family {
    fn of(text: &str, checks: &mut Checks) -> Self {
        let at = Path::Root.field("addressType");
        match text {
            "IPv4" => Self::V4,
            "IPv6" => Self::V6,
            "FQDN" => {
                checks.warning(&at, "FQDN is not supported; use a Service of type ExternalName");
                Self::Name
            }
            other => {
                checks.unknown_value(&at, format!("{} is not one of IPv4, IPv6, FQDN", quoted(other)));
                Self::Unknown
            }
        }
    }
}

fn port(written: EndpointPort, checks: &mut Checks, at: &Path<'_>) -> SlicePort {
    let name = written.name.unwrap_or_default();
    if !name.is_empty() {
        checks.form(&name, names::LABEL, &at.field("name"));
    }
    let protocol = service::protocol(written.protocol.as_deref(), checks, &at.field("protocol"));
    checks.optional_form(written.app_protocol.as_deref(), names::QUALIFIED, &at.field("appProtocol"));
    if written.port.is_none() {
        checks.warning(&at.field("port"), "is missing: a port without a number is ignored");
    }
    let number = written.port.map(|port| checks.port(port, &at.field("port")));
    let port = number.zip(protocol.and_then(TransportProtocol::transport));
    SlicePort { name: name.into(), port: port.map(|(number, transport)| PortKey { transport, number }) }
}

fn endpoint(
    written: &Endpoint,
    family: Family,
    seen: &mut BTreeSet<IpAddr>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Option<SliceEndpoint> {
    let at_addresses = at.field("addresses");
    checks.entries(written.addresses.len(), 1..=100, &at_addresses);
    let addresses = written.addresses.iter().enumerate();
    let addresses: Vec<_> =
        addresses.filter_map(|(i, text)| address(text, family, checks, &at_addresses.index(i))).collect();
    if addresses.first().is_some_and(|first| !seen.insert(*first)) {
        checks.warning(&at_addresses, "is duplicated in this slice; it is used once");
    }
    let conditions = written.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    addresses.first().map(|address| SliceEndpoint {
        address: *address,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or_default(),
    })
}

fn address(text: &str, family: Family, checks: &mut Checks, at: &Path<'_>) -> Option<IpAddr> {
    match (family, text.parse::<IpAddr>()) {
        (Family::V4, Ok(ip @ IpAddr::V4(_))) | (Family::V6, Ok(ip @ IpAddr::V6(_))) => {
            // Loopback is this machine, which may be a backend where whoever runs it wrote the objects.
            if let Some(special) = Special::of(ip).filter(|special| *special != Special::Loopback) {
                checks.warning(at, format!("{ip} is {special}: no requests are sent to it"));
            }
            Some(ip)
        }
        (Family::V4, _) => {
            checks.error(at, format!("{} is not an IPv4 address", quoted(text)));
            None
        }
        (Family::V6, _) => {
            checks.error(at, format!("{} is not an IPv6 address", quoted(text)));
            None
        }
        (Family::Name, _) => {
            checks.form(text, names::SUBDOMAIN, at);
            None
        }
        (Family::Unknown, _) => None,
    }
}
