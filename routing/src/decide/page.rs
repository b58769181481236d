//! Answers that a default backend gives in place of others (`custom-http-errors` of an Ingress): the same request, sent to
//! another rule. It happens once, since that rule has no error pages.

use http::HeaderValue;

use super::{Answer, Carrier, Chosen, Decision, Forward, OfClient, Route};
use crate::{
    BackendProtocol, Rejection, Rule, Step, WeightedBackend,
    step::{
        ErrorPages, StepEdits,
        error_pages::{self, FailedRequest},
    },
};

impl Route {
    /// Returns whether some answers are replaced.
    pub fn has_pages(&self) -> bool {
        self.failed_request().is_some()
    }

    /// Returns whether a backend's answer with this status is replaced.
    pub fn replaces_answer(&self, status: u16) -> bool {
        self.failed_request().is_some()
            && error_pages(self.rule()).is_some_and(|pages| pages.of_backends && pages.replace(status))
    }

    /// Returns the request whose answer replaces one with this status; `None` if none does.
    pub fn page(&self, status: u16) -> Option<Forward> {
        let request = self.failed_request()?;
        let pages = error_pages(self.rule()).filter(|pages| pages.replace(status))?;
        let backend = pages.backend()?;
        let headers = pages.headers(status, request)?;
        let edits = StepEdits::of(&[headers]).map(Into::into);
        let route = Route::new(&pages.rule, Some(0)).for_page(edits).accepting(self.accepted());
        let route = match &request.edits {
            Some(edits) => route.editing(Some(StepEdits::clone(edits))),
            None => route,
        };
        Some(Forward {
            route,
            target: Some(request.target.clone()),
            carrier: Carrier::of(backend.protocol, false),
        })
    }
}

impl Chosen<'_, '_> {
    /// The decision about a request that no backend answers.
    pub(super) fn answer(&self, answer: Answer) -> Decision {
        match self.page_for(&answer) {
            Some(page) => Decision::Forward(page),
            None => self.own_answer(answer),
        }
    }

    /// The request whose answer replaces one of the proxy's.
    fn page_for(&self, answer: &Answer) -> Option<Forward> {
        let rejection = answer.rejection.map(|(rejection, _)| rejection);
        // Nobody is asked about a path that is closed, or by a proxy that has too much to do.
        let is_replaced = error_pages(self.selected.rule)?.replace(answer.status.as_u16());
        if matches!(rejection, Some(Rejection::Closed | Rejection::Overloaded)) || !is_replaced {
            return None;
        }
        let route = Route::new(self.selected.rule, None);
        let route = route.failing(self.failed_request()?).accepting(self.accepted());
        let mut page = route.page(answer.status.as_u16())?;
        if rejection == Some(Rejection::ContentTooLarge) {
            page.route.leave_out_body();
        }
        Some(page)
    }

    /// What a default backend receives about the request, if the rule has error pages.
    pub(super) fn failed_request(&self) -> Option<FailedRequest> {
        let steps = &error_pages(self.selected.rule)?.rule.steps;
        let has_templates = steps.edits().is_some_and(StepEdits::has_templates);
        let filled = || self.with_values(|values| StepEdits::filled(steps, values));
        let OfClient { request, target, connection, .. } = &self.of_client;
        let query = target.query.map(|query| format!("?{query}")).unwrap_or_default();
        Some(FailedRequest {
            uri: HeaderValue::try_from(format!("{}{query}", target.path.sent())).ok(),
            client: HeaderValue::try_from(connection.client.to_canonical().to_string()).ok(),
            accept: error_pages::accept(request.headers),
            target: format!("/{query}").into(),
            edits: has_templates.then(filled).flatten().map(Box::new),
        })
    }
}

/// The error pages of a rule. Clients of an HTTP/2 backend are those of gRPC, who understand its statuses alone.
fn error_pages(rule: &Rule) -> Option<&ErrorPages> {
    let is_h2 = |choice: &WeightedBackend| {
        choice.backend.as_ref().is_ok_and(|backend| backend.protocol == BackendProtocol::Http2)
    };
    let pages = rule.steps.iter().find_map(|step| match step {
        Step::ErrorPages(pages) => Some(&**pages),
        _ => None,
    });
    pages.filter(|_| !rule.backends.all().iter().any(is_h2))
}
