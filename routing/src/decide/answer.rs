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
    /// Whether CORS has had its say already.
    pub preflight: bool,
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

    /// The same, of a rule that takes the request.
    pub(super) fn of_route(self, route: Route) -> Self {
        Self { route: Some(route), ..self }
    }

    fn of(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { status, headers, rejection: None, route: None, preflight: false }
    }
}
