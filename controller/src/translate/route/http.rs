//! What is special about HTTPRoute.

use portcullis_routing::BackendProtocol;

/// The protocol that is spoken to a backend, and whether over TLS.
pub(in crate::translate) type Spoken = (BackendProtocol, bool);

/// What an HTTPRoute speaks to a port with this `appProtocol` (KEP-3726 and the names of common use); `None` where
/// it cannot. WebSocket is HTTP/1.1 with an upgrade. Service names are in any case (RFC 6335, section 5.1).
pub(in crate::translate) fn spoken(app_protocol: Option<&str>) -> Option<Spoken> {
    match &*app_protocol.unwrap_or_default().to_ascii_lowercase() {
        "" | "http" | "kubernetes.io/ws" => Some((BackendProtocol::Http1, false)),
        "https" | "kubernetes.io/wss" => Some((BackendProtocol::Http1, true)),
        "kubernetes.io/h2c" | "h2c" | "http2" | "grpc" => Some((BackendProtocol::Http2, false)),
        "grpcs" => Some((BackendProtocol::Http2, true)),
        _ => None,
    }
}
