//! How many connections clients may hold at a time, and which of them go when there is no room for another.
//!
//! A connection counts from accept until its socket is closed. When a limit is reached, idle connections are asked to close,
//! the ones idle longest first. If none is idle, the new connection is closed. All of this work is done when a connection
//! begins; requests only mark their connection as busy ([`Held`]).

mod clients;
mod held;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use portcullis_routing::PortKey;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tracing::warn;

use self::clients::{Clients, Shed};
pub(crate) use self::{clients::Client, held::Held};
use crate::{
    accept::Port,
    load::{Connection, Load},
};

/// How many connections clients may hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// All clients together.
    pub process: usize,
    /// On one port.
    pub port: usize,
    /// From one client: an IPv4 address or a /64 network of IPv6.
    pub client: Option<usize>,
    /// File descriptors available for clients' connections and for listening sockets.
    pub descriptors: usize,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// [`ConnectionLimits::process`], or its descriptors.
    Process,
    /// [`ConnectionLimits::port`].
    Port,
    /// [`ConnectionLimits::client`].
    Client,
}

/// Connections that were closed because a limit was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverLimit {
    /// Idle connections, closed to make room.
    pub shed: u64,
    /// New connections, closed because none was idle.
    pub refused: u64,
}

/// Every limit.
pub(crate) const LIMITS: [Limit; 3] = [Limit::Process, Limit::Port, Limit::Client];

/// How long a new connection waits for idle ones to close. They close at once unless their worker is stuck.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// After this time more idle connections are asked to close: one that gets a request before it closes stays open.
const ROOM_CHECK: Duration = Duration::from_millis(20);
/// If no connection was idle, the next search waits this long for each connection that the last one examined, roughly 50 times
/// the cost of examining it. There may be hundreds of thousands of connections, and each new one would trigger a search. The
/// cost is fixed rather than measured: a thread preempted during its search would refuse clients for too long.
const SEARCH_PAUSE: Duration = Duration::from_micros(5);
/// One connection in this many is asked to close at a time, so that not every new connection has to search.
const BATCH: usize = 32;
/// How often it is logged that connections are refused.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The state of all client connections that the limits need.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: ArcSwap<ConnectionLimits>,
    all: Count,
    listening: AtomicUsize,
    /// Of all worker threads.
    ports: Mutex<Vec<Weak<Port>>>,
    clients: Clients,
    /// A connection has ended.
    room: Notify,
    over: [Tally; LIMITS.len()],
}

/// Connections of the process or of a port.
#[derive(Debug, Default)]
pub(crate) struct Count {
    open: AtomicUsize,
    /// No search for idle connections before this time.
    no_search_until: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Tally {
    shed: AtomicU64,
    refused: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

/// An admitted connection. Dropping it frees its place; that happens after its socket is closed.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    port: Arc<Count>,
    held: Arc<Held>,
    client: Option<Client>,
    _counted: Connection,
}

impl Admission {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: ArcSwap::from_pointee(limits),
            all: Count::default(),
            listening: AtomicUsize::new(0),
            ports: Mutex::default(),
            clients: Clients::default(),
            room: Notify::new(),
            over: Default::default(),
        })
    }

    /// Registers a port of a worker thread.
    pub(crate) fn port(&self, key: PortKey) -> Arc<Port> {
        let mut ports = locked(&self.ports);
        ports.retain(|port| port.strong_count() > 0);
        let same = ports.iter().filter_map(Weak::upgrade).find(|port| port.key() == key);
        let port = Port::new(key, same.map(|port| Arc::clone(port.count())).unwrap_or_default());
        ports.push(Arc::downgrade(&port));
        port
    }

    /// Changes the limits; connections that are over a lower one stay.
    pub(crate) fn set_limits(&self, limits: ConnectionLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Sets the number of listening sockets.
    pub(crate) fn set_listening(&self, sockets: usize) {
        self.listening.store(sockets, Ordering::Relaxed);
    }

    /// Admits a new connection, or returns the limit that it exceeds.
    pub(crate) async fn enter(self: &Arc<Self>, port: &Port, load: &Arc<Load>) -> Result<Admitted, Limit> {
        if let Err(limit) = self.take(port) {
            // Boxed, so that the others do not pay for its size.
            Box::pin(self.make_room(limit, |limit| self.shed(limit, port), || self.take(port))).await?;
        }
        Ok(Admitted {
            admission: Arc::clone(self),
            port: Arc::clone(port.count()),
            held: Arc::new(Held::new()),
            client: None,
            _counted: load.connection(),
        })
    }

    /// The number of connections that clients may hold now.
    fn most(&self) -> usize {
        self.most_within(&self.limits.load())
    }

    fn most_within(&self, limits: &ConnectionLimits) -> usize {
        let descriptors = limits.descriptors.saturating_sub(self.listening.load(Ordering::Relaxed));
        limits.process.min(descriptors)
    }

    fn take(&self, port: &Port) -> Result<(), Limit> {
        let limits = self.limits.load();
        if !port.count().take(limits.port) {
            return Err(Limit::Port);
        }
        if !self.all.take(self.most_within(&limits)) {
            port.count().give_back();
            return Err(Limit::Process);
        }
        Ok(())
    }

    /// Waits until `take` succeeds. `shed` asks connections to close, and returns whether any is closing.
    async fn make_room(
        &self,
        first: Limit,
        shed: impl Fn(Limit) -> bool,
        take: impl Fn() -> Result<(), Limit>,
    ) -> Result<(), Limit> {
        let waited = timeout(ROOM_TIMEOUT, async {
            loop {
                // Registered before the attempt, so that a connection that ends right after it is noticed.
                let gone = self.room.notified();
                let Err(limit) = take() else { return Ok(()) };
                if !shed(limit) {
                    return Err(limit);
                }
                let _ = timeout(ROOM_CHECK, gone).await;
            }
        });
        let result = waited.await.unwrap_or(Err(first));
        if let Err(limit) = result {
            self.refused(limit);
        }
        result
    }

    /// Asks a batch of idle connections to close, unless some are closing already. Returns false if none is idle.
    fn shed(&self, limit: Limit, port: &Port) -> bool {
        let (count, most) = match limit {
            Limit::Port => (&**port.count(), self.limits.load().port),
            Limit::Process | Limit::Client => (&self.all, self.most()),
        };
        let mut no_search_until = locked(&count.no_search_until);
        if no_search_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let ports: Vec<_> = locked(&self.ports).iter().filter_map(Weak::upgrade).collect();
        let (mut idle, mut going, mut searched) = (Vec::<(Instant, Arc<Held>)>::new(), false, 0);
        for port in ports.iter().filter(|p| limit != Limit::Port || p.key() == port.key()) {
            port.each_held(|held| {
                searched += 1;
                if held.goes() {
                    going = true;
                } else if let Some(since) = held.idle_since() {
                    idle.push((since, Arc::clone(held)));
                }
            });
        }
        if going {
            return true;
        }
        let batch = (most / BATCH).max(1).min(idle.len());
        let Some(last) = batch.checked_sub(1) else {
            *no_search_until = Some(Instant::now() + SEARCH_PAUSE * searched);
            return false;
        };
        idle.select_nth_unstable_by_key(last, |(since, _)| *since);
        idle[..batch].iter().for_each(|(_, held)| held.ask_to_go());
        self.tally(limit).shed.fetch_add(batch as u64, Ordering::Relaxed);
        true
    }

    fn tally(&self, limit: Limit) -> &Tally {
        &self.over[limit as usize]
    }

    fn refused(&self, limit: Limit) {
        let tally = self.tally(limit);
        tally.refused.fetch_add(1, Ordering::Relaxed);
        let mut warned = locked(&tally.warned);
        if warned.is_some_and(|at| at.elapsed() < WARN_INTERVAL) {
            return;
        }
        *warned = Some(Instant::now());
        let ConnectionLimits { process, port, client, .. } = **self.limits.load();
        match limit {
            Limit::Process if self.most() < process => {
                warn!(
                    limit = self.most(),
                    "new connections are closed: no open files are left for clients; a higher limit of open files \
                     (ulimit -n) allows more connections"
                );
            }
            Limit::Process => {
                warn!(limit = process, "new connections are closed: --max-connections is reached");
            }
            Limit::Port => {
                warn!(limit = port, "new connections are closed: --max-connections-per-port is reached");
            }
            Limit::Client => {
                warn!(limit = client, "new connections are closed: --max-connections-per-client is reached");
            }
        }
    }

    /// Connections that were closed because a limit was reached.
    pub(crate) fn over_limit(&self) -> BTreeMap<Limit, OverLimit> {
        LIMITS
            .into_iter()
            .map(|limit| {
                let Tally { shed, refused, .. } = self.tally(limit);
                let [shed, refused] = [shed, refused].map(|count| count.load(Ordering::Relaxed));
                (limit, OverLimit { shed, refused })
            })
            .collect()
    }

    /// Connections by port.
    pub(crate) fn by_port(&self) -> BTreeMap<PortKey, usize> {
        let ports: Vec<_> = locked(&self.ports).iter().filter_map(Weak::upgrade).collect();
        ports.iter().map(|port| (port.key(), port.count().open.load(Ordering::Relaxed))).collect()
    }
}

impl Count {
    /// Takes a place, if there are fewer than `most`.
    fn take(&self, most: usize) -> bool {
        let taken = self.open.fetch_add(1, Ordering::Relaxed) < most;
        if !taken {
            self.give_back();
        }
        taken
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admitted {
    /// The part of the connection that other tasks see.
    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Counts the connection for a client, once the client's address is known.
    ///
    /// # Errors
    /// If the client has reached its limit and none of its connections is idle.
    pub(crate) async fn belongs_to(&mut self, address: IpAddr) -> Result<(), Limit> {
        let Some(most) = self.admission.limits.load().client else { return Ok(()) };
        let client = Client::of(address);
        let Self { admission, held, .. } = self;
        let take = || if admission.clients.take(client, held, most) { Ok(()) } else { Err(Limit::Client) };
        if let Err(limit) = take() {
            let shed = |_| {
                let shed = admission.clients.shed(client);
                let asked = u64::from(shed == Some(Shed::Asked));
                admission.tally(Limit::Client).shed.fetch_add(asked, Ordering::Relaxed);
                shed.is_some()
            };
            Box::pin(admission.make_room(limit, shed, take)).await?;
        }
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.admission.clients.leave(client, &self.held);
        }
        self.port.give_back();
        self.admission.all.give_back();
        self.admission.room.notify_waiters();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
