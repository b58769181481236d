//! Reads the head of a request, decides about it, and writes the head that goes on, all while its bytes are at hand.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, header};
use pingora_http::RequestHeader;
use portcullis_routing::{
    self as routing, Answer, Asked, Carrier, Connection, Cursor, Decision, Headers, Rejection, Request,
    Route, decide::Tls,
};

use super::{
    buffer::Out,
    fields::Room,
    framing::Framing,
    head::{Host, Read, RequestHead},
    last_host::LastHost,
    name::Kind,
    request,
};
use crate::{
    conn::ConnInfo,
    http::{
        access_log::{Record, Sent},
        answer::{self, Reply},
        context::Context,
        limit, retry, side,
        upgrade::passes_routes,
    },
    in_place, random,
    refusal::Refusal,
    shared::Shared,
};

/// A request that was read and decided about.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) context: Box<Context>,
    pub(super) outcome: Outcome,
    pub(super) asked: About,
    /// The body that follows.
    pub(super) body: Framing,
    /// The request's `Origin`, if the answer depends on it.
    pub(super) origin: Origin,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// We answer.
    Answer(Box<Reply>),
    /// An HTTP/1 backend gets this head. With that of the client, if another head may have to be written.
    Forward(Out, Option<Box<[u8]>>),
    /// pingora carries it; this is its head.
    Handover(Vec<u8>),
    /// A check is carried out first; [`resume`] goes on.
    Check(Box<Checking>),
}

/// A request whose decision waits for a check.
#[derive(Debug)]
pub(super) struct Checking {
    pub(super) cursor: Box<Cursor>,
    /// The head as the client sent it.
    pub(super) head: Box<[u8]>,
    /// The request as its backend would get it without the steps of its rule.
    pub(super) request: RequestHeader,
}

/// What is known of the request when it is answered.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// Whether it may be sent again though a backend may have processed it (RFC 9110, 9.2.2).
    pub(super) idempotent: bool,
    pub(super) http10: bool,
    /// Whether it is a HEAD request, which gets an answer without its body.
    pub(super) head_only: bool,
    /// Whether the connection may carry another request.
    pub(super) keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub(super) expects: bool,
}

/// The `Origin` that the answer's CORS headers depend on.
#[derive(Debug, Default)]
pub(super) struct Origin(Option<Box<[u8]>>);

/// Tells when it is worth parsing a head that comes in several reads, so that a client that sends it byte by byte does not
/// have it parsed for each byte.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    /// How many bytes have been looked at.
    seen: usize,
    /// Whether the first line has ended; `None` before the second look.
    has_line: Option<bool>,
}

impl Arriving {
    /// Whether nothing has been looked at yet.
    pub(super) fn is_new(&self) -> bool {
        self.seen == 0
    }

    /// Looks at all bytes that have come so far: whether the head may be whole, or is to be refused for its first line.
    pub(super) fn may_be_read(&mut self, bytes: &[u8]) -> bool {
        let before = std::mem::replace(&mut self.seen, bytes.len());
        if before == 0 {
            // Nearly every head is complete at the first read, so a search for its end would be wasted.
            return true;
        }
        let has_end = |bytes: &[u8]| memchr::memchr(b'\n', bytes).is_some();
        let had_line = self.has_line.unwrap_or_else(|| has_end(&bytes[..before]));
        let line_ends = !had_line && has_end(&bytes[before..]);
        self.has_line = Some(had_line || line_ends);
        let from = before.saturating_sub(3);
        let mut lines = memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| &bytes[from + at + 1..]);
        line_ends || lines.any(|rest| rest.starts_with(b"\n") || rest.starts_with(b"\r\n"))
    }
}

/// Reads a request and decides about it. `None`: its head goes on. The number is that of the head's bytes. `last` belongs to the
/// connection.
///
/// # Errors
/// If it is malformed, or its head is larger than `limit`, in bytes.
pub(super) fn begin(
    shared: &Shared,
    conn: &Arc<ConnInfo>,
    bytes: &[u8],
    limit: usize,
    last: &mut LastHost,
) -> Result<Option<(Plan, usize)>, Refusal> {
    let mut room = Room::new();
    let head = match room.read_request(bytes, limit) {
        Read::Begun => return Ok(None),
        Read::Refused(refusal) => return Err(refusal),
        Read::Whole(head) => head,
    };
    if head.takes_away_essentials() {
        return Err(Refusal::Invalid("Connection names a header that is not the connection's"));
    }
    let (asked, body, len) = (About::of(&head), head.body.clone(), head.len);
    let mut context = in_place::boxed(|| Context::of(Arc::clone(conn)));
    let (outcome, origin) = decide(shared, &head, last, &mut context);
    Ok(Some((Plan { context, outcome, asked, body, origin }, len)))
}

/// Decides about a request, and writes the head that goes on or the answer.
fn decide<'h>(
    shared: &Shared,
    head: &'h RequestHead<'h, '_>,
    last: &'h mut LastHost,
    context: &mut Context,
) -> (Outcome, Origin) {
    let lists = || head.values(Kind::ForwardedFor);
    context.set_client(shared.client(context.conn.peer.ip(), lists, head));
    context.grpc = head.has(Kind::ContentType)
        && head.values(Kind::ContentType).next().is_some_and(answer::is_grpc_type);
    context.upgrade = asks_for_upgrade(head);
    let (asked, host) = (Asked::parse_text(&head.method, head.target), last.of(head));
    let named = host.as_ref().map_or("", |host| &*host.name);
    context.record = Record::begin(shared, || Sent {
        method: &head.method,
        target: head.target.as_bytes(),
        protocol: if head.http10 { "HTTP/1.0" } else { "HTTP/1.1" },
        host: named,
        sent_host: host.as_ref().map_or("", |host| host.value),
        path: asked.as_ref().map_or("", Asked::path),
        client: context.client,
        scheme: scheme(head, context),
        port: context.conn.client_port,
        headers: head,
        head_len: head.len,
    });
    context.identify_record();
    settle(shared, head, asked, host, context, |request, connection| {
        shared.with_table(|table| routing::decide(table, request, connection, random::number()))
    })
}

/// Goes on with a decision whose check has been carried out, as [`begin`] does.
pub(super) fn resume(
    shared: &Shared,
    head: &[u8],
    cursor: Cursor,
    outcome: routing::Outcome,
    context: &mut Context,
) -> (Outcome, Origin) {
    let mut room = Room::new();
    // It was read before, so it is whole.
    let Read::Whole(head) = room.read_request(head, head.len()) else {
        let answer = Answer::reject(Rejection::CheckFailed, "the request could not be read again");
        return (Outcome::Answer(Box::new(reply(&answer, context, &Origin::default()))), Origin::default());
    };
    let (asked, host) = (Asked::parse_text(&head.method, head.target), head.host());
    settle(shared, &head, asked, host, context, |request, connection| {
        routing::resume(cursor, request, connection, outcome)
    })
}

/// Makes a decision, records it in the context, and writes what follows from it.
fn settle<'h>(
    shared: &Shared,
    head: &'h RequestHead<'h, '_>,
    asked: Result<Asked<'_>, (Rejection, &'static str)>,
    host: Result<Host<'h>, &'static str>,
    context: &mut Context,
    decision: impl FnOnce(Request<'_>, Connection<'_>) -> Decision,
) -> (Outcome, Origin) {
    let reject = |(rejection, why)| Box::new(Answer::reject(rejection, why));
    let decided = match (&asked, &host) {
        (Err(refused), _) => Err(reject(*refused)),
        (_, Err(why)) => Err(reject((Rejection::BadRequest, *why))),
        (Ok(asked), Ok(host)) => {
            let (decision, place) = with_views(head, asked, host, context, |request, connection| {
                limit::pass(shared, decision(request, connection), request, connection)
            });
            context.place = place.or(context.place.take());
            context.record_decision(decision)
        }
    };
    context.measure(&decided, &head.method, || head.len);
    let origin = Origin::of(head, context);
    let outcome = match (decided, host) {
        (Ok(None), Ok(host)) if context.carrier == Carrier::Http1 => {
            let mut out = Out::take();
            request::write(head, &host, context, &mut out.bytes);
            if context.is_copied_as_sent() {
                context.sent = side::request_of(&plain(head, false)).map(Box::new);
            }
            let has_pages = context.route.as_ref().is_some_and(Route::has_pages);
            Outcome::Forward(out, has_pages.then(|| head.bytes[..head.len].into()))
        }
        (Ok(None), Ok(host)) => {
            context.host = HeaderValue::from_str(host.value).ok().filter(|value| !value.is_empty());
            Outcome::Handover(plain(head, context.held.is_none()))
        }
        (Ok(Some(cursor)), Ok(host)) => check(head, &host, cursor, context),
        (Err(answer), _) => Outcome::Answer(Box::new(reply(&answer, context, head))),
        // Without a host there was no decision.
        (Ok(_), Err(why)) => {
            let answer = Answer::reject(Rejection::BadRequest, why);
            Outcome::Answer(Box::new(reply(&answer, context, head)))
        }
    };
    (outcome, origin)
}

/// The head as the client sent it, in plain form. `expects`: with `Expect`.
fn plain(head: &RequestHead<'_, '_>, expects: bool) -> Vec<u8> {
    let mut plain = Vec::with_capacity(head.len + 16);
    request::write_plain(head, expects, &mut plain);
    plain
}

/// Writes the request as its backend would get it without the steps of its rule, for whoever checks it.
fn check(head: &RequestHead<'_, '_>, host: &Host<'_>, cursor: Box<Cursor>, context: &mut Context) -> Outcome {
    let mut bytes = Vec::with_capacity(2 * head.len);
    context.target = cursor.target().map(Into::into);
    context.keep_request_id();
    request::write(head, host, context, &mut bytes);
    context.target = None;
    match side::request_of(&bytes) {
        Some(request) => {
            let head = head.bytes[..head.len].into();
            Outcome::Check(Box::new(Checking { cursor, head, request }))
        }
        None => {
            let answer = Answer::reject(Rejection::BadRequest, "the request cannot be forwarded");
            Outcome::Answer(Box::new(reply(&answer, context, head)))
        }
    }
}

/// Writes the head for the backend of the context's route once more. Returns whether that was possible.
pub(super) fn write_again(head: &[u8], context: &Context, out: &mut Out) -> bool {
    let mut room = Room::new();
    let Read::Whole(head) = room.read_request(head, head.len()) else { return false };
    let Ok(host) = head.host() else { return false };
    out.clear();
    request::write(&head, &host, context, &mut out.bytes);
    true
}

fn reply(answer: &Answer, context: &mut Context, request: &dyn Headers) -> Reply {
    context.rejection = answer.rejection;
    answer::reply(answer, context.grpc, context.route.as_ref(), request)
}

/// Hands over a request and its connection as decisions see them.
fn with_views<T>(
    head: &RequestHead<'_, '_>,
    asked: &Asked<'_>,
    host: &Host<'_>,
    context: &Context,
    run: impl FnOnce(Request<'_>, Connection<'_>) -> T,
) -> T {
    let conn = &context.conn;
    let tls = conn.tls.as_ref();
    let tls = tls.map(|tls| Tls {
        server_name: tls.server_name.as_deref(),
        client_auth: &tls.client_auth,
        certificate: tls.certificate.as_deref(),
    });
    let connection = Connection {
        port: conn.port,
        tls,
        client: context.client,
        scheme: scheme(head, context),
        client_port: conn.client_port,
        port_offset: conn.offset,
    };
    let request = Request {
        method: &head.method,
        host: &host.name,
        sent_host: host.value,
        asked,
        headers: head,
        upgrade: context.upgrade,
    };
    run(request, connection)
}

/// The scheme that the client used; that of the trusted proxy's word, if one is in between.
fn scheme(head: &RequestHead<'_, '_>, context: &Context) -> &'static str {
    let own = context.conn.scheme();
    if !context.trusted {
        return own;
    }
    match head.values(Kind::ForwardedProto).next() {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ => own,
    }
}

/// Whether the request asks for an upgrade that may be forwarded. HTTP/1.0 has none (RFC 9110, 7.8). An upgrade to h2 or TLS
/// is not forwarded: the client's next requests would bypass the routes.
fn asks_for_upgrade(head: &RequestHead<'_, '_>) -> bool {
    if !head.has(Kind::Upgrade) || !head.seen.upgrade || head.http10 {
        return false;
    }
    let mut protocols = head.values(Kind::Upgrade);
    let (first, second) = (protocols.next(), protocols.next());
    second.is_none() && first.is_some_and(|first| !passes_routes(first))
}

impl About {
    fn of(head: &RequestHead<'_, '_>) -> Self {
        Self {
            idempotent: retry::is_idempotent(&head.method),
            http10: head.http10,
            head_only: head.method == Method::HEAD,
            keep_alive: head.seen.persists(head.http10),
            expects: head.has(Kind::Expect) && !head.http10,
        }
    }
}

impl Origin {
    fn of(head: &RequestHead<'_, '_>, context: &Context) -> Self {
        let asked_for = head.has(Kind::Origin) && context.route.as_ref().is_some_and(Route::has_cors);
        Self(asked_for.then(|| head.values(Kind::Origin).next().unwrap_or_default().into()))
    }
}

/// Answers look at no other header of the request.
impl Headers for Origin {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.0.as_deref().filter(|_| *name == header::ORIGIN)
    }

    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> std::ops::ControlFlow<()>) {
        if let Some(value) = self.0.as_deref().filter(|_| *name == header::ORIGIN) {
            let _ = visit(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_noticed_wherever_it_is_torn() {
        for head in
            ["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\nA: b\n\n", "GET / HTTP/1.1\r\nA: b\n\r\n"]
        {
            let line = head.find('\n').expect("a first line") + 1;
            for torn in 1..head.len() {
                let mut arriving = Arriving::default();
                assert!(arriving.may_be_read(&head.as_bytes()[..torn]), "{head:?} {torn}: the first bytes");
                assert!(arriving.may_be_read(head.as_bytes()), "{head:?} {torn}: the end");
            }
            // Byte by byte, it is worth a look at the beginning, after the first line and at the end.
            let mut arriving = Arriving::default();
            let worth = (1..=head.len()).filter(|end| arriving.may_be_read(&head.as_bytes()[..*end]));
            assert_eq!(worth.collect::<Vec<_>>(), [1, line, head.len()], "{head:?}");
        }
    }
}
