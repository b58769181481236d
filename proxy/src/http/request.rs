//! What becomes of a request before a backend is asked: checks, route, filters that answer by themselves.

use std::sync::Arc;

use http::{HeaderValue, Method, Version, header};
use pingora_proxy::Session;
use portcullis_routing::{
    BackendProtocol, Endpoints, Listener, ListenerId, Port, Rejection, RequestView, Selected, Step,
    path::InvalidPath,
};
use tokio::time::Instant;

use super::{
    access_log::Record,
    answer::{Answer, is_grpc},
    client,
    context::{Context, Route},
    headers::{self, Has},
    host::Host,
    redirect,
    target::{Asked, Target},
    upgrade::Upgrade,
};
use crate::{conn::ConnInfo, random, shared::Shared};

/// Finds the request's way to a backend and notes it in the context.
///
/// # Errors
/// The answer, where no backend is asked.
pub(crate) fn decide(
    shared: &Shared,
    session: &mut Session,
    context: &mut Context,
) -> Result<(), Box<Answer>> {
    match session.req_header().version {
        Version::HTTP_2 => headers::trim(session.req_header_mut()),
        _ => headers::forget_spelling(session.req_header_mut()),
    }
    context.has = Has::of(&session.req_header().headers);
    if context.has.any(Has::UPGRADE) {
        let upgrade = Upgrade::of(session.req_header());
        if upgrade == Upgrade::Drop {
            session.req_header_mut().remove_header(&header::UPGRADE);
        }
        context.upgrade = upgrade == Upgrade::Forward;
    }
    if session.req_header().version == Version::HTTP_10 {
        // It knows no informational answers, and its `Expect` is to be ignored (RFC 9110, 10.1.1).
        session.downstream_session.set_ignore_info_resp(true);
        session.req_header_mut().remove_header(&header::EXPECT);
        context.has.forget(Has::EXPECT);
    }
    // The body would reach the backend without the coding that it is in. It is not read to its end.
    let coded =
        context.has.any(Has::TRANSFER_ENCODING) && !headers::is_chunked_alone(&session.req_header().headers);
    if coded {
        session.set_keepalive(None);
    }
    let head = session.req_header();
    if context.has.any(Has::CONTENT_TYPE) {
        context.grpc = is_grpc(head.headers.get(header::CONTENT_TYPE));
    }

    let bad = |why| Answer::reject(Rejection::BadRequest, why);
    let host = Host::of(head);
    let asked = Asked::of(head);
    let named = host.as_ref().map_or("", |host| &*host.name);
    let path = match &asked {
        Ok(Asked::Resource(target)) => target.path.canonical(),
        Ok(Asked::Server) => "*",
        Err(_) => "",
    };
    context.client = client::address(context.conn.peer.ip(), &head.headers, &shared.options.trusted);
    context.record = Record::begin(&head.method, named, path, context.client);
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Answer::reject(Rejection::MethodNotAllowed, "method not allowed"));
    }
    if coded {
        return Err(bad("no transfer coding but chunked is supported"));
    }
    let host = host.map_err(bad)?;
    let target = match asked.map_err(bad)? {
        Asked::Resource(target) => target,
        Asked::Server => return Err(Answer::options(Vec::new())),
    };
    let table = shared.table.load();
    let port = table.ports.get(&context.conn.port);
    let (port, listener) = port
        .and_then(|port| Some((port, port.listener(&host.name)?)))
        .ok_or_else(|| Answer::reject(Rejection::NoRoute, "no listener for this host"))?;
    if !is_directed(&context.conn, port, listener) {
        let why = "the connection was made for another host's listener";
        return Err(Answer::reject(Rejection::Misdirected, why));
    }
    let request =
        RequestView { method: &head.method, path: &target.path, query: target.query, headers: &head.headers };
    let selected = listener.route(&host.name, &request).map_err(InvalidPath::why).map_err(bad)?;
    let selected =
        selected.ok_or_else(|| Answer::reject(Rejection::NoRoute, "no route takes this request"))?;
    let way = Way { selected, host: &host, target: &target };
    way.follow(shared, session, context)?;
    context.host = Some(host.value).filter(|value| !value.is_empty());
    Ok(())
}

/// On TLS, the listener of the server name must be that of Host: a client that reuses a connection for another
/// listener's host would pass by what that listener asks of its clients. Hosts of Ingresses are one listener.
fn is_directed(conn: &ConnInfo, port: &Port, listener: &Arc<Listener>) -> bool {
    let Some(tls) = &conn.tls else { return true };
    match port.listener(tls.server_name.as_deref().unwrap_or_default()) {
        Some(greeted) => Arc::ptr_eq(greeted, listener) || greeted.id == listener.id,
        // Greeted with the default certificate.
        None => *listener.id == ListenerId::Ingress,
    }
}

/// A rule and the request that it takes.
struct Way<'a> {
    selected: Selected<'a>,
    host: &'a Host<'a>,
    target: &'a Target<'a>,
}

impl Way<'_> {
    fn follow(&self, shared: &Shared, session: &Session, context: &mut Context) -> Result<(), Box<Answer>> {
        let head = session.req_header();
        let rule = self.selected.rule;
        let choice = rule.backends.pick(random::number());
        let place = choice.and_then(|c| rule.backends.all().iter().position(|o| std::ptr::eq(o, c)));
        let route = context.route.insert(Route::new(Arc::clone(rule), place));
        context.deadline = rule.timeouts.request.map(|limit| Instant::now() + limit);

        for step in rule.steps.iter() {
            match step {
                Step::Cors(cors) if head.method == Method::OPTIONS => {
                    if let Some(headers) = cors.preflight(&head.headers) {
                        return Err(Answer::options(headers));
                    }
                }
                Step::Redirect(redirect) => {
                    let request = (head, self.host, self.target);
                    return Err(redirect::answer(
                        redirect,
                        &self.selected,
                        request,
                        context,
                        &shared.options,
                    ));
                }
                _ => {}
            }
        }
        let broken = |why| Answer::reject(Rejection::BrokenBackend, why);
        let choice = choice.ok_or_else(|| broken("the rule has no backend"))?;
        let backend = choice.backend.as_ref().map_err(|_| broken("the backend cannot be used"))?;
        // Here rather than when connecting, so that the client's connection outlives the answer.
        if matches!(&**backend.endpoints.load(), Endpoints::Addresses(all) if all.is_empty()) {
            return Err(Answer::reject(Rejection::NoEndpoints, "the backend has no endpoint that is ready"));
        }
        if context.upgrade && backend.protocol == BackendProtocol::Http2 {
            let why = "the backend speaks HTTP/2, which knows no upgrade";
            return Err(Answer::reject(Rejection::BadGateway, why));
        }
        let reading = self.selected.reading;
        let Some(rewrite) = route.rewrite(|rewrite| rewrite.path.as_ref()) else {
            context.target = self.target.forwarded(reading, None);
            return Ok(());
        };
        let path =
            self.target.path.read(reading).map_err(|why| Answer::reject(Rejection::BadRequest, why.why()))?;
        context.target = self.target.forwarded(reading, Some(&rewrite.apply(&path, self.selected.path)));
        Ok(())
    }
}

/// Brings several values of a length, which the parser found equal, to one (RFC 9110, 8.6).
pub(crate) fn one_length(request: &mut pingora_http::RequestHeader) {
    let mut lengths = request.headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let listed = first.as_bytes().contains(&b',');
    if lengths.next().is_none() && !listed {
        return;
    }
    let one = first.as_bytes().split(|b| *b == b',').next().unwrap_or_default().trim_ascii();
    if let Ok(one) = HeaderValue::from_bytes(one) {
        let _ = request.insert_header("Content-Length", one);
    }
}

/// h2 clients may send a cookie in crumbs; HTTP/1 knows one line (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(request: &mut pingora_http::RequestHeader) {
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
