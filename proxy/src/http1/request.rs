//! The head of a request as the backend gets it: the client's header lines without those that must not be forwarded, and
//! the headers that describe the client.

use http::{HeaderValue, header};
use pingora_http::RequestHeader;
use portcullis_routing::{Route, step::RequestEdits};

use super::{
    fields::{Runs, put, remove_lines},
    head::{Host, RequestHead},
    name::{Kind, kind},
};
use crate::{ForwardedFor, http::context::Context};

/// Writes the head for the backend of the context's route.
pub(super) fn write(head: &RequestHead<'_, '_>, host: &Host<'_>, context: &Context, out: &mut Vec<u8>) {
    let edits = edits(context);
    let mut runs = Runs::new(head.bytes);
    match head.plain_line().filter(|_| context.target.is_none()) {
        Some(len) => runs.keep_front(len),
        None => {
            let target = context.target.as_deref().unwrap_or(head.target).as_bytes();
            put(out, &[head.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
        }
    }
    if let Some(host) = edits.host() {
        runs.flush(out);
        put(out, &[b"Host: ", host, b"\r\n"]);
    }
    write_own(head, context, &edits, runs, out);
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
        values: |kind| head.values(kind),
    };
    claims.write(host.value.as_bytes(), context, &edits, out);
    edits.write(out);
    if let Some(connection) = edits.connection() {
        put(out, &[b"Connection: ", connection.as_str().as_bytes(), b"\r\n"]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Returns the changes that the route's steps make to the headers of the request.
fn edits(context: &Context) -> RequestEdits<'_> {
    context.route.as_ref().map(Route::request_edits).unwrap_or_default()
}

/// Writes the client's headers that are forwarded. The length of a body that is spooled is written once all of it has come.
/// What `runs` holds is written before them.
fn write_own(
    head: &RequestHead<'_, '_>,
    context: &Context,
    edits: &RequestEdits<'_>,
    mut runs: Runs<'_>,
    out: &mut Vec<u8>,
) {
    let (trusted, spools) = (context.trusted, context.is_received_first(!head.body.is_done()));
    let (bodiless, names, changes) = (context.is_bodiless(), context.header_names(), edits.change_headers());
    for (kind, header) in head.fields() {
        let goes_on = match kind {
            // The names of other kinds are plain.
            Kind::Other if !names.allow(header.name.as_bytes()) => false,
            Kind::Other | Kind::ContentType | Kind::Origin | Kind::Date | Kind::RequestId => {
                !head.names(header.name.as_bytes())
            }
            Kind::Host => edits.host().is_none() && !header.value.is_empty(),
            Kind::ContentLength | Kind::TransferEncoding | Kind::Expect if bodiless => false,
            Kind::TransferEncoding | Kind::Expect if spools => false,
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
            Kind::ForwardedHost | Kind::ForwardedPort | Kind::ForwardedProto | Kind::Claim => trusted,
            Kind::Scheme | Kind::Original => trusted && !context.is_of_ingress(),
            // Replaced by ours.
            Kind::ForwardedFor | Kind::RealIp => false,
            Kind::Connection | Kind::KeepAlive | Kind::Hop | Kind::Trailer | Kind::Upgrade | Kind::Forged => {
                false
            }
        };
        if goes_on && !(changes && edits.replaces(header.name.as_bytes())) {
            runs.keep(header, out);
        }
    }
    runs.flush(out);
}

/// The names of the headers that [`Claims`] writes.
const CLAIMED: [&str; 10] = [
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-scheme",
    "x-forwarded-host",
    "x-request-id",
    "x-original-forwarded-for",
    "x-original-forwarded-host",
];

/// What the request's own headers claim about the client.
struct Claims<H, V> {
    /// Whether it has headers of a kind.
    has: H,
    /// Whether it has an `X-Request-ID`.
    has_id: bool,
    /// The values of its headers of a kind.
    values: V,
}

impl<'b, H: Fn(Kind) -> bool, V: Fn(Kind) -> I, I: Iterator<Item = &'b [u8]>> Claims<H, V> {
    /// Writes the headers that describe the client to the backend, except those that `edits` replaces.
    fn write(self, host: &[u8], context: &Context, edits: &RequestEdits<'_>, out: &mut Vec<u8>) {
        let begin = out.len();
        self.write_all(host, context, out);
        if edits.change_headers() && CLAIMED.iter().any(|name| edits.replaces(name.as_bytes())) {
            remove_lines(out, begin, |name| edits.replaces(name));
        }
    }

    fn write_all(self, host: &[u8], context: &Context, out: &mut Vec<u8>) {
        let keeps_host = context.trusted && (self.has)(Kind::ForwardedHost);
        let has_id = self.has_id;
        match context.trusted || !context.is_peer() {
            true => self.write_forwarded(context, out),
            false => out.extend_from_slice(&context.conn.forwarded),
        }
        if context.is_of_ingress() {
            self.write_of_ingress(context, out);
        }
        if !keeps_host && !host.is_empty() {
            put(out, &[b"X-Forwarded-Host: ", host, b"\r\n"]);
        }
        if !has_id && !context.conn.without_request_ids {
            put(out, &[b"X-Request-ID: ", &context.request_id(), b"\r\n"]);
        }
    }

    /// Writes what ingress-nginx sends, too; backends of other routes do not expect it.
    fn write_of_ingress(&self, context: &Context, out: &mut Vec<u8>) {
        let own = context.conn.scheme().as_bytes();
        let sent = if context.trusted { (self.values)(Kind::ForwardedProto).next() } else { None };
        let scheme = sent.unwrap_or(own);
        put(out, &[b"X-Forwarded-Scheme: ", scheme, b"\r\nX-Scheme: ", scheme, b"\r\n"]);
        for (kind, name) in [
            (Kind::ForwardedFor, &b"X-Original-Forwarded-For: "[..]),
            (Kind::ForwardedHost, b"X-Original-Forwarded-Host: "),
        ] {
            if (self.has)(kind) {
                out.extend_from_slice(name);
                let mut between: &[u8] = b"";
                for value in (self.values)(kind) {
                    put(out, &[between, value]);
                    between = b", ";
                }
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Writes the headers that a trusted proxy in front of us has not set itself.
    fn write_forwarded(&self, context: &Context, out: &mut Vec<u8>) {
        let conn = &context.conn;
        let line = |out: &mut Vec<u8>, name: &str, value: &HeaderValue| {
            put(out, &[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        };
        let client = context.client_text();
        match (context.trusted, context.forwarded_for) {
            (true, ForwardedFor::List) => {
                out.extend_from_slice(b"X-Forwarded-For: ");
                for before in (self.values)(Kind::ForwardedFor) {
                    put(out, &[before, b", "]);
                }
                put(out, &[conn.client.as_bytes(), b"\r\n"]);
            }
            _ => line(out, "X-Forwarded-For", &client),
        }
        line(out, "X-Real-IP", &client);
        let is_sent = |kind| context.trusted && (self.has)(kind);
        if !is_sent(Kind::ForwardedPort) {
            line(out, "X-Forwarded-Port", &conn.client_port_text);
        }
        if !is_sent(Kind::ForwardedProto) {
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
    let (mut has, mut has_length, mut has_cookie) = (0_u32, false, false);
    let bodiless = context.is_bodiless();
    let names = context.header_names();
    for (name, value) in &head.headers {
        let kind = kind(name.as_str().as_bytes());
        has |= 1 << (kind as u32);
        let goes_on = match kind {
            Kind::Other if !names.allow(name.as_str().as_bytes()) => false,
            Kind::Other | Kind::ContentType | Kind::Origin | Kind::Date | Kind::RequestId => {
                let is_cookie = *name == header::COOKIE;
                has_cookie |= is_cookie;
                !is_cookie
            }
            Kind::ContentLength | Kind::Expect if bodiless => false,
            Kind::Expect => true,
            Kind::Host => false,
            Kind::ContentLength => !chunked && !std::mem::replace(&mut has_length, true),
            Kind::ForwardedHost | Kind::ForwardedPort | Kind::ForwardedProto | Kind::Claim => context.trusted,
            Kind::Scheme | Kind::Original => context.trusted && !context.is_of_ingress(),
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
    if has_cookie && !edits.replaces(b"cookie") {
        write_cookies(head, out);
    }
    let claims = Claims {
        has: |kind| has & (1 << (kind as u32)) != 0,
        has_id: has & (1 << (Kind::RequestId as u32)) != 0,
        values: |kind| {
            let name = match kind {
                Kind::ForwardedHost => "x-forwarded-host",
                Kind::ForwardedProto => "x-forwarded-proto",
                _ => "x-forwarded-for",
            };
            head.headers.get_all(name).iter().map(HeaderValue::as_bytes)
        },
    };
    claims.write(host, context, &edits, out);
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    edits.write(out);
    if let Some(connection) = edits.connection() {
        put(out, &[b"Connection: ", connection.as_str().as_bytes(), b"\r\n"]);
    }
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

/// Writes the head as the client sent it, in plain form, for pingora to carry the request. `expects`: whether a 100 is still to be
/// sent, if the client waits for one.
pub(super) fn write_plain(head: &RequestHead<'_, '_>, expects: bool, out: &mut Vec<u8>) {
    let version: &[u8] = if head.http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
    put(out, &[head.method.as_str().as_bytes(), b" ", head.target.as_bytes(), version]);
    let mut runs = Runs::new(head.bytes);
    for (kind, header) in head.fields() {
        let collapsed = kind == Kind::ContentLength && runs.collapse_length(head.seen.one_length(), out);
        if !collapsed && (expects || kind != Kind::Expect) {
            runs.keep(header, out);
        }
    }
    runs.flush(out);
    out.extend_from_slice(b"\r\n");
}
