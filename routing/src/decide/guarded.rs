//! A listener and a request that has to pass its filters before a rule is chosen.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::{
    Answer, Chosen, Cursor, Decision, OfClient, Request, answer,
    check::{Passed, Stage, usable},
    trace::Trace,
};
use crate::{Listener, Port, Rejection, RequestView, Selected, path::InvalidPath, step::Check};

/// A listener and a request for it.
#[derive(Debug)]
pub(super) struct Guarded<'t, 'r> {
    pub(super) listener: &'t Arc<Listener>,
    /// The port of the listener; `None` if the listener has filters, and one has been passed.
    pub(super) port: Option<&'t Port>,
    pub(super) of_client: OfClient<'r>,
    pub(super) passed: Passed,
}

impl<'t> Guarded<'t, '_> {
    /// Goes through the listener's filters, from this place on, and then chooses the rule.
    pub(super) fn follow(self, from: usize, trace: &mut impl Trace<'t>) -> Decision {
        match self.listener.filters().get(from..) {
            None | Some([]) => self.route(trace),
            Some(filters) => self.pass(filters, from, trace),
        }
    }

    fn pass<T: Trace<'t>>(self, filters: &[Check], from: usize, trace: &mut T) -> Decision {
        for (place, filter) in (from..).zip(filters) {
            if let Err(why) = usable(filter) {
                return answer(Answer::reject(Rejection::CheckFailed, why));
            }
            if !T::PASSES {
                return self.ask(place);
            }
        }
        self.route(trace)
    }

    /// Waits for the outcome of the filter at this place.
    fn ask(self, place: usize) -> Decision {
        let Self { listener, of_client: OfClient { target, random, .. }, passed, .. } = self;
        let target = target.forwarded(listener.id.reading(), None);
        let stage = Stage::Listener { listener: Arc::clone(listener), place };
        Decision::Ask(Box::new(Cursor { stage, random, target, question: None, passed }))
    }

    /// Chooses the rule for the request as the filters have left it: the only time that routes are matched.
    fn route(self, trace: &mut impl Trace<'t>) -> Decision {
        let Some(edits) = self.passed.edits() else { return self.choose(trace) };
        let edits = Arc::clone(edits);
        let headers = edits.over(self.of_client.request.headers);
        let request = Request { headers: &headers, ..self.of_client.request };
        Guarded { of_client: OfClient { request, ..self.of_client }, ..self }.choose(trace)
    }

    fn choose(self, trace: &mut impl Trace<'t>) -> Decision {
        let Self { listener, port, of_client, passed } = self;
        match select(listener, &of_client, trace) {
            Ok(selected) => Chosen { selected, of_client, passed }.follow(0, trace),
            Err((rejection, why)) => {
                let port = port.filter(|_| listener.id.is_ingress());
                let edits = port.and_then(|port| of_client.unmatched(port));
                let rejected = Answer::reject(rejection, why).unmatched(edits);
                answer(rejected.with_headers(hsts(listener, &of_client)))
            }
        }
    }
}

/// The header of a response to a request that no rule matches.
fn hsts(listener: &Listener, of_client: &OfClient<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let value = listener.http_routes().and_then(|routes| routes.hsts.as_deref());
    let value = value.filter(|_| of_client.connection.tls.is_some());
    value.map(|value| (header::STRICT_TRANSPORT_SECURITY, value.clone())).into_iter().collect()
}

/// The rule that takes a request.
fn select<'t>(
    listener: &'t Listener,
    OfClient { request, target, .. }: &OfClient<'_>,
    trace: &mut impl Trace<'t>,
) -> Result<Selected<'t>, (Rejection, &'static str)> {
    let view = RequestView {
        method: request.method,
        path: &target.path,
        query: target.query,
        headers: request.headers,
    };
    let selected = listener.route(request.host, &view).map_err(InvalidPath::why);
    let selected = selected.map_err(|why| (Rejection::BadRequest, why))?;
    let selected = selected.ok_or((Rejection::NoRoute, "no route matches this request"))?;
    trace.selected(&selected);
    Ok(selected)
}

#[cfg(test)]
mod tests;
