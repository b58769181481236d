//! Resolves references of backends to Services and their ports.

use portcullis_routing::{BackendError, ExternalNames, PortKey, ProxyProtocol, Transport};

use super::{Reader, Settings};
use crate::ir::{
    ObjectKey, Service,
    core::{PROXY_PROTOCOL, ServicePort, TransportProtocol},
    ingress::PortRef,
};

/// A port of a Service that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundPort<'s> {
    pub(super) port: PortKey,
    /// Its name; empty if it has none.
    pub(super) name: &'s str,
    pub(super) app_protocol: Option<&'s str>,
}

pub(super) fn find<'s>(
    reader: &Reader<'s>,
    namespace: &str,
    name: &str,
) -> Result<&'s Service, BackendError> {
    let not_found = || BackendError::NotFound(format!("{namespace}/{name}").into());
    reader.service(namespace, name).ok_or_else(not_found)
}

/// Whether the Service may be a backend. Where its name leads is known to whoever resolves it.
pub(super) fn check(service: &Service, settings: &Settings) -> Result<(), BackendError> {
    match (service.external_name(), settings.external_names) {
        (Some(_), ExternalNames::None) => Err(BackendError::ExternalName(name(&service.meta.key))),
        _ => Ok(()),
    }
}

/// Finds a port of a Service. An ExternalName Service need not list its ports: its name can be reached at any port.
pub(super) fn port(service: &Service, wanted: PortKey) -> Result<FoundPort<'_>, BackendError> {
    if let Some(port) = service.port(wanted) {
        return Ok(found_at(wanted, port));
    }
    if service.external_name().is_some() {
        return Ok(FoundPort { port: wanted, name: "", app_protocol: None });
    }
    let PortKey { transport, number } = wanted;
    Err(match service.ports.iter().any(|port| port.port == number) {
        true => {
            BackendError::OtherTransport { service: name(&service.meta.key), port: number, wanted: transport }
        }
        false => not_found(service, &number),
    })
}

fn found_at(key: PortKey, port: &ServicePort) -> FoundPort<'_> {
    FoundPort { port: key, name: &port.name, app_protocol: port.app_protocol.as_deref() }
}

/// Finds a port as an Ingress names it: by number or by name and, as in ingress-nginx, also by the number of its target
/// if no port has that number itself.
pub(super) fn port_of_ingress<'s>(
    service: &'s Service,
    wanted: &PortRef,
) -> Result<FoundPort<'s>, BackendError> {
    let tcp = || service.ports.iter().filter(|port| port.protocol == TransportProtocol::Tcp);
    let found = match wanted {
        PortRef::Number(number) => match port(service, PortKey::tcp(*number)) {
            Ok(found) => return Ok(found),
            Err(_) => tcp().find(|port| port.target == *wanted),
        },
        PortRef::Name(name) => tcp().find(|port| port.name == *name),
        PortRef::First => tcp().next(),
    };
    match (found, wanted) {
        (Some(port), _) => Ok(found_at(PortKey::tcp(port.port), port)),
        (None, PortRef::Number(number)) => Err(not_found(service, number)),
        (None, PortRef::Name(name)) => Err(not_found(service, name)),
        (None, PortRef::First) => Err(not_found(service, &"TCP")),
    }
}

/// Finds a port as a ConfigMap of TCP or UDP services names it: by number or by name.
pub(super) fn port_of_service<'s>(
    service: &'s Service,
    wanted: &PortRef,
    transport: Transport,
) -> Result<FoundPort<'s>, BackendError> {
    let mut ports = service.ports.iter().filter(|port| port.protocol.transport() == Some(transport));
    let found = match wanted {
        PortRef::Number(number) => return port(service, PortKey { transport, number: *number }),
        PortRef::Name(name) => ports.find(|port| port.name == *name),
        PortRef::First => ports.next(),
    };
    let found = found.ok_or_else(|| not_found(service, wanted))?;
    Ok(found_at(PortKey { transport, number: found.port }, found))
}

/// The PROXY protocol with which streams to a Service begin.
pub(super) fn proxy_protocol(service: &Service) -> Result<Option<ProxyProtocol>, BackendError> {
    service.proxy_protocol().map_err(|value| BackendError::InvalidAnnotation {
        service: name(&service.meta.key),
        annotation: PROXY_PROTOCOL,
        value: value.into(),
        expected: "v1 or v2",
    })
}

/// `namespace/name`, as messages have it.
pub(super) fn name(key: &ObjectKey) -> Box<str> {
    format!("{}/{}", key.namespace, key.name).into()
}

fn not_found(service: &Service, port: &impl ToString) -> BackendError {
    BackendError::PortNotFound { service: name(&service.meta.key), port: port.to_string().into() }
}

/// The reason of a route's `ResolvedRefs` for a backend that cannot be used.
pub(crate) fn reason(error: &BackendError) -> &'static str {
    match error {
        BackendError::NotFound(_)
        | BackendError::PortNotFound { .. }
        | BackendError::PortMissing(_)
        | BackendError::XBackendNotFound(_) => "BackendNotFound",
        BackendError::NotPermitted { .. }
        | BackendError::ExternalName(_)
        | BackendError::OtherNamespace(_)
        | BackendError::ExternalHostname(_) => "RefNotPermitted",
        BackendError::InvalidKind(_) => "InvalidKind",
        BackendError::UnsupportedProtocol { .. }
        | BackendError::OtherTransport { .. }
        | BackendError::XBackendProtocol { .. } => "UnsupportedProtocol",
        BackendError::Missing(missing) => reason(missing),
        BackendError::InvalidFilter(_)
        | BackendError::NoPath
        | BackendError::InvalidAnnotation { .. }
        | BackendError::Closed(_)
        | BackendError::Unprotected(_)
        | BackendError::InvalidXBackend { .. }
        | BackendError::PodsNotRead(_)
        | BackendError::InvalidTls { .. }
        | BackendError::InvalidPolicy { .. } => "UnsupportedValue",
    }
}
