//! Backends as pingora sees them: endpoints to connect to, peers, their identity, and the addresses of DNS names.

pub(crate) mod connections;
pub(crate) mod dial;
pub(crate) mod kept;
pub(crate) mod names;
pub(crate) mod peer;
pub(crate) mod refusals;
mod relayed;
mod said;
pub(crate) mod tls;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
};

use portcullis_routing::{
    Backend, Draw, Endpoint, EndpointPool, Endpoints, Picked, PortKey, Rejection, RouteKind, Spread, Table,
    Transport, backend::InFlight,
};

use crate::{clock, random, shared::Shared};
pub(crate) use dial::Origin;
use dial::{Permitted, Policy, Refusal};
use names::Names;

/// Finds out where to connect to. One for each worker thread; clones share what is known of names.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    shared: Arc<Shared>,
    names: Names,
    /// Names that have the host of a request in them.
    names_of_requests: Names,
}

/// An endpoint that was chosen, and whether others are left.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Counts the request at the endpoint.
    pub(crate) in_flight: InFlight,
    /// The endpoint's address.
    pub(crate) address: Permitted,
    /// Whether an endpoint is neither this one nor one of those tried before, and may be tried next.
    pub(crate) others: bool,
    /// The session that begins with this choice.
    pub(crate) session: Option<Box<str>>,
    /// The endpoint, where it is wanted how long it takes to answer.
    pub(crate) timed: Option<Arc<Endpoint>>,
}

/// Who asks for an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeker<'r> {
    /// The kind of the route.
    pub(crate) kind: RouteKind,
    pub(crate) spread: Spread<'r>,
    /// The endpoints that were tried before for the same request.
    pub(crate) tried: &'r [SocketAddr],
}

/// Why there is no endpoint to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEndpoint {
    /// There is none now.
    Missing,
    /// There are some, and none of them may be connected to.
    Refused,
}

/// Where the first endpoint that was chosen is refused, so many of a backend's are looked at for others.
const LOOKED_AT: usize = 256;

impl Dialler {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let names = Names::new(&shared.options.name_servers);
        let names_of_requests = names.of_requests();
        Self { shared, names, names_of_requests }
    }

    /// Chooses an endpoint of a backend for a route of this kind; not one of those tried before, while there are others.
    ///
    /// # Errors
    /// Where there is none that may be connected to. Refused ones are logged and counted here.
    pub(crate) async fn choose(
        &self,
        backend: &Backend,
        kind: RouteKind,
        tried: &[SocketAddr],
    ) -> Result<Choice, NoEndpoint> {
        self.choose_for(Transport::Tcp, backend, Seeker { kind, spread: Spread::LessLoaded, tried }).await
    }

    /// Chooses an endpoint for traffic over this transport. Waits only if a name has to be looked up.
    ///
    /// # Errors
    /// As [`Self::choose`].
    pub(crate) async fn choose_for(
        &self,
        transport: Transport,
        backend: &Backend,
        seeker: Seeker<'_>,
    ) -> Result<Choice, NoEndpoint> {
        let Outcome { choice, refused } = match &**backend.endpoints.load() {
            Endpoints::Name { host, port } => {
                // Boxed, so that the requests of other backends do not pay for a resolver's size.
                let host = host.clone();
                Box::pin(self.choose_by_name(transport, host, *port, backend, seeker)).await
            }
            endpoints => {
                let candidates =
                    Candidates { pool: &backend.endpoints, endpoints, origin: Origin::Endpoints };
                self.choose_of(transport, candidates, &seeker)
            }
        };
        self.chosen(backend, choice, refused)
    }

    /// Chooses one of the endpoints of a Service. Over TCP, an endpoint is checked again only if the table or the
    /// proxy's own addresses have changed since it was permitted.
    fn choose_of(&self, transport: Transport, candidates: Candidates<'_>, seeker: &Seeker<'_>) -> Outcome {
        let Some(picked) = candidates.pick(seeker) else { return Outcome::default() };
        // A permission is for TCP only. For datagrams, the same address may be that of one of our UDP listeners.
        if transport == Transport::Tcp
            && let Some(address) = Permitted::known(picked.endpoint, self.shared.version.now())
        {
            return Outcome { choice: Some(candidates.chosen(picked, address, seeker)), refused: None };
        }
        self.with_policy(transport, |policy| candidates.check(picked, seeker, policy))
    }

    /// Chooses an endpoint of a service that an Ingress names by its URL. `by_request`: its name has the host of a request in
    /// it.
    ///
    /// # Errors
    /// As [`Self::choose`].
    pub(crate) async fn choose_service(
        &self,
        backend: &Backend,
        origin: Origin<'_>,
        by_request: bool,
    ) -> Result<Choice, NoEndpoint> {
        let now = backend.endpoints.load();
        let found = match &**now {
            Endpoints::Name { host, port } => {
                let names = if by_request { &self.names_of_requests } else { &self.names };
                names.endpoints(host, *port).await
            }
            Endpoints::Addresses(_) => Some(Arc::clone(&now)),
        };
        let Some(endpoints) = found else { return Err(NoEndpoint::Missing) };
        let seeker = Seeker { kind: RouteKind::Ingress, spread: Spread::LessLoaded, tried: &[] };
        let candidates = Candidates { pool: &backend.endpoints, endpoints: &endpoints, origin };
        let Outcome { choice, refused } =
            self.with_policy(Transport::Tcp, |policy| candidates.choose(&seeker, policy));
        self.chosen(backend, choice, refused)
    }

    fn chosen(
        &self,
        backend: &Backend,
        choice: Option<Choice>,
        refused: Option<(Option<SocketAddr>, Refusal)>,
    ) -> Result<Choice, NoEndpoint> {
        let none = if refused.is_some() { NoEndpoint::Refused } else { NoEndpoint::Missing };
        if let Some((address, refusal)) = refused {
            self.shared.refusals.note(&backend.key, address, &refusal);
        }
        choice.ok_or(none)
    }

    /// Whether another attempt may be made at an address of a backend.
    ///
    /// # Errors
    /// Where it may not be connected to; logged and counted here.
    pub(crate) fn permit(
        &self,
        backend: &Backend,
        kind: RouteKind,
        address: SocketAddr,
    ) -> Result<Permitted, NoEndpoint> {
        let origin = match &**backend.endpoints.load() {
            Endpoints::Name { .. } => Origin::Name { namespace: &backend.key.namespace, kind },
            Endpoints::Addresses(_) => Origin::Endpoints,
        };
        self.with_policy(Transport::Tcp, |policy| policy.check(address, origin)).map_err(|refusal| {
            self.shared.refusals.note(&backend.key, Some(address), &refusal);
            NoEndpoint::Refused
        })
    }

    /// Whether a listener of ours has this address.
    pub(crate) fn is_ours(&self, transport: Transport, address: SocketAddr) -> bool {
        self.with_policy(transport, |policy| {
            let ip = address.ip();
            (policy.own.addresses.contains(&ip) || ip.is_loopback()) && (policy.listens)(address)
        })
    }

    /// Whether a connection to an address may come back to us. Some of our addresses we do not know, such as that of a load
    /// balancer; but what comes back has this host.
    pub(crate) fn may_come_back(&self, address: SocketAddr, host: &str) -> bool {
        let is_known = self.is_ours(Transport::Tcp, address)
            || self.with_policy(Transport::Tcp, |policy| policy.own.addresses.contains(&address.ip()));
        // A load balancer has a name that is known outside.
        let is_name = host.parse::<IpAddr>().is_err() && host.contains('.') && !is_of_cluster(host);
        let has_host = |table: &Table| table.ports.values().any(|port| port.listener(host).is_some());
        is_known || (is_name && self.shared.with_table(has_host))
    }

    /// Whether a listener of ours is for this host, and not for every host.
    pub(crate) fn has_listener_for(&self, host: &str) -> bool {
        let is_named = |port: &portcullis_routing::Port| {
            let any = port.listener("");
            port.listener(host).is_some_and(|found| any.is_none_or(|any| !Arc::ptr_eq(found, any)))
        };
        self.shared.with_table(|table: &Table| table.ports.values().any(|port| is_named(port)))
    }

    /// Returns the backend's endpoint with this address; an empty reference if there is none.
    pub(crate) fn endpoint(&self, backend: &Backend, address: SocketAddr) -> Weak<Endpoint> {
        let of = |endpoints: &Endpoints| endpoints.find(address).map(Arc::downgrade);
        let found = match &**backend.endpoints.load() {
            Endpoints::Name { host, port } => self.names.known(host, *port).and_then(|known| of(&known)),
            endpoints => of(endpoints),
        };
        found.unwrap_or_default()
    }

    async fn choose_by_name(
        &self,
        transport: Transport,
        host: Box<str>,
        port: u16,
        backend: &Backend,
        seeker: Seeker<'_>,
    ) -> Outcome {
        if let Err(refusal) = self.with_policy(transport, |policy| policy.check_names()) {
            return Outcome { choice: None, refused: Some((None, refusal)) };
        }
        let Some(endpoints) = self.names.endpoints(&host, port).await else { return Outcome::default() };
        let origin = Origin::Name { namespace: &backend.key.namespace, kind: seeker.kind };
        let candidates = Candidates { pool: &backend.endpoints, endpoints: &endpoints, origin };
        self.with_policy(transport, |policy| candidates.choose(&seeker, policy))
    }

    fn with_policy<T>(&self, transport: Transport, ask: impl FnOnce(&Policy<'_>) -> T) -> T {
        let Shared { options, version, .. } = &*self.shared;
        // Before anything else: what is read after it is not older.
        let version = (transport == Transport::Tcp).then(|| version.now());
        let listens = |address: SocketAddr| {
            let is_ours = |ip| dial::is_bound_by(address, SocketAddr::new(ip, address.port()));
            let port = PortKey { transport, number: address.port() };
            options.bind.iter().any(|ip| is_ours(*ip))
                && self.shared.with_table(|table| table.ports.contains_key(&port))
        };
        let serves = |number: u16| {
            let has = |table: &Table| {
                table.ports.contains_key(&PortKey { transport, number })
                    || table
                        .ports
                        .iter()
                        .any(|(key, port)| key.transport == transport && port.number == number)
            };
            self.shared.with_table(has)
        };
        self.shared.with_own(|own| {
            ask(&Policy {
                local: options.local_backends,
                names: options.external_names,
                own,
                cluster: &options.cluster_addresses,
                listens: &listens,
                serves: &serves,
                version,
            })
        })
    }
}

/// Whether a name is that of a Service of the cluster.
pub(crate) fn is_of_cluster(host: &str) -> bool {
    host.trim_end_matches('.').split('.').nth(2).is_some_and(|label| label == "svc")
}

/// What comes of a choice.
#[derive(Debug, Default)]
struct Outcome {
    choice: Option<Choice>,
    /// The address that was refused first (`None`: the name was) and why.
    refused: Option<(Option<SocketAddr>, Refusal)>,
}

/// The endpoints that one is chosen of.
#[derive(Clone, Copy, Debug)]
struct Candidates<'c> {
    pool: &'c EndpointPool,
    /// Those of the pool, or of its name.
    endpoints: &'c Endpoints,
    origin: Origin<'c>,
}

impl<'c> Candidates<'c> {
    fn choose(self, seeker: &Seeker<'_>, policy: &Policy<'_>) -> Outcome {
        match self.pick(seeker) {
            Some(picked) => self.check(picked, seeker, policy),
            None => Outcome::default(),
        }
    }

    /// Takes the endpoint that was picked if it may be connected to, and else another one.
    fn check(self, picked: Picked<'_>, seeker: &Seeker<'_>, policy: &Policy<'_>) -> Outcome {
        match policy.check_endpoint(picked.endpoint, self.origin) {
            Ok(address) => Outcome { choice: Some(self.chosen(picked, address, seeker)), refused: None },
            Err(refusal) => {
                let refused = Some((Some(picked.endpoint.address), refusal));
                let permitted = permitted(self.endpoints, policy, self.origin);
                let permitted = Candidates { endpoints: &permitted, ..self };
                let choice = permitted.pick(seeker).and_then(|picked| {
                    let address = policy.check(picked.endpoint.address, self.origin).ok()?;
                    Some(permitted.chosen(picked, address, seeker))
                });
                Outcome { choice, refused }
            }
        }
    }

    fn pick(&self, Seeker { spread, tried, .. }: &Seeker<'_>) -> Option<Picked<'c>> {
        let draw = Draw { random: random::number(), ..Draw::default() };
        let draw = match spread {
            Spread::Faster => Draw { milliseconds: clock::milliseconds(), ..draw },
            Spread::Session { .. } => Draw { seconds: clock::seconds(), ..draw },
            Spread::LessLoaded | Spread::RoundRobin | Spread::Hash { .. } => draw,
        };
        self.pool.pick(self.endpoints, *spread, draw, tried)
    }

    fn chosen(
        &self,
        picked: Picked<'_>,
        address: Permitted,
        Seeker { spread, tried, .. }: &Seeker<'_>,
    ) -> Choice {
        let Picked { endpoint, may_move, session } = picked;
        Choice {
            in_flight: endpoint.begin(),
            address,
            others: may_move && others(self.endpoints, endpoint, tried),
            session,
            timed: matches!(spread, Spread::Faster).then(|| Arc::clone(endpoint)),
        }
    }
}

/// The endpoints that may be connected to.
fn permitted(endpoints: &Endpoints, policy: &Policy<'_>, origin: Origin<'_>) -> Endpoints {
    let Endpoints::Addresses(all) = endpoints else { return Endpoints::Addresses(Box::default()) };
    let permitted = all.iter().take(LOOKED_AT).filter(|e| policy.check(e.address, origin).is_ok());
    Endpoints::Addresses(permitted.cloned().collect())
}

/// Whether an endpoint is neither this one nor one of those tried before.
fn others(endpoints: &Endpoints, endpoint: &Endpoint, tried: &[SocketAddr]) -> bool {
    match endpoints {
        Endpoints::Addresses(all) if all.len() > 1 => {
            all.iter().any(|e| e.address != endpoint.address && !tried.contains(&e.address))
        }
        _ => false,
    }
}

impl NoEndpoint {
    /// What the client is told.
    pub(crate) fn rejection(self) -> (Rejection, &'static str) {
        match self {
            Self::Missing => (Rejection::NoEndpoints, "the backend has no ready endpoint"),
            Self::Refused => {
                (Rejection::RefusedAddress, "requests must not be sent to the backend's address")
            }
        }
    }
}

#[cfg(test)]
mod tests;
