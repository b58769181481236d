//! Resolves the references to backends of a route, or of the filters of a listener.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{
    Backend, BackendError, BackendProtocol, BackendTls, PortKey, RouteKind, TlsMaterial, Verify,
    step::{AuthProtocol, ExternalAuth},
};

use super::{
    BackendPool, ConnectionSettings, Reader,
    backend_tls::Finder,
    grants::{self, GATEWAY_GROUP},
    route::{grpc, http},
    services,
    x_backends::{self, Referrer},
};
use crate::ir::{
    Kind, ObjectKey,
    route::{BackendKind, ExternalAuthFilter, ObjectBackendRef},
};

/// How backends are connected to from a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Connecting {
    /// Whether policies say how.
    pub(super) by_policy: bool,
    /// The certificate that is presented under a policy to a backend that asks for one.
    pub(super) certificate: Option<TlsMaterial>,
}

/// The references of one object of the Gateway API.
pub(super) struct BackendRefs<'a> {
    reader: &'a Reader<'a>,
    backends: &'a BackendPool,
    /// Whoever refers.
    from: grants::From<'a>,
    connecting: &'a Connecting,
    policies: Finder<'a>,
}

impl<'a> BackendRefs<'a> {
    /// Those of the object with this key.
    pub(super) fn new(
        reader: &'a Reader<'a>,
        backends: &'a BackendPool,
        key: &'a ObjectKey,
        connecting: &'a Connecting,
    ) -> Self {
        let from = grants::From { group: GATEWAY_GROUP, kind: key.kind.as_str(), namespace: &key.namespace };
        Self { reader, backends, from, connecting, policies: Finder::new(reader) }
    }

    /// Finds the backend of a reference. It is spoken to as backends of this kind of route are.
    ///
    /// The kind is asked first, then whether the reference is permitted, and only then whether there is such a
    /// Service.
    pub(super) fn find(
        &mut self,
        target: &ObjectBackendRef,
        spoken_as: RouteKind,
    ) -> Result<Arc<Backend>, BackendError> {
        let namespace = target.namespace.as_deref().unwrap_or(self.from.namespace);
        match &target.kind {
            BackendKind::Service => {}
            BackendKind::Other(kind) => return Err(BackendError::InvalidKind(kind.clone())),
            BackendKind::XBackend => {
                let key = ObjectKey::new(Kind::XBackend, namespace, &target.name);
                let is_passed_through = spoken_as == RouteKind::Tls && !self.connecting.by_policy;
                let from = Referrer { namespace: self.from.namespace, spoken_as, is_passed_through };
                return x_backends::resolve(self.reader, self.backends, &mut self.policies, &key, from);
            }
        }
        if !grants::permitted(self.reader, self.from, "Service", namespace, &target.name) {
            return Err(BackendError::NotPermitted {
                namespace: namespace.into(),
                name: target.name.clone(),
            });
        }
        let service = services::find(self.reader, namespace, &target.name);
        if service.is_err() && self.connecting.by_policy {
            self.policies.note_missing(namespace, &target.name);
        }
        let service = service?;
        services::check(service, self.reader.settings())?;
        let key = &service.meta.key;
        let number = target.port.ok_or_else(|| BackendError::PortMissing(services::name(key)))?;
        let port = services::port(service, PortKey { transport: spoken_as.transport(), number })?;
        let app_protocol = port.app_protocol;
        let spoken = match spoken_as {
            RouteKind::Grpc => grpc::spoken(app_protocol),
            RouteKind::Http | RouteKind::Ingress => http::spoken(app_protocol),
            // Streams and datagrams are forwarded unchanged, whatever protocol they carry.
            RouteKind::Tls
            | RouteKind::Tcp
            | RouteKind::Udp
            | RouteKind::TcpServices
            | RouteKind::UdpServices => Some((BackendProtocol::default(), false)),
        };
        let (protocol, tls) = spoken.ok_or_else(|| BackendError::UnsupportedProtocol {
            service: services::name(key),
            port: number,
            protocol: app_protocol.unwrap_or_default().into(),
        })?;
        let by_policy = match self.connecting.by_policy {
            true => self.policies.towards(service, port.name)?,
            false => None,
        };
        let by_policy = by_policy
            .map(|tls| BackendTls { client_certificate: self.connecting.certificate.clone(), ..tls });
        let tls = by_policy.or_else(|| tls.then(|| tls_towards(key)));
        let proxy_protocol = match spoken_as {
            RouteKind::Tls | RouteKind::Tcp | RouteKind::TcpServices => services::proxy_protocol(service)?,
            // A connection is for the requests of many clients, and a datagram has no header.
            RouteKind::Http
            | RouteKind::Grpc
            | RouteKind::Ingress
            | RouteKind::Udp
            | RouteKind::UdpServices => None,
        };
        Ok(self.backends.backend(
            key,
            port.port,
            ConnectionSettings { protocol, tls, proxy_protocol, by_service: false },
        ))
    }

    /// Resolves an ExternalAuth filter.
    pub(super) fn external_auth(&mut self, filter: &ExternalAuthFilter) -> ExternalAuth {
        let spoken_as = match filter.protocol {
            AuthProtocol::Http(_) => RouteKind::Http,
            AuthProtocol::Grpc { .. } => RouteKind::Grpc,
        };
        let backend = self.find(&filter.backend, spoken_as);
        ExternalAuth { backend, protocol: filter.protocol.clone(), body: filter.body }
    }

    /// Returns the reader of objects.
    pub(super) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    /// Returns the policies that concern the backends, whether they hold or not.
    pub(super) fn into_policies(self) -> BTreeSet<ObjectKey> {
        self.policies.found
    }
}

/// Returns the TLS settings for a port with the `appProtocol` `https` or `wss`. It names no authority to trust, so the
/// connection is encrypted, but not authenticated.
pub(crate) fn tls_towards(service: &ObjectKey) -> BackendTls {
    BackendTls::new(format!("{}.{}.svc", service.name, service.namespace), Verify::Nothing)
}
