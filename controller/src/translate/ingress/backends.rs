//! The backends of an Ingress.

use std::sync::Arc;

use portcullis_routing::{Backend, BackendError, BackendProtocol, BackendTls, Backends, Verify};

use super::{compiler::Compiler, paths::Place};
use crate::{
    ir::{
        Kind, ObjectKey, Service,
        ingress::{IngressBackend, ProxySsl, Speech},
    },
    status::Cause,
    translate::{
        ConnectionSettings, Fault, Pools, route,
        services::{self, FoundPort},
        tls_towards,
    },
};

impl<'a> Compiler<'a> {
    /// The backend that answers the requests of a path. The owner is told if there is none.
    pub(super) fn resolve(&mut self, what: &str, backend: &IngressBackend) -> Result<Found, BackendError> {
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
            self.refuse(what, Fault::from(&error).with(&format!("its requests receive {status}")));
            error
        })
    }

    /// The Service and the port that a backend names.
    pub(super) fn service(
        &self,
        backend: &IngressBackend,
    ) -> Result<(&'a Service, FoundPort<'a>), BackendError> {
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
        Ok((service, services::port_of_ingress(service, wanted)?))
    }

    fn find(&mut self, backend: &IngressBackend) -> Result<Found, BackendError> {
        let (service, port) = self.service(backend)?;
        let by_policy = self.policies.towards(service, port.name)?;
        let of_host = self.proxy_ssl(service)?;
        let by_service = self.by_service();
        let backend = |protocol, asked: Option<BackendTls>| {
            let tls = by_policy.clone().or(asked);
            let settings = ConnectionSettings { protocol, tls, proxy_protocol: None, by_service };
            self.host.pools.backends.backend(&service.meta.key, port.port, settings)
        };
        let unverified = || BackendTls { hides_name: true, ..tls_towards(&service.meta.key) };
        let https = || of_host.clone().unwrap_or_else(unverified);
        let plain = match self.ingress.annotations.backend.speech {
            None => {
                let (protocol, tls) = spoken(port.app_protocol);
                let named = || of_host.clone().unwrap_or_else(|| tls_towards(&service.meta.key));
                backend(protocol, tls.then(named))
            }
            Some(Speech::Http) => backend(BackendProtocol::Http1, None),
            Some(Speech::Https) => backend(BackendProtocol::Http1, Some(https())),
            Some(Speech::Grpc) => backend(BackendProtocol::Http2, None),
            // `proxy-ssl-*` does not concern it, as with ingress-nginx.
            Some(Speech::Grpcs) => backend(BackendProtocol::Http2, Some(unverified())),
            Some(Speech::AutoHttp) => {
                let for_tls = backend(BackendProtocol::Http1, Some(https()));
                return Ok(Found { plain: backend(BackendProtocol::Http1, None), for_tls: Some(for_tls) });
            }
            Some(Speech::Fcgi) => {
                return Err(BackendError::Closed("backend-protocol FCGI is not supported".into()));
            }
        };
        Ok(Found { plain, for_tls: None })
    }

    /// Whether connections are made to the Service's own address (`service-upstream`).
    pub(super) fn by_service(&self) -> bool {
        let global = self.host.reader.settings().live.ingress.service_upstream;
        self.ingress.annotations.backend.service_upstream.unwrap_or(global)
    }

    /// The backends of a path. With one for clients over TLS, there is no canary.
    pub(super) fn found(&mut self, place: &Place<'_>, Found { plain, for_tls }: Found) -> Backends {
        let plain = self.backends(place, plain);
        let Some(for_tls) = for_tls else { return plain };
        let for_tls = self.backends(place, for_tls);
        match (plain.all().first(), for_tls.all().first()) {
            (Some(main), Some(other)) => Backends::by_tls(main.clone(), other.clone()),
            _ => plain,
        }
    }

    /// TLS to backends as the host's oldest Ingress of the namespace asks for it that does (`proxy-ssl-*`): in ingress-nginx,
    /// it belongs to the host. That of other namespaces is theirs: it would lend their certificate to the backends here.
    fn proxy_ssl(&self, service: &Service) -> Result<Option<BackendTls>, BackendError> {
        let namespace = self.ingress.meta.namespace();
        let mut asked = self.host.ingresses.iter().filter_map(|ingress| {
            let of_namespace = ingress.meta.namespace() == namespace;
            Some((*ingress, ingress.annotations.backend.tls.as_ref().filter(|_| of_namespace)?))
        });
        let Some((ingress, asked)) = asked.next() else { return Ok(None) };
        self.resolve_ssl(asked).map(Some).map_err(|why| BackendError::InvalidPolicy {
            policy: format!("proxy-ssl-secret of {}", ingress.meta.key).into(),
            service: services::name(&service.meta.key),
            is_missing: why.cause() == Some(Cause::Missing),
            why: why.text.into(),
        })
    }

    fn resolve_ssl(
        &self,
        ProxySsl { secret, verify, name, sends_name, versions }: &ProxySsl,
    ) -> Result<BackendTls, Fault> {
        let (reader, Pools { certificates, authorities, .. }) = (self.host.reader, self.host.pools);
        let namespace = self.ingress.meta.namespace();
        if *secret.0 != *namespace {
            return Err(format!("the Secret must be in namespace {namespace}").into());
        }
        let key = ObjectKey::new(Kind::Secret, namespace, &secret.1);
        let data = reader.secret(&key).map(|secret| &secret.data);
        let (has_certificate, has_authorities) =
            data.map_or((true, true), |data| (data.contains_key("tls.crt"), data.contains_key("ca.crt")));
        if !has_certificate && !has_authorities {
            return Err(format!("{key} has neither tls.crt nor ca.crt").into());
        }
        let mut tls = BackendTls::new(name.as_deref().unwrap_or(NO_NAME), Verify::Nothing);
        if has_certificate {
            let certificate = certificates
                .read(reader, &key)
                .map_err(|error| Fault::of_reference(error.to_string(), error.is_missing()))?;
            tls.client_certificate = Some(certificate.to_material());
        }
        if *verify {
            let set = authorities
                .of_secret(reader, &key)
                .map_err(|error| Fault::of_reference(error.to_string(), error.is_missing()))?;
            tls.verify = Verify::Authorities([set].into());
        }
        Ok(BackendTls { hides_name: !sends_name, versions: *versions, ..tls })
    }
}

/// The name of a backend where nothing names it, as nginx has it there.
const NO_NAME: &str = "upstream_balancer";

/// The backend of a path.
pub(super) struct Found {
    pub(super) plain: Arc<Backend>,
    /// The one for clients over TLS, where it is another.
    pub(super) for_tls: Option<Arc<Backend>>,
}

/// The protocol for a port with this `appProtocol`. ingress-nginx never reads it, so one that is not HTTP must not
/// break a working Ingress.
fn spoken(app_protocol: Option<&str>) -> (BackendProtocol, bool) {
    route::spoken_by_http(app_protocol).unwrap_or((BackendProtocol::Http1, false))
}
