//! Hop-by-hop headers (RFC 9110, 7.6.1): they end here, both ways.
//!
//! pingora strips them from requests that ask for no upgrade, and writes `Connection` of answers by itself.

use std::time::Duration;

use http::{HeaderName, header};
use pingora_http::{RequestHeader, ResponseHeader};

pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(crate) const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Removes from an answer what concerns the connection to the backend alone.
pub(crate) fn strip_response(answer: &mut ResponseHeader, switching: bool) {
    // Nearly every answer has none of them, and few headers at all: one walk along their names costs less than a look
    // for each that might be there.
    if !answer.headers.keys().any(is_hop_by_hop) {
        return;
    }
    if answer.headers.contains_key(header::CONNECTION) {
        for name in named_by_connection(answer.headers.get_all(header::CONNECTION).iter()) {
            let part_of_it = switching && name == header::UPGRADE;
            if !part_of_it && !is_framing(&name) {
                answer.remove_header(&name);
            }
        }
        // For a 101 it is part of the answer; otherwise pingora writes our own.
        if !switching {
            answer.remove_header(&header::CONNECTION);
        }
    }
    if !switching {
        answer.remove_header(&header::UPGRADE);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &header::PROXY_AUTHENTICATE, &header::TE] {
        answer.remove_header(name);
    }
}

/// How long a backend says that it keeps its connection without a request: `Keep-Alive: timeout=5, max=100`.
pub(crate) fn keep_alive(answer: &ResponseHeader) -> Option<Duration> {
    keep_alive_seconds(answer.headers.get(&KEEP_ALIVE)?.as_bytes()).map(Duration::from_secs)
}

/// The seconds in the value of a `Keep-Alive`.
pub(crate) fn keep_alive_seconds(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().trim_matches('"').parse().ok())?
    })
}

/// Removes from a request for an upgrade all that concerns the client's connection but the upgrade itself.
pub(crate) fn strip_upgrade_request(request: &mut RequestHeader) {
    for name in named_by_connection(request.headers.get_all(header::CONNECTION).iter()) {
        if name != header::UPGRADE && !is_framing(&name) {
            request.remove_header(&name);
        }
    }
    for name in [
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
        &HTTP2_SETTINGS,
        &header::PROXY_AUTHENTICATE,
        &header::PROXY_AUTHORIZATION,
        &header::TE,
        &header::TRAILER,
    ] {
        request.remove_header(name);
    }
    let _ = request.insert_header("Connection", "Upgrade");
}

/// Removes the headers that request an upgrade from a request that is forwarded without it.
pub(crate) fn strip_upgrade(request: &mut RequestHeader) {
    if request.headers.contains_key(header::UPGRADE) {
        strip_upgrade_request(request);
        request.remove_header(&header::UPGRADE);
        request.remove_header(&header::CONNECTION);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::UPGRADE | header::PROXY_AUTHENTICATE | header::TE)
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// The length of a message is not for `Connection` to take away.
fn is_framing(name: &HeaderName) -> bool {
    *name == header::TRANSFER_ENCODING || *name == header::CONTENT_LENGTH || *name == header::HOST
}

pub(crate) fn named_by_connection<'v>(
    values: impl Iterator<Item = &'v http::HeaderValue>,
) -> Vec<HeaderName> {
    values
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| *name != "close" && *name != KEEP_ALIVE)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        for (name, value) in headers {
            answer.append_header(*name, *value).unwrap();
        }
        answer
    }

    #[test]
    fn an_answer_loses_what_connection_names() {
        let mut answer = answer(&[
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Upgrade", "h2c"),
            ("X-End", "2"),
        ]);
        strip_response(&mut answer, false);
        assert_eq!(answer.headers.keys().collect::<Vec<_>>(), ["x-end"]);
    }

    #[test]
    fn an_answer_keeps_its_length_whatever_connection_names() {
        let mut answer = answer(&[("Connection", "Content-Length"), ("Content-Length", "3")]);
        strip_response(&mut answer, false);
        assert_eq!(answer.headers.keys().collect::<Vec<_>>(), ["content-length"]);
    }

    #[test]
    fn a_backend_may_say_how_long_it_waits_for_another_request() {
        for (value, want) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100,Timeout = 0", Some(0)),
            ("timeout=\"7\"", Some(7)),
            ("max=100", None),
            ("timeout", None),
            ("timeout=-1", None),
            ("", None),
        ] {
            let answer = answer(&[("Keep-Alive", value)]);
            assert_eq!(keep_alive(&answer), want.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(keep_alive(&answer(&[])), None);
    }

    #[test]
    fn a_101_keeps_its_upgrade() {
        let mut answer = answer(&[("Connection", "Upgrade"), ("Upgrade", "websocket")]);
        strip_response(&mut answer, true);
        assert!(answer.headers.contains_key("upgrade") && answer.headers.contains_key("connection"));
    }

    #[test]
    fn a_request_for_an_upgrade_keeps_that_alone() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [
            ("Connection", "X-Hop, Upgrade, keep-alive"),
            ("Upgrade", "websocket"),
            ("X-Hop", "1"),
            ("TE", "trailers"),
            ("Proxy-Authorization", "secret"),
            ("X-End", "2"),
        ] {
            request.append_header(name, value).unwrap();
        }
        strip_upgrade_request(&mut request);
        let mut left: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["connection", "upgrade", "x-end"]);
        assert_eq!(request.headers["connection"], "Upgrade");
    }
}
