//! A request that is forwarded to a backend: which rule takes it, which steps change it, and what happens to the
//! answer.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};

use super::{check::Passed, held::Held, selection::Selection};
use crate::{
    Backend, BackendProtocol, Balance, Headers, Rule, Spread, Step, WeightedBackend,
    step::{
        Accepted, AnswerEdits, BackendConnection, Compression, Cors, IngressCopy, IngressCors, Mirror,
        RequestEdits, Spool, StepEdits, UrlRewrite, error_pages::FailedRequest,
    },
};

/// A request that is forwarded to a backend.
#[derive(Debug)]
pub struct Forward {
    /// The rule that takes it, and the backend that was chosen.
    pub route: Route,
    /// Path and query for the backend, if they differ from the client's.
    pub target: Option<Box<str>>,
    /// The carrier that forwards the request.
    pub carrier: Carrier,
}

/// The part of the proxy that forwards a request to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The proxy's own carrier, for backends that speak HTTP/1.
    Http1,
    /// pingora, for backends that speak HTTP/2 and for connections that are upgraded to another protocol.
    Pingora,
}

impl Carrier {
    /// Returns the carrier for requests to a backend of this protocol.
    pub fn of(protocol: BackendProtocol, upgrade: bool) -> Self {
        match protocol {
            BackendProtocol::Http1 if !upgrade => Self::Http1,
            BackendProtocol::Http1 | BackendProtocol::Http2 => Self::Pingora,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "http1",
            Self::Pingora => "pingora",
        })
    }
}

/// The rule that takes a request, and which of its backends.
#[derive(Debug)]
pub struct Route {
    rule: Arc<Held>,
    /// The index of the backend in the rule; the number of backends if none was chosen.
    choice: usize,
    /// The header changes that checks have brought; they come before those of the rule.
    checked: Option<Arc<StepEdits>>,
    /// Whether the client's TLS ends here.
    is_tls: bool,
    /// What the request says of the endpoint. Boxed, since few backends ask.
    selection: Option<Box<Selection>>,
    /// What some steps derive from the request. Boxed, since few rules have such steps.
    derived: Option<Box<Derived>>,
    /// Whether the request is for an error page.
    is_page: bool,
    /// Whether the request is forwarded without its body.
    is_bodiless: bool,
    /// The codings that the client accepts; `None` if the response is not compressed.
    accepted: Option<Accepted>,
}

/// What some steps derive from the request.
#[derive(Debug, Default)]
struct Derived {
    /// The mirrored request (`mirror-target` of an Ingress).
    copy: Option<IngressCopy>,
    /// What a default backend receives about the request when its response replaces another one.
    failed_request: Option<FailedRequest>,
    /// What makes a path in a rewritten answer an absolute URL.
    base: Option<Box<str>>,
    /// The header changes of the rule, if some depend on the request.
    edits: Option<StepEdits>,
}

/// The attempts before an answer, and whether another one is possible.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// The number of attempts after the first one.
    pub retries: u32,
    /// Whether another attempt is possible: nothing was answered, the body is still available, and time is left.
    pub repeatable: bool,
    /// Whether the request's method is idempotent.
    pub idempotent: bool,
}

/// What happens to a backend's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAnswer {
    /// The answer is forwarded to the client, changed by [`Route::answer_edits`].
    Pass,
    /// The answer is dropped, and another attempt is made.
    Retry,
}

impl Route {
    /// Makes a route of the rule that takes a request, and the index of the chosen backend in the rule, if one was
    /// chosen.
    pub(crate) fn new(rule: &Arc<Rule>, choice: Option<usize>) -> Self {
        let (rule, choice) = (Held::new(rule), choice.unwrap_or(usize::MAX));
        Self {
            rule,
            choice,
            checked: None,
            is_tls: false,
            selection: None,
            derived: None,
            is_page: false,
            is_bodiless: false,
            accepted: None,
        }
    }

    /// Adds the codings that the client accepts; `None` if the response is not compressed.
    pub(super) fn accepting(self, accepted: Option<Accepted>) -> Self {
        Self { accepted, ..self }
    }

    pub(super) fn accepted(&self) -> Option<Accepted> {
        self.accepted
    }

    /// Adds whether the client's TLS ends here.
    pub(super) fn over_tls(self, is_tls: bool) -> Self {
        Self { is_tls, ..self }
    }

    /// Adds what checks have brought.
    pub(super) fn passed(self, passed: &Passed) -> Self {
        Self { checked: passed.edits().cloned(), ..self }
    }

    /// Replaces the header changes of the rule by those that are made for the request.
    pub(super) fn editing(mut self, edits: Option<StepEdits>) -> Self {
        self.derived.get_or_insert_default().edits = edits;
        self
    }

    /// Adds what the request says of the endpoint.
    pub(super) fn selecting(self, selection: Selection) -> Self {
        Self { selection: Some(Box::new(selection)), ..self }
    }

    /// Adds what a default backend receives about the request when its response replaces another one.
    pub(super) fn failing(mut self, request: FailedRequest) -> Self {
        self.derived.get_or_insert_default().failed_request = Some(request);
        self
    }

    /// Adds what makes a path in a rewritten answer an absolute URL.
    pub(super) fn at(mut self, base: Box<str>) -> Self {
        self.derived.get_or_insert_default().base = Some(base);
        self
    }

    /// Makes it the route of a request for an error page, with these header changes.
    pub(super) fn for_page(self, edits: Option<Arc<StepEdits>>) -> Self {
        Self { checked: edits, is_page: true, ..self }
    }

    /// Leaves the request's body out.
    pub(super) fn leave_out_body(&mut self) {
        self.is_bodiless = true;
    }

    pub(super) fn failed_request(&self) -> Option<&FailedRequest> {
        self.derived.as_ref()?.failed_request.as_ref()
    }

    /// Returns whether the request is for an error page.
    pub fn is_page(&self) -> bool {
        self.is_page
    }

    /// Returns whether the request is forwarded without its body.
    pub fn is_bodiless(&self) -> bool {
        self.is_bodiless
    }

    /// Adds the mirrored request.
    pub(super) fn copying(mut self, copy: IngressCopy) -> Self {
        self.derived.get_or_insert_default().copy = Some(copy);
        self
    }

    /// Returns how the endpoint is chosen.
    pub fn spread(&self) -> Spread<'_> {
        match (self.choice().map(|choice| &choice.balance), self.selection.as_deref()) {
            (Some(Balance::RoundRobin), _) => Spread::RoundRobin,
            (Some(Balance::Faster), _) => Spread::Faster,
            (Some(balance), Some(selection)) => selection.spread(balance),
            _ => Spread::LessLoaded,
        }
    }

    /// Begins a session of the client: its answer says so in a cookie or a header. `expires` writes the date that is in so many
    /// seconds, as HTTP does.
    pub fn begin_session(&mut self, session: &str, expires: impl FnOnce(i64) -> String) {
        let choice = self.rule.backends.all().get(self.choice);
        if let (Some(Balance::Session(affinity)), Some(selection)) =
            (choice.map(|choice| &choice.balance), &mut self.selection)
        {
            selection.begin_session(affinity, session, expires);
        }
    }

    /// The header of the answer with which a session begins.
    fn begun(&self) -> Option<(&HeaderName, &HeaderValue)> {
        self.selection.as_ref()?.begun(&self.choice()?.balance)
    }

    /// Decides what happens to an answer with this status (HTTPRouteRetry `codes` and `attempts`, `proxy-next-upstream`).
    pub fn on_answer(&self, status: u16, attempts: Attempts) -> OnAnswer {
        match &self.rule.retry {
            Some(retry)
                if attempts.repeatable
                    && attempts.retries < retry.attempts
                    && retry.wants(status, attempts.idempotent) =>
            {
                OnAnswer::Retry
            }
            _ => OnAnswer::Pass,
        }
    }

    /// Returns the rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Returns the chosen backend, usable or not.
    pub fn choice(&self) -> Option<&WeightedBackend> {
        self.rule.backends.all().get(self.choice)
    }

    /// Returns the chosen backend, if it can be used.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        self.choice()?.backend.as_ref().ok()
    }

    /// Returns the name of the chosen backend in metrics, if it is the canary of an Ingress.
    pub fn canary(&self) -> Option<&Arc<str>> {
        let canary = self.rule.backends.canary().filter(|_| self.choice == 1)?;
        Some(&canary.label)
    }

    /// Returns the steps of the rule, followed by those of the backend, which are more specific and take precedence.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.rule.steps.iter().chain(self.choice().into_iter().flat_map(|choice| choice.steps.iter()))
    }

    /// Whether there are any steps; most rules and backends have none. Costs less than to look for one of them.
    fn has_steps(&self) -> bool {
        !self.rule.steps.is_empty() || self.choice().is_some_and(|choice| !choice.steps.is_empty())
    }

    /// Returns the changes that the steps make to the headers of the request, including Host.
    pub fn request_edits(&self) -> RequestEdits<'_> {
        RequestEdits::of(self.edits(), self.host())
    }

    /// Returns whether the connection to the backend can be reused for other requests, if the steps define this.
    pub fn backend_connection(&self) -> Option<BackendConnection> {
        self.edits().into_iter().flatten().find_map(StepEdits::connection)
    }

    /// Returns the changes that the steps make to the headers of a backend's answer with this status. `request` holds the
    /// headers that the client sent.
    pub fn answer_edits<'r>(&'r self, status: u16, request: &'r dyn Headers) -> AnswerEdits<'r> {
        match self.edits() {
            [None, None, None] if self.selection.is_none() => AnswerEdits::default(),
            edits => {
                let base = self.derived.as_ref().and_then(|of| of.base.as_deref()).unwrap_or_default();
                self.own_answer_edits(status, request).with(edits).rewriting(self.rule_edits(), base)
            }
        }
    }

    /// Returns the changes that the steps make to the headers of an answer of the proxy's own.
    pub fn own_answer_edits<'r>(&'r self, status: u16, request: &'r dyn Headers) -> AnswerEdits<'r> {
        AnswerEdits::of_every_answer(self.cors(), self.hsts(), request)
            .with_ingress_cors(self.ingress_cors(), request)
            .with_every_answer([self.checked.as_deref(), self.rule_edits()])
            .with_session(self.begun())
            .with_cookie(self.checked.as_ref().and_then(|edits| edits.cookie(status)))
    }

    /// Returns whether the response may be compressed.
    #[inline]
    pub fn may_compress(&self) -> bool {
        self.accepted.is_some()
    }

    /// Returns the compression of a response with this status; `None` if it is not compressed for any client. `headers` are
    /// those of the response after [`Self::answer_edits`].
    pub fn compression(&self, status: u16, headers: &dyn Headers) -> Option<Compression> {
        self.rule.steps.compress()?.compression(self.accepted?, status, headers)
    }

    fn hsts(&self) -> Option<&HeaderValue> {
        let steps = self.is_tls.then(|| self.rule.steps.iter());
        let mut values = steps.into_iter().flatten().filter_map(|step| match step {
            Step::Hsts(value) => Some(&**value),
            _ => None,
        });
        values.next()
    }

    /// Returns the header changes that checks have brought, those of the rule's steps, and those of the backend's steps.
    fn edits(&self) -> [Option<&StepEdits>; 3] {
        let backend = self.choice().and_then(|choice| choice.steps.edits());
        [self.checked.as_deref(), self.rule_edits(), backend]
    }

    fn rule_edits(&self) -> Option<&StepEdits> {
        let of_request = self.derived.as_ref().and_then(|of| of.edits.as_ref());
        of_request.or_else(|| self.rule.steps.edits())
    }

    /// Returns the largest body of a request, in bytes; `None` is no limit.
    pub fn body_size(&self) -> Option<u64> {
        self.rule.steps.iter().find_map(|step| match step {
            Step::BodySize(most) => Some(most.0),
            _ => None,
        })
    }

    /// Returns how the request's body is spooled; `None` where it is streamed. Requests to HTTP/2 backends are streamed: gRPC
    /// has bodies that end after their answer.
    pub fn spool(&self) -> Option<Spool> {
        self.backend().filter(|backend| backend.protocol == BackendProtocol::Http1 && !self.is_bodiless)?;
        self.rule.steps.iter().find_map(|step| match step {
            Step::Spool(spool) => Some(*spool),
            _ => None,
        })
    }

    /// Returns whether a step applies CORS to answers.
    pub fn has_cors(&self) -> bool {
        self.cors().next().is_some() || self.ingress_cors().is_some()
    }

    fn ingress_cors(&self) -> Option<&IngressCors> {
        self.rule.steps.iter().find_map(|step| match step {
            Step::IngressCors(cors) => Some(&**cors),
            _ => None,
        })
    }

    fn cors(&self) -> impl Iterator<Item = &Cors> {
        self.steps().filter_map(|step| match step {
            Step::Cors(cors) => Some(&**cors),
            _ => None,
        })
    }

    /// Returns the value that a rewrite puts in place of the client's Host.
    fn host(&self) -> Option<&str> {
        self.rewritten(|rewrite| rewrite.hostname.as_ref()).map(|host| &**host)
    }

    /// Returns the mirrors that may get a copy of the request ([`Mirror::takes`]).
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.steps().filter_map(|step| match step {
            Step::Mirror(mirror) => Some(&**mirror),
            _ => None,
        })
    }

    /// Returns whether there are any mirrors.
    pub fn has_mirrors(&self) -> bool {
        self.has_steps() && self.mirrors().next().is_some()
    }

    /// Returns the mirrored request of an Ingress, as the client sent it.
    pub fn copy(&self) -> Option<&IngressCopy> {
        self.derived.as_ref()?.copy.as_ref()
    }

    /// Returns a part of the rewrite. The backend's rewrite overrides the rule's.
    pub(super) fn rewritten<'r, T>(
        &'r self,
        part: impl Fn(&'r UrlRewrite) -> Option<&'r T>,
    ) -> Option<&'r T> {
        let of = |step: &'r Step| match step {
            Step::Rewrite(rewrite) => part(rewrite),
            _ => None,
        };
        // Asked for each part of each request.
        if !self.has_steps() {
            return None;
        }
        self.steps().filter_map(of).last()
    }
}
