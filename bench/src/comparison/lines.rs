//! All lines, and the selection of some of them.

use anyhow::{Result, bail};
use regex_automata::meta::Regex;

use super::{
    line::{Beside, Line, Unit},
    name::Name,
    ports::Port,
};
use crate::{
    load::Mode,
    origin::{BULK, BULK_PATH, GRPC_PATH, LARGE_PATH, SMALL_PATH, SOCKET_PATH},
};

const PLAIN: &str = "small GET";
/// Headers as a browser sends them; the plain line of the ten header edits.
const BROWSER: &str = "small GET, browser";
const MANY_CONNECTIONS: &str = "small GET, 1,000 connections";
const INGRESS: &str = "Ingress";
const OURS: &[Name] = &[Name::Portcullis, Name::Baseline];

/// The aim for annotations.
const ANNOTATION: Option<&str> = Some("1.1");

/// The backend speaks HTTP/1.1 in all of them but gRPC.
pub const LINES: [Line; 28] = [
    Line::http(PLAIN, Mode::H1, SMALL_PATH, 64),
    Line::http("small GET, names spelt", Mode::H1Spelt, SMALL_PATH, 64),
    Line::http(BROWSER, Mode::H1Browser, SMALL_PATH, 64),
    // The rule with filters in `peers/portcullis.yaml`.
    Line {
        header: Some("access-control-allow-origin"),
        proxies: OURS,
        ..Line::http("ten header edits, rewrite, CORS", Mode::H1Browser, "/edited/small", 64)
            .beside(BROWSER, None)
    },
    Line {
        proxies: Name::ALL_BUT_BARE,
        ..Line::http("small GET, TLS to the backend", Mode::H1, "/secure/small", 64)
            .beside(PLAIN, Some("1.15 of nginx' own"))
    },
    Line::http(MANY_CONNECTIONS, Mode::H1, SMALL_PATH, 1000).beside(PLAIN, None),
    Line {
        proxies: OURS,
        many_workers: true,
        ..Line::http("small GET, 1,000 connections, 64 workers", Mode::H1, SMALL_PATH, 1000)
            .beside(MANY_CONNECTIONS, None)
    },
    Line::http("small GET, TLS", Mode::H1Tls, SMALL_PATH, 64),
    Line::http("full handshake and a GET", Mode::Handshake, SMALL_PATH, 16),
    Line::http("small GET, h2 (TLS) to h1", Mode::H2, SMALL_PATH, 4).streams(16),
    Line::http("100 KiB", Mode::H1, LARGE_PATH, 16),
    Line::http("100 KiB, TLS", Mode::H1Tls, LARGE_PATH, 16),
    Line::http("100 KiB, h2 (TLS) to h1", Mode::H2, LARGE_PATH, 4).streams(4),
    Line::http("POST 1 MiB", Mode::Post, SMALL_PATH, 16),
    Line::http("POST 64 KiB, chunked", Mode::PostChunked, SMALL_PATH, 16),
    Line::http("WebSocket message of 64 B", Mode::WebSocket, SOCKET_PATH, 64),
    Line::http("gRPC, h2 (TLS) to h2c", Mode::Grpc, GRPC_PATH, 4).streams(16),
    // `peers/portcullis-ingress.yaml` and `peers/nginx-ingress.conf`.
    Line::ingress(INGRESS, "plain.example.com", SMALL_PATH),
    Line::ingress("Ingress, limit-rps", "limit.example.com", SMALL_PATH).beside(INGRESS, ANNOTATION),
    Line::ingress("Ingress, whitelist-source-range", "allow.example.com", SMALL_PATH)
        .beside(INGRESS, ANNOTATION),
    Line {
        header: Some("x-served-by"),
        ..Line::ingress("Ingress, custom-headers, upstream-vhost", "headers.example.com", SMALL_PATH)
            .beside(INGRESS, ANNOTATION)
    },
    // The path without the rewrite is not found.
    Line::ingress("Ingress, rewrite-target", "rewrite.example.com", "/edited/small")
        .beside(INGRESS, ANNOTATION),
    // Half of the expressions are tried before the one that matches.
    Line::ingress("Ingress, host of 100 regular expressions", "regex.example.com", "/svc-50/items/1234")
        .beside(INGRESS, ANNOTATION),
    Line {
        beside: Some(Beside { line: INGRESS, requests: 2.0, aim: Some("1.6") }),
        ..Line::ingress("Ingress, auth-url", "auth.example.com", SMALL_PATH)
    },
    // Bulk transfers are short enough that many complete in a round.
    Line {
        path: BULK_PATH,
        connections: 2,
        ..Line::stream("TCP, 16 MiB", Mode::H1, Port::Bulk, Unit::Gib(BULK))
    },
    Line::stream("TCP connection and a GET", Mode::Connection, Port::Tcp, CONNECTIONS),
    Line {
        connections: 16,
        ..Line::stream(
            "TLS passthrough, connection and a GET",
            Mode::Handshake,
            Port::Passthrough,
            CONNECTIONS,
        )
    },
    Line {
        // HAProxy does not proxy datagrams.
        proxies: &[Name::Portcullis, Name::Baseline, Name::Nginx, Name::Envoy],
        ..Line::stream(
            "UDP, 512 B and back",
            Mode::Datagram,
            Port::Udp,
            Unit::EachCpuSecond("datagrams", 2.0),
        )
    },
];

const CONNECTIONS: Unit = Unit::EachCpuSecond("connections", 1.0);

/// The lines whose name matches, and the plain lines that they are compared with; all of them without a pattern.
///
/// # Errors
/// Where none matches.
pub(super) fn matching(pattern: Option<&Regex>) -> Result<Vec<Line>> {
    let matches = |line: &Line| pattern.is_none_or(|pattern| pattern.is_match(line.name));
    let plain: Vec<&str> =
        LINES.iter().filter(|line| matches(line)).filter_map(|line| Some(line.beside?.line)).collect();
    let selected: Vec<Line> =
        LINES.into_iter().filter(|line| matches(line) || plain.contains(&line.name)).collect();
    if selected.is_empty() {
        let names = LINES.map(|line| line.name).join("\n  ");
        bail!("--lines matches none of these:\n  {names}");
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::EDITED_PREFIX;

    #[test]
    fn a_line_is_compared_with_one_of_the_same_requests_by_the_same_proxies() {
        for line in LINES {
            let Some(beside) = line.beside else { continue };
            let plain = LINES.into_iter().find(|plain| plain.name == beside.line).expect("a line");
            assert_eq!((line.mode, line.body()), (plain.mode, plain.body()), "{}", line.name);
            assert!(line.proxies.iter().all(|name| plain.is_for(*name)), "{}", line.name);
        }
    }

    #[test]
    fn rewrites_are_visible_to_the_backend() {
        let rewritten = LINES.into_iter().filter(|line| line.name.contains("rewrite"));
        assert_eq!(rewritten.filter(|line| line.path.starts_with(EDITED_PREFIX)).count(), 2);
    }

    #[test]
    fn names_are_unique() {
        let mut names = LINES.map(|line| line.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
    }

    #[test]
    fn a_pattern_selects_lines_and_their_plain_lines() {
        let names = |pattern: &str| {
            let lines = matching(Some(&Regex::new(pattern).unwrap()));
            lines.map(|lines| lines.into_iter().map(|line| line.name).collect::<Vec<_>>())
        };
        for (pattern, want) in [
            ("auth-url", &["Ingress", "Ingress, auth-url"][..]),
            ("^UDP", &["UDP, 512 B and back"]),
            ("64 workers", &[MANY_CONNECTIONS, "small GET, 1,000 connections, 64 workers"]),
            ("^small GET$|^100 KiB$", &["small GET", "100 KiB"]),
        ] {
            assert_eq!(names(pattern).unwrap(), want, "{pattern}");
        }
        assert!(
            names("QUIC").unwrap_err().to_string().starts_with("--lines matches none of these:\n  small GET")
        );
        assert_eq!(matching(None).unwrap().len(), LINES.len());
    }
}
