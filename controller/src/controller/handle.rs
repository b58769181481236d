//! The other end of a running controller's channels.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use portcullis_routing::ClusterAddresses;
use tokio::sync::watch;

use crate::{
    Bindings, Problem,
    cluster::dedicated::{DesiredServices, ProvisioningErrors},
    ir::{Kind, ObjectKey},
    problem::Topic,
    report,
    source::Demand,
    status::Statuses,
    status_feed::{Changed, ProblemFeed, StatusFeed},
    translate::{Address, Allocation, ServedNamespaces},
};

/// What the rest of the process asks of a running [`super::Controller`], and tells it.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) bindings: watch::Sender<Arc<Bindings>>,
    pub(super) addresses: watch::Sender<Vec<Address>>,
    pub(super) provisioning_errors: watch::Sender<ProvisioningErrors>,
    pub(super) allocation: watch::Sender<Option<Arc<Allocation>>>,
    pub(super) desired_services: watch::Receiver<Option<Arc<DesiredServices>>>,
    pub(super) gateway_addresses: watch::Receiver<BTreeSet<IpAddr>>,
    pub(super) statuses: watch::Receiver<Arc<Statuses>>,
    pub(super) problems: watch::Receiver<Arc<[Problem]>>,
    pub(super) ready: watch::Receiver<bool>,
    pub(super) cluster_addresses: Arc<ClusterAddresses>,
    pub(super) served: Arc<ServedNamespaces>,
    pub(super) changed: Arc<Changed>,
    pub(super) demand: watch::Receiver<Demand>,
    /// The Service of `--default-backend-service`.
    pub(super) default_backend: Option<ObjectKey>,
    /// The ConfigMap of `--settings-configmap`.
    pub(super) settings_map: Option<ObjectKey>,
}

impl Handle {
    /// Tells which ports are bound, as often as that changes. Until the first time, ports are taken for pending.
    pub fn bindings(&self, bindings: Bindings) {
        self.bindings.send_replace(Arc::new(bindings));
    }

    /// Tells at which addresses clients reach us, as often as that changes; at first they are those of the settings.
    pub fn addresses(&self, addresses: Vec<Address>) {
        self.addresses.send_replace(addresses);
    }

    /// The Services of Gateways that are to be; `None` until every object has been read.
    pub fn desired_services(&self) -> watch::Receiver<Option<Arc<DesiredServices>>> {
        self.desired_services.clone()
    }

    /// Receives why those Services could not be brought to their desired state.
    pub fn provisioning_errors(&self) -> watch::Sender<ProvisioningErrors> {
        self.provisioning_errors.clone()
    }

    /// Which ports Gateways with addresses of their own have is told here. Where there may be such Gateways, nothing is
    /// served before.
    pub fn allocation(&self) -> watch::Sender<Option<Arc<Allocation>>> {
        self.allocation.clone()
    }

    /// What is said of every object that is ours. Whoever keeps a value for long makes the next change copy it.
    pub fn statuses(&self) -> watch::Receiver<Arc<Statuses>> {
        self.statuses.clone()
    }

    /// How many remarks there are about accepted objects, by kind and topic.
    pub fn remarks(&self) -> BTreeMap<(Kind, Topic), usize> {
        self.statuses.borrow().topics()
    }

    /// The same for whoever writes them: which ones are new, and what they should be.
    pub fn status_feed(&self) -> StatusFeed {
        let feed_of = |object: &Option<ObjectKey>| ProblemFeed::new(object.clone(), self.problems.clone());
        let (changed, served) = (Arc::clone(&self.changed), Arc::clone(&self.served));
        let (default_backend, settings) = (feed_of(&self.default_backend), feed_of(&self.settings_map));
        StatusFeed::new(self.statuses.clone(), changed, served, default_backend, settings)
    }

    /// What is wrong with documents, refused ones and others, and the objects that nobody serves.
    pub fn problems(&self) -> watch::Receiver<Arc<[Problem]>> {
        self.problems.clone()
    }

    /// Which addresses are whose in the cluster: for whoever connects to what a name resolved to. Changes in place.
    pub fn cluster_addresses(&self) -> Arc<ClusterAddresses> {
        Arc::clone(&self.cluster_addresses)
    }

    /// The addresses of the Services before Gateways that have addresses of their own: they lead to us.
    pub fn gateway_addresses(&self) -> watch::Receiver<BTreeSet<IpAddr>> {
        self.gateway_addresses.clone()
    }

    /// What has to be fetched of the kinds that are fetched on demand: for a source that does so.
    pub fn demand(&self) -> watch::Receiver<Demand> {
        self.demand.clone()
    }

    /// Whether the first table has been published.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// The conditions of every object and the problems of documents, as JSON: `{"objects": [...], "problems": [...]}`.
    pub fn report(&self) -> serde_json::Value {
        let (statuses, problems) = (self.statuses.borrow().clone(), self.problems.borrow().clone());
        report::of(&statuses, &problems)
    }
}
