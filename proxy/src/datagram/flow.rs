//! A flow: the datagrams between one client and one endpoint.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use portcullis_routing::{Backend, Endpoints, backend::InFlight};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::{
    Dropped, Key, Listening, Plan,
    batch::{self, Kind},
};
use crate::{
    admission::Held,
    clock::{Ticks, Watch},
    load::StreamPlace,
    stream::{End, Moved, Record, Spoken},
    upstream::Choice,
};

/// How long a flow may be idle while its port is being closed: long enough for an outstanding answer.
const CLOSING_IDLE: Duration = Duration::from_secs(5);

/// The datagrams between one client and one endpoint.
pub(super) struct Flow {
    pub(super) key: Key,
    /// Connected to the endpoint, so that no other sender can answer.
    socket: UdpSocket,
    kind: Kind,
    endpoint: InFlight,
    backend: Arc<Backend>,
    /// The backend's endpoints when the flow's endpoint was last found among them.
    seen: Mutex<Arc<Endpoints>>,
    watch: Watch,
    held: Arc<Held>,
    over: AtomicBool,
    _place: StreamPlace,
    received: AtomicU64,
    sent: AtomicU64,
}

/// The result of sending a client's datagram to the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The datagram was sent.
    Done,
    /// The datagram could not be sent.
    Lost,
    /// The datagram was not sent, because the flow's endpoint is gone. Holds the address of that endpoint.
    Over(SocketAddr),
}

impl Flow {
    /// Begins a flow to the chosen endpoint.
    ///
    /// # Errors
    /// If the system has no file descriptor or port for another socket.
    pub(super) fn connect(
        key: Key,
        backend: &Arc<Backend>,
        choice: Choice,
        place: StreamPlace,
    ) -> io::Result<Self> {
        let address = choice.address.address();
        let socket =
            Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.connect(&address.into())?;
        let held = Arc::new(Held::new());
        // Marked as busy: the flow is not an idle connection that could be closed to make room.
        held.begin();
        Ok(Self {
            key,
            socket: UdpSocket::from_std(socket.into())?,
            kind: Kind::of_backend(address),
            endpoint: choice.in_flight,
            backend: Arc::clone(backend),
            seen: Mutex::new(Arc::clone(&backend.endpoints.load())),
            watch: Watch::new(),
            held,
            over: AtomicBool::new(false),
            _place: place,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// Sends a datagram from the client to the endpoint.
    pub(super) fn send(&self, listening: &Listening, datagram: &[u8]) -> Sent {
        if self.over.load(Ordering::Relaxed) || !self.is_listed() {
            return self.end();
        }
        match SockRef::from(&self.socket).send(datagram) {
            Ok(_) => {
                self.received.fetch_add(datagram.len() as u64, Ordering::Relaxed);
                self.touch(listening);
                Sent::Done
            }
            // The error belongs to an earlier datagram: nothing listens at the endpoint's address any more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.end(),
            Err(_) => Sent::Lost,
        }
    }

    /// Whether the flow's endpoint is still one of the backend's endpoints. Without this check, a client that never
    /// stops sending would send to a removed endpoint for ever.
    fn is_listed(&self) -> bool {
        let now = self.backend.endpoints.load();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&seen, &now) {
            return true;
        }
        let is_listed = match &**now {
            Endpoints::Addresses(all) => all.iter().any(|endpoint| endpoint.address == self.address()),
            Endpoints::Name { .. } => true,
        };
        if is_listed {
            *seen = Arc::clone(&now);
        }
        is_listed
    }

    fn end(&self) -> Sent {
        self.over.store(true, Ordering::Relaxed);
        self.held.wake();
        Sent::Over(self.address())
    }

    fn touch(&self, listening: &Listening) {
        let idle = listening.worker.shared.options.udp_idle_timeout;
        let closing = listening.port.draining();
        self.watch.set(Ticks::of(if closing { idle.min(CLOSING_IDLE) } else { idle }));
    }

    /// Forwards the endpoint's datagrams to the client until the flow is over.
    fn poll(
        &self,
        cx: &mut Context<'_>,
        listening: &Listening,
        closing: &mut bool,
        record: &mut Record<'_>,
    ) -> Poll<End> {
        self.watch.set_waker(cx.waker());
        if listening.port.draining() && !std::mem::replace(closing, true) {
            self.touch(listening);
        }
        let end = loop {
            if self.over.load(Ordering::Relaxed) {
                break Poll::Ready(End::BackendLeft);
            }
            if self.socket.poll_recv_ready(cx).is_pending() {
                break Poll::Pending;
            }
            match self.receive(listening) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break Poll::Ready(End::BackendLeft),
            }
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        record.moved(Moved { received: count(&self.received), sent: count(&self.sent) });
        if end.is_pending() && self.watch.is_due() { Poll::Ready(End::Idle) } else { end }
    }

    fn receive(&self, listening: &Listening) -> io::Result<()> {
        let Key { client, asked } = self.key;
        batch::receive_from_backend(&self.socket, self.kind, |datagram| {
            match batch::reply(&listening.socket, client, asked, datagram.bytes) {
                Ok(()) => {
                    self.sent.fetch_add(datagram.bytes.len() as u64, Ordering::Relaxed);
                    self.touch(listening);
                }
                Err(_) => listening.drops().note(Dropped::Send),
            }
        })
    }
}

/// Removes a flow from the table when this is dropped.
struct Listed<'f>(&'f Arc<Flow>, &'f Listening);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.1.leave(self.0);
    }
}

/// Runs a flow to its end.
pub(super) async fn run(flow: Arc<Flow>, listening: Arc<Listening>, plan: Plan) {
    let held = Arc::clone(&flow.held);
    let running = pin!(async {
        let _listed = Listed(&flow, &listening);
        let load = &listening.worker.load;
        let _in_flight = load.request();
        let mut record = Record::begin(load, Spoken::Udp, plan.client, None, None, plan.route);
        record.backend = Some(plan.backend);
        record.endpoint = Some(flow.address());
        record.attempts = 1;
        let mut closing = false;
        let end = poll_fn(|cx| flow.poll(cx, &listening, &mut closing, &mut record)).await;
        record.end(end);
    });
    listening.port.hold(held, running).await;
}
