//! Where Ingresses are in the table: under which hostname of which port, and with which certificates; and the ports of
//! TCP and UDP services.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderValue;
use portcullis_routing::{
    HostPattern, ListenerId, PortKey, Protocol, TlsMode, Transport, step::AddedHeaders,
};

use super::{IngressSide, Listeners, Traffic, hosts::Reads, tls};
use crate::{
    ir::Ingress,
    translate::{CertificatePool, ClassOwner, Place, Reader, Settings, of_unmatched},
};

/// What Ingresses, and TCP and UDP services, have in the table.
#[derive(Clone, Debug, Default)]
pub(super) struct IngressPlaces {
    /// Their ports.
    pub(super) ports: BTreeMap<PortKey, IngressPort>,
    pub(super) hosts: BTreeMap<Place, IngressPlace>,
}

/// A port that Ingresses, or a TCP or UDP service, are served on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IngressPort {
    pub(super) protocol: Protocol,
    pub(super) number: u16,
    /// Whether load balancers send a PROXY protocol header at the start of each connection.
    pub(super) proxy_protocol: bool,
    /// The headers of responses to requests that no rule of Ingresses takes.
    pub(super) unmatched: Option<Arc<AddedHeaders>>,
}

/// A hostname under which a port finds a host of Ingresses, or a TCP or UDP service.
#[derive(Clone, Debug)]
pub(super) struct IngressPlace {
    pub(super) id: Arc<ListenerId>,
    /// How TLS is terminated, unless a Gateway's listener has the hostname.
    pub(super) shown: Option<Arc<tls::Shown>>,
    /// What it takes, unless a Gateway's listener has the hostname: streams of TLS are passed through.
    pub(super) traffic: Traffic,
    /// HSTS of responses to requests that no rule matches.
    pub(super) hsts: Option<Arc<HeaderValue>>,
}

impl IngressPlaces {
    /// Decides where each host of `side`, the hosts of these Ingresses, is, and removes it from the port with TLS if there is
    /// no certificate for it.
    pub(super) fn of(
        reader: &Reader<'_>,
        certificates: &CertificatePool,
        listeners: &Listeners,
        ingresses: &[Arc<Ingress>],
        side: &mut IngressSide,
        reads: &mut Reads,
    ) -> Self {
        let settings = reader.settings();
        let mut places = Self::of_services(settings);
        let unmatched = of_unmatched(settings);
        let (http, https) = (settings.bound_for_http().ok(), settings.bound_for_https().ok());
        for (bound, number, protocol) in
            [(http, settings.http_port, Protocol::Http), (https, settings.https_port, Protocol::Tls)]
        {
            bound.map(|bound| {
                let unmatched = unmatched.clone();
                let port = IngressPort { protocol, number, proxy_protocol: false, unmatched };
                places.ports.entry(bound).or_insert(port)
            });
        }
        let mut shown = https.map_or_else(tls::ShownHosts::new, |https| {
            let tls_of = |hostname: &HostPattern| {
                listeners.holding(https, hostname)?.point.mode.as_ref().map(|mode| &mode.tls)
            };
            let of_gateway = |hostname: &HostPattern| matches!(tls_of(hostname), Some(TlsMode::Terminate(_)));
            let has_default = tls_of(&HostPattern::Any) != Some(&TlsMode::Passthrough);
            tls::choose(reader, certificates, ingresses, side, reads, of_gateway, has_default)
        });
        let hsts = settings.hsts(ClassOwner::Own);
        let mut hosts = Vec::with_capacity(2 * side.hosts.len());
        for (host, state) in &side.hosts {
            let id = Arc::new(ListenerId::ingress(host.clone()));
            for (port, found_as, is_tls) in [(http, state.http, false), (https, state.https, true)] {
                if let (Some(port), Some(found_as)) = (port, found_as) {
                    let hostname = found_as.hostname(host);
                    let shown = if is_tls { shown.remove(&hostname) } else { None };
                    let is_passed_through = is_tls && state.special.passthrough.is_some();
                    let traffic = if is_passed_through { Traffic::Streams } else { Traffic::Requests };
                    let hsts = hsts.clone().filter(|_| is_tls);
                    let place = IngressPlace { id: Arc::clone(&id), shown, traffic, hsts };
                    hosts.push(((port, hostname), place));
                }
            }
        }
        // In full nodes: of a map that grew by insertions, half is empty.
        places.hosts.append(&mut hosts.into_iter().collect());
        // Whoever names a host that nobody has is shown the default certificate, and then a 404.
        if let (Some(https), Some(default)) = (https, shown.remove(&HostPattern::Any)) {
            let id = Arc::new(ListenerId::ingress(HostPattern::Any));
            places.hosts.insert(
                (https, HostPattern::Any),
                IngressPlace { id, shown: Some(default), traffic: Traffic::Requests, hsts },
            );
        }
        places
    }

    /// The ports of TCP and UDP services.
    pub(super) fn of_services(settings: &Settings) -> Self {
        let mut places = Self::default();
        for (port, service) in &settings.port_services.services {
            let Ok(bound) = settings.bound(*port) else { continue };
            let (namespace, name) = (&service.map.namespace, &service.map.name);
            let id = Arc::new(ListenerId::service(namespace, name, &port.number.to_string()));
            let (protocol, traffic) = match port.transport {
                Transport::Tcp => (Protocol::Tcp, Traffic::Streams),
                Transport::Udp => (Protocol::Udp, Traffic::Datagrams),
            };
            let proxy_protocol = service.decodes_proxy_protocol && port.transport == Transport::Tcp;
            let (number, unmatched) = (port.number, None);
            places.ports.insert(bound, IngressPort { protocol, number, proxy_protocol, unmatched });
            places
                .hosts
                .insert((bound, HostPattern::Any), IngressPlace { id, shown: None, traffic, hsts: None });
        }
        places
    }
}
