//! What is special about GRPCRoute.
//!
//! An HTTPRoute and a GRPCRoute may share a hostname at one listener: both are accepted. A GRPCRoute takes gRPC
//! requests alone, so that a rule without matches leaves everything else to the HTTPRoute.

use std::sync::LazyLock;

use http::header::CONTENT_TYPE;
use portcullis_routing::{BackendProtocol, HeaderMatch, Pattern, RouteMatch, ValueMatch};

use super::http::Spoken;

/// `application/grpc`, also with a format (`+proto`) or parameters; not `application/grpc-web`, which is another
/// protocol.
static GRPC: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::compile(r"application/grpc([+;].*)?").expect("a constant pattern"));

/// The same match for gRPC requests alone.
pub(super) fn only_grpc(route_match: &RouteMatch) -> RouteMatch {
    let is_grpc = HeaderMatch { name: CONTENT_TYPE, value: ValueMatch::Regex(GRPC.clone()) };
    let headers = route_match.headers.iter().cloned().chain([is_grpc]).collect();
    RouteMatch { headers, ..route_match.clone() }
}

/// What a GRPCRoute speaks to a port with this `appProtocol`; `None` where it cannot.
pub(in crate::translate) fn spoken(app_protocol: Option<&str>) -> Option<Spoken> {
    match &*app_protocol.unwrap_or_default().to_ascii_lowercase() {
        "" | "kubernetes.io/h2c" | "grpc" | "h2c" | "http" | "http2" => Some((BackendProtocol::Http2, false)),
        "grpcs" | "https" => Some((BackendProtocol::Http2, true)),
        _ => None,
    }
}
