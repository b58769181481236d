//! A rule and the request that it takes: the steps that decide where the request goes, and the backend.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use http::{HeaderValue, Method, StatusCode};

use super::{
    Answer, Carrier, Cursor, Decision, Forward, OfClient, Outcome, Route,
    check::{Passed, Stage, usable},
    selection::Selection,
    trace::Trace,
};
use crate::{
    BackendProtocol, Balance, Rejection, Selected, Step,
    step::{
        Accepted, AccessList, AuthAnswer, Check, IngressRedirect, Origin, Redirect, Satisfy, Standing,
        StepEdits, client_certificate::Refused, error_pages, ingress_auth::Verdict,
    },
    template::{FilledTooLong, Values},
};

const BLOCKED: &str = "a header has a value that is blocked";

/// The reasons for the access log where a service of an Ingress lets nobody pass.
const DENIED: &str = "denied by the authorization service";
const UNUSABLE: &str = "the authorization service responds with neither 2xx nor 401 nor 403";

/// A rule and the request that it takes.
#[derive(Debug)]
pub(super) struct Chosen<'t, 'r> {
    pub(super) selected: Selected<'t>,
    pub(super) of_client: OfClient<'r>,
    pub(super) passed: Passed,
}

impl<'t> Chosen<'t, '_> {
    /// Goes through the rule's steps, from this place on, and carries out those that decide where the request goes.
    pub(super) fn follow<T: Trace<'t>>(mut self, from: usize, trace: &mut T) -> Decision {
        let rule = self.selected.rule;
        for (place, step) in rule.steps.iter().enumerate().skip(from) {
            trace.step(step);
            match step {
                Step::Check(Check::Limits(limits))
                    if limits.exempt.as_ref().is_some_and(|networks| networks.hold(self.client())) => {}
                Step::Check(check) if check.satisfy() == Satisfy::Any && self.passed.any.is_satisfied() => {
                    self.pass_over(check);
                }
                Step::Check(check) => {
                    if let Err(why) = usable(check) {
                        return self.answer(Answer::reject(Rejection::Closed, why));
                    }
                    if !T::PASSES {
                        return self.ask(place);
                    }
                }
                Step::ClientCertificate(check) => {
                    let tls = self.of_client.connection.tls;
                    match check.check(tls.map(|tls| tls.certificate)) {
                        Ok(told) => self.passed.add(told),
                        Err(_) if T::PASSES => {}
                        // As in nginx, before anything that the location would add.
                        Err(refused) => {
                            let answer = match refused {
                                Refused::With(status, why) => Answer::refuse(status, why),
                                Refused::SentTo(page) => located(StatusCode::FOUND, page.into()),
                            };
                            let route = self.editing(Route::new(rule, None));
                            return Decision::Answer(Box::new(answer.of_route(route)));
                        }
                    }
                }
                Step::Blocked(values) if values.refuses(self.of_client.request.headers) => {
                    return self.answer(Answer::reject(Rejection::Forbidden, BLOCKED));
                }
                Step::BodySize(most) if most.is_exceeded_by(self.of_client.request.headers) => {
                    // CORS comes after it.
                    let answer = Answer::reject(Rejection::ContentTooLarge, TOO_LARGE);
                    return self.answer(Answer { preflight: true, ..answer });
                }
                Step::Cors(cors) if *self.of_client.request.method == Method::OPTIONS => {
                    if let Some(headers) = cors.preflight(self.of_client.request.headers) {
                        return self.answer(Answer::options(headers));
                    }
                }
                Step::IngressCors(cors) if *self.of_client.request.method == Method::OPTIONS => {
                    if cors.granted(self.of_client.request.headers).is_some() {
                        // The headers are those of every answer.
                        return self.answer(Answer::of(StatusCode::NO_CONTENT, Vec::new()));
                    }
                }
                Step::Redirect(redirect) => {
                    let answer = self.redirect(redirect);
                    return self.answer(answer);
                }
                Step::IngressRedirect(redirect) => {
                    if let Some(answer) = self.ingress_redirect(redirect) {
                        // `app-root` comes before CORS, other redirects after it.
                        let preflight = matches!(**redirect, IngressRedirect::AppRoot(_));
                        return self.answer(Answer { preflight, ..answer });
                    }
                }
                Step::RewriteTarget(rewrite) => match self.with_values(|values| rewrite.redirect(values)) {
                    Ok(Some((status, location))) => return self.answer(located(status, location)),
                    Ok(None) => {}
                    Err(_) => return self.answer(values_too_long()),
                },
                Step::Endpoints => {
                    let route = self.route();
                    if let Err((rejection, why)) = self.check_backend(&route) {
                        return self.answer(Answer::reject(rejection, why));
                    }
                }
                // Nothing is known of the client that is explained to.
                Step::AccessList(list) if !T::PASSES => {
                    if let Err(answer) = self.look_up(list) {
                        return self.answer(answer);
                    }
                }
                Step::Satisfy => {
                    if let Some(answer) = self.passed.any.refusal() {
                        return self.answer(answer);
                    }
                }
                Step::OwnTls if self.selected.behind_gateway && self.of_client.connection.tls.is_some() => {
                    let why = "TLS for this host terminates at a Gateway, but the Ingress requires its own TLS settings";
                    return self.answer(Answer::reject(Rejection::Forbidden, why));
                }
                Step::PassedThrough if self.of_client.connection.tls.is_some() => {
                    let why = "TLS was terminated, but the Ingress requires passthrough";
                    return self.answer(Answer::reject(Rejection::Forbidden, why));
                }
                Step::OwnTls
                | Step::PassedThrough
                | Step::Blocked(_)
                | Step::BodySize(_)
                | Step::AccessList(_)
                | Step::Cors(_)
                | Step::IngressCors(_)
                | Step::RequestHeaders(_)
                | Step::RequestTemplates(_)
                | Step::Rewrite(_)
                | Step::Spool(_)
                | Step::Mirror(_)
                | Step::IngressMirror(_)
                | Step::ResponseHeaders(_)
                | Step::AnswerRewrite(_)
                | Step::AnswerHeaders(_)
                | Step::AnswerTemplates(_)
                | Step::Connection(_)
                | Step::ErrorPages(_)
                | Step::AnswerCookie(_)
                | Step::Compress(_)
                | Step::Pace(_)
                | Step::Unlogged
                | Step::Hsts(_) => {}
            }
        }
        self.forward()
    }

    /// Passes over a check where another one was enough. What a service would have said of the client is said by nobody then,
    /// the client least of all.
    fn pass_over(&mut self, check: &Check) {
        let Check::IngressAuth(auth) = check else { return };
        let silent = AuthAnswer { status: StatusCode::OK, headers: Box::default() };
        if let Verdict::Pass(steps) = self.with_values(|values| auth.verdict(&silent, values)) {
            self.passed.add(steps);
        }
    }

    /// Looks the client up in a list of addresses.
    fn look_up(&mut self, list: &AccessList) -> Result<(), Answer> {
        match list.standing(self.client()) {
            Standing::Refused => {
                let why = "the client's address is not allowed";
                let answer = Answer::reject(Rejection::Forbidden, why);
                match list.satisfy {
                    Satisfy::All => Err(answer),
                    Satisfy::Any => self.passed.any.refuse(answer),
                }
            }
            Standing::Admitted if list.satisfy == Satisfy::Any => {
                self.passed.any.satisfy();
                Ok(())
            }
            Standing::Admitted | Standing::Unnamed => Ok(()),
        }
    }

    fn client(&self) -> IpAddr {
        self.of_client.connection.client
    }

    /// Waits for the outcome of the check at this place.
    fn ask(self, place: usize) -> Decision {
        let question = match self.selected.rule.steps.get(place) {
            Some(Step::Check(Check::IngressAuth(auth))) => {
                match self.with_values(|values| auth.question(values)) {
                    Ok(question) => Some(Box::new(question)),
                    Err(_) => return self.answer(values_too_long()),
                }
            }
            _ => None,
        };
        let Self { selected, of_client: OfClient { target, random, .. }, passed } = self;
        let Selected { rule, path, reading, behind_gateway } = selected;
        let target = target.forwarded(reading, None);
        let (rule, path) = (Arc::clone(rule), path.clone());
        let stage = Stage::Rule { rule, place, path, reading, behind_gateway };
        Decision::Ask(Box::new(Cursor { stage, random, target, question, passed }))
    }

    /// What the outcome of the check at this place brings.
    ///
    /// # Errors
    /// The answer, if the request does not go on.
    pub(super) fn after(&self, place: usize, passed: Passed, outcome: Outcome) -> Result<Passed, Answer> {
        let satisfy = match self.selected.rule.steps.get(place) {
            Some(Step::Check(check)) => check.satisfy(),
            _ => Satisfy::All,
        };
        let (Outcome::Answered(answer), Some(Step::Check(Check::IngressAuth(auth)))) =
            (&outcome, self.selected.rule.steps.get(place))
        else {
            return passed.after(satisfy, outcome);
        };
        let refusal = match self.with_values(|values| auth.verdict(answer, values)) {
            Verdict::Pass(steps) => return passed.after(satisfy, Outcome::Pass(steps)),
            Verdict::SignIn(sign_in, to, headers) => {
                let path = self.origin_path()?;
                let answer = located(StatusCode::FOUND, sign_in.own.absolute(&to, &self.origin(&path)));
                // As in ingress-nginx, without HSTS.
                answer.with_headers(headers).of_route(self.editing(Route::new(self.selected.rule, None)))
            }
            Verdict::Deny(status, headers) => {
                let rejection = match status {
                    StatusCode::INTERNAL_SERVER_ERROR => (Rejection::CheckFailed, UNUSABLE),
                    _ => (Rejection::Unauthorized, DENIED),
                };
                Answer { rejection: Some(rejection), ..Answer::of(status, headers) }
            }
        };
        passed.refused(satisfy, refusal)
    }

    /// The rule with the backend that the request goes to.
    fn route(&self) -> Route {
        let backends = &self.selected.rule.backends;
        let OfClient { random, request, connection, .. } = &self.of_client;
        let place = match (backends.canary(), backends.all()) {
            (Some(canary), [main, other, ..]) => {
                Some(usize::from(canary.takes([main, other], request.headers, *random)))
            }
            _ => {
                let choice = backends.pick_for(*random, connection.tls.is_some());
                choice.and_then(|c| backends.all().iter().position(|other| std::ptr::eq(other, c)))
            }
        };
        match place.and_then(|place| self.without_endpoints(place)) {
            Some((fallback, told)) => self.of_rule(Some(fallback)).passed(&self.passed.with(told)),
            None => self.of_rule(place).passed(&self.passed),
        }
    }

    /// The backend that receives the requests of a backend without endpoints, and the headers that describe them.
    fn without_endpoints(&self, place: usize) -> Option<(usize, Option<Step>)> {
        let backends = &self.selected.rule.backends;
        let (fallback, origin) = backends.fallback()?;
        let is_missing = match &backends.all().get(place)?.backend {
            Ok(backend) => backend.endpoints.is_empty(),
            Err(error) => error.rejection() == Rejection::NoEndpoints,
        };
        let can_answer =
            matches!(&backends.all().get(fallback)?.backend, Ok(other) if !other.endpoints.is_empty());
        (is_missing && can_answer).then(|| {
            let accept = error_pages::accept(self.of_client.request.headers);
            (fallback, origin.without_endpoints(accept.as_ref()))
        })
    }

    /// Adds what the request says of the endpoint, where the backend asks for it.
    fn selecting(&self, route: Route) -> Route {
        let selection = match route.choice().map(|choice| &choice.balance) {
            Some(Balance::Hash(hash)) => self.with_values(|values| Selection::by_hash(hash, values)),
            Some(Balance::Session(affinity)) => {
                let OfClient { request, connection, .. } = &self.of_client;
                Selection::by_session(affinity, request.headers, connection.tls.is_some())
            }
            Some(Balance::LessLoaded | Balance::RoundRobin | Balance::Faster) | None => return route,
        };
        route.selecting(selection)
    }

    /// Adds the mirrored request, if the rule has one.
    fn copying(&self, route: Route) -> Route {
        let mut steps = self.selected.rule.steps.iter();
        let mirror = steps.find_map(|step| match step {
            Step::IngressMirror(mirror) => Some(mirror),
            _ => None,
        });
        match mirror.and_then(|mirror| self.with_values(|values| mirror.copy(values)).ok()) {
            Some(copy) => route.copying(copy),
            None => route,
        }
    }

    fn forward(self) -> Decision {
        let route = self.editing(self.route());
        if let Err((rejection, why)) = self.check_backend(&route) {
            return self.answer(Answer::reject(rejection, why).of_route(route));
        }
        match self.forwarded(&route) {
            Ok(target) => {
                let protocol = route.backend().map(|backend| backend.protocol).unwrap_or_default();
                let carrier = Carrier::of(protocol, self.of_client.request.upgrade);
                let route = match self.base() {
                    Some(base) => route.at(base),
                    None => route,
                };
                let route = match self.failed_request() {
                    Some(request) => route.failing(request),
                    None => route,
                }
                .accepting(self.accepted());
                Decision::Forward(Forward { target, route: self.copying(self.selecting(route)), carrier })
            }
            Err(answer) => self.answer(answer.of_route(route)),
        }
    }

    /// The codings that the client accepts, if the rule compresses responses. The response to HEAD has no body.
    pub(super) fn accepted(&self) -> Option<Accepted> {
        let compress = self.selected.rule.steps.compress()?;
        let request = &self.of_client.request;
        (*request.method != Method::HEAD).then(|| compress.accepted(request.headers))
    }

    fn check_backend(&self, route: &Route) -> Result<(), (Rejection, &'static str)> {
        let choice = route.choice().ok_or((Rejection::BrokenBackend, "the rule has no backend"))?;
        let backend = choice.backend.as_ref();
        let backend = backend.map_err(|error| match error.rejection() {
            Rejection::Closed => {
                (Rejection::Closed, "closed: an annotation or setting that protects it cannot be served")
            }
            Rejection::NoRoute => (Rejection::NoRoute, "no path of this host matches this request"),
            Rejection::NoEndpoints => (Rejection::NoEndpoints, "the backend does not exist"),
            rejection => (rejection, "the backend cannot be used"),
        })?;
        // Here rather than when connecting, so that the client's connection outlives the answer.
        if backend.endpoints.is_empty() {
            return Err((Rejection::NoEndpoints, "the backend has no ready endpoint"));
        }
        if self.of_client.request.upgrade && backend.protocol == BackendProtocol::Http2 {
            return Err((Rejection::BadGateway, "the backend uses HTTP/2, which does not support upgrades"));
        }
        Ok(())
    }

    /// Path and query for the backend, if they differ from the client's.
    fn forwarded(&self, route: &Route) -> Result<Option<Box<str>>, Answer> {
        let reading = self.selected.reading;
        let target = route.rule().steps.iter().find_map(|step| match step {
            Step::RewriteTarget(rewrite) => Some(rewrite),
            _ => None,
        });
        if let Some(rewrite) = target {
            let path = self.with_values(|values| rewrite.path(values)).map_err(|_| values_too_long())?;
            return Ok(self.of_client.target.forwarded(reading, Some(&path)));
        }
        let Some(rewrite) = route.rewritten(|rewrite| rewrite.path.as_ref()) else {
            return Ok(self.of_client.target.forwarded(reading, None));
        };
        let path = self.origin_path()?;
        Ok(self.of_client.target.forwarded(reading, Some(&rewrite.apply(&path, self.selected.path))))
    }

    fn redirect(&self, redirect: &Redirect) -> Answer {
        match self.origin_path() {
            Ok(path) => located(redirect.status, redirect.location(&self.origin(&path), self.selected.path)),
            Err(answer) => answer,
        }
    }

    fn ingress_redirect(&self, redirect: &IngressRedirect) -> Option<Answer> {
        match self.origin_path() {
            Ok(path) => redirect.of(&self.origin(&path)).map(|(status, location)| located(status, location)),
            Err(answer) => Some(answer),
        }
    }

    /// What makes a path in a rewritten answer an absolute URL, where answers are rewritten.
    fn base(&self) -> Option<Box<str>> {
        let own = self.selected.rule.steps.edits()?.rewrite()?.own;
        Some(own.absolute("/", &self.origin("/")).trim_end_matches('/').into())
    }

    /// The path in the form that was matched.
    fn origin_path(&self) -> Result<Cow<'_, str>, Answer> {
        let path = self.of_client.target.path.read(self.selected.reading);
        path.map_err(|invalid| Answer::reject(Rejection::BadRequest, invalid.why()))
    }

    /// The request, for redirects.
    fn origin<'o>(&'o self, path: &'o str) -> Origin<'o> {
        let OfClient { request, target, connection, .. } = &self.of_client;
        Origin {
            scheme: connection.scheme,
            host: request.host,
            sent_host: request.sent_host,
            port: connection.redirected_port(),
            port_offset: connection.port_offset,
            path,
            sent: target.path.location(self.selected.reading),
            query: target.query,
        }
    }

    /// Hands over what variables read of the request.
    pub(super) fn with_values<T>(&self, run: impl FnOnce(&Values<'_>) -> T) -> T {
        self.of_client.with_values(self.selected.reading, run)
    }

    /// The answer of the proxy itself.
    pub(super) fn own_answer(&self, mut answer: Answer) -> Decision {
        answer.route.get_or_insert_with(|| self.editing(self.of_rule(None)));
        Decision::Answer(Box::new(answer))
    }

    /// Adds the header changes of the rule, if some depend on the request.
    fn editing(&self, route: Route) -> Route {
        let steps = &self.selected.rule.steps;
        match steps.edits().is_some_and(StepEdits::has_templates) {
            true => route.editing(self.with_values(|values| StepEdits::filled(steps, values))),
            false => route,
        }
    }

    fn of_rule(&self, choice: Option<usize>) -> Route {
        Route::new(self.selected.rule, choice).over_tls(self.of_client.connection.tls.is_some())
    }
}

/// What a client is told whose body is larger than the rule permits.
pub const TOO_LARGE: &str = "the body is too large";

/// The answer if values of a request are too long for the variables of a rule.
fn values_too_long() -> Answer {
    Answer::reject(Rejection::HeaderTooLarge, FilledTooLong::WHY)
}

/// Sends a client to a place; with a status that has no `Location` in nginx, the place is the content.
fn located(status: StatusCode, place: String) -> Answer {
    match status.as_u16() {
        300 | 305 | 306 => Answer::text(status, place),
        304 => Answer::of(status, Vec::new()),
        _ => match HeaderValue::try_from(place) {
            Ok(location) => Answer::redirect(status, location),
            Err(_) => Answer::reject(Rejection::BadRequest, "the redirect has no valid location"),
        },
    }
}
