//! What is known of one request, from its first hook to its last.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    os::fd::RawFd,
    sync::Arc,
};

use http::{HeaderValue, Method};
use pingora_http::RequestHeader;
use portcullis_routing::{
    Answer, Backend, Carrier, Cursor, Decision, Endpoint, OwnTimeouts, Rejection, Route, RouteKind, Rule,
    backend::InFlight,
    decide::Forward,
    step::{BackendConnection, Pace, Spool},
};
use tokio::time::Instant;

use super::{
    access_log::{Outcome, Record},
    answer::Reply,
    client::Client,
    coded, forwarded,
    headers::{self, Has},
    mirror::Copies,
};
use crate::{
    ForwardedFor, HeaderNames,
    body::{Allowance, Held, Pacer},
    clock,
    conn::ConnInfo,
    ingress_metrics::Measured,
    limiter::Place,
    scope::{Cut, SCOPE, Scope},
};

/// What is known of one request. Dropped without [`Context::finish`] where the connection cuts the request.
#[derive(Debug)]
pub(crate) struct Context {
    /// The client's connection.
    pub(crate) conn: Arc<ConnInfo>,
    /// The client's address, as far as trusted proxies tell it.
    pub(crate) client: IpAddr,
    /// Whether the peer is a trusted proxy, whose forwarded headers are believed.
    pub(crate) trusted: bool,
    /// What the backend gets in `X-Forwarded-For` if so.
    pub(crate) forwarded_for: ForwardedFor,
    /// The time at which the client has to have its answer.
    pub(crate) deadline: Option<Instant>,
    /// The time at which a listener's filters were begun; `None` if it has none. The rule's time is counted from then on.
    began: Option<Instant>,
    /// What was decided, where that was before pingora had the request.
    pub(crate) decided: Option<Result<(), Box<Answer>>>,
    /// What carries the request.
    pub(crate) carrier: Carrier,
    /// The rule that takes the request, and which of its backends.
    pub(crate) route: Option<Route>,
    /// What headers the client sent, as far as anybody asks.
    pub(crate) has: Has,
    /// Host as the client sent it; what `X-Forwarded-Host` says.
    pub(crate) host: Option<HeaderValue>,
    /// Path and query for the backend, where they are not those of the client.
    pub(crate) target: Option<Box<str>>,
    /// Whether the connection is to become another protocol's.
    pub(crate) upgrade: bool,
    /// The identifier that the backend gets where the client sent none, if a check was told it.
    request_id: Option<Box<[u8; 32]>>,
    /// How many bytes of the request's body this attempt may still read.
    pub(crate) allowed: Allowance,
    /// The body, if a check needed it.
    pub(crate) held: Option<Held>,
    /// Whether the client speaks gRPC: what we answer by ourselves is said in its terms.
    pub(crate) grpc: bool,
    /// The compression of the response, if pingora carries the request.
    pub(super) coded: Option<Arc<coded::Shared>>,
    /// The place that it takes among the requests of its client.
    pub(crate) place: Option<Place>,
    /// Attempts at backends.
    pub(crate) attempts: Attempts,
    /// The request as the client sent it, if a copy of it is wanted and the carrier does not keep it anyway.
    pub(crate) sent: Option<Box<RequestHeader>>,
    /// Whom the request is copied to.
    pub(crate) mirrors: Option<Box<Copies>>,
    /// Whether that was decided; an attempt that follows decides nothing anew.
    pub(crate) mirrored: bool,
    /// Why no backend answered, and the text that says so to the client.
    pub(crate) rejection: Option<(Rejection, &'static str)>,
    /// Status of the final answer; 0 before it.
    pub(crate) status: u16,
    /// Whether the request has been counted.
    pub(crate) counted: bool,
    /// What the access log wants to know; `None` where nobody listens.
    pub(crate) record: Option<Box<Record>>,
    /// What the metrics of ingress-nginx need; `None` if the rule has no labels.
    pub(crate) measured: Option<Measured>,
}

/// The attempts at backends that were made for a request.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// How many were begun.
    pub(crate) begun: u32,
    /// How many of them are retries by the rule's policy (or its default).
    pub(crate) retries: u32,
    /// How many of them were followed by another since the backend had not processed the request.
    pub(crate) unprocessed: u32,
    /// Whether one was followed by another since a pooled connection broke.
    pub(crate) broke: bool,
    /// When the first of them began, if the rule limits the time in which others are.
    pub(crate) since: Option<Instant>,
    /// Endpoints of the attempts before this one.
    pub(crate) tried: Vec<SocketAddr>,
    /// The endpoint of this attempt.
    pub(crate) endpoint: Option<InFlight>,
    /// Whether the backend has an endpoint that was not tried.
    pub(crate) others: bool,
    /// The endpoint of this attempt, where it is wanted how long it takes to answer.
    pub(crate) timed: Option<Timed>,
    /// The time at which this attempt is given up.
    pub(crate) deadline: Option<Instant>,
    /// Whether the next attempt waits.
    pub(crate) back_off: bool,
    /// Whether the next attempt stays with the endpoint.
    pub(crate) again: bool,
    /// Whether the next attempt takes a connection of its own.
    pub(crate) fresh: bool,
    /// The connection of this attempt, where it speaks HTTP/1.
    pub(crate) connection: Option<RawFd>,
    /// Whether an informational answer has come.
    pub(crate) interim: bool,
}

/// An endpoint, and since when it is asked.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) since: Instant,
}

tokio::task_local! {
    /// A request that was decided about before pingora's hooks are called, and that they carry out.
    static DECIDED: Cell<Option<Box<Context>>>;
}

impl Context {
    /// The context of a request that pingora has read, or that was handed over. Called inside the scope of its
    /// connection.
    pub(crate) fn new() -> Box<Self> {
        if let Some(decided) = DECIDED.try_with(Cell::take).ok().flatten() {
            return decided;
        }
        Box::new(Self::of(SCOPE.with(|scope| {
            scope.set_read();
            Arc::clone(&scope.conn)
        })))
    }

    /// Lets pingora's hooks carry out what was decided about the request: `carrying` calls them.
    pub(crate) fn hand_over<F: Future>(mut self: Box<Self>, carrying: F) -> impl Future<Output = F::Output> {
        self.decided = Some(Ok(()));
        DECIDED.scope(Cell::new(Some(self)), carrying)
    }

    /// Of a request on this connection.
    pub(crate) fn of(conn: Arc<ConnInfo>) -> Self {
        Self {
            client: conn.peer.ip().to_canonical(),
            trusted: false,
            forwarded_for: ForwardedFor::List,
            conn,
            deadline: None,
            began: None,
            decided: None,
            carrier: Carrier::Pingora,
            route: None,
            has: Has::default(),
            host: None,
            target: None,
            upgrade: false,
            request_id: None,
            allowed: Allowance::of(None),
            held: None,
            grpc: false,
            coded: None,
            place: None,
            attempts: Attempts::default(),
            sent: None,
            mirrors: None,
            mirrored: false,
            rejection: None,
            status: 0,
            counted: false,
            record: None,
            measured: None,
        }
    }

    /// Sets who the client is.
    pub(crate) fn set_client(&mut self, client: Client) {
        Client { address: self.client, trusted: self.trusted, forwarded_for: self.forwarded_for } = client;
    }

    /// The client's address as backends get it.
    pub(crate) fn client_text(&self) -> HeaderValue {
        match self.is_peer() {
            true => self.conn.client.clone(),
            false => forwarded::address(self.client),
        }
    }

    /// Whether the client is the peer itself.
    pub(crate) fn is_peer(&self) -> bool {
        self.client == self.conn.peer.ip().to_canonical()
    }

    /// Whether the rule is that of an Ingress.
    pub(crate) fn is_of_ingress(&self) -> bool {
        self.rule().is_some_and(|rule| rule.route.kind == RouteKind::Ingress)
    }

    /// The names of request headers that the backend receives.
    pub(crate) fn header_names(&self) -> HeaderNames {
        if self.is_of_ingress() { self.conn.header_names } else { HeaderNames::Any }
    }

    /// Gives the line of the access log the identifier that the backend gets.
    pub(crate) fn identify_record(&mut self) {
        if self.record.as_ref().is_some_and(|record| record.lacks_id()) {
            self.keep_request_id();
            let id = self.request_id();
            self.record.iter_mut().for_each(|record| record.set_id(&id));
        }
    }

    /// Records a decision. Returns a cursor if a check has to be carried out first.
    ///
    /// # Errors
    /// The answer, if no backend is asked.
    pub(crate) fn record_decision(&mut self, decision: Decision) -> Result<Option<Box<Cursor>>, Box<Answer>> {
        match decision {
            Decision::Forward(forward) => {
                self.begin_time(forward.route.rule());
                self.take_route(forward);
                Ok(None)
            }
            Decision::Ask(cursor) => {
                match cursor.rule() {
                    Some(rule) => self.begin_time(rule),
                    None => drop(self.began.get_or_insert_with(Instant::now)),
                }
                Ok(Some(cursor))
            }
            Decision::Answer(mut answer) => {
                self.route = answer.route.take();
                Err(answer)
            }
        }
    }

    /// Begins to measure a request that was decided about, if its rule has labels. `head_len`: the size of its head, in bytes.
    pub(crate) fn measure(
        &mut self,
        decided: &Result<Option<Box<Cursor>>, Box<Answer>>,
        method: &Method,
        head_len: impl FnOnce() -> usize,
    ) {
        let rule = match decided {
            Ok(Some(cursor)) => cursor.rule(),
            _ => self.rule(),
        };
        if rule.is_none_or(|rule| rule.labels.is_none()) {
            return;
        }
        let measured = self.measured.get_or_insert_with(|| Measured::begin(method, head_len()));
        if let Some(route) = &self.route {
            measured.forwarded(route);
        }
    }

    /// Measures an answer of the proxy's own.
    pub(crate) fn measure_reply(&mut self, reply: &Reply) {
        if let Some(measured) = &mut self.measured {
            measured.sent_head(headers::answer_len(&reply.headers));
        }
    }

    /// Takes note of where the request goes.
    pub(crate) fn take_route(&mut self, Forward { route, target, carrier }: Forward) {
        // A default backend is not asked for another protocol, and gets the identifier that the backend got.
        self.upgrade &= !route.is_page();
        if route.has_pages() {
            self.keep_request_id();
        }
        (self.route, self.target, self.carrier) = (Some(route), target, carrier);
    }

    /// Whether the connection to the backend carries no other request.
    pub(crate) fn closes_backend(&self) -> bool {
        let connection = self.route.as_ref().and_then(Route::backend_connection);
        connection == Some(BackendConnection::Close)
    }

    /// Whether the request is forwarded without its body.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.route.as_ref().is_some_and(Route::is_bodiless)
    }

    /// The rule's time for a request begins with the first decision.
    fn begin_time(&mut self, rule: &Rule) {
        if self.deadline.is_none() {
            let began = || self.began.unwrap_or_else(Instant::now);
            self.deadline = rule.timeouts().request.map(|limit| began() + limit);
        }
    }

    /// The identifier of a request that has none of the client's.
    pub(crate) fn request_id(&self) -> [u8; 32] {
        self.request_id.as_deref().copied().unwrap_or_else(forwarded::request_id)
    }

    /// From now on the identifier stays the same: the backend gets the one that a check was told.
    pub(crate) fn keep_request_id(&mut self) {
        let id = self.request_id();
        self.request_id.get_or_insert_with(|| Box::new(id));
    }

    pub(crate) fn rule(&self) -> Option<&Rule> {
        self.route.as_ref().map(Route::rule)
    }

    /// The largest size of the request's body, in bytes. Whether there is one is asked first, since most have none.
    pub(crate) fn body_size(&self, has_body: bool) -> Option<u64> {
        self.route.as_ref().filter(|_| has_body)?.body_size()
    }

    /// Whether the body is received as a whole before a backend gets it. `has_body`: whether there is one.
    pub(crate) fn is_received_first(&self, has_body: bool) -> bool {
        has_body && (self.held.is_some() || self.spool(true).is_some())
    }

    /// How the request's body is spooled; `None` if there is none, or it is streamed.
    pub(crate) fn spool(&self, has_body: bool) -> Option<Spool> {
        self.route.as_ref().filter(|_| has_body)?.spool()
    }

    /// The pace at which the body of an answer is sent.
    pub(crate) fn pacer(&self) -> Option<Box<Pacer>> {
        self.pace().map(Pacer::new).map(Box::new)
    }

    /// The same. It does not apply to a tunnel, which is established by the response.
    pub(crate) fn pace(&self) -> Option<Pace> {
        self.rule()?.steps.pace()
    }

    /// The limits of time that the rule has in place of the proxy's.
    pub(crate) fn own_timeouts(&self) -> OwnTimeouts {
        self.rule().map(|rule| rule.timeouts().own).unwrap_or_default()
    }

    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        self.route.as_ref().and_then(Route::backend)
    }

    /// The route, where a step of it asks for copies of some requests. Upgrades are not copied.
    pub(crate) fn with_mirrors(&self) -> Option<&Route> {
        let wants = |route: &&Route| route.copy().is_some() || route.has_mirrors();
        self.route.as_ref().filter(|route| !self.upgrade && wants(route))
    }

    /// Whether a copy of the request is wanted as the client sent it.
    pub(crate) fn is_copied_as_sent(&self) -> bool {
        !self.upgrade && self.route.as_ref().is_some_and(|route| route.copy().is_some())
    }

    /// The time at which this attempt, or the whole request, is given up.
    pub(crate) fn attempt_deadline(&self) -> Option<Instant> {
        match (self.attempts.deadline, self.deadline) {
            (Some(attempt), Some(request)) => Some(attempt.min(request)),
            (attempt, request) => attempt.or(request),
        }
    }

    /// Counts the request and writes its line of the access log; once, however often it is called.
    pub(crate) fn finish(&mut self, bytes: usize, aborted: bool) {
        if !std::mem::replace(&mut self.counted, true) {
            self.conn.load.answered(self.status);
            if self.attempts.begun > 0 {
                self.conn.load.forwarded(self.carrier);
            }
        }
        if let Some(measured) = self.measured.take()
            && let Some(labels) = self.rule().and_then(|rule| rule.labels.as_ref())
        {
            self.conn.load.ingress.count(labels, &measured.end(self.status, bytes));
        }
        if let Some(Timed { endpoint, since }) = self.attempts.timed.take() {
            endpoint.took(since.elapsed().as_secs_f32(), clock::milliseconds());
        }
        if let Some(record) = self.record.take() {
            record.emit(&Outcome {
                tls: self.conn.tls.as_ref(),
                carrier: self.carrier,
                status: self.status,
                bytes,
                rule: self.rule(),
                backend: self.backend().map(|backend| &backend.key),
                endpoint: self.attempts.endpoint.as_ref().map(InFlight::address),
                attempts: self.attempts.begun,
                tried: &self.attempts.tried,
                rejection: self.rejection,
                aborted,
            });
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        match SCOPE.try_with(Scope::cut) {
            Ok(Some(Cut::Stalled)) => {
                self.status = if self.status == 0 { 504 } else { self.status };
                self.rejection = Some((Rejection::Timeout, "no progress for too long"));
            }
            // As nginx logs a client that left.
            Ok(Some(Cut::ClientLeft)) if self.status == 0 => self.status = 499,
            _ => {}
        }
        self.finish(0, true);
    }
}

impl Attempts {
    /// The next attempt is at the same endpoint.
    pub(crate) fn stay(&mut self, fresh: bool) {
        self.again = true;
        self.fresh = fresh;
    }
}
