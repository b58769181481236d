//! TLS connections of a host that are passed through (`ssl-passthrough`): all of them go to the Service of path `/`,
//! whatever the other paths and annotations of the host are, as in ingress-nginx. Those hold for plain HTTP.

use std::sync::Arc;

use portcullis_routing::{
    Backend, BackendError, BackendProtocol, Backends, Balance, Rule, Steps, WeightedBackend,
};

use super::{
    compiler::{Compiler, Host},
    paths::{Matched, Place, ROOT},
};
use crate::{
    ir::{ObjectKey, ingress::IngressBackend, live_settings::Denied},
    status::Message,
    translate::{ConnectionSettings, HostTableKey, RuleSource, services},
};

/// The rule that takes the connections, and where it stands. `by` is the Ingress that has them passed through.
pub(super) fn stream(
    host: &Host<'_>,
    by: &ObjectKey,
    places: &[Place<'_>],
    compilers: &mut [Compiler<'_>],
) -> Option<(HostTableKey, Arc<Rule>)> {
    let listener = host.state.https?.hostname(host.served_as);
    let port = host.reader.settings().bound_for_https().ok()?;
    let slot = HostTableKey::new(port, &listener, RuleSource::Ingress, host.served_as);
    // An Ingress of another namespace does not get the connections of this one.
    let of_namespace =
        |place: &&Place<'_>| compilers[place.ingress].ingress.meta.namespace() == &*by.namespace;
    let place = places.iter().filter(of_namespace).filter_map(|place| Some((rank(place)?, place)));
    let place = place.min_by_key(|(rank, _)| *rank).map(|(_, place)| place);
    let decider = compilers.iter().position(|compiler| compiler.ingress.meta.key == *by)?;
    let (ingress, index, backend) = match place {
        Some(place) => {
            let compiler = &compilers[place.ingress];
            (place.ingress, compiler.index(place), backend_of(compiler, place).cloned())
        }
        None => (decider, 0, None),
    };
    // What closes the one that decides closes all of it.
    let closed = compilers[decider].closed.clone();
    let rule = compilers[ingress].stream_rule(index, backend.as_ref(), closed);
    Some((slot, Arc::new(rule)))
}

/// How well a path fits as that of all connections; the least fits best.
fn rank(place: &Place<'_>) -> Option<u8> {
    match place.path {
        Some((_, path)) if path.text.trim_end_matches('/').is_empty() => {
            Some(u8::from(place.matched == Matched::Exact && *place.text == *ROOT))
        }
        None if place.is_rest() => Some(2),
        _ => None,
    }
}

fn backend_of<'p>(compiler: &'p Compiler<'_>, place: &'p Place<'_>) -> Option<&'p IngressBackend> {
    match place.path {
        Some((_, path)) => Some(&path.backend),
        None => compiler.ingress.default_backend.as_ref(),
    }
}

impl Compiler<'_> {
    /// The rule of connections that go to a backend as they are. Without one, they are closed.
    fn stream_rule(
        &mut self,
        index: usize,
        backend: Option<&IngressBackend>,
        closed: Option<BackendError>,
    ) -> Rule {
        let closed = closed.or_else(|| self.closed.clone()).or_else(|| self.blocks_clients());
        let backend = match (closed, backend) {
            (Some(closed), _) => Err(closed),
            (None, Some(backend)) => self.stream_backend(backend),
            (None, None) => {
                let text = format!(
                    "host {}: TLS connections are closed, because there is no path / and no default backend to pass them through to",
                    self.host.host
                );
                self.tell(Message::refused(text));
                Err(BackendError::NoPath)
            }
        };
        let backend = backend.map_err(Box::new);
        let weighted =
            WeightedBackend { weight: 1, backend, steps: Steps::default(), balance: Balance::default() };
        Rule {
            timeouts: None,
            retry: None,
            labels: None,
            ..self.compiled(index, Steps::default(), Backends::new([weighted]))
        }
    }

    /// Why connections are closed that the operator's `block-cidrs` would have to be applied to: it is enforced on requests.
    fn blocks_clients(&mut self) -> Option<BackendError> {
        let settings = self.host.reader.settings();
        (settings.live.ingress.access.block != Denied::Nobody).then(|| {
            let why = "the setting block-cidrs applies to every Ingress and cannot be enforced on TLS that is passed through";
            self.tell(Message::refused(format!("host {}: TLS connections are closed, because {why}", self.host.host)));
            BackendError::Closed(why.into())
        })
    }

    fn stream_backend(&self, backend: &IngressBackend) -> Result<Arc<Backend>, BackendError> {
        let (service, port) = self.service(backend)?;
        let settings = ConnectionSettings {
            protocol: BackendProtocol::Http1,
            tls: None,
            proxy_protocol: services::proxy_protocol(service)?,
            by_service: self.by_service(),
        };
        Ok(self.host.pools.backends.backend(&service.meta.key, port.port, settings))
    }
}
