//! Acts in a cluster: what is written there, and who may write.
//!
//! ```text
//! source/cluster/ --Observation--> Live (what each object's status is)  \
//! index           --desired statuses---------------------------------->  statuses  --PUT /status-->  API server
//! lease           --who leads----------------------------------------->  /
//! index           --DesiredServices: of Gateways with own addresses--->  dedicated  --Services, EndpointSlices--> API server
//! ```

pub mod dedicated;
pub mod events;
mod leadership;
pub mod lease;
pub mod live;
pub mod own;
pub mod service;
pub mod statuses;
mod token_bucket;
mod turns;

pub use dedicated::{DedicatedLinks, DedicatedOptions};
pub use leadership::{Leadership, Term};
pub use live::{Live, Observation, Sighting};
pub use service::{ServiceLinks, SharedService};

/// What we are called in `metadata.managedFields`, where nothing else is said.
pub const FIELD_MANAGER: &str = "portcullis";
