//! TCP and UDP services of ports -> listeners, TCPRoutes and UDPRoutes.

use portcullis_routing::{PortKey, Transport};
use serde_json::{Value, json};

use crate::{
    ir::{core::PROXY_PROTOCOL, port_services::PortService},
    snapshot::Snapshot,
    status::Level,
    translate::{PortServices, Reader},
};

use super::gateways::Gateways;

/// The routes of the ConfigMaps of TCP and UDP services, and what has no equivalent. A route and its listener are in the
/// namespace of the Service, so that no ReferenceGrant is required.
pub(super) fn routes(
    reader: &Reader<'_>,
    snapshot: &Snapshot,
    gateways: &mut Gateways,
    losses: &mut Vec<String>,
) -> Vec<Value> {
    let settings = reader.settings();
    let services = PortServices::read(settings, snapshot);
    losses.extend(services.missing().iter().map(ToString::to_string));
    for (map, _) in settings.service_maps() {
        let refused = services.messages(map).iter().filter(|message| message.level == Level::Refused);
        losses.extend(refused.map(|message| format!("{map}: {}", message.text)));
    }
    let routes = services.services.iter().filter_map(|(port, service)| {
        let mut lines = Vec::new();
        let route = route(*port, service, reader, gateways, &mut lines);
        losses.extend(lines.into_iter().map(|line| format!("{}: data.{}: {line}", service.map, port.number)));
        route
    });
    routes.collect()
}

fn route(
    port: PortKey,
    service: &PortService,
    reader: &Reader<'_>,
    gateways: &mut Gateways,
    losses: &mut Vec<String>,
) -> Option<Value> {
    let key = &service.service;
    let target = match service.target(reader, port.transport) {
        Ok(target) => target,
        Err(why) => {
            losses.push(format!("omitted: {why}"));
            return None;
        }
    };
    if port.transport == Transport::Tcp {
        proxy_protocol(service, reader, losses);
    }
    let (kind, protocol, short) = match port.transport {
        Transport::Tcp => ("TCPRoute", "TCP", "tcp"),
        Transport::Udp => ("UDPRoute", "UDP", "udp"),
    };
    let section = format!("{short}-{}", port.number);
    let gateway = gateways.stream(&key.namespace, &section, port.number, protocol);
    let backend = json!({ "name": &*key.name, "port": target });
    Some(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": { "namespace": &*key.namespace, "name": section },
        "spec": {
            "parentRefs": [{ "name": gateway, "sectionName": section }],
            "rules": [{ "backendRefs": [backend] }],
        },
    }))
}

/// Where the PROXY protocol of a port is configured instead: no field of a listener or a route has it.
fn proxy_protocol(service: &PortService, reader: &Reader<'_>, losses: &mut Vec<String>) {
    if service.decodes_proxy_protocol {
        losses.push(
            "the PROXY protocol of load balancers is not a field of a listener: list their networks in the setting \
             proxy-protocol, which applies to all ports"
                .into(),
        );
    }
    let found = reader.service(&service.service.namespace, &service.service.name);
    let is_annotated = found.is_some_and(|found| matches!(found.proxy_protocol(), Ok(Some(_))));
    if service.encodes_proxy_protocol && !is_annotated {
        losses.push(format!(
            "the PROXY protocol towards the Service is not a field of a route: annotate {} with {PROXY_PROTOCOL}: v1, which \
             applies to all connections of TCPRoutes and TLSRoutes to it",
            service.service
        ));
    }
}
