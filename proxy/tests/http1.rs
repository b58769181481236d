//! Requests as they are carried by default: our own carrier, and pingora behind it.

mod cases;
mod own;
mod support;

/// What carries the requests of these tests.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;
