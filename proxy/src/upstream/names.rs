//! Addresses of DNS names (ExternalName): looked up as their TTL asks, kept where a new look-up fails.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use portcullis_routing::{EndpointPool, Endpoints};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

/// A TTL below this would cost a look-up for each request.
const MIN_TTL: Duration = Duration::from_secs(1);
/// A TTL beyond this would keep a changed name from being seen.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// After a look-up that failed, the next one is made so much later.
const RETRY: Duration = Duration::from_secs(5);
/// How long a request waits for the first look-up of a name.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Names come from configured objects; this bounds what is left of those that went.
const MAX_NAMES: usize = 10_000;
/// The same of names that have the host of a request in them, which clients choose.
const MAX_NAMES_OF_REQUESTS: usize = 1_000;

/// The addresses of DNS names. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    known: Arc<Mutex<Known>>,
    most: usize,
    source: Source,
}

/// Who knows the addresses of a name.
#[derive(Clone, Debug)]
enum Source {
    /// These servers; those of the system where there are none.
    Servers(Arc<[SocketAddr]>),
    #[cfg(test)]
    Test(fn() -> Result<Found, String>),
}

/// Addresses, and how long they hold.
type Found = (Vec<IpAddr>, Duration);

/// By name and port.
type Known = HashMap<(Box<str>, u16), Arc<Name>>;

#[derive(Debug)]
struct Name {
    endpoints: EndpointPool,
    state: Mutex<State>,
    /// Held by whoever looks it up, so that others wait for that look-up or go on with what is known.
    looking_up: AsyncMutex<()>,
}

#[derive(Debug)]
struct State {
    found: bool,
    until: Instant,
}

impl Names {
    /// Asks these name servers; those of the system where there are none.
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        Self { known: Arc::default(), most: MAX_NAMES, source: Source::Servers(servers.into()) }
    }

    /// The same for names that have the host of a request in them. They do not push out others.
    pub(crate) fn of_requests(&self) -> Self {
        Self { known: Arc::default(), most: MAX_NAMES_OF_REQUESTS, source: self.source.clone() }
    }

    /// The endpoints of a name; `None` where it has never been found. Waits only while nothing is known.
    pub(crate) async fn endpoints(&self, host: &str, port: u16) -> Option<Arc<Endpoints>> {
        let name = self.name(host, port);
        match name.state() {
            (_, true) => {}
            (true, false) => name.refresh_behind(&self.source, host, port),
            (false, false) => name.look_up(&self.source, host, port).await,
        }
        name.found()
    }

    /// Returns the endpoints of a name that are known now, without a lookup; `None` if the name has never been found.
    pub(crate) fn known(&self, host: &str, port: u16) -> Option<Arc<Endpoints>> {
        self.name(host, port).found()
    }

    fn name(&self, host: &str, port: u16) -> Arc<Name> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.most {
            known.clear();
        }
        Arc::clone(known.entry((host.into(), port)).or_default())
    }
}

impl Default for Name {
    fn default() -> Self {
        Self {
            endpoints: EndpointPool::new(Endpoints::Addresses(Box::default())),
            state: Mutex::new(State { found: false, until: Instant::now() }),
            looking_up: AsyncMutex::default(),
        }
    }
}

impl Name {
    /// Whether it was ever found, and whether it need not be looked up now.
    fn state(&self) -> (bool, bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.found, Instant::now() < state.until)
    }

    fn found(&self) -> Option<Arc<Endpoints>> {
        self.state().0.then(|| Arc::clone(&self.endpoints.load()))
    }

    fn refresh_behind(self: &Arc<Self>, source: &Source, host: &str, port: u16) {
        if self.looking_up.try_lock().is_err() {
            return;
        }
        let (name, source, host) = (Arc::clone(self), source.clone(), Box::<str>::from(host));
        tokio::spawn(async move { name.look_up(&source, &host, port).await });
    }

    async fn look_up(&self, source: &Source, host: &str, port: u16) {
        let _alone = self.looking_up.lock().await;
        if self.state().1 {
            return;
        }
        let answer = tokio::time::timeout(LOOK_UP_TIMEOUT, source.resolve(host)).await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(Ok((addresses, ttl))) if !addresses.is_empty() => {
                let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
                self.endpoints.store_addresses(&addresses);
                *state = State { found: true, until: Instant::now() + ttl.clamp(MIN_TTL, MAX_TTL) };
            }
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error,
                    Ok(Ok(_)) => "no address".to_owned(),
                    Err(_) => "no response in time".to_owned(),
                };
                tracing::warn!(host, why, kept = state.found, "looking up the name of a backend failed");
                state.until = Instant::now() + RETRY;
            }
        }
    }
}

impl Source {
    async fn resolve(&self, host: &str) -> Result<Found, String> {
        let servers = match self {
            Self::Servers(servers) => servers,
            #[cfg(test)]
            Self::Test(answer) => return answer(),
        };
        // The name is a whole one: without its last dot it would be tried in every search domain of the pod first.
        let absolute = format!("{}.", host.trim_end_matches('.'));
        let found = resolver(servers).lookup_ip(absolute).await.map_err(|error| error.to_string())?;
        let ttl = found.valid_until().saturating_duration_since(std::time::Instant::now());
        Ok((found.iter().collect(), ttl))
    }
}

/// One resolver for each thread, since each worker has a runtime of its own, and all of them ask the same servers;
/// `/etc/hosts` comes first.
fn resolver(servers: &[SocketAddr]) -> TokioResolver {
    thread_local! {
        static RESOLVER: OnceLock<TokioResolver> = const { OnceLock::new() };
    }
    RESOLVER.with(|cell| cell.get_or_init(|| new_resolver(servers)).clone())
}

fn new_resolver(servers: &[SocketAddr]) -> TokioResolver {
    let of = |config| TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let builder = if servers.is_empty() {
        TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "no usable resolver configuration; only /etc/hosts is used");
            of(ResolverConfig::default())
        })
    } else {
        of(ResolverConfig::from_name_servers(servers.iter().map(name_server).collect()))
    };
    builder.build().expect("a resolver without TLS needs nothing that can fail")
}

fn name_server(at: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    thread_local! {
        static ANSWER: RefCell<Result<Found, String>> = const { RefCell::new(Err(String::new())) };
        static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    fn names() -> Names {
        let answer = || {
            ASKED.set(ASKED.get() + 1);
            ANSWER.with_borrow(Clone::clone)
        };
        Names { source: Source::Test(answer), ..Names::new(&[]) }
    }

    fn say(ip: &str, ttl: u64) {
        ANSWER.set(Ok((vec![ip.parse().unwrap()], Duration::from_secs(ttl))));
    }

    async fn address(names: &Names) -> Option<SocketAddr> {
        let endpoints = names.endpoints("db.example", 5432).await?;
        // What is looked up behind has its turn.
        tokio::task::yield_now().await;
        endpoints.pick(0, &[]).map(|endpoint| endpoint.address)
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_when_its_ttl_has_passed_and_behind_the_request() {
        let (names, old, new) = (names(), "10.0.0.1:5432".parse().ok(), "10.0.0.2:5432".parse().ok());
        say("10.0.0.1", 30);
        assert_eq!((address(&names).await, ASKED.get()), (old, 1));
        say("10.0.0.2", 30);
        pass(29).await;
        assert_eq!((address(&names).await, ASKED.get()), (old, 1));
        pass(2).await;
        assert_eq!((address(&names).await, ASKED.get()), (old, 2));
        assert_eq!((address(&names).await, ASKED.get()), (new, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_is_kept_while_look_ups_fail() {
        let (names, known) = (names(), "10.0.0.1:5432".parse().ok());
        say("10.0.0.1", 30);
        address(&names).await;
        ANSWER.set(Err("no such server".into()));
        for _ in 0..10 {
            pass(31).await;
            assert_eq!(address(&names).await, known);
        }
        assert_eq!(ASKED.get(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_of_nobody_is_not_asked_for_with_each_request() {
        let names = names();
        ANSWER.set(Err("no such name".into()));
        for _ in 0..10 {
            assert_eq!(address(&names).await, None);
        }
        assert_eq!(ASKED.get(), 1);
        pass(6).await;
        say("10.0.0.1", 30);
        assert_eq!(address(&names).await, "10.0.0.1:5432".parse().ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ttl_of_nothing_still_saves_look_ups() {
        let names = names();
        say("10.0.0.1", 0);
        for _ in 0..10 {
            address(&names).await;
        }
        assert_eq!(ASKED.get(), 1);
    }

    /// A server that knows 10.0.0.9 for every name of the top-level domain `told`, and says of others that there are none.
    async fn name_server() -> SocketAddr {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                let end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap();
                let known = query[..end].ends_with(b"\x04told");
                let is_a = known && query[end + 1..end + 3] == [0, 1];
                let flags = if known { [0x81, 0x80] } else { [0x81, 0x83] };
                let counts = [0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
                let answer: &[u8] =
                    if is_a { &[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 0, 0, 9] } else { &[] };
                let reply = [&query[..2], &flags, &counts, &query[12..end + 5], answer].concat();
                socket.send_to(&reply, client).await.unwrap();
            }
        });
        at
    }

    #[tokio::test]
    async fn a_name_server_that_is_told_is_asked_instead_of_the_systems() {
        let names = Names::new(&[name_server().await]);
        let found = names.endpoints("db.told", 5432).await.unwrap();
        assert_eq!(found.pick(0, &[]).map(|endpoint| endpoint.address), "10.0.0.9:5432".parse().ok());
        assert!(names.endpoints("db.example", 5432).await.is_none());
    }
}
