//! All requests carried by pingora (`--carriers pingora`).

mod cases;
mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::Pingora;
