//! Tests of the default carriers: our own, and pingora for what it does not carry.

mod cases;
mod connection_model;
mod datagrams;
mod own;
mod own_bursts;
mod own_http2;
mod streams;
mod streams_proxied;
mod streams_tls;
mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;
