//! All requests carried by pingora (`--carriers pingora`).

mod cases;
mod support;

/// What carries the requests of these tests.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::Pingora;
