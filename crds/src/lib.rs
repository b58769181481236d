//! Our own kinds, group `portcullis.dev`: the types, and with them the schema that an API server checks objects by.
//!
//! The YAML of the CustomResourceDefinitions is made of these types and lies where the chart installs it from,
//! `charts/portcullis/files`; a test says when the two disagree. What a schema cannot say is checked where objects are
//! read, in the controller, and so is all that it says: a folder has no API server.

mod gateway_parameters;

pub use gateway_parameters::{
    Addressing, GatewayParameters, GatewayParametersSpec, IpFamilyPolicy, NodePort, Override,
    ServiceParameters, ServiceType, TrafficPolicy, limits,
};

/// The group of all our kinds.
pub const GROUP: &str = "portcullis.dev";
