//! Services and their ports, as backends refer to them.

use portcullis_routing::{BackendError, ExternalNames};

use super::{Reader, Settings};
use crate::ir::{ObjectKey, Service, core::TransportProtocol, ingress::PortRef};

/// A port of a Service that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundPort<'s> {
    pub(super) number: u16,
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
    match (&service.external_name, settings.external_names) {
        (Some(_), ExternalNames::None) => Err(BackendError::ExternalName(name(&service.meta.key))),
        _ => Ok(()),
    }
}

/// A port by its number. An ExternalName Service need not list its ports: the name is reached at any.
pub(super) fn port(service: &Service, number: u16) -> Result<FoundPort<'_>, BackendError> {
    match service.tcp_port(number) {
        Some(port) => Ok(FoundPort { number, app_protocol: port.app_protocol.as_deref() }),
        None if service.external_name.is_some() => Ok(FoundPort { number, app_protocol: None }),
        None => Err(not_found(service, &number)),
    }
}

/// A port as an Ingress names it: by number or by name, and as ingress-nginx has it, also by the number of its
/// target where no port has that number itself.
pub(super) fn port_of_ingress<'s>(
    service: &'s Service,
    wanted: &PortRef,
) -> Result<FoundPort<'s>, BackendError> {
    let tcp = || service.ports.iter().filter(|port| port.protocol == TransportProtocol::Tcp);
    let found = match wanted {
        PortRef::Number(number) => match port(service, *number) {
            Ok(found) => return Ok(found),
            Err(_) => tcp().find(|port| port.target == *wanted),
        },
        PortRef::Name(name) => tcp().find(|port| port.name == *name),
    };
    match (found, wanted) {
        (Some(port), _) => Ok(FoundPort { number: port.port, app_protocol: port.app_protocol.as_deref() }),
        (None, PortRef::Number(number)) => Err(not_found(service, number)),
        (None, PortRef::Name(name)) => Err(not_found(service, name)),
    }
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
        BackendError::NotFound(_) | BackendError::PortNotFound { .. } | BackendError::PortMissing(_) => {
            "BackendNotFound"
        }
        BackendError::NotPermitted { .. } | BackendError::ExternalName(_) => "RefNotPermitted",
        BackendError::InvalidKind(_) => "InvalidKind",
        BackendError::UnsupportedProtocol { .. } => "UnsupportedProtocol",
        BackendError::InvalidFilter(_) | BackendError::Closed(_) => "UnsupportedValue",
    }
}
