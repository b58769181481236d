//! Kinds of the core groups that routes refer to.

pub(crate) mod addresses;
pub(crate) mod config_map;
pub(crate) mod endpoint_slice;
pub(crate) mod namespace;
pub(crate) mod pod;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod trust_bundle;

#[cfg(test)]
mod tests;
