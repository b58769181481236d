//! Requests as they are carried by default: our own carrier, and pingora behind it.

mod cases;
mod connection_model;
mod own;
mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;
