//! What the measurements share: cheap clients and an origin that answers them, child processes and what they cost.
//!
//! Everything stays on loopback. Nothing here is used by the product.

pub mod client;
pub mod comparison;
pub mod histogram;
pub mod ingresses;
pub mod load;
pub mod machine;
pub mod origin;
pub mod process;
pub mod scene;
pub mod tls;
