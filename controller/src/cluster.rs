//! Acts in a cluster: what is written there, and who may write.
//!
//! ```text
//! source/cluster/ --Observation--> Live (what each object's status is)  \
//! index           --desired statuses---------------------------------->  statuses  --PUT /status-->  API server
//! lease           --who leads----------------------------------------->  /
//! ```

pub mod live;

pub use live::{Live, Observation};
