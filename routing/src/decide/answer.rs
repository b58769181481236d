//! What the proxy answers by itself: rejections, redirects, preflights.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::Route;
use crate::{
    Headers, Rejection,
    step::{AnswerEdits, StepEdits},
};

/// An answer that no backend gave.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers that belong to it.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// Why no backend is asked, and the text that says so to the client; it never repeats what the client sent.
    pub rejection: Option<(Rejection, &'static str)>,
    /// The rule that took the request.
    pub route: Option<Route>,
    /// Whether the answer has no headers of CORS beside those that it has already.
    pub preflight: bool,
    /// The body, if it is not the text of the rejection.
    pub content: Option<Box<[u8]>>,
    /// The header changes of an answer to a request that no rule takes.
    pub(super) unmatched: Option<Box<StepEdits>>,
}

/// An answer that somebody else gave in the backend's place.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those that frame the message or concern one connection alone.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub content: Box<[u8]>,
    /// Why the client gets it, for the access log.
    pub why: (Rejection, &'static str),
}

impl Answer {
    /// Says why there is no backend's answer.
    pub fn reject(rejection: Rejection, why: &'static str) -> Self {
        Self { rejection: Some((rejection, why)), ..Self::of(rejection.status(), Vec::new()) }
    }

    /// Sends the client elsewhere.
    pub fn redirect(status: StatusCode, location: HeaderValue) -> Self {
        Self::of(status, vec![(header::LOCATION, location)])
    }

    /// Answers OPTIONS without asking a backend.
    pub fn options(headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { preflight: true, ..Self::of(StatusCode::NO_CONTENT, headers) }
    }

    /// Passes on an answer that somebody else gave.
    pub(super) fn reply(reply: Reply) -> Self {
        let Reply { status, headers, content, why } = reply;
        Self { rejection: Some(why), content: Some(content), ..Self::of(status, headers) }
    }

    /// The same, of a rule that takes the request.
    pub(super) fn of_route(self, route: Route) -> Self {
        Self { route: Some(route), ..self }
    }

    /// Refuses a request with a status that its rule has chosen.
    pub(super) fn refuse(status: StatusCode, why: &'static str) -> Self {
        let rejection = match status {
            StatusCode::BAD_REQUEST => Rejection::BadRequest,
            _ => Rejection::Forbidden,
        };
        Self { rejection: Some((rejection, why)), ..Self::text(status, why.into()) }
    }

    /// Says something in HTML's type, as nginx does.
    pub(super) fn text(status: StatusCode, text: String) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("text/html"))];
        Self { content: Some(text.into_bytes().into()), ..Self::of(status, headers) }
    }

    /// The same with further headers.
    pub(super) fn with_headers(self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let headers = self.headers.into_iter().chain(headers).collect();
        Self { headers, ..self }
    }

    /// The same with these header changes, if no rule takes the request.
    pub(super) fn unmatched(self, edits: Option<StepEdits>) -> Self {
        Self { unmatched: edits.map(Box::new), ..self }
    }

    /// Returns the changes to the headers of the answer. `route` is that of the rule that takes the request, `request` holds
    /// the headers that the client sent.
    pub fn edits<'a>(&'a self, route: Option<&'a Route>, request: &'a dyn Headers) -> AnswerEdits<'a> {
        let edits = match route {
            Some(route) => route.own_answer_edits(self.status.as_u16(), request),
            None => AnswerEdits::default().with_every_answer([None, self.unmatched.as_deref()]),
        };
        if self.preflight { edits.without_cors() } else { edits }
    }

    pub(super) fn of(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self {
            status,
            headers: headers.into(),
            rejection: None,
            route: None,
            preflight: false,
            content: None,
            unmatched: None,
        }
    }
}
