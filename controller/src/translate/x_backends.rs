//! XBackends as backends: the Pods or the hostname behind one, and how it is spoken to.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use portcullis_routing::{
    Backend, BackendError, BackendProtocol, BackendTls, ExternalNames, PortKey, RouteKind,
};

use super::{BackendPool, ConnectionSettings, Reader, backend_tls::Finder, endpoints::Resolved, services};
use crate::{
    ir::{
        Kind, ObjectKey, Pod, XBackend,
        x_backend::{Destination, XBackendSpec, XProtocol},
    },
    snapshot::Snapshot,
};

/// The XBackends of a namespace.
pub fn x_backends_in<'s>(snapshot: &'s Snapshot, namespace: &str) -> impl Iterator<Item = &'s XBackend> {
    let first = ObjectKey::new(Kind::XBackend, namespace, "");
    let backends = snapshot.x_backends.range(first.clone()..);
    backends.take_while(move |(key, _)| key.namespace == first.namespace).map(|(_, backend)| &**backend)
}

/// The endpoints of an XBackend: those of its Pods that are ready, or its hostname. One that is gone has none.
pub(super) fn endpoints(snapshot: &Snapshot, key: &ObjectKey, port: PortKey) -> Resolved {
    let spec = snapshot.x_backends.get(key).and_then(|backend| backend.spec.as_ref().ok());
    match spec.map(|spec| &spec.destination) {
        None => Resolved::Addresses(Vec::new()),
        Some(Destination::Hostname(host)) => Resolved::Name { host: host.clone(), port: port.number },
        Some(Destination::Pods(labels)) => {
            let (mut ready, mut draining) = (Vec::new(), Vec::new());
            for pod in selected(snapshot, &key.namespace, labels) {
                let Some(address) = pod.address.filter(|_| pod.is_ready) else { continue };
                let to = if pod.is_terminating { &mut draining } else { &mut ready };
                to.push(SocketAddr::new(address, port.number));
            }
            Resolved::chosen(ready, draining)
        }
    }
}

/// The Pods that an XBackend selects, in any state.
pub fn pods_of<'s>(snapshot: &'s Snapshot, backend: &'s XBackend) -> impl Iterator<Item = &'s Pod> {
    let labels = backend.selector().into_iter();
    labels.flat_map(|labels| selected(snapshot, backend.meta.namespace(), labels))
}

fn selected<'s>(
    snapshot: &'s Snapshot,
    namespace: &str,
    labels: &'s BTreeMap<Box<str>, Box<str>>,
) -> impl Iterator<Item = &'s Pod> {
    let first = ObjectKey::new(Kind::Pod, namespace, "");
    let pods = snapshot.pods.range(first.clone()..);
    let pods = pods.take_while(move |(key, _)| key.namespace == first.namespace).map(|(_, pod)| &**pod);
    pods.filter(|pod| labels.iter().all(|(name, value)| pod.labels.get(name) == Some(value)))
}

/// What refers to an XBackend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referrer<'r> {
    pub(super) namespace: &'r str,
    /// The kind of route that its requests, streams or datagrams are of.
    pub(super) spoken_as: RouteKind,
    /// Whether they are sent with the client's own TLS.
    pub(super) is_passed_through: bool,
}

/// Finds an XBackend. It has to be in the namespace of what refers to it (GEP-4894, "Route Attachment").
pub(super) fn find<'r>(
    reader: &Reader<'r>,
    namespace: &str,
    key: &ObjectKey,
) -> Result<&'r XBackend, BackendError> {
    if *key.namespace != *namespace {
        return Err(BackendError::OtherNamespace(services::name(key)));
    }
    reader.x_backend(key).ok_or_else(|| BackendError::XBackendNotFound(services::name(key)))
}

/// Resolves an XBackend to a backend, and collects it as one that has an effect.
pub(super) fn resolve(
    reader: &Reader<'_>,
    pool: &BackendPool,
    policies: &mut Finder<'_>,
    key: &ObjectKey,
    from: Referrer<'_>,
) -> Result<Arc<Backend>, BackendError> {
    let backend = find(reader, from.namespace, key)?;
    policies.found.insert(backend.meta.key.clone());
    let key = &backend.meta.key;
    let spec = backend.spec.as_ref();
    let spec =
        spec.map_err(|why| BackendError::InvalidXBackend { backend: services::name(key), why: why.clone() })?;
    if backend.hostname().is_some() && reader.settings().external_names == ExternalNames::None {
        return Err(BackendError::ExternalHostname(services::name(key)));
    }
    if backend.selector().is_some() && !reader.settings().pods {
        return Err(BackendError::PodsNotRead(services::name(key)));
    }
    let tls = tls(policies, spec, key, from)?;
    let protocol = spoken(spec, from.spoken_as).ok_or_else(|| BackendError::XBackendProtocol {
        backend: services::name(key),
        protocol: spec.protocol.map_or("TLS", XProtocol::as_str),
    })?;
    let port = PortKey { transport: from.spoken_as.transport(), number: spec.port };
    let settings = ConnectionSettings { protocol, tls, proxy_protocol: None, by_service: false };
    Ok(pool.backend(key, port, settings))
}

/// The TLS of its connections. What a client sends with its own TLS is not encrypted again.
fn tls(
    policies: &mut Finder<'_>,
    spec: &XBackendSpec,
    key: &ObjectKey,
    from: Referrer<'_>,
) -> Result<Option<BackendTls>, BackendError> {
    match spec.tls.is_some() && !from.is_passed_through {
        true => policies.of_x_backend(key),
        false => Ok(None),
    }
}

/// The protocol for connections to an XBackend; `None` if the route does not support its `protocol`.
fn spoken(spec: &XBackendSpec, kind: RouteKind) -> Option<BackendProtocol> {
    use XProtocol::{Grpc, H2c, Http, Http2, Http11, Mcp, Tcp, Wss};
    match (kind, spec.protocol) {
        (RouteKind::Http | RouteKind::Ingress, None | Some(Http | Http11 | Wss)) => {
            Some(BackendProtocol::Http1)
        }
        (RouteKind::Http | RouteKind::Ingress, Some(Http2 | H2c | Grpc)) => Some(BackendProtocol::Http2),
        (RouteKind::Grpc, None | Some(Http | Http2 | H2c | Grpc)) => Some(BackendProtocol::Http2),
        (RouteKind::Http | RouteKind::Ingress, Some(Tcp | Mcp)) => None,
        (RouteKind::Grpc, Some(Http11 | Wss | Tcp | Mcp)) => None,
        // Streams are forwarded unchanged, whatever protocol they carry.
        (RouteKind::Tls | RouteKind::Tcp | RouteKind::TcpServices, _) => Some(BackendProtocol::default()),
        // All of these protocols are carried by TCP, and there is no DTLS.
        (RouteKind::Udp | RouteKind::UdpServices, protocol) => {
            (protocol.is_none() && spec.tls.is_none()).then(BackendProtocol::default)
        }
    }
}
