//! Ports that lead to Services without routes: the ConfigMaps of TCP and UDP services, as in ingress-nginx. They use the
//! same listeners as TCPRoutes and UDPRoutes. The operator's entries take precedence over the listeners of Gateways.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{
    Backend, BackendError, BackendProtocol, Backends, Balance, HostPattern, PortKey, ProxyProtocol, RouteId,
    RouteKind, Rule, Steps, Transport, WeightedBackend,
};

use super::{ConnectionSettings, HostTableKey, Pools, Reader, RuleSource, Settings, services};
use crate::{
    Problem,
    ir::{ConfigMap, ObjectKey, ingress::PortRef, port_services::PortService},
    objects::port_services,
    problem::Topic,
    snapshot::Snapshot,
    status::Message,
};

/// The services of all ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortServices {
    /// By the port that clients connect to. Each can be served.
    pub(crate) services: BTreeMap<PortKey, PortService>,
    /// Messages about entries that are not served, or not as written, by ConfigMap.
    messages: BTreeMap<ObjectKey, Vec<Message>>,
    /// The ConfigMaps that do not exist.
    missing: Vec<Problem>,
}

/// What the services of ports are translated to.
#[derive(Debug, Default)]
pub struct ServicesTranslation {
    pub streams: Vec<(HostTableKey, Arc<Rule>)>,
    pub messages: ServiceMessages,
}

/// Messages about entries, by ConfigMap.
pub type ServiceMessages = BTreeMap<ObjectKey, Vec<Message>>;

impl PortServices {
    /// Reads the ConfigMaps. An invalid entry affects only its own port.
    pub fn read(settings: &Settings, snapshot: &Snapshot) -> Self {
        let mut all = Self::default();
        for (map, transport) in settings.service_maps() {
            match snapshot.config_maps.get(map) {
                Some(found) => all.add(found, transport, settings),
                None => {
                    let message = format!("not found; no ports are served for it ({})", flag(transport));
                    all.missing.push(Problem::warning(map, "", message));
                }
            }
        }
        all
    }

    fn add(&mut self, map: &ConfigMap, transport: Transport, settings: &Settings) {
        for (key, text) in &map.data {
            let read = port_services::port(key).and_then(|number| {
                let port = PortKey { transport, number };
                may_have(port, settings)?;
                Ok((port, port_services::service(&map.meta.key, text)?))
            });
            match read {
                Ok((port, service)) => {
                    if transport == Transport::Udp && service.uses_proxy_protocol() {
                        let text = format!("data.{key}: PROXY has no effect, because UDP has no connections");
                        self.tell(map, Message::warning(Topic::NotServed, text));
                    } else if service.decodes_proxy_protocol
                        && settings.live.proxy.forwarding.networks.is_none()
                    {
                        let text = format!(
                            "data.{key}: every client can claim any address with a PROXY header, because the setting \
                             proxy-real-ip-cidr is missing; list the load balancers there"
                        );
                        self.tell(map, Message::warning(Topic::Invalid, text));
                    }
                    self.services.insert(port, service);
                }
                Err(why) => {
                    self.tell(
                        map,
                        Message::about(Topic::Invalid, format!("data.{key} is not served: {why}")),
                    );
                }
            }
        }
    }

    fn tell(&mut self, map: &ConfigMap, message: Message) {
        self.messages.entry(map.meta.key.clone()).or_default().push(message);
    }

    /// The ConfigMaps that do not exist.
    pub(crate) fn missing(&self) -> &[Problem] {
        &self.missing
    }

    /// The messages about a ConfigMap.
    pub(crate) fn messages(&self, map: &ObjectKey) -> &[Message] {
        self.messages.get(map).map(Vec::as_slice).unwrap_or_default()
    }

    /// The ports of a ConfigMap that are served.
    pub(crate) fn ports<'s>(&'s self, map: &'s ObjectKey) -> impl Iterator<Item = PortKey> + use<'s> {
        self.services.iter().filter(move |(_, service)| service.map == *map).map(|(port, _)| *port)
    }
}

impl PortService {
    /// The number of the Service's port. One that is written as a number may be of a Service that is not among the objects.
    pub(crate) fn target(&self, reader: &Reader<'_>, transport: Transport) -> Result<u16, BackendError> {
        match (services::find(reader, &self.service.namespace, &self.service.name), &self.port) {
            (Ok(found), port) => Ok(services::port_of_service(found, port, transport)?.port.number),
            (Err(_), PortRef::Number(number)) => Ok(*number),
            (Err(error), _) => Err(error),
        }
    }

    fn uses_proxy_protocol(&self) -> bool {
        self.decodes_proxy_protocol || self.encodes_proxy_protocol
    }
}

impl Settings {
    /// The ConfigMaps of TCP and UDP services.
    pub(crate) fn service_maps(&self) -> impl Iterator<Item = (&ObjectKey, Transport)> {
        let maps = [(&self.tcp_services, Transport::Tcp), (&self.udp_services, Transport::Udp)];
        maps.into_iter().filter_map(|(map, transport)| Some((map.as_ref()?, transport)))
    }
}

fn flag(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "--tcp-services-configmap",
        Transport::Udp => "--udp-services-configmap",
    }
}

/// Whether an entry can have its port.
fn may_have(port: PortKey, settings: &Settings) -> Result<(), String> {
    if port.transport == Transport::Tcp && settings.always_speaks(port.number).is_some() {
        return Err(format!("port {} is reserved for requests to Ingresses and Gateways", port.number));
    }
    settings.bound(port).map(drop).map_err(|why| why.to_string())
}

/// The rule of every port.
pub fn port_services(reader: &Reader<'_>, pools: &Pools) -> ServicesTranslation {
    let mut translation = ServicesTranslation::default();
    let settings = reader.settings();
    for (port, service) in &settings.port_services.services {
        let Ok(bound) = settings.bound(*port) else { continue };
        let backend = backend(reader, pools, *port, service);
        if let Err(why) = &backend {
            let lost = match port.transport {
                Transport::Tcp => "connections are closed",
                Transport::Udp => "datagrams are dropped",
            };
            let text = format!("data.{}: {why}; {lost}", port.number);
            translation.messages.entry(service.map.clone()).or_default().push(Message::refused(text));
        }
        let slot = HostTableKey::new(bound, &HostPattern::Any, RuleSource::Services, &HostPattern::Any);
        translation.streams.push((slot, Arc::new(rule(route_id(*port, service), *port, backend))));
    }
    translation
}

fn route_id(port: PortKey, service: &PortService) -> RouteId {
    let kind = match port.transport {
        Transport::Tcp => RouteKind::TcpServices,
        Transport::Udp => RouteKind::UdpServices,
    };
    RouteId { kind, namespace: service.map.namespace.clone(), name: service.map.name.clone() }
}

fn rule(route: RouteId, port: PortKey, backend: Result<Arc<Backend>, BackendError>) -> Rule {
    let backend = backend.map_err(Box::new);
    let weighted =
        WeightedBackend { weight: 1, backend, steps: Steps::default(), balance: Balance::default() };
    Rule {
        route: Arc::new(route),
        index: 0,
        name: Some(port.number.to_string().into()),
        steps: Steps::default(),
        backends: Backends::new([weighted]),
        timeouts: None,
        retry: None,
        labels: None,
    }
}

/// The backend of a port. The ConfigMap is the operator's, so that it can name Services of all namespaces.
fn backend(
    reader: &Reader<'_>,
    pools: &Pools,
    port: PortKey,
    service: &PortService,
) -> Result<Arc<Backend>, BackendError> {
    let found = services::find(reader, &service.service.namespace, &service.service.name)?;
    services::check(found, reader.settings())?;
    let target = services::port_of_service(found, &service.port, port.transport)?;
    // The annotation of the Service determines the version; nginx sends version 1.
    let proxy_protocol = match (port.transport, service.encodes_proxy_protocol) {
        (Transport::Tcp, true) => Some(services::proxy_protocol(found)?.unwrap_or(ProxyProtocol::V1)),
        (Transport::Tcp, false) => services::proxy_protocol(found)?,
        (Transport::Udp, _) => None,
    };
    let settings = ConnectionSettings {
        protocol: BackendProtocol::default(),
        tls: None,
        proxy_protocol,
        by_service: false,
    };
    Ok(pools.backends.backend(&found.meta.key, target.port, settings))
}
