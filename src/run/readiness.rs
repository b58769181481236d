//! What must hold before traffic should come.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use portcullis_controller::{Handle, source::cluster::Progress};
use portcullis_proxy::{Bindings, Proxy};
use tokio::sync::watch;

use crate::{
    admin::Told,
    metrics::{self, Figures},
};

/// What readiness is made of.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    pub(super) controller: Handle,
    pub(super) proxy: Arc<Proxy>,
    pub(super) bindings: watch::Receiver<Arc<Bindings>>,
    /// The ports of the table that was published last: by those that are bound, those that listeners name.
    pub(super) ports: watch::Sender<BTreeMap<u16, u16>>,
    /// How far the source of objects has come, where it says so.
    pub(super) progress: watch::Sender<Progress>,
    /// Whether this replica writes; empty where there is no Lease.
    pub(super) leads: Arc<OnceLock<watch::Receiver<bool>>>,
    pub(super) stopping: watch::Sender<bool>,
}

impl Readiness {
    pub(super) fn new(controller: Handle, proxy: Arc<Proxy>) -> Self {
        Self {
            controller,
            bindings: proxy.bindings(),
            proxy,
            ports: watch::Sender::default(),
            progress: watch::Sender::default(),
            leads: Arc::default(),
            stopping: watch::Sender::new(false),
        }
    }
}

impl Told for Readiness {
    fn missing(&self) -> Vec<String> {
        if *self.stopping.borrow() {
            return vec!["the process is stopping".to_owned()];
        }
        if !*self.controller.ready().borrow() {
            let Progress { unread, hindrances } = &*self.progress.borrow();
            let unread = unread.iter().map(|kind| match hindrances.get(kind) {
                Some(why) => format!("{kind}, not read yet: {why}"),
                None => format!("{kind}, not read yet"),
            });
            return unread.chain(["the first table".to_owned()]).collect();
        }
        let bindings = self.bindings.borrow();
        let ports = self.ports.borrow();
        let missing = ports.iter().filter_map(|(bound, port)| match bindings.get(bound) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(format!("port {port}: {error}")),
            None => Some(format!("port {port}: not bound yet")),
        });
        missing.collect()
    }

    fn hindered(&self) -> Vec<String> {
        self.progress.borrow().hindrances.iter().map(|(kind, why)| format!("{kind}: {why}")).collect()
    }

    fn metrics(&self) -> String {
        let bindings = self.bindings.borrow().clone();
        metrics::text(&Figures {
            answered: self.proxy.answered(),
            in_flight: self.proxy.in_flight(),
            connections: self.proxy.connections(),
            ready: self.missing().is_empty(),
            leads: self.leads.get().map(|leads| *leads.borrow()),
            unbound: bindings.values().filter(|bound| bound.is_err()).count(),
            problems: self.controller.problems().borrow().iter().map(|problem| problem.severity).collect(),
            hindered: self.progress.borrow().hindrances.keys().copied().collect(),
        })
    }

    fn statuses(&self) -> serde_json::Value {
        self.controller.report()
    }
}
