//! The request as the backend gets it: the client's own lines but for those that end here, and what we say of the client.

use http::{HeaderValue, header};
use pingora_http::RequestHeader;
use portcullis_routing::{RouteKind, Step};

use super::{
    fields::{Edit, Runs, put, put_number},
    head::{Host, RequestHead},
    name::{Kind, kind},
};
use crate::http::{context::Context, forwarded};

/// Writes the head for the backend of the context's route.
pub(super) fn write(head: &RequestHead<'_, '_>, host: &Host<'_>, context: &Context, out: &mut Vec<u8>) {
    let target = context.target.as_deref().map_or(head.target, str::as_bytes);
    put(out, &[head.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    let begin = out.len();
    write_own(head, context.trusted, out);
    if !head.has(Kind::Host) || host.value.is_empty() {
        match host.value {
            // HTTP/1.1 asks for one.
            "" => put(out, &[b"Host: ", context.conn.local.to_string().as_bytes(), b"\r\n"]),
            value => put(out, &[b"Host: ", value.as_bytes(), b"\r\n"]),
        }
    }
    let claims = Claims {
        has: |kind| head.has(kind),
        has_id: head.has(Kind::RequestId) && !head.names(b"x-request-id"),
        before: head.values(Kind::ForwardedFor),
    };
    claims.write(host.value.as_bytes(), context, out);
    finish(begin, context, out);
}

/// Changes the headers from `begin` on as the route's steps have it, and ends the head.
fn finish(begin: usize, context: &Context, out: &mut Vec<u8>) {
    if let Some(route) = &context.route {
        let changes = route.steps().any(|step| matches!(step, Step::RequestHeaders(_)));
        let host = route.host();
        if changes || host.is_some() {
            let mut edit = Edit::new(out, begin);
            route.edit_request(&mut edit);
            if let Some(host) = host {
                edit.replace("Host", host.as_bytes());
            }
            edit.finish();
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The client's own headers that go on.
fn write_own(head: &RequestHead<'_, '_>, trusted: bool, out: &mut Vec<u8>) {
    let (mut runs, mut has_length) = (Runs::new(head.bytes), false);
    for (kind, header) in head.fields() {
        let goes_on = match kind {
            Kind::Other | Kind::ContentType | Kind::Origin | Kind::Date => {
                !head.names(header.name.as_bytes())
            }
            Kind::Host => !header.value.is_empty(),
            // In the one spelling that every reader knows: one that does not would read another body.
            Kind::TransferEncoding if header.value != b"chunked" => {
                runs.flush(out);
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                false
            }
            Kind::TransferEncoding => true,
            Kind::RequestId => !head.names(header.name.as_bytes()),
            // HTTP/1.0 knows none (RFC 9110, 10.1.1).
            Kind::Expect => !head.http10,
            Kind::ContentLength => match head.seen.one_length() {
                None => true,
                Some(length) => {
                    if !std::mem::replace(&mut has_length, true) {
                        runs.flush(out);
                        out.extend_from_slice(b"Content-Length: ");
                        put_number(out, length);
                        out.extend_from_slice(b"\r\n");
                    }
                    false
                }
            },
            Kind::ForwardedHost | Kind::ForwardedPort | Kind::ForwardedProto | Kind::Scheme | Kind::Claim => {
                trusted
            }
            // Written anew.
            Kind::ForwardedFor | Kind::RealIp => false,
            Kind::Connection | Kind::KeepAlive | Kind::Hop | Kind::Trailer | Kind::Upgrade | Kind::Forged => {
                false
            }
        };
        if goes_on {
            runs.keep(header, out);
        }
    }
    runs.flush(out);
}

/// What a client says of itself and of where it came from.
struct Claims<H, B> {
    /// Whether it sent headers of a kind.
    has: H,
    /// Whether it sent an id for the request.
    has_id: bool,
    /// The values of `X-Forwarded-For`.
    before: B,
}

impl<'b, H: Fn(Kind) -> bool, B: Iterator<Item = &'b [u8]>> Claims<H, B> {
    /// Writes what the backend is told of the client.
    fn write(self, host: &[u8], context: &Context, out: &mut Vec<u8>) {
        let conn = &context.conn;
        let keeps_host = context.trusted && (self.has)(Kind::ForwardedHost);
        let has_id = self.has_id;
        if context.trusted {
            self.write_trusted(context, out);
        } else {
            out.extend_from_slice(&conn.forwarded);
            // What ingress-nginx sends beside; nobody else expects it.
            if context.rule().is_some_and(|rule| rule.route.kind == RouteKind::Ingress) {
                let scheme = conn.scheme().as_bytes();
                put(out, &[b"X-Forwarded-Scheme: ", scheme, b"\r\nX-Scheme: ", scheme, b"\r\n"]);
            }
        }
        if !keeps_host && !host.is_empty() {
            put(out, &[b"X-Forwarded-Host: ", host, b"\r\n"]);
        }
        if !has_id {
            put(out, &[b"X-Request-ID: ", forwarded::request_id().as_flattened(), b"\r\n"]);
        }
    }

    /// What a trusted proxy has not said itself.
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

/// Writes the head of a request that came over HTTP/2; `chunked` where its body has no length.
pub(super) fn write_h2(head: &RequestHeader, context: &Context, chunked: bool, out: &mut Vec<u8>) {
    let target = context.target.as_deref().map_or(head.raw_path(), str::as_bytes);
    put(out, &[head.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: "]);
    let begin = out.len() - b"Host: ".len();
    let host = context.host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    put(out, &[host, b"\r\n"]);
    let (mut has, mut has_length) = (0_u32, false);
    for (name, value) in &head.headers {
        let kind = kind(name.as_str().as_bytes());
        has |= 1 << (kind as u32);
        let goes_on = match kind {
            Kind::Other | Kind::ContentType | Kind::Origin | Kind::Date | Kind::RequestId => {
                *name != header::COOKIE
            }
            // The 100 of the backend cannot be passed on.
            Kind::Expect | Kind::Host => false,
            Kind::ContentLength => !chunked && !std::mem::replace(&mut has_length, true),
            Kind::ForwardedHost | Kind::ForwardedPort | Kind::ForwardedProto | Kind::Scheme | Kind::Claim => {
                context.trusted
            }
            // Written anew.
            Kind::ForwardedFor | Kind::RealIp => false,
            Kind::TransferEncoding
            | Kind::Connection
            | Kind::KeepAlive
            | Kind::Hop
            | Kind::Trailer
            | Kind::Upgrade
            | Kind::Forged => false,
        };
        if goes_on {
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
    write_cookies(head, out);
    let claims = Claims {
        has: |kind| has & (1 << (kind as u32)) != 0,
        has_id: has & (1 << (Kind::RequestId as u32)) != 0,
        before: head.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes),
    };
    claims.write(host, context, out);
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    finish(begin, context, out);
}

/// h2 clients may send a cookie in crumbs; HTTP/1 knows one line (RFC 9113, 8.2.3).
fn write_cookies(head: &RequestHeader, out: &mut Vec<u8>) {
    let mut crumbs = head.headers.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    put(out, &[b"cookie: ", first.as_bytes()]);
    for crumb in crumbs {
        put(out, &[b"; ", crumb.as_bytes()]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head as the client sent it, in plain form: for whoever carries the request on from there.
pub(super) fn write_plain(head: &RequestHead<'_, '_>, out: &mut Vec<u8>) {
    let version: &[u8] = if head.http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
    put(out, &[head.method.as_str().as_bytes(), b" ", head.target, version]);
    let (mut runs, mut has_length) = (Runs::new(head.bytes), false);
    for (kind, header) in head.fields() {
        match (kind, head.seen.one_length()) {
            (Kind::ContentLength, Some(length)) => {
                if !std::mem::replace(&mut has_length, true) {
                    runs.flush(out);
                    out.extend_from_slice(b"Content-Length: ");
                    put_number(out, length);
                    out.extend_from_slice(b"\r\n");
                }
            }
            _ => runs.keep(header, out),
        }
    }
    runs.flush(out);
    out.extend_from_slice(b"\r\n");
}
