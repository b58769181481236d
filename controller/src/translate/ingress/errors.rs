//! Default backends: who answers in place of a Service without endpoints, and in place of answers with an error status.

use std::sync::Arc;

use http::HeaderValue;
use portcullis_routing::{
    Backend, BackendError, BackendProtocol, Backends, Balance, Rule, Step, Steps, WeightedBackend,
    step::{ErrorOrigin, ErrorPages},
};

use super::{
    backends::Found,
    compiler::Compiler,
    paths::Place,
    steps::{self, named_service},
    upstream,
};
use crate::{
    ir::ingress::PortRef,
    problem::Topic,
    status::Message,
    translate::{ConnectionSettings, Fault, services},
};

impl Compiler<'_> {
    /// The replacement of answers with an error status (`custom-http-errors`). Without a default backend, nothing is replaced.
    pub(super) fn error_pages(&mut self, place: &Place<'_>) -> Option<Step> {
        let (own, global) =
            (&self.ingress.annotations.errors, &self.host.reader.settings().live.ingress.errors);
        let statuses = own.statuses.as_ref().unwrap_or(&global.statuses);
        if statuses.is_empty() {
            return None;
        }
        let statuses = statuses.clone();
        let of_backends = !own.passes_backends.unwrap_or(global.passes_backends);
        let (is_own, has_own) = (own.statuses.is_some(), own.default_backend.is_some());
        let backend = self.own_default_backend(place).or_else(|| self.global_default_backend());
        if backend.is_none() && is_own && !has_own {
            let why = match self.host.reader.settings().default_backend {
                None => "there is no default backend; name a Service by the annotation default-backend",
                Some(_) => "the default backend of the controller (--default-backend-service) cannot be used",
            };
            let text = format!("custom-http-errors has no effect: {why}");
            self.tell(Message::warning(Topic::Annotation("custom-http-errors"), text));
        }
        let backend = backend?;
        let origin = self.error_origin(place);
        Some(Step::ErrorPages(Box::new(ErrorPages {
            statuses,
            of_backends,
            rule: self.page_rule(place, backend),
            origin,
        })))
    }

    /// Adds the default backend of the Ingress, for requests whose backend has no endpoint (`default-backend`).
    pub(super) fn with_default_backend(&mut self, place: &Place<'_>, backends: Backends) -> Backends {
        match self.own_default_backend(place) {
            Some(backend) => backends.with_fallback(weighted(backend), self.error_origin(place)),
            None => backends,
        }
    }

    /// The backend of what no path matches: the Service that the operator has named (`--default-backend-service`), if the
    /// Ingress has none.
    pub(super) fn backend_of_the_rest(&mut self) -> Result<Found, BackendError> {
        let plain = self.global_default_backend().ok_or(BackendError::NoPath)?;
        Ok(Found { plain, for_tls: None })
    }

    /// The default backend that the Ingress has for its paths.
    fn own_default_backend(&mut self, place: &Place<'_>) -> Option<Arc<Backend>> {
        place.path?;
        let name = self.ingress.annotations.errors.default_backend.as_deref()?;
        let found = self.default_backend(self.ingress.meta.namespace(), name);
        found
            .inspect_err(|error| self.refuse("default-backend", Fault::from(error).with("it is not used")))
            .ok()
    }

    fn global_default_backend(&mut self) -> Option<Arc<Backend>> {
        let service = &self.host.reader.settings().default_backend.as_ref()?.service;
        self.default_backend(&service.namespace, &service.name).ok()
    }

    /// The first port of a Service, which is asked by HTTP whatever the backends of the paths speak.
    fn default_backend(&mut self, namespace: &str, name: &str) -> Result<Arc<Backend>, BackendError> {
        let reader = self.host.reader;
        let service = services::find(reader, namespace, name)?;
        services::check(service, reader.settings())?;
        let port = services::port_of_ingress(service, &PortRef::First)?;
        let tls = self.policies.towards(service, port.name)?;
        let settings = ConnectionSettings {
            protocol: BackendProtocol::Http1,
            tls,
            proxy_protocol: None,
            by_service: false,
        };
        Ok(self.host.pools.backends.backend(&service.meta.key, port.port, settings))
    }

    /// The rule of requests for error pages. Of the Ingress's settings, only those of bodies apply to it, as in ingress-nginx,
    /// and the headers of all responses.
    fn page_rule(&self, place: &Place<'_>, backend: Arc<Backend>) -> Arc<Rule> {
        let site = self.site();
        let steps = [steps::body_size(&site), steps::spool(&site), steps::compress(&site)];
        Arc::new(Rule {
            route: Arc::clone(&self.id),
            index: 0,
            name: None,
            steps: self.with_added_headers(place, Steps::new(steps.into_iter().flatten())),
            backends: Backends::new([weighted(backend)]),
            timeouts: None,
            retry: Some(upstream::default_retry()),
            labels: self.labels(place),
        })
    }

    /// The description of a path for default backends; empty for requests that no path matches.
    fn error_origin(&self, place: &Place<'_>) -> Arc<ErrorOrigin> {
        let of_path = |text: &str| {
            let value = Some(text).filter(|text| !text.is_empty() && place.path.is_some());
            value.and_then(|text| HeaderValue::from_str(text).ok())
        };
        let (service, port) = named_service(place);
        let meta = &self.ingress.meta;
        Arc::new(ErrorOrigin {
            namespace: of_path(meta.namespace()),
            ingress: of_path(meta.name()),
            service: of_path(service),
            port: of_path(&port),
        })
    }
}

fn weighted(backend: Arc<Backend>) -> WeightedBackend {
    WeightedBackend { weight: 1, backend: Ok(backend), steps: Steps::default(), balance: Balance::RoundRobin }
}
