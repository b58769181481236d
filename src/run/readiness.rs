//! What must hold before traffic should come.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_controller::{Handle, source::cluster::Hindrances};
use portcullis_proxy::Bindings;
use tokio::sync::watch;

use crate::admin::Told;

/// What readiness is made of.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    pub(super) controller: Handle,
    pub(super) bindings: watch::Receiver<Arc<Bindings>>,
    /// The ports of the table that was published last.
    pub(super) ports: watch::Sender<BTreeSet<u16>>,
    /// What the source of objects cannot read.
    pub(super) hindrances: watch::Sender<Hindrances>,
    pub(super) stopping: watch::Sender<bool>,
}

impl Readiness {
    pub(super) fn new(controller: Handle, bindings: watch::Receiver<Arc<Bindings>>) -> Self {
        Self {
            controller,
            bindings,
            ports: watch::Sender::default(),
            hindrances: watch::Sender::default(),
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
            return vec!["the first table".to_owned()];
        }
        let bindings = self.bindings.borrow();
        let ports = self.ports.borrow();
        let missing = ports.iter().filter_map(|port| match bindings.get(port) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(format!("port {port}: {error}")),
            None => Some(format!("port {port}: not bound yet")),
        });
        missing.collect()
    }

    fn hindered(&self) -> Vec<String> {
        self.hindrances.borrow().iter().map(|(kind, why)| format!("{kind}: {why}")).collect()
    }

    fn statuses(&self) -> serde_json::Value {
        self.controller.report()
    }
}
