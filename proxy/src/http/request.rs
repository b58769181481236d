//! What becomes of a request before a backend is asked: the view of it that is decided about, and the decision noted.

use http::{HeaderMap, HeaderValue, Version, header};
use pingora_http::RequestHeader;
use portcullis_routing::{
    self as routing, Answer, Asked, Connection, Cursor, Outcome, Rejection, Request, decide::Tls,
};

use super::{
    access_log::{Record, Sent},
    answer::is_grpc,
    context::Context,
    forwarded,
    headers::{self, Has},
    host::{Host, LastAuthority},
    limit,
    upgrade::Upgrade,
};
use crate::{random, shared::Shared};

/// Brings a request's headers to the form in which they are asked for and passed on.
pub(crate) fn prepare(head: &mut RequestHeader, context: &mut Context) {
    match head.version {
        Version::HTTP_2 => headers::trim(head),
        _ => headers::forget_spelling(head),
    }
    context.has = Has::of(&head.headers);
    if context.has.any(Has::UPGRADE) {
        let upgrade = Upgrade::of(head);
        if upgrade == Upgrade::Drop {
            head.remove_header(&header::UPGRADE);
        }
        context.upgrade = upgrade == Upgrade::Forward;
    }
    if head.version == Version::HTTP_10 {
        // To be ignored (RFC 9110, 10.1.1).
        head.remove_header(&header::EXPECT);
        context.has.forget(Has::EXPECT);
    }
}

/// Decides about a request and records the decision in the context. `last` knows the host of the connection's previous request.
/// Returns a cursor if a check has to be carried out first; [`resume`] then goes on.
///
/// # Errors
/// The answer, where no backend is asked.
pub(crate) fn decide(
    shared: &Shared,
    head: &RequestHeader,
    last: &mut LastAuthority,
    context: &mut Context,
) -> Result<Option<Box<Cursor>>, Box<Answer>> {
    let coded = is_coded(head, context);
    if context.has.any(Has::CONTENT_TYPE) {
        context.grpc = is_grpc(head.headers.get(header::CONTENT_TYPE));
    }

    let asked = Asked::parse(&head.method, head.raw_path());
    let host = last.of(head);
    let named = host.as_ref().map_or("", |host| &*host.name);
    let path = asked.as_ref().map_or("", Asked::path);
    let lists = || head.headers.get_all(&forwarded::FOR.name).iter().map(HeaderValue::as_bytes);
    context.set_client(shared.client(context.conn.peer.ip(), lists, &head.headers));
    context.record = Record::begin(shared, || Sent {
        method: &head.method,
        target: head.raw_path(),
        protocol: protocol(head.version),
        host: named,
        sent_host: host.as_ref().map_or("", |host| host.sent),
        path,
        client: context.client,
        scheme: forwarded::scheme(head, context),
        port: context.conn.client_port,
        headers: &head.headers,
        head_len: head_len(head),
    });
    context.identify_record();
    let asked = asked.map_err(refused)?;
    if coded {
        return Err(bad("no transfer coding but chunked is supported"));
    }
    if head.version == Version::HTTP_2 {
        check_h2(head, context.has).map_err(bad)?;
    }
    let host = host.map_err(bad)?;
    let (request, connection) = views(head, &host, &asked, context);
    let decision = shared.with_table(|table| routing::decide(table, request, connection, random::number()));
    let (decision, place) = limit::pass(shared, decision, request, connection);
    context.place = place;
    context.host = Some(host.value).filter(|value| !value.is_empty());
    let decided = context.record_decision(decision);
    context.measure(&decided, &head.method, || head_len(head));
    decided
}

/// Goes on with a decision whose check has been carried out, as [`decide`] does.
///
/// # Errors
/// As [`decide`].
pub(crate) fn resume(
    shared: &Shared,
    cursor: Cursor,
    outcome: Outcome,
    head: &RequestHeader,
    context: &mut Context,
) -> Result<Option<Box<Cursor>>, Box<Answer>> {
    let asked = Asked::parse(&head.method, head.raw_path()).map_err(refused)?;
    let host = Host::of(head).map_err(bad)?;
    let (request, connection) = views(head, &host, &asked, context);
    let decision = routing::resume(cursor, request, connection, outcome);
    let (decision, place) = limit::pass(shared, decision, request, connection);
    context.place = place.or(context.place.take());
    let decided = context.record_decision(decision);
    context.measure(&decided, &head.method, || head_len(head));
    decided
}

/// The request as its backend would get it without the steps of its rule, for whoever checks it.
///
/// # Errors
/// The answer, if it has no such form.
pub(crate) fn for_check(
    cursor: &Cursor,
    head: &RequestHeader,
    context: &mut Context,
) -> Result<RequestHeader, Box<Answer>> {
    context.keep_request_id();
    let mut request = head.clone();
    let made = (|| {
        forwarded::apply(&mut request, context)?;
        if let Some(host) = &context.host {
            request.insert_header("Host", host.clone())?;
        }
        join_cookies(&mut request);
        match cursor.target() {
            Some(target) => request.set_raw_path(target.as_bytes()),
            None => Ok(()),
        }
    })();
    let invalid = |_: Box<pingora_error::Error>| bad("the request cannot be forwarded");
    made.map(|()| request).map_err(invalid)
}

fn refused((rejection, why): (Rejection, &'static str)) -> Box<Answer> {
    Box::new(Answer::reject(rejection, why))
}

fn bad(why: &'static str) -> Box<Answer> {
    refused((Rejection::BadRequest, why))
}

/// A request and its connection as decisions see them.
fn views<'r>(
    head: &'r RequestHeader,
    host: &'r Host,
    asked: &'r Asked<'r>,
    context: &'r Context,
) -> (Request<'r>, Connection<'r>) {
    let request = Request {
        method: &head.method,
        host: &host.name,
        sent_host: host.sent,
        asked,
        headers: &head.headers,
        upgrade: context.upgrade,
    };
    (request, connection(context, forwarded::scheme(head, context)))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// The size of the head as HTTP/1 has it.
fn head_len(head: &RequestHeader) -> usize {
    head.method.as_str().len() + head.raw_path().len() + 14 + headers::fields_len(&head.headers)
}

/// Whether the body is in a coding that it would lose on its way to a backend. It is not read to its end.
pub(crate) fn is_coded(head: &RequestHeader, context: &Context) -> bool {
    context.has.any(Has::TRANSFER_ENCODING) && !headers::is_chunked_alone(&head.headers)
}

/// Refuses HTTP/2 heads that the parser accepts but that cannot be expressed in HTTP/1. An empty Content-Length is one.
///
/// # Errors
/// What the client is told.
fn check_h2(head: &RequestHeader, has: Has) -> Result<(), &'static str> {
    if headers::has_invalid_name(&head.headers) {
        return Err("a header's name is invalid");
    }
    if !matches!(head.raw_path(), [b'/', ..] | b"*") {
        return Err("the path is not in origin form");
    }
    let is_number =
        |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    if has.any(Has::CONTENT_LENGTH) && !head.headers.get_all(header::CONTENT_LENGTH).iter().all(is_number) {
        return Err("Content-Length is not a number");
    }
    Ok(())
}

/// The client's connection as decisions see it.
fn connection<'c>(context: &'c Context, scheme: &'static str) -> Connection<'c> {
    let conn = &context.conn;
    let tls = conn.tls.as_ref();
    Connection {
        port: conn.port,
        tls: tls.map(|tls| Tls {
            server_name: tls.server_name.as_deref(),
            client_auth: &tls.client_auth,
            certificate: tls.certificate.as_deref(),
        }),
        client: context.client,
        scheme,
        client_port: conn.client_port,
        port_offset: conn.offset,
    }
}

/// The one length that several stand for, which the parser found equal (RFC 9110, 8.6); `None` where there is one already.
pub(crate) fn one_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next()?;
    let listed = first.as_bytes().contains(&b',');
    if lengths.next().is_none() && !listed {
        return None;
    }
    let one = first.as_bytes().split(|b| *b == b',').next().unwrap_or_default().trim_ascii();
    HeaderValue::from_bytes(one).ok()
}

/// h2 clients may send a cookie in crumbs; HTTP/1 knows one line (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(request: &mut RequestHeader) {
    let mut crumbs = request.headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut line = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        line.extend_from_slice(b"; ");
        line.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(line) = HeaderValue::from_bytes(&line) {
        let _ = request.insert_header("Cookie", line);
    }
}
