//! Tests of the default carriers: our own, and pingora for what it does not carry.

mod cases;
mod connection_model;
mod own;
mod own_http2;
mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;
