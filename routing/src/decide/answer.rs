//! What the proxy answers by itself: rejections, redirects, preflights.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::Route;
use crate::Rejection;

/// An answer that no backend gave.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers that belong to it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Why no backend is asked, and the text that says so to the client; it never repeats what the client sent.
    pub rejection: Option<(Rejection, &'static str)>,
    /// The rule that took the request.
    pub route: Option<Route>,
    /// Whether the answer has no headers of CORS beside those that it has already.
    pub preflight: bool,
    /// The body, if it is not the text of the rejection.
    pub content: Option<Box<[u8]>>,
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
    pub(super) fn with_headers(mut self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(super) fn of(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { status, headers, rejection: None, route: None, preflight: false, content: None }
    }
}
