//! The head of a request as the backend gets it: the client's header lines without those that must not be forwarded, and
//! the headers that describe the client.

use http::{HeaderValue, header};
use pingora_http::RequestHeader;
use portcullis_routing::{Route, RouteKind, step::RequestEdits};

use super::{
    fields::{Runs, put, remove_lines},
    head::{Host, RequestHead},
    name::{Kind, kind},
};
use crate::http::{context::Context, forwarded};

/// Writes the head for the backend of the context's route.
pub(super) fn write(head: &RequestHead<'_, '_>, host: &Host<'_>, context: &Context, out: &mut Vec<u8>) {
    let target = context.target.as_deref().map_or(head.target, str::as_bytes);
    put(out, &[head.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    let edits = edits(context);
    if let Some(host) = edits.host() {
        put(out, &[b"Host: ", host, b"\r\n"]);
    }
    write_own(head, context.trusted, &edits, out);
    if edits.host().is_none() && (!head.has(Kind::Host) || host.value.is_empty()) {
        match host.value {
            // HTTP/1.1 requires one.
            "" => put(out, &[b"Host: ", context.conn.local.to_string().as_bytes(), b"\r\n"]),
            value => put(out, &[b"Host: ", value.as_bytes(), b"\r\n"]),
        }
    }
    let claims = Claims {
        has: |kind| head.has(kind),
        has_id: head.has(Kind::RequestId) && !head.names(b"x-request-id"),
        before: head.values(Kind::ForwardedFor),
    };
    claims.write(host.value.as_bytes(), context, &edits, out);
    edits.write(out);
    out.extend_from_slice(b"\r\n");
}

/// Returns the changes that the route's steps make to the headers of the request.
fn edits(context: &Context) -> RequestEdits<'_> {
    context.route.as_ref().map(Route::request_edits).unwrap_or_default()
}

/// Writes the client's headers that are forwarded.
fn write_own(head: &RequestHead<'_, '_>, trusted: bool, edits: &RequestEdits<'_>, out: &mut Vec<u8>) {
    let mut runs = Runs::new(head.bytes);
    for (kind, header) in head.fields() {
        let goes_on = match kind {
            Kind::Other | Kind::ContentType | Kind::Origin | Kind::Date | Kind::RequestId => {
                !head.names(header.name.as_bytes())
            }
            Kind::Host => edits.host().is_none() && !header.value.is_empty(),
            // In the spelling that every backend knows: one that ignores another spelling would read another body.
            Kind::TransferEncoding if header.value != b"chunked" => {
                runs.flush(out);
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                false
            }
            Kind::TransferEncoding => true,
            // To be ignored in HTTP/1.0 (RFC 9110, 10.1.1).
            Kind::Expect => !head.http10,
            Kind::ContentLength => !runs.collapse_length(head.seen.one_length(), out),
            Kind::ForwardedHost | Kind::ForwardedPort | Kind::ForwardedProto | Kind::Scheme | Kind::Claim => {
                trusted
            }
            // Replaced by ours.
            Kind::ForwardedFor | Kind::RealIp => false,
            Kind::Connection | Kind::KeepAlive | Kind::Hop | Kind::Trailer | Kind::Upgrade | Kind::Forged => {
                false
            }
        };
        if goes_on && !edits.replaces(header.name.as_bytes()) {
            runs.keep(header, out);
        }
    }
    runs.flush(out);
}

/// The names of the headers that [`Claims`] writes.
const CLAIMED: [&str; 8] = [
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-scheme",
    "x-forwarded-host",
    "x-request-id",
];

/// What the request's own headers claim about the client.
struct Claims<H, B> {
    /// Whether it has headers of a kind.
    has: H,
    /// Whether it has an `X-Request-ID`.
    has_id: bool,
    /// The values of its `X-Forwarded-For`.
    before: B,
}

impl<'b, H: Fn(Kind) -> bool, B: Iterator<Item = &'b [u8]>> Claims<H, B> {
    /// Writes the headers that describe the client to the backend, except those that `edits` replaces.
    fn write(self, host: &[u8], context: &Context, edits: &RequestEdits<'_>, out: &mut Vec<u8>) {
        let begin = out.len();
        self.write_all(host, context, out);
        if CLAIMED.iter().any(|name| edits.replaces(name.as_bytes())) {
            remove_lines(out, begin, |name| edits.replaces(name));
        }
    }

    fn write_all(self, host: &[u8], context: &Context, out: &mut Vec<u8>) {
        let conn = &context.conn;
        let keeps_host = context.trusted && (self.has)(Kind::ForwardedHost);
        let has_id = self.has_id;
        if context.trusted {
            self.write_trusted(context, out);
        } else {
            out.extend_from_slice(&conn.forwarded);
            // ingress-nginx sends these too; backends of other routes do not expect them.
            if context.rule().is_some_and(|rule| rule.route.kind == RouteKind::Ingress) {
                let scheme = conn.scheme().as_bytes();
                put(out, &[b"X-Forwarded-Scheme: ", scheme, b"\r\nX-Scheme: ", scheme, b"\r\n"]);
            }
        }
        if !keeps_host && !host.is_empty() {
            put(out, &[b"X-Forwarded-Host: ", host, b"\r\n"]);
        }
        if !has_id {
            put(out, &[b"X-Request-ID: ", &context.request_id(), b"\r\n"]);
        }
    }

    /// Writes the headers that a trusted proxy in front of us has not set itself.
    fn write_trusted(self, context: &Context, out: &mut Vec<u8>) {
        let conn = &context.conn;
        let line = |out: &mut Vec<u8>, name: &str, value: &HeaderValue| {
            put(out, &[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        };
        out.extend_from_slice(b"X-Forwarded-For: ");
        for before in self.before {
            put(out, &[before, b", "]);
        }
        put(out, &[conn.client.as_bytes(), b"\r\n"]);
        match context.client == conn.peer.ip().to_canonical() {
            true => line(out, "X-Real-IP", &conn.client),
            false => line(out, "X-Real-IP", &forwarded::address(context.client)),
        }
        if !(self.has)(Kind::ForwardedPort) {
            line(out, "X-Forwarded-Port", &conn.client_port_text);
        }
        if !(self.has)(Kind::ForwardedProto) {
            put(out, &[b"X-Forwarded-Proto: ", conn.scheme().as_bytes(), b"\r\n"]);
        }
    }
}

/// Writes the head of a request that came over HTTP/2. `chunked`: its body has no length.
pub(super) fn write_h2(head: &RequestHeader, context: &Context, chunked: bool, out: &mut Vec<u8>) {
    let target = context.target.as_deref().map_or(head.raw_path(), str::as_bytes);
    let (host, edits) = (context.host.as_ref().map_or(&b""[..], HeaderValue::as_bytes), edits(context));
    put(out, &[head.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: "]);
    put(out, &[edits.host().unwrap_or(host), b"\r\n"]);
    let (mut has, mut has_length) = (0_u32, false);
    for (name, value) in &head.headers {
        let kind = kind(name.as_str().as_bytes());
        has |= 1 << (kind as u32);
        let goes_on = match kind {
            Kind::Other | Kind::ContentType | Kind::Origin | Kind::Date | Kind::RequestId => {
                *name != header::COOKIE
            }
            Kind::Expect => true,
            Kind::Host => false,
            Kind::ContentLength => !chunked && !std::mem::replace(&mut has_length, true),
            Kind::ForwardedHost | Kind::ForwardedPort | Kind::ForwardedProto | Kind::Scheme | Kind::Claim => {
                context.trusted
            }
            // Replaced by ours.
            Kind::ForwardedFor | Kind::RealIp => false,
            Kind::TransferEncoding
            | Kind::Connection
            | Kind::KeepAlive
            | Kind::Hop
            | Kind::Trailer
            | Kind::Upgrade
            | Kind::Forged => false,
        };
        if goes_on && !edits.replaces(name.as_str().as_bytes()) {
            let value = match kind {
                // A list of equal lengths is one length (RFC 9110, 8.6).
                Kind::ContentLength => {
                    value.as_bytes().split(|b| *b == b',').next().unwrap_or_default().trim_ascii()
                }
                _ => value.as_bytes(),
            };
            put(out, &[name.as_str().as_bytes(), b": ", value, b"\r\n"]);
        }
    }
    if !edits.replaces(b"cookie") {
        write_cookies(head, out);
    }
    let claims = Claims {
        has: |kind| has & (1 << (kind as u32)) != 0,
        has_id: has & (1 << (Kind::RequestId as u32)) != 0,
        before: head.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes),
    };
    claims.write(host, context, &edits, out);
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    edits.write(out);
    out.extend_from_slice(b"\r\n");
}

/// Joins the Cookie headers of an HTTP/2 request: HTTP/1 has one line for all (RFC 9113, 8.2.3).
fn write_cookies(head: &RequestHeader, out: &mut Vec<u8>) {
    let mut crumbs = head.headers.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    put(out, &[b"cookie: ", first.as_bytes()]);
    for crumb in crumbs {
        put(out, &[b"; ", crumb.as_bytes()]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head as the client sent it, in plain form, for pingora to carry the request.
pub(super) fn write_plain(head: &RequestHead<'_, '_>, out: &mut Vec<u8>) {
    let version: &[u8] = if head.http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
    put(out, &[head.method.as_str().as_bytes(), b" ", head.target, version]);
    let mut runs = Runs::new(head.bytes);
    for (kind, header) in head.fields() {
        let collapsed = kind == Kind::ContentLength && runs.collapse_length(head.seen.one_length(), out);
        if !collapsed {
            runs.keep(header, out);
        }
    }
    runs.flush(out);
    out.extend_from_slice(b"\r\n");
}
