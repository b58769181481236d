//! Which ports are bound: brings the sockets in line with the table, and says how that went.

mod bind;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use portcullis_routing::{PortKey, Transport};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

pub(crate) use self::bind::Bound as Socket;
use crate::{Bindings, admission::Admission, worker::Command};

/// The ports that are to be bound; counts up, so that somebody can wait for one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) generation: u64,
    /// Each with the number that its listeners have.
    pub(crate) ports: BTreeMap<PortKey, u16>,
}

/// Binds and closes ports. One for all worker threads: each gets a socket of every address.
pub(crate) struct Listeners {
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) bindings: watch::Sender<Arc<Bindings>>,
    /// The generation that has been carried out.
    pub(crate) done: watch::Sender<u64>,
    /// Told how many sockets there are.
    pub(crate) admission: Arc<Admission>,
    pub(crate) bound: BTreeMap<PortKey, Bound>,
}

/// A port with sockets.
#[derive(Debug)]
pub(crate) struct Bound {
    /// What its listeners called it when it was bound first.
    number: u16,
    ips: BTreeSet<IpAddr>,
}

/// How long to wait before a port that could not be bound is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Listeners {
    /// Works until nobody can want anything else any more.
    pub(crate) async fn run(mut self) {
        let mut retry = RETRY.0;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.close_others(&wanted.ports).await;
            self.release(&wanted.ports).await;
            let bindings: Bindings =
                wanted.ports.iter().map(|(port, number)| (*port, self.open(*port, *number))).collect();
            let sockets = self.bound.values().map(|bound| bound.ips.len()).sum::<usize>();
            self.admission.set_listening(sockets * self.workers.len());
            let incomplete = bindings.values().any(Result::is_err);
            self.report(bindings, &wanted.ports);
            self.done.send_replace(wanted.generation);
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => retry = RETRY.0,
                    Err(_) => return,
                },
                () = tokio::time::sleep(retry), if incomplete => retry = (retry * 2).min(RETRY.1),
            }
        }
    }

    async fn close_others(&mut self, wanted: &BTreeMap<PortKey, u16>) {
        let (keep, close) =
            std::mem::take(&mut self.bound).into_iter().partition(|(p, _)| wanted.contains_key(p));
        self.bound = keep;
        let mut closing = Vec::new();
        let close: BTreeMap<PortKey, Bound> = close;
        for (port, bound) in close {
            info!(port = %PortKey { number: bound.number, ..port }, "closing");
            for worker in &self.workers {
                let (closed, wait) = oneshot::channel();
                let _ = worker.send(Command::Close { port, closed });
                closing.push(wait);
            }
        }
        // Bound again only when no socket of ours is left: until then it could not be told from somebody else's.
        for wait in closing {
            let _ = wait.await;
        }
    }

    /// Ends the remaining flows of UDP ports that are to be bound again. The sockets of such a port stay open until its
    /// last flow has ended.
    async fn release(&self, wanted: &BTreeMap<PortKey, u16>) {
        let again = |port: &&PortKey| port.transport == Transport::Udp && !self.bound.contains_key(port);
        let mut releasing = Vec::new();
        for port in wanted.keys().filter(again) {
            for worker in &self.workers {
                let (released, wait) = oneshot::channel();
                let _ = worker.send(Command::Release { port: *port, released });
                releasing.push(wait);
            }
        }
        for wait in releasing {
            let _ = wait.await;
        }
    }

    /// Binds the addresses of a port that are not bound yet.
    fn open(&mut self, port: PortKey, number: u16) -> Result<(), String> {
        let mut problems = Vec::new();
        for ip in self.bind.clone() {
            if self.bound.get(&port).is_some_and(|bound| bound.ips.contains(&ip)) {
                continue;
            }
            let address = SocketAddr::new(ip, port.number);
            match bind::bind(address, port.transport, self.workers.len()) {
                Ok(sockets) => {
                    info!(port = %PortKey { number, ..port }, %address, "bound");
                    self.hand_out(port, number, ip, sockets);
                }
                Err(error) => problems.push(bind::explain(number, address, &error)),
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("; ")),
        }
    }

    fn hand_out(&mut self, port: PortKey, number: u16, ip: IpAddr, sockets: Vec<Socket>) {
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let _ = worker.send(Command::Open { port, sockets: vec![socket] });
        }
        self.bound.entry(port).or_insert_with(|| Bound { number, ips: BTreeSet::new() }).ips.insert(ip);
    }

    fn report(&self, new: Bindings, numbers: &BTreeMap<PortKey, u16>) {
        self.bindings.send_if_modified(|current| {
            if **current == new {
                return false;
            }
            for (port, result) in &new {
                if let Err(problem) = result
                    && current.get(port) != Some(result)
                {
                    warn!(port = numbers.get(port), "{problem}");
                }
            }
            *current = Arc::new(new);
            true
        });
    }
}
