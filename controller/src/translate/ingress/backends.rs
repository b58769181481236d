//! The backends of an Ingress.

use std::sync::Arc;

use portcullis_routing::{Backend, BackendError, BackendProtocol};

use super::compiler::Compiler;
use crate::{
    ir::ingress::IngressBackend,
    translate::{ConnectionSettings, route, services, tls_towards},
};

impl Compiler<'_> {
    /// The backend that answers the requests of a path. The owner is told if there is none.
    pub(super) fn resolve(
        &mut self,
        what: &str,
        backend: &IngressBackend,
    ) -> Result<Arc<Backend>, BackendError> {
        self.find(backend).map_err(|error| {
            // ingress-nginx answers as if the Service had no endpoints.
            let error = match error {
                missing @ (BackendError::NotFound(_)
                | BackendError::PortNotFound { .. }
                | BackendError::PortMissing(_)
                | BackendError::InvalidKind(_)) => BackendError::Missing(Box::new(missing)),
                error => error,
            };
            let status = error.rejection().status().as_u16();
            self.refuse(what, &format!("{error}; its requests are answered with {status}"));
            error
        })
    }

    fn find(&mut self, backend: &IngressBackend) -> Result<Arc<Backend>, BackendError> {
        let (name, wanted) = match backend {
            IngressBackend::Service { name, port } => (name, port),
            IngressBackend::Resource(resource) => {
                return Err(BackendError::InvalidKind(match &*resource.group {
                    "" => resource.kind.clone(),
                    group => format!("{group}/{}", resource.kind).into(),
                }));
            }
        };
        let reader = self.host.reader;
        let service = services::find(reader, self.ingress.meta.namespace(), name)?;
        services::check(service, reader.settings())?;
        let port = services::port_of_ingress(service, wanted)?;
        let (protocol, tls) = spoken(port.app_protocol);
        let by_policy = self.policies.towards(service, port.name)?;
        let tls = by_policy.or_else(|| tls.then(|| tls_towards(&service.meta.key)));
        Ok(self.host.backends.backend(
            &service.meta.key,
            port.port,
            ConnectionSettings { protocol, tls, proxy_protocol: None },
        ))
    }
}

/// The protocol for a port with this `appProtocol`. ingress-nginx never reads it, so one that is not HTTP must not
/// break a working Ingress.
fn spoken(app_protocol: Option<&str>) -> (BackendProtocol, bool) {
    route::spoken_by_http(app_protocol).unwrap_or((BackendProtocol::Http1, false))
}
