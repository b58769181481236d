//! A stream's connection to its backend: the backend by weight, then endpoint after endpoint until one accepts it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
};

use portcullis_routing::{Backend, Rejection, Rule, backend::InFlight};
use tokio::io::AsyncWriteExt as _;

use super::{Client, NO_ROUTE, Side, record::Record};
use crate::{
    accept::Worker,
    clock::{Ticks, Watch},
    http::attempt::NO_BACKEND,
    load::StreamPlace,
    proxy_protocol, random,
    shared::Shared,
    upstream::{Choice, connections::Open, dial::Permitted, tls::Offer},
};

/// A connection to a backend.
pub(super) struct Connected {
    pub(super) side: Side,
    /// Whether the socket delays small writes, and nothing has been written to it.
    pub(super) delays: bool,
    pub(super) open: Open,
    pub(super) in_flight: InFlight,
    pub(super) place: StreamPlace,
}

/// The addresses of a client, for backends that receive them.
pub(super) struct ClientAddresses<'s> {
    pub(super) client: Client,
    /// The address that the client connected to, if a PROXY header says so.
    pub(super) local: Option<IpAddr>,
    pub(super) side: &'s Side,
}

/// Why there is none.
pub(crate) type Failure = (Rejection, &'static str);

/// So many endpoints are tried.
const ATTEMPTS: u32 = 3;

const FULL: Failure = (Rejection::Overloaded, "too many requests and streams at a time");
const CLOSED: Failure = (Rejection::Closed, "the rule has a step that streams do not support");
const BROKEN: Failure = (Rejection::BrokenBackend, "the backend is invalid");
const UNREACHABLE: Failure = (Rejection::BadGateway, "the backend could not be reached");
const TOO_SLOW: Failure = (Rejection::Timeout, "the backend did not accept the connection in time");

/// Connects to the backend of a stream's rule, and notes in its record which one that is. `watch` is for the time limit of
/// an attempt.
///
/// # Errors
/// Where there is no connection.
pub(super) async fn connect(
    worker: &Worker,
    record: &mut Record<'_>,
    watch: &Watch,
    from: &ClientAddresses<'_>,
) -> Result<Connected, Failure> {
    let Some(rule) = &record.route.rule else { return Err(NO_ROUTE) };
    let most = worker.shared.max_streams_of_worker();
    let Some(place) = worker.load.stream_place(most).filter(|_| !worker.shared.is_full(&worker.load)) else {
        return Err(FULL);
    };
    let backend = choose(rule)?;
    record.backend = Some(Arc::clone(&backend));
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let choice = worker.outward.dialler.choose(&backend, rule.route.kind, &tried).await;
        let Choice { in_flight, address, others, .. } = choice.map_err(|none| none.rejection())?;
        record.attempts += 1;
        record.endpoint = Some(address.address());
        let failure = match connect_to(address, &backend, from, &worker.shared, watch).await {
            Ok((side, open)) => {
                let delays = writes_nothing(&backend);
                return Ok(Connected { side, delays, open, in_flight, place });
            }
            Err(failure) => failure,
        };
        tried.push(address.address());
        if !others || record.attempts >= ATTEMPTS {
            return Err(failure);
        }
    }
}

/// One of the rule's backends, by weight.
///
/// # Errors
/// Where that cannot be used, or there is none.
pub(crate) fn choose(rule: &Rule) -> Result<Arc<Backend>, Failure> {
    let choice = rule.backends.pick(random::number()).ok_or(NO_BACKEND)?;
    if rule.steps.iter().chain(choice.steps.iter()).next().is_some() {
        // Steps are done to requests. One of them may be what protects the backend.
        return Err(CLOSED);
    }
    match &choice.backend {
        Ok(backend) => Ok(Arc::clone(backend)),
        Err(error) => Err((error.rejection(), BROKEN.1)),
    }
}

/// Whether nothing is written to a backend before the client's bytes.
fn writes_nothing(backend: &Backend) -> bool {
    backend.proxy_protocol.is_none() && backend.tls.is_none()
}

async fn connect_to(
    address: Permitted,
    backend: &Backend,
    from: &ClientAddresses<'_>,
    shared: &Shared,
    watch: &Watch,
) -> Result<(Side, Open), Failure> {
    let limit = shared.options.connect_timeout;
    let dial = pin!(async {
        if writes_nothing(backend) {
            return address.connect_delaying().await;
        }
        let mut tcp = address.connect().await?;
        if let Some(version) = backend.proxy_protocol {
            tcp.write_all(&proxy_protocol::header(version, from.addresses()?)).await?;
        }
        Ok(tcp)
    });
    watch.set(Ticks::of(limit));
    let tcp = watch.until_due(dial).await.ok_or(TOO_SLOW)?.map_err(|_| UNREACHABLE)?;
    let open = shared.backend_connections.open(&backend.key);
    let Some(tls) = &backend.tls else { return Ok((Side::Tcp(tcp), open)) };
    // Boxed, so that other streams do not pay for its size.
    let stream = Box::pin(shared.backend_tls.connect(tcp, tls, Offer::Nothing, limit)).await;
    let stream = stream.map_err(|error| {
        shared.backend_tls.note(&backend.key, address.address(), &error);
        error.rejection()
    })?;
    Ok((Side::Backend(Box::new(stream)), open))
}

impl ClientAddresses<'_> {
    fn addresses(&self) -> io::Result<proxy_protocol::Addresses> {
        let Self { client, local, side } = self;
        let local = local.map_or_else(|| side.local_addr().map(|local| local.ip()), Ok)?;
        Ok((client.peer, SocketAddr::new(local, client.port)))
    }
}
