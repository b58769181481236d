//! Datagrams. All datagrams from one client address to one address of ours are a *flow*. A flow has one endpoint and a socket of
//! its own towards it, which tells the endpoint's answers to this client from those to others.
//!
//! ```text
//! client -> socket of the listener -> flows, by the client's address -> socket of the flow -> endpoint
//!                   ^------------------------------------------------------------'
//! ```
//!
//! A flow ends when it has been idle in both directions for a while, or when its endpoint is gone; the client's next datagram
//! begins a new flow. A client is never sent more than a backend has sent.

mod batch;
mod drops;
mod flow;

use std::{
    collections::hash_map::Entry,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use foldhash::HashMap;
use futures_util::FutureExt as _;
use portcullis_routing::{Backend, RouteKind, Serves, Spread, Transport};
use tokio::net::UdpSocket;
use tracing::{debug, error};

pub(crate) use self::drops::Drops;
use self::{
    batch::{Datagram, Kind},
    drops::Dropped,
    flow::{Flow, Sent},
};
use crate::{
    accept::{Port, Worker},
    admission::Held,
    stream::{self, Client, Route},
    upstream::{Choice, NoEndpoint, Seeker},
};

/// The socket of a listener on one worker thread, and the flows of that socket.
pub(crate) struct Listening {
    socket: UdpSocket,
    kind: Kind,
    port: Arc<Port>,
    worker: Arc<Worker>,
    /// The task that reads the socket.
    held: Arc<Held>,
    flows: Mutex<HashMap<Key, Known>>,
    /// How many flows wait for the name of their backend.
    waiting: AtomicUsize,
    /// The maximum number of flows of this socket, and of streams and flows of the whole worker.
    most: (usize, usize),
}

/// What identifies a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: SocketAddr,
    /// Our address that the client sent to, if the socket is bound to several.
    asked: Option<IpAddr>,
}

/// A flow in the table.
#[derive(Clone)]
enum Known {
    Flow(Arc<Flow>),
    /// The name of the backend is being looked up; these datagrams wait for the result.
    Waiting(Arc<Mutex<Vec<Box<[u8]>>>>),
}

/// The maximum number of datagrams, and of their bytes, that one flow holds while the name of its backend is looked up.
const WAITING: usize = 8;
const WAITING_BYTES: usize = 16 << 10;
/// The maximum number of flows of one socket that wait for a name. Each holds up to [`WAITING_BYTES`], and anybody can begin
/// flows from forged source addresses.
const WAITING_FLOWS: usize = 256;

/// Serves a socket. After `stop`, existing flows are served until they end, and no new ones begin.
pub(crate) async fn serve(
    socket: std::net::UdpSocket,
    port: Arc<Port>,
    worker: Arc<Worker>,
    stop: impl Future<Output = ()>,
) {
    let held = Arc::new(Held::new());
    let listening = match Listening::new(socket, &port, worker, &held) {
        Ok(listening) => Arc::new(listening),
        Err(error) => return error!(%error, "a socket cannot be served"),
    };
    // Marked as busy: the socket is not an idle connection that could be closed to make room.
    held.begin();
    let (mut stop, mut stopping) = (pin!(stop), false);
    let listening = poll_fn(|cx| {
        stopping = stopping || stop.as_mut().poll(cx).is_ready();
        listening.poll(cx, stopping)
    });
    port.hold(held, pin!(listening)).await;
}

impl Listening {
    fn new(
        socket: std::net::UdpSocket,
        port: &Arc<Port>,
        worker: Arc<Worker>,
        held: &Arc<Held>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket)?;
        let kind = Kind::of_listener(&socket)?;
        // One port leaves a quarter of the places to other ports.
        let share = worker.shared.max_streams_of_worker();
        let most = ((share - share / 4).max(1), share);
        let (port, held) = (Arc::clone(port), Arc::clone(held));
        Ok(Self {
            socket,
            kind,
            port,
            worker,
            held,
            flows: Mutex::default(),
            waiting: AtomicUsize::new(0),
            most,
        })
    }

    fn poll(self: &Arc<Self>, cx: &mut Context<'_>, stopping: bool) -> Poll<()> {
        loop {
            if stopping && self.flows().is_empty() {
                return Poll::Ready(());
            }
            if self.socket.poll_recv_ready(cx).is_pending() {
                return Poll::Pending;
            }
            match batch::receive(&self.socket, self.kind, |datagram| self.received(datagram, stopping)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The error belongs to a datagram that was sent earlier; the socket still works.
                Err(error) => debug!(port = %self.port.key(), %error, "a datagram was lost"),
            }
        }
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drops(&self) -> &Drops {
        &self.worker.load.drops
    }

    /// Handles a datagram from a client.
    fn received(self: &Arc<Self>, datagram: Datagram<'_>, stopping: bool) {
        let key = Key { client: datagram.from, asked: datagram.to };
        let known = self.flows().get(&key).cloned();
        let tried = match known {
            Some(Known::Flow(flow)) => match flow.send(self, datagram.bytes) {
                Sent::Done => return,
                Sent::Lost => return self.drops().note(Dropped::Send),
                Sent::Over(endpoint) => Some(endpoint),
            },
            Some(Known::Waiting(waiting)) => {
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = waiting.iter().map(|datagram| datagram.len()).sum::<usize>();
                if waiting.len() >= WAITING || bytes + datagram.bytes.len() > WAITING_BYTES {
                    return self.drops().note(Dropped::Full);
                }
                return waiting.push(datagram.bytes.into());
            }
            None => None,
        };
        if stopping {
            return self.drops().note(Dropped::Closing);
        }
        if let Err(why) = self.begin(key, datagram.bytes, tried) {
            self.drops().note(why);
        }
    }

    /// Begins a flow with its first datagram. Avoids the endpoint `tried` if there is another one.
    fn begin(self: &Arc<Self>, key: Key, first: &[u8], tried: Option<SocketAddr>) -> Result<(), Dropped> {
        let Worker { shared, load, outward, .. } = &*self.worker;
        if key.client.port() == 0 || outward.dialler.is_ours(Transport::Udp, key.client) {
            return Err(Dropped::Source);
        }
        let plan = self.plan(key.client)?;
        if self.flows().len() >= self.most.0 || shared.is_full(load) {
            return Err(Dropped::Full);
        }
        let (outward, backend, kind) = (Arc::clone(outward), Arc::clone(&plan.backend), plan.kind);
        let mut choosing = Box::pin(async move {
            let seeker = Seeker { kind, spread: Spread::LessLoaded, tried: tried.as_slice() };
            outward.dialler.choose_for(Transport::Udp, &backend, seeker).await
        });
        if let Some(choice) = choosing.as_mut().now_or_never() {
            let flow = self.connect(key, plan, choice)?;
            return match flow.send(self, first) {
                Sent::Done => Ok(()),
                Sent::Lost | Sent::Over(_) => Err(Dropped::Send),
            };
        }
        if self.waiting.load(Ordering::Relaxed) >= WAITING_FLOWS || first.len() > WAITING_BYTES {
            return Err(Dropped::Full);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Arc::new(Mutex::new(vec![first.into()]));
        self.flows().insert(key, Known::Waiting(Arc::clone(&waiting)));
        // The lookup does not keep a socket open that is being closed.
        let listening = Arc::downgrade(self);
        tokio::spawn(async move {
            let choice = choosing.await;
            if let Some(listening) = listening.upgrade() {
                listening.found(key, plan, choice, &waiting);
            }
        });
        Ok(())
    }

    /// Chooses the backend of a new flow.
    fn plan(&self, client: SocketAddr) -> Result<Plan, Dropped> {
        let table = self.worker.shared.table.load();
        let port = table.ports.get(&self.port.key()).ok_or(Dropped::NoRoute)?;
        let listener = port.listener("").ok_or(Dropped::NoRoute)?;
        let Serves::Datagram(Some(rule)) = &listener.serves else { return Err(Dropped::NoRoute) };
        let backend = stream::choose(rule).map_err(|(rejection, _)| Dropped::of(rejection))?;
        Ok(Plan {
            client: Client { peer: client, port: port.for_clients() },
            route: Route { listener: Some(Arc::clone(&listener.id)), rule: Some(Arc::clone(rule)) },
            kind: rule.route.kind,
            backend,
        })
    }

    fn connect(
        self: &Arc<Self>,
        key: Key,
        plan: Plan,
        choice: Result<Choice, NoEndpoint>,
    ) -> Result<Arc<Flow>, Dropped> {
        let choice = choice.map_err(|none| Dropped::of(none.rejection().0))?;
        let place = self.worker.load.stream_place(self.most.1).ok_or(Dropped::Full)?;
        let flow = Flow::connect(key, &plan.backend, choice, place).map_err(|_| Dropped::Full)?;
        let flow = Arc::new(flow);
        self.flows().insert(key, Known::Flow(Arc::clone(&flow)));
        tokio::spawn(flow::run(Arc::clone(&flow), Arc::clone(self), plan));
        Ok(flow)
    }

    /// Connects a flow once the name of its backend has been looked up.
    fn found(
        self: &Arc<Self>,
        key: Key,
        plan: Plan,
        choice: Result<Choice, NoEndpoint>,
        waiting: &Mutex<Vec<Box<[u8]>>>,
    ) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
        match self.connect(key, plan, choice) {
            Ok(flow) => {
                let lost = waiting.iter().filter(|datagram| !matches!(flow.send(self, datagram), Sent::Done));
                lost.for_each(|_| self.drops().note(Dropped::Send));
            }
            Err(why) => {
                self.flows().remove(&key);
                waiting.iter().for_each(|_| self.drops().note(why));
                self.held.wake();
            }
        }
    }

    /// Removes a flow that has ended.
    fn leave(&self, flow: &Arc<Flow>) {
        let mut flows = self.flows();
        if let Entry::Occupied(entry) = flows.entry(flow.key)
            && matches!(entry.get(), Known::Flow(known) if Arc::ptr_eq(known, flow))
        {
            entry.remove();
        }
        if flows.is_empty() {
            // A socket that is being closed waits for its last flow.
            self.held.wake();
        }
    }
}

/// The backend of a new flow, and why it was chosen.
struct Plan {
    client: Client,
    route: Route,
    kind: RouteKind,
    backend: Arc<Backend>,
}
