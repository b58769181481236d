//! One attempt at a backend: the endpoint, the limits of time, and the request as the backend gets it.

use std::{
    mem,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    Uri, Version, header,
    uri::{Authority, PathAndQuery},
};
use httpdate::fmt_http_date;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use portcullis_routing::{Backend, BackendProtocol, Rejection, Route, Transport, decide::TOO_LARGE};
use tokio::time::{Instant, sleep};

use super::{
    context::{Attempts, Context, Timed},
    forwarded,
    headers::{Has, Request},
    hop, request, retry,
};
use crate::{
    Options,
    scope::SCOPE,
    shared::Shared,
    upstream::{
        Choice, Dialler, NoEndpoint, Seeker,
        dial::Permitted,
        kept::Kept,
        peer::{Attempt, Liveness, is_relayed, peer},
    },
};

/// The hard stop comes so much after the time at which a 504 is due.
const GRACE: Duration = Duration::from_millis(500);

/// Chooses an endpoint and says how to connect to it. `bodiless`: the request has no body.
///
/// # Errors
/// Where there is none, or no time is left.
pub(crate) async fn begin(
    shared: &Arc<Shared>,
    dialler: &Dialler,
    bodiless: bool,
    context: &mut Context,
) -> Result<Box<HttpPeer>> {
    let options = &shared.options;
    let fail = |context: &mut Context, (rejection, why)| context.fail(rejection, why);
    let Next { address, fresh } = match next(dialler, context).await {
        Ok(next) => next,
        Err(failure) => return Err(fail(context, failure)),
    };
    let Some(backend) = context.backend().cloned() else { return Err(fail(context, NO_BACKEND)) };
    let left = start_time(context).map_err(|failure| fail(context, failure))?;
    if left.is_some() {
        let stop = if context.upgrade { context.attempt_deadline() } else { context.deadline };
        SCOPE.with(|scope| scope.set_deadline(stop.map(|at| at + GRACE)));
    }
    let within = |limit: Duration| left.map_or(limit, |left| left.min(limit));
    let own = context.own_timeouts();
    if own.send.max(own.read).is_some() {
        // It is the last resort: what pingora keeps itself comes before it.
        let all = [own.send, own.read, Some(options.idle_timeout)];
        let longest = all.into_iter().flatten().max();
        SCOPE.with(|scope| scope.set_idle_limit(longest));
    }
    // Over h2, where a long upload would run into it: only without a body, and for gRPC, whose bodies are short mostly.
    let counts = backend.protocol == BackendProtocol::Http1 || bodiless || context.grpc;
    // pingora takes these for a tunnel as well, which may last; until it is made, the hard stop serves.
    let (read_timeout, write_timeout) = match context.upgrade {
        true => (Some(own.read.unwrap_or(options.idle_timeout)), None),
        false => (
            read_timeout(options, &backend, own.read.filter(|_| counts), left),
            own.send.map(within).or(left),
        ),
    };
    let connect_timeout = within(own.connect.unwrap_or(options.connect_timeout));
    let upgrade = context.upgrade;
    let attempt = Attempt {
        address,
        connect_timeout,
        read_timeout,
        write_timeout,
        upgrade,
        fresh,
        liveness: Some(Liveness {
            idle_limit: options.idle_timeout,
            ping_interval: options.backend_ping_interval,
        }),
    };
    Ok(peer(shared, &backend, &attempt))
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) address: Permitted,
    /// Whether it takes a connection that no request has used.
    pub(crate) fresh: bool,
}

/// Why no backend answers a request, and the text that says so to the client.
pub(crate) type Failure = (Rejection, &'static str);

/// A rule whose backends all have weight 0.
pub(crate) const NO_BACKEND: Failure = (Rejection::BrokenBackend, "the rule has no backend");
const TOO_LATE: Failure = (Rejection::Timeout, "the request took too long");

/// Waits as long as the next attempt has to, and chooses its endpoint.
///
/// # Errors
/// Where there is none, or no time is left.
pub(crate) async fn next(dialler: &Dialler, context: &mut Context) -> Result<Next, Failure> {
    if context.attempts.back_off {
        Box::pin(back_off(context)).await?;
    }
    let (again, fresh) = (mem::take(&mut context.attempts.again), mem::take(&mut context.attempts.fresh));
    if !again && let Some(before) = context.attempts.endpoint.take() {
        context.attempts.tried.push(before.address());
    }
    context.attempts.interim = false;
    // Of an attempt that another one follows.
    context.rejection = None;
    let Some(route) = &mut context.route else { return Err(NO_BACKEND) };
    if route.rule().retry.as_ref().is_some_and(|retry| retry.within.is_some()) {
        context.attempts.since.get_or_insert_with(Instant::now);
    }
    let address = match &context.attempts.endpoint {
        Some(same) => {
            let backend = route.backend().ok_or(NO_BACKEND)?;
            dialler.permit(backend, route.rule().route.kind, same.address()).map_err(NoEndpoint::rejection)?
        }
        None => choose(route, dialler, &mut context.attempts).await?,
    };
    if let Some(measured) = &mut context.measured {
        measured.attempt();
    }
    Ok(Next { address, fresh })
}

/// Chooses an endpoint that was not tried, if there is one.
async fn choose(route: &mut Route, dialler: &Dialler, attempts: &mut Attempts) -> Result<Permitted, Failure> {
    let backend = route.backend().ok_or(NO_BACKEND)?;
    let seeker = Seeker { kind: route.rule().route.kind, spread: route.spread(), tried: &attempts.tried };
    let choice = dialler.choose_for(Transport::Tcp, backend, seeker).await;
    let Choice { in_flight, address, others, session, timed } = choice.map_err(NoEndpoint::rejection)?;
    attempts.begun += 1;
    attempts.others = others;
    attempts.endpoint = Some(in_flight);
    attempts.timed = timed.map(|endpoint| Timed { endpoint, since: Instant::now() });
    if let Some(session) = session {
        route.begin_session(&session, date_in);
    }
    Ok(address)
}

/// The date that is in so many seconds, as cookies have it since Netscape: `Sun, 29-Nov-26 07:36:55 GMT`.
fn date_in(seconds: i64) -> String {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    let then = if seconds < 0 { now.checked_sub(by) } else { now.checked_add(by) };
    // From 1970 on, and as far as four digits go.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let date = fmt_http_date(then.unwrap_or(last).clamp(SystemTime::UNIX_EPOCH, last));
    match date.split(' ').collect::<Vec<_>>()[..] {
        [day_of_week, day, month, year, time, zone] => {
            // Two digits are enough for clients up to 2069 (RFC 6265, 5.1.1); nginx writes them up to 2037.
            let year = if year <= "2037" { &year[2..] } else { year };
            format!("{day_of_week} {day}-{month}-{year} {time} {zone}")
        }
        _ => date,
    }
}

/// Sees whether the request may be sent on this connection.
///
/// # Errors
/// Where it was pooled, and is closed or about to be, and the request cannot be sent again: another one is asked for.
pub(crate) fn connected(
    kept: &Kept,
    session: &Session,
    reused: bool,
    connection: RawFd,
    context: &mut Context,
) -> Result<()> {
    let Some(backend) = context.backend() else { return Ok(()) };
    let protocol = backend.protocol;
    // Of a relayed connection only the relay learns when the backend closes it.
    let is_relayed = protocol == BackendProtocol::Http1 && backend.tls.as_deref().is_some_and(is_relayed);
    context.attempts.connection = (protocol == BackendProtocol::Http1).then_some(connection);
    let once = !retry::is_idempotent(&session.req_header().method);
    if reused && once && (is_relayed || !kept.is_good(connection, protocol)) {
        return Err(retry::stale());
    }
    if let Some(measured) = &mut context.measured {
        measured.connected(reused);
    }
    Ok(())
}

/// The limit between two reads. Over h2 pingora counts it from the end of the request's head, so that a long upload
/// would run into it; there only limits of the rule are one.
fn read_timeout(
    options: &Options,
    backend: &Backend,
    own: Option<Duration>,
    left: Option<Duration>,
) -> Option<Duration> {
    let limit = match backend.protocol {
        BackendProtocol::Http2 => own,
        BackendProtocol::Http1 => Some(own.unwrap_or(options.idle_timeout)),
    };
    [limit, left].into_iter().flatten().min()
}

/// Starts this attempt's time; what is left of it, where it is limited.
///
/// # Errors
/// Where nothing is left.
pub(crate) fn start_time(context: &mut Context) -> Result<Option<Duration>, Failure> {
    let timeouts = context.rule().map(|rule| *rule.timeouts()).unwrap_or_default();
    if timeouts.request.is_none() && timeouts.backend_request.is_none() {
        return Ok(None);
    }
    let now = Instant::now();
    context.attempts.deadline = timeouts.backend_request.map(|limit| now + limit);
    let Some(deadline) = context.attempt_deadline() else { return Ok(None) };
    if deadline <= now {
        return Err(TOO_LATE);
    }
    Ok(Some(deadline - now))
}

async fn back_off(context: &mut Context) -> Result<(), Failure> {
    context.attempts.back_off = false;
    let pause = retry::pause(context);
    let left = context.deadline.map(|at| at.saturating_duration_since(Instant::now()));
    match left {
        // An answer in time is worth more than another attempt.
        Some(left) if left <= pause => {
            sleep(left).await;
            Err(TOO_LATE)
        }
        _ => {
            sleep(pause).await;
            Ok(())
        }
    }
}

/// Brings the request to the form that the backend gets.
///
/// # Errors
/// Where the client is gone, or a header cannot be set.
pub(crate) async fn request(
    session: &mut Session,
    request: &mut RequestHeader,
    context: &Context,
) -> Result<()> {
    let Some(route) = &context.route else { return Ok(()) };
    let h2_backend = route.backend().is_some_and(|backend| backend.protocol == BackendProtocol::Http2);
    if context.upgrade {
        hop::strip_upgrade_request(request);
    } else if route.is_page() {
        hop::strip_upgrade(request);
    }
    if route.is_bodiless() {
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT] {
            request.remove_header(&name);
        }
    }
    forwarded::apply(request, context)?;
    let h2_client = session.req_header().version == Version::HTTP_2;
    // HTTP/1.1 asks for one, which HTTP/1.0 may have come without; and from an h2 client pingora takes `:authority` and
    // `:scheme` towards an h2 backend from Host, where there is one.
    if !request.headers.contains_key(header::HOST) {
        match &context.host {
            Some(host) => request.insert_header("Host", host.clone())?,
            None => request.insert_header("Host", context.conn.local.to_string())?,
        }
    }
    if h2_client && !h2_backend && context.has.any(Has::COOKIE) {
        request::join_cookies(request);
    }
    // pingora takes it away where either side speaks HTTP/1.
    if context.has.any(Has::PROXY_AUTHORIZATION) {
        request.remove_header(&header::PROXY_AUTHORIZATION);
    }
    if context.has.any(Has::CONTENT_LENGTH)
        && !route.is_bodiless()
        && let Some(length) = request::one_length(&request.headers)
    {
        request.insert_header("Content-Length", length)?;
    }
    // The 100 of an h2 backend never gets here, so the client gets one from us. pingora's own session for h2 clients drops it.
    let ends_here = context.has.any(Has::EXPECT) && (h2_backend || h2_client) && !route.is_bodiless();
    let expects = ends_here && request.remove_header(&header::EXPECT).is_some();
    if expects && (!h2_client || session.downstream_session.is_custom()) {
        session.write_continue_response().await?;
    }
    if let Some(target) = &context.target {
        request.set_raw_path(target.as_bytes())?;
    }
    let mut headers = Request(request);
    let edits = route.request_edits();
    edits.apply(&mut headers);
    if let Some(connection) = edits.connection().filter(|_| !context.upgrade && !h2_backend) {
        request.insert_header("Connection", connection.as_str())?;
    }
    let tls = route.backend().and_then(|backend| backend.tls.as_deref());
    if h2_backend && tls.is_some_and(is_relayed) && session.downstream_session.is_custom() {
        set_https(request)?;
    }
    Ok(())
}

/// Counts a part of the request's body.
///
/// # Errors
/// Where the body is larger than the route permits. pingora then ends the backend's connection, or resets the stream.
pub(crate) fn check_size(part: Option<&Bytes>, context: &mut Context) -> Result<()> {
    let taken = context.allowed.take(part.map_or(0, Bytes::len));
    // Of an error of the backend's side pingora would think that an answer is on its way.
    taken.map_err(|_| context.fail(Rejection::ContentTooLarge, TOO_LARGE).into_down())
}

/// How much of a body that is not forwarded is read, in bytes.
pub(crate) const DROPPED: u64 = 1 << 20;

/// Drops a part of a body that is not forwarded.
///
/// # Errors
/// Where more has come than is read for nothing.
pub(crate) fn drop_part(part: &mut Option<Bytes>, context: &mut Context) -> Result<()> {
    check_size(part.take().as_ref(), context)
}

/// Writes the target in absolute form, with the scheme `https` and the authority from Host, and removes Host: pingora does
/// not know of relayed TLS, and would write `http`. If there is no Host, pingora leaves the targets of our own sessions
/// unchanged.
fn set_https(request: &mut RequestHeader) -> Result<()> {
    let Some(host) = request.headers.get(header::HOST) else { return Ok(()) };
    let authority = Authority::try_from(host.as_bytes());
    let authority = authority.or_err(ErrorType::InvalidHTTPHeader, "Host is not a valid authority")?;
    let target = request.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme("https").authority(authority).path_and_query(target).build();
    request.set_uri(uri.or_err(ErrorType::InvalidHTTPHeader, "no target")?);
    request.remove_header(&header::HOST);
    Ok(())
}
