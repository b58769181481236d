//! Backends as pingora sees them: peers, their identity, and the addresses of DNS names.

pub(crate) mod kept;
pub(crate) mod names;
pub(crate) mod peer;

use std::{net::SocketAddr, sync::Arc};

use portcullis_routing::{Backend, Endpoint, Endpoints};

use crate::random;
use names::Names;

/// An endpoint that was chosen, and whether others are left.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) endpoint: Arc<Endpoint>,
    /// Whether an endpoint is neither this one nor one of those tried before.
    pub(crate) others: bool,
}

/// Chooses an endpoint of a backend; `None` where it has none now.
pub(crate) async fn choose(backend: &Backend, names: &Names, tried: &[SocketAddr]) -> Option<Choice> {
    let (host, port) = match &**backend.endpoints.load() {
        Endpoints::Name { host, port } => (host.clone(), *port),
        endpoints => return choose_from(endpoints, tried),
    };
    // Boxed, so that the requests of other backends do not pay for a resolver's size.
    choose_from(&*Box::pin(names.endpoints(&host, port)).await?, tried)
}

fn choose_from(endpoints: &Endpoints, tried: &[SocketAddr]) -> Option<Choice> {
    let endpoint = Arc::clone(endpoints.pick(random::number(), tried)?);
    let others = match endpoints {
        Endpoints::Addresses(all) if all.len() > 1 => {
            all.iter().any(|e| e.address != endpoint.address && !tried.contains(&e.address))
        }
        _ => false,
    };
    Some(Choice { endpoint, others })
}
