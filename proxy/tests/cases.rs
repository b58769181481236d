//! What holds for every carrier. `http1.rs` and `pingora.rs` run all of it.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

mod backend_tls;
mod client_certificates;
mod conn_drain;
mod conn_limits;
mod conn_listeners;
mod conn_many;
mod conn_stalls;
mod conn_tls;
mod http_answers;
mod http_balance;
mod http_beside;
mod http_body_size;
mod http_check;
mod http_clients;
mod http_compress;
mod http_dial;
mod http_filters;
mod http_forward_body;
mod http_framing;
mod http_ingress_auth;
mod http_ingress_metrics;
mod http_large_answers;
mod http_limits;
mod http_listener_filters;
mod http_messages;
mod http_mirror;
mod http_pace;
mod http_pages;
mod http_passwords;
mod http_paths;
mod http_protocols;
mod http_repeat;
mod http_requests;
mod http_retry;
mod http_routes;
mod http_spool;
mod http_upstream;
