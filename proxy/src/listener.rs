//! Which ports are bound: brings the sockets in line with the table, and says how that went.

mod bind;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::{Bindings, worker::Command};

/// The ports that are to be bound; counts up, so that somebody can wait for one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) generation: u64,
    pub(crate) ports: BTreeSet<u16>,
}

/// Binds and closes ports. One for all worker threads: each gets a socket of every address.
pub(crate) struct Listeners {
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) offset: u16,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) bindings: watch::Sender<Arc<Bindings>>,
    /// The generation that has been carried out.
    pub(crate) done: watch::Sender<u64>,
    /// The addresses of each port that are bound.
    pub(crate) bound: BTreeMap<u16, BTreeSet<IpAddr>>,
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
            let bindings: Bindings = wanted.ports.iter().map(|port| (*port, self.open(*port))).collect();
            let incomplete = bindings.values().any(Result::is_err);
            self.report(bindings);
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

    async fn close_others(&mut self, wanted: &BTreeSet<u16>) {
        let (keep, close) =
            std::mem::take(&mut self.bound).into_iter().partition(|(p, _)| wanted.contains(p));
        self.bound = keep;
        let mut closing = Vec::new();
        for port in BTreeMap::into_keys(close) {
            info!(port, "closing");
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

    /// Binds the addresses of a port that are not bound yet.
    fn open(&mut self, port: u16) -> Result<(), String> {
        let Some(number) = port.checked_add(self.offset) else {
            return Err(format!("port {port}: with the offset {} it is past 65535", self.offset));
        };
        let mut problems = Vec::new();
        for ip in self.bind.clone() {
            if self.bound.get(&port).is_some_and(|ips| ips.contains(&ip)) {
                continue;
            }
            let address = SocketAddr::new(ip, number);
            match bind::bind(address, self.workers.len()) {
                Ok(sockets) => self.hand_out(port, address, sockets),
                Err(error) => problems.push(bind::explain(port, address, &error)),
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("; ")),
        }
    }

    fn hand_out(&mut self, port: u16, address: SocketAddr, sockets: Vec<TcpListener>) {
        info!(port, %address, "bound");
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let _ = worker.send(Command::Open { port, sockets: vec![socket] });
        }
        self.bound.entry(port).or_default().insert(address.ip());
    }

    fn report(&self, new: Bindings) {
        self.bindings.send_if_modified(|current| {
            if **current == new {
                return false;
            }
            for (port, result) in &new {
                if let Err(problem) = result
                    && current.get(port) != Some(result)
                {
                    warn!(port, "{problem}");
                }
            }
            *current = Arc::new(new);
            true
        });
    }
}
