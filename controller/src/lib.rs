//! Kubernetes objects -> routing table, certificates, statuses.
//!
//! ```text
//! source/ (folder) -> objects/ (decode, default, check; past it everything is ours) -> index -> translate/ -> Publication
//!                                                                                            -> status/    -> Statuses
//! ```

pub mod check;
pub mod cluster;
mod controller;
pub mod facts;
pub mod index;
mod interned;
pub mod ir;
pub mod kinds;
pub mod migrate;
pub mod objects;
mod problem;
pub mod report;
pub mod snapshot;
pub mod source;
pub mod status;
mod status_feed;
pub mod translate;
pub mod yaml;

pub use controller::{Controller, Handle};
pub use index::Index;
pub use objects::is_controller_name;
pub use problem::{Place, Problem, Severity, Topic};
pub use source::{FolderError, FolderOptions};
pub use status_feed::StatusFeed;
pub use translate::{DefaultBackend, NGINX_CONTROLLER, NginxClasses, Settings};

use std::{collections::BTreeMap, sync::Arc};

use ir::LiveSettings;
use portcullis_routing::Table;
use portcullis_tls::Certificates;

/// What the index hands over to be served.
#[derive(Clone, Debug)]
pub struct Publication {
    /// What is served.
    pub table: Arc<Table>,
    /// With which certificates.
    pub certificates: Arc<Certificates>,
    /// The settings that can change at run time.
    pub live: Arc<LiveSettings>,
}

/// Whether each port of the table is bound; the text says why not.
pub type Bindings = BTreeMap<portcullis_routing::PortKey, Result<(), String>>;
