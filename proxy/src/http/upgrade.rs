//! Upgrades: WebSocket and other protocols that a client and a backend agree on through `Upgrade`.

use http::{Version, header};
use pingora_http::RequestHeader;

/// What becomes of a request's `Upgrade`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// The backend is asked.
    Forward,
    /// It is taken off, and the request goes on without.
    Drop,
    /// There is none.
    None,
}

impl Upgrade {
    /// HTTP/1.0 knows no upgrade (RFC 9110, 7.8). A client that becomes h2 or TLS with the backend would take its
    /// next requests past the routes, so those are dropped.
    pub(crate) fn of(head: &RequestHeader) -> Self {
        let Some(protocol) = head.headers.get(header::UPGRADE) else { return Self::None };
        let named = head.headers.get_all(header::CONNECTION).iter().any(|value| {
            value.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        });
        let single = head.headers.get_all(header::UPGRADE).iter().count() == 1;
        if head.version != Version::HTTP_11 || !named || !single || passes_routes(protocol.as_bytes()) {
            return Self::Drop;
        }
        Self::Forward
    }
}

/// Whether one of these protocols is HTTP or TLS.
pub(crate) fn passes_routes(protocols: &[u8]) -> bool {
    protocols.split(|b| *b == b',').any(|protocol| {
        let name =
            protocol.split(|b| *b == b'/').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        matches!(&*name, b"h2c" | b"h2" | b"http" | b"tls")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_one_request_is_upgraded() {
        for (version, connection, upgrade, want) in [
            (Version::HTTP_11, "Upgrade", Some("websocket"), Upgrade::Forward),
            (Version::HTTP_11, "keep-alive, upgrade", Some("chat/2"), Upgrade::Forward),
            (Version::HTTP_11, "Upgrade, HTTP2-Settings", Some("h2c"), Upgrade::Drop),
            (Version::HTTP_11, "Upgrade", Some("websocket, h2c"), Upgrade::Drop),
            (Version::HTTP_11, "Upgrade", Some("TLS/1.0"), Upgrade::Drop),
            (Version::HTTP_11, "Upgrade", Some("HTTP/2.0"), Upgrade::Drop),
            (Version::HTTP_11, "keep-alive", Some("websocket"), Upgrade::Drop),
            (Version::HTTP_10, "Upgrade", Some("websocket"), Upgrade::Drop),
            (Version::HTTP_11, "Upgrade", None, Upgrade::None),
        ] {
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            head.set_version(version);
            head.append_header("Connection", connection).unwrap();
            if let Some(upgrade) = upgrade {
                head.append_header("Upgrade", upgrade).unwrap();
            }
            assert_eq!(Upgrade::of(&head), want, "{version:?} {connection} {upgrade:?}");
        }
    }
}
