//! Merges the header changes of all steps of a request, so that a carrier applies them in one pass.
//!
//! For each header of the message, a carrier checks whether a step [replaces](RequestEdits::replaces) it, and if so omits
//! it. After the remaining headers, the carrier writes the headers that the steps add.

mod answer;
mod headers;
mod request;

use std::{
    borrow::{Borrow, Cow},
    ops::ControlFlow,
    sync::{Arc, LazyLock},
};

use http::{HeaderName, HeaderValue};

use self::headers::HeaderEdits;
pub use self::{answer::AnswerEdits, request::RequestEdits};
use super::{AnswerCookie, AnswerRewrite, BackendConnection, Step};
use crate::{Headers, template::Values};

/// The header changes of the steps of a rule, or of one of its backends.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepEdits {
    request: HeaderEdits,
    answer: HeaderEdits,
    /// For every response, including those of the proxy itself.
    every_answer: HeaderEdits,
    /// A cookie for the client.
    cookie: Option<Box<AnswerCookie>>,
    connection: Option<BackendConnection>,
    rewrite: Option<Box<AnswerRewrite>>,
    /// Whether steps set headers to values of the request, so that the changes are merged for each request.
    has_templates: bool,
}

/// The edits of rules whose responses have headers that depend on the request (CORS, HSTS), and that change nothing else.
static ONLY_OF_REQUESTS: LazyLock<Arc<StepEdits>> = LazyLock::new(Arc::default);

impl StepEdits {
    /// Returns the edits as a rule holds them: thousands of rules change no header by themselves, and share theirs.
    pub(crate) fn shared(self) -> Arc<Self> {
        let Self { request, answer, every_answer, cookie, connection, rewrite, has_templates } = &self;
        let headers = [request, answer, every_answer].into_iter().all(HeaderEdits::is_empty);
        match headers && cookie.is_none() && connection.is_none() && rewrite.is_none() && !has_templates {
            true => Arc::clone(&ONLY_OF_REQUESTS),
            false => Arc::new(self),
        }
    }

    /// Returns whether the connection to the backend can be reused, if the steps define this.
    pub(crate) fn connection(&self) -> Option<BackendConnection> {
        self.connection
    }

    /// Merges the header changes of these steps. Returns `None` if no step changes headers.
    pub(crate) fn of(steps: &[impl Borrow<Step>]) -> Option<Self> {
        let steps = || steps.iter().map(Borrow::borrow);
        let request = steps().filter_map(|step| match step {
            Step::RequestHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let answer = steps().filter_map(|step| match step {
            Step::ResponseHeaders(modifier) | Step::AnswerHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let every_answer = steps().filter_map(|step| match step {
            Step::AnswerHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let connection = steps().find_map(|step| match step {
            Step::Connection(connection) => Some(*connection),
            _ => None,
        });
        let rewrite = steps().find_map(|step| match step {
            Step::AnswerRewrite(rewrite) => Some(rewrite.clone()),
            _ => None,
        });
        let cookie = steps().find_map(|step| match step {
            Step::AnswerCookie(cookie) => Some(cookie.clone()),
            _ => None,
        });
        let (request, answer) = (HeaderEdits::of(request, true), HeaderEdits::of(answer, false));
        let every_answer = HeaderEdits::of(every_answer, false);
        let is_template = |step: &Step| matches!(step, Step::RequestTemplates(_) | Step::AnswerTemplates(_));
        let has_templates = steps().any(is_template);
        let edits = Self { request, answer, every_answer, cookie, connection, rewrite, has_templates };
        let changes = steps().any(|step| {
            matches!(
                step,
                Step::RequestHeaders(_)
                    | Step::RequestTemplates(_)
                    | Step::AnswerTemplates(_)
                    | Step::ResponseHeaders(_)
                    | Step::AnswerCookie(_)
                    | Step::AnswerRewrite(_)
                    | Step::AnswerHeaders(_)
                    | Step::Connection(_)
                    | Step::Cors(_)
                    | Step::IngressCors(_)
                    | Step::Hsts(_)
            )
        });
        changes.then_some(edits)
    }

    /// Merges the header changes of these steps, with the headers that are set to values of a request.
    pub(crate) fn filled<'s>(steps: &'s [Step], values: &Values<'_>) -> Option<Self> {
        let fill = |step: &'s Step| match step {
            Step::RequestTemplates(templates) => Cow::Owned(Step::RequestHeaders(templates.fill(values))),
            Step::AnswerTemplates(templates) => Cow::Owned(Step::AnswerHeaders(templates.fill(values))),
            step => Cow::Borrowed(step),
        };
        Self::of(&steps.iter().map(fill).collect::<Vec<Cow<'_, Step>>>())
    }

    /// Returns only the changes to the request, including that of Host.
    pub(crate) fn of_request(&self) -> RequestEdits<'_> {
        RequestEdits::of([Some(self), None, None], None)
    }

    /// Returns whether steps set headers to values of the request.
    pub(crate) fn has_templates(&self) -> bool {
        self.has_templates
    }

    /// Returns the rewrites in responses of backends.
    pub(crate) fn rewrite(&self) -> Option<&AnswerRewrite> {
        self.rewrite.as_deref()
    }

    /// Returns the cookie that is added to a response with this status.
    pub(crate) fn cookie(&self, status: u16) -> Option<&HeaderValue> {
        self.cookie.as_ref().filter(|cookie| cookie.is_with(status)).map(|cookie| &cookie.value)
    }

    /// Returns the headers of a request as they are after the changes, except Host.
    pub(crate) fn over<'r>(&'r self, headers: &'r dyn Headers) -> EditedHeaders<'r> {
        EditedHeaders { headers, edits: &self.request }
    }
}

/// The headers of a request as they are after changes. Nothing is copied.
#[derive(Clone, Copy)]
pub(crate) struct EditedHeaders<'r> {
    headers: &'r dyn Headers,
    edits: &'r HeaderEdits,
}

impl Headers for EditedHeaders<'_> {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        let Some(edit) = self.edits.of_name(name) else { return self.headers.first(name) };
        let kept = if edit.replaces { None } else { self.headers.first(name) };
        kept.or_else(|| edit.added.first().map(HeaderValue::as_bytes))
    }

    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> ControlFlow<()>) {
        let Some(edit) = self.edits.of_name(name) else { return self.headers.each(name, visit) };
        let mut flow = ControlFlow::Continue(());
        if !edit.replaces {
            self.headers.each(name, &mut |value| {
                flow = visit(value);
                flow
            });
        }
        if flow.is_continue() {
            let _ = edit.added.iter().try_for_each(|value| visit(value.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests;
