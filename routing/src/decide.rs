//! Decides what happens to a request. One pure function decides, and carriers carry out its decision:
//!
//! ```text
//! decide(table, request, connection, random)         -> Answer | Forward | Ask(cursor)
//! resume(cursor, request, connection, outcome)       -> Answer | Forward | Ask(cursor)
//! route.on_answer(status, attempts)                  -> Pass | Retry
//! ```
//!
//! Total: whatever a client sends gets an answer. Nothing here reads a clock or a socket, and randomness comes in as an
//! argument.

mod answer;
mod forward;
mod held;
pub(crate) mod trace;

use std::{fmt, sync::Arc};

use http::{HeaderValue, Method};

pub use answer::{Answer, Reply};
pub use forward::{Attempts, Carrier, Forward, OnAnswer, Route};
pub use held::renew_rules;

use self::trace::Trace;
use crate::{
    Asked, BackendProtocol, ClientAuth, Headers, Listener, PathMatch, Port, PortKey, Rejection, RequestView,
    Rule, Selected, Step, Table, Target,
    path::{InvalidPath, Reading},
    step::{Check, Origin, Redirect},
};

/// What a decision reads of a request. A carrier's own types stay its own.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r Method,
    /// The host in its one form: lower case, no port, no last dot; empty where HTTP/1.0 has none.
    pub host: &'r str,
    /// What is asked for.
    pub asked: &'r Asked<'r>,
    /// The headers.
    pub headers: &'r dyn Headers,
    /// Whether the connection is to become another protocol's.
    pub upgrade: bool,
}

/// What a decision reads of a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// The table's port that it came in on.
    pub port: PortKey,
    /// TLS that ended here.
    pub tls: Option<Tls<'c>>,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// The port that the client connected to.
    pub client_port: u16,
    /// What clients add to every listener's port to get there ([`Port::offset`]).
    pub port_offset: u16,
}

/// TLS that ended here.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'c> {
    /// The server name of the handshake, in lower case.
    pub server_name: Option<&'c str>,
    /// The policy of client authentication of the handshake.
    pub client_auth: &'c ClientAuth,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Decision {
    /// The proxy answers by itself.
    Answer(Box<Answer>),
    /// A backend is asked.
    Forward(Forward),
    /// The carrier carries out [`Cursor::check`] first, and goes on with [`resume`].
    Ask(Box<Cursor>),
}

/// The outcome of a check.
#[derive(Debug)]
pub enum Outcome {
    /// The request goes on, and these steps are done for it before those of its rule. Only steps that change headers
    /// have an effect.
    Pass(Vec<Step>),
    /// It does not; the text says so to the client.
    Deny(Rejection, &'static str),
    /// It does not, and the client gets this answer.
    Reply(Reply),
}

/// A decision that waits for a check. It refers to nothing of the table that it was made from, so that a carrier can wait
/// while the table is replaced.
#[derive(Debug)]
pub struct Cursor {
    rule: Arc<Rule>,
    /// The place of the check among the rule's steps.
    place: usize,
    path: PathMatch,
    reading: Reading,
    behind_gateway: bool,
    random: u64,
    /// Path and query for whoever checks, if they differ from the client's.
    target: Option<Box<str>>,
    /// The steps that the checks before have brought.
    passed: Vec<Step>,
}

impl Cursor {
    /// Returns the check that the decision waits for.
    pub fn check(&self) -> Option<&Check> {
        match self.rule.steps.get(self.place) {
            Some(Step::Check(check)) => Some(check),
            _ => None,
        }
    }

    /// Returns the rule that takes the request.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Returns path and query for whoever checks, in the form that the backend gets without a rewrite; `None` if they are
    /// those of the client.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }
}

/// Decides about a request. `random` is uniformly random over all of `u64`.
pub fn decide(table: &Table, request: Request<'_>, connection: Connection<'_>, random: u64) -> Decision {
    decide_with(table, request, connection, random, &mut trace::Silent)
}

/// Goes on with a decision whose check has been carried out. `request` and `connection` are those that it began with.
pub fn resume(
    cursor: Cursor,
    request: Request<'_>,
    connection: Connection<'_>,
    outcome: Outcome,
) -> Decision {
    let Cursor { rule, place, path, reading, behind_gateway, random, mut passed, target: _ } = cursor;
    // A check is part of a rule, which takes requests for resources alone.
    let Asked::Resource(target) = request.asked else {
        return Decision::Answer(Box::new(Answer::options(Vec::new())));
    };
    let selected = Selected { rule: &rule, path: &path, reading, behind_gateway };
    let mut chosen = Chosen { selected, request, target, connection, random, passed: Vec::new() };
    match outcome {
        Outcome::Pass(steps) => {
            passed.extend(steps);
            chosen.passed = passed;
            chosen.follow(place + 1, &mut trace::Silent)
        }
        Outcome::Deny(rejection, why) => chosen.answer(Answer::reject(rejection, why)),
        Outcome::Reply(reply) => chosen.answer(Answer::reply(reply)),
    }
}

pub(crate) fn decide_with<'t>(
    table: &'t Table,
    request: Request<'_>,
    connection: Connection<'_>,
    random: u64,
    trace: &mut impl Trace<'t>,
) -> Decision {
    let answer = |answer| Decision::Answer(Box::new(answer));
    let target = match request.asked {
        Asked::Resource(target) => target,
        Asked::Server => return answer(Answer::options(Vec::new())),
    };
    match select(table, &request, target, &connection, trace) {
        Ok(selected) => {
            Chosen { selected, request, target, connection, random, passed: Vec::new() }.follow(0, trace)
        }
        Err((rejection, why)) => answer(Answer::reject(rejection, why)),
    }
}

/// The rule that takes a request: by the port, the listener of the host, and its routes.
fn select<'t>(
    table: &'t Table,
    request: &Request<'_>,
    target: &Target<'_>,
    connection: &Connection<'_>,
    trace: &mut impl Trace<'t>,
) -> Result<Selected<'t>, (Rejection, &'static str)> {
    let port = table.ports.get(&connection.port);
    let (port, listener) = port
        .and_then(|port| Some((port, port.listener(request.host)?)))
        .ok_or((Rejection::NoRoute, "no listener for this host"))?;
    trace.listener(port, listener);
    if !is_directed(connection, port, listener) {
        return Err((Rejection::Misdirected, "the connection was made for another host's listener"));
    }
    let view = RequestView {
        method: request.method,
        path: &target.path,
        query: target.query,
        headers: request.headers,
    };
    let selected = listener.route(request.host, &view).map_err(InvalidPath::why);
    let selected = selected.map_err(|why| (Rejection::BadRequest, why))?;
    let selected = selected.ok_or((Rejection::NoRoute, "no route takes this request"))?;
    trace.selected(&selected);
    Ok(selected)
}

/// Whether a connection may send requests to a listener. A client that reuses a connection for another host must not
/// bypass what that host requires of its clients.
///
/// The policy of client authentication has to be that of the handshake. At a Gateway the handshake also has to be for the
/// same listener. Among hosts of Ingresses server name and Host may differ, as with ingress-nginx. Clients with an unknown
/// or missing server name were shown the default certificate of Ingresses.
fn is_directed(connection: &Connection<'_>, port: &Port, listener: &Arc<Listener>) -> bool {
    let Some(tls) = connection.tls else { return true };
    // A handshake from before a change of the policy is not one under the policy.
    if listener.tls.client_auth() != Some(tls.client_auth) {
        return false;
    }
    let greeted = port.greeted(tls.server_name);
    match listener.id.is_ingress() {
        true => greeted.is_none_or(|greeted| greeted.id.is_ingress()),
        false => greeted.is_some_and(|greeted| Arc::ptr_eq(greeted, listener) || greeted.id == listener.id),
    }
}

/// Whether a check can be carried out.
///
/// # Errors
/// What the client is told if it cannot, and no request passes.
fn usable(check: &Check) -> Result<(), &'static str> {
    match check {
        Check::ExternalAuth(auth) if auth.backend.is_err() => {
            Err("closed: the service that authorizes requests cannot be used")
        }
        Check::ExternalAuth(_) => Ok(()),
    }
}

/// A rule and the request that it takes.
struct Chosen<'t, 'r> {
    selected: Selected<'t>,
    request: Request<'r>,
    target: &'r Target<'r>,
    connection: Connection<'r>,
    random: u64,
    /// The steps that checks have brought.
    passed: Vec<Step>,
}

impl<'t> Chosen<'t, '_> {
    /// Goes through the rule's steps, from this place on, and carries out those that decide where the request goes.
    fn follow(self, from: usize, trace: &mut impl Trace<'t>) -> Decision {
        let rule = self.selected.rule;
        for (place, step) in rule.steps.iter().enumerate().skip(from) {
            trace.step(step);
            match step {
                Step::Check(check) => {
                    if let Err(why) = usable(check) {
                        return self.answer(Answer::reject(Rejection::Closed, why));
                    }
                    return self.ask(place);
                }
                Step::Cors(cors) if *self.request.method == Method::OPTIONS => {
                    if let Some(headers) = cors.preflight(self.request.headers) {
                        return self.answer(Answer::options(headers));
                    }
                }
                Step::Redirect(redirect) => {
                    let answer = self.redirect(redirect);
                    return self.answer(answer);
                }
                Step::OwnTls if self.selected.behind_gateway && self.connection.tls.is_some() => {
                    let why = "this host's TLS ends at a Gateway, and the Ingress asks for TLS of its own";
                    return self.answer(Answer::reject(Rejection::Forbidden, why));
                }
                Step::OwnTls
                | Step::Cors(_)
                | Step::RequestHeaders(_)
                | Step::Rewrite(_)
                | Step::Mirror(_)
                | Step::ResponseHeaders(_) => {}
            }
        }
        self.forward()
    }

    /// Waits for the outcome of the check at this place.
    fn ask(self, place: usize) -> Decision {
        let Selected { rule, path, reading, behind_gateway } = self.selected;
        Decision::Ask(Box::new(Cursor {
            rule: Arc::clone(rule),
            place,
            path: path.clone(),
            reading,
            behind_gateway,
            random: self.random,
            target: self.target.forwarded(reading, None),
            passed: self.passed,
        }))
    }

    fn forward(self) -> Decision {
        let backends = &self.selected.rule.backends;
        let choice = backends.pick(self.random);
        let place = choice.and_then(|c| backends.all().iter().position(|other| std::ptr::eq(other, c)));
        let route = Route::new(self.selected.rule, place).passed(&self.passed);
        if let Err((rejection, why)) = self.check_backend(&route) {
            return Decision::Answer(Box::new(Answer::reject(rejection, why).of_route(route)));
        }
        match self.forwarded(&route) {
            Ok(target) => {
                let protocol = route.backend().map(|backend| backend.protocol).unwrap_or_default();
                let carrier = Carrier::of(protocol, self.request.upgrade);
                Decision::Forward(Forward { target, route, carrier })
            }
            Err(why) => {
                let answer = Answer::reject(Rejection::BadRequest, why.why());
                Decision::Answer(Box::new(answer.of_route(route)))
            }
        }
    }

    fn check_backend(&self, route: &Route) -> Result<(), (Rejection, &'static str)> {
        let choice = route.choice().ok_or((Rejection::BrokenBackend, "the rule has no backend"))?;
        let backend = choice.backend.as_ref();
        let backend = backend.map_err(|error| match error.rejection() {
            Rejection::Closed => (Rejection::Closed, "closed: what protects it is not served"),
            rejection => (rejection, "the backend cannot be used"),
        })?;
        // Here rather than when connecting, so that the client's connection outlives the answer.
        if backend.endpoints.is_empty() {
            return Err((Rejection::NoEndpoints, "the backend has no endpoint that is ready"));
        }
        if self.request.upgrade && backend.protocol == BackendProtocol::Http2 {
            return Err((Rejection::BadGateway, "the backend speaks HTTP/2, which has no upgrade"));
        }
        Ok(())
    }

    /// Path and query for the backend, if they differ from the client's.
    fn forwarded(&self, route: &Route) -> Result<Option<Box<str>>, InvalidPath> {
        let reading = self.selected.reading;
        let Some(rewrite) = route.rewritten(|rewrite| rewrite.path.as_ref()) else {
            return Ok(self.target.forwarded(reading, None));
        };
        let path = self.target.path.read(reading)?;
        Ok(self.target.forwarded(reading, Some(&rewrite.apply(&path, self.selected.path))))
    }

    fn redirect(&self, redirect: &Redirect) -> Answer {
        let path = match self.target.path.read(self.selected.reading) {
            Ok(path) => path,
            Err(invalid) => return Answer::reject(Rejection::BadRequest, invalid.why()),
        };
        let origin = Origin {
            scheme: self.connection.scheme,
            host: self.request.host,
            port: self.connection.redirected_port(),
            port_offset: self.connection.port_offset,
            path: &path,
            sent: self.target.path.location(self.selected.reading),
            query: self.target.query,
        };
        match HeaderValue::try_from(redirect.location(&origin, self.selected.path)) {
            Ok(location) => Answer::redirect(redirect.status, location),
            Err(_) => Answer::reject(Rejection::BadRequest, "the redirect has no valid location"),
        }
    }

    fn answer(&self, answer: Answer) -> Decision {
        Decision::Answer(Box::new(answer.of_route(Route::new(self.selected.rule, None))))
    }
}

impl Connection<'_> {
    /// The port for redirects: the listener's; behind a proxy that ended the client's TLS, that of the client's scheme.
    fn redirected_port(&self) -> u16 {
        match (self.scheme, &self.tls) {
            ("https", None) => 443,
            ("http", Some(_)) => 80,
            _ => self.client_port,
        }
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, host, asked, headers: _, upgrade } = self;
        f.debug_struct("Request")
            .field("method", method)
            .field("host", host)
            .field("asked", asked)
            .field("upgrade", upgrade)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Chosen<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen").field("selected", &self.selected).field("request", &self.request).finish()
    }
}

#[cfg(test)]
mod tests;
