//! A rule and the request that it takes: the steps that decide where the request goes, and the backend.

use std::sync::Arc;

use http::{HeaderValue, Method};

use super::{
    Answer, Carrier, Cursor, Decision, Forward, OfClient, Route,
    check::{Passed, Stage, usable},
    trace::Trace,
};
use crate::{
    BackendProtocol, Rejection, Selected, Step,
    path::InvalidPath,
    step::{Origin, Redirect},
};

/// A rule and the request that it takes.
#[derive(Debug)]
pub(super) struct Chosen<'t, 'r> {
    pub(super) selected: Selected<'t>,
    pub(super) of_client: OfClient<'r>,
    pub(super) passed: Passed,
}

impl<'t> Chosen<'t, '_> {
    /// Goes through the rule's steps, from this place on, and carries out those that decide where the request goes.
    pub(super) fn follow<T: Trace<'t>>(self, from: usize, trace: &mut T) -> Decision {
        let rule = self.selected.rule;
        for (place, step) in rule.steps.iter().enumerate().skip(from) {
            trace.step(step);
            match step {
                Step::Check(check) => {
                    if let Err(why) = usable(check) {
                        return self.answer(Answer::reject(Rejection::Closed, why));
                    }
                    if !T::PASSES {
                        return self.ask(place);
                    }
                }
                Step::Cors(cors) if *self.of_client.request.method == Method::OPTIONS => {
                    if let Some(headers) = cors.preflight(self.of_client.request.headers) {
                        return self.answer(Answer::options(headers));
                    }
                }
                Step::Redirect(redirect) => {
                    let answer = self.redirect(redirect);
                    return self.answer(answer);
                }
                Step::OwnTls if self.selected.behind_gateway && self.of_client.connection.tls.is_some() => {
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
        let Self { selected, of_client: OfClient { target, random, .. }, passed } = self;
        let Selected { rule, path, reading, behind_gateway } = selected;
        let target = target.forwarded(reading, None);
        let (rule, path) = (Arc::clone(rule), path.clone());
        let stage = Stage::Rule { rule, place, path, reading, behind_gateway };
        Decision::Ask(Box::new(Cursor { stage, random, target, passed }))
    }

    fn forward(self) -> Decision {
        let backends = &self.selected.rule.backends;
        let choice = backends.pick(self.of_client.random);
        let place = choice.and_then(|c| backends.all().iter().position(|other| std::ptr::eq(other, c)));
        let route = Route::new(self.selected.rule, place).passed(&self.passed);
        if let Err((rejection, why)) = self.check_backend(&route) {
            return Decision::Answer(Box::new(Answer::reject(rejection, why).of_route(route)));
        }
        match self.forwarded(&route) {
            Ok(target) => {
                let protocol = route.backend().map(|backend| backend.protocol).unwrap_or_default();
                let carrier = Carrier::of(protocol, self.of_client.request.upgrade);
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
        if self.of_client.request.upgrade && backend.protocol == BackendProtocol::Http2 {
            return Err((Rejection::BadGateway, "the backend speaks HTTP/2, which has no upgrade"));
        }
        Ok(())
    }

    /// Path and query for the backend, if they differ from the client's.
    fn forwarded(&self, route: &Route) -> Result<Option<Box<str>>, InvalidPath> {
        let reading = self.selected.reading;
        let Some(rewrite) = route.rewritten(|rewrite| rewrite.path.as_ref()) else {
            return Ok(self.of_client.target.forwarded(reading, None));
        };
        let path = self.of_client.target.path.read(reading)?;
        Ok(self.of_client.target.forwarded(reading, Some(&rewrite.apply(&path, self.selected.path))))
    }

    fn redirect(&self, redirect: &Redirect) -> Answer {
        let path = match self.of_client.target.path.read(self.selected.reading) {
            Ok(path) => path,
            Err(invalid) => return Answer::reject(Rejection::BadRequest, invalid.why()),
        };
        let origin = Origin {
            scheme: self.of_client.connection.scheme,
            host: self.of_client.request.host,
            port: self.of_client.connection.redirected_port(),
            port_offset: self.of_client.connection.port_offset,
            path: &path,
            sent: self.of_client.target.path.location(self.selected.reading),
            query: self.of_client.target.query,
        };
        match HeaderValue::try_from(redirect.location(&origin, self.selected.path)) {
            Ok(location) => Answer::redirect(redirect.status, location),
            Err(_) => Answer::reject(Rejection::BadRequest, "the redirect has no valid location"),
        }
    }

    pub(super) fn answer(&self, answer: Answer) -> Decision {
        Decision::Answer(Box::new(answer.of_route(Route::new(self.selected.rule, None))))
    }
}
