//! The effect of a service's response on the request.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{AuthAnswer, IngressAuth, SignIn, ask::visible};
use crate::{
    step::{HeaderModifier, Step},
    template::Values,
};

/// The outcome of a request.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It is allowed, with these steps before those of its rule.
    Pass(Vec<Step>),
    /// The client is redirected to this URL to sign in, with these headers.
    SignIn(&'a SignIn, String, Vec<(HeaderName, HeaderValue)>),
    /// The response has this status and these headers.
    Deny(StatusCode, Vec<(HeaderName, HeaderValue)>),
}

/// A cookie of a check, which is added to those of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerCookie {
    /// The value of `Set-Cookie`.
    pub value: HeaderValue,
    /// Whether it is added to every response, and not only to those that are not errors.
    pub always: bool,
}

impl AnswerCookie {
    /// Whether it is added to a response with this status (as with nginx's `add_header`).
    pub fn is_with(&self, status: u16) -> bool {
        self.always || matches!(status, 200 | 201 | 204 | 206 | 301..=304 | 307 | 308)
    }
}

impl IngressAuth {
    /// The effect of the service's response on a request with these values.
    pub fn verdict(&self, answer: &AuthAnswer, values: &Values<'_>) -> Verdict<'_> {
        let cookie = answer.joined(&header::SET_COOKIE);
        let cookie = cookie.map(|value| AnswerCookie { value, always: self.always_set_cookie });
        if answer.status.is_success() {
            return match self.passed(answer) {
                Some(headers) => {
                    let cookie = cookie.map(|cookie| Step::AnswerCookie(Box::new(cookie)));
                    Verdict::Pass([headers].into_iter().chain(cookie).collect())
                }
                None => Verdict::Deny(StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
            };
        }
        let sign_in = self.sign_in.as_ref().filter(|_| answer.status == StatusCode::UNAUTHORIZED);
        // A client with a URL that is too long is not redirected.
        let sign_in = sign_in.and_then(|sign_in| Some((sign_in, sign_in.url.fill(values).ok()?)));
        let status = match (answer.status, &sign_in) {
            (_, Some(_)) => StatusCode::FOUND,
            (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), None) => status,
            (_, None) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let challenges = answer.of(&header::WWW_AUTHENTICATE);
        let challenges = challenges.filter(|_| answer.status == StatusCode::UNAUTHORIZED);
        let mut headers: Vec<_> = challenges.map(|value| (header::WWW_AUTHENTICATE, value.clone())).collect();
        let cookie = cookie.filter(|cookie| cookie.is_with(status.as_u16()));
        headers.extend(cookie.map(|cookie| (header::SET_COOKIE, cookie.value)));
        match sign_in {
            Some((sign_in, url)) => Verdict::SignIn(sign_in, visible(&url), headers),
            None => Verdict::Deny(status, headers),
        }
    }

    /// The headers of the service that replace those of the client.
    fn passed(&self, answer: &AuthAnswer) -> Option<Step> {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for name in &self.answer_headers {
            match answer.joined(name).filter(|value| !value.is_empty()) {
                Some(value) => set.push((name.clone(), value)),
                // A client must not set a header that the service did not set.
                None => remove.push(name.clone()),
            }
        }
        HeaderModifier::new(set, [], remove).ok().map(Step::RequestHeaders)
    }
}

impl AuthAnswer {
    fn of(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    /// All values of a header, combined as in nginx.
    fn joined(&self, name: &HeaderName) -> Option<HeaderValue> {
        let mut values = self.of(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first.clone()) };
        let mut all = first.as_bytes().to_vec();
        for value in [second].into_iter().chain(values) {
            all.extend_from_slice(b", ");
            all.extend_from_slice(value.as_bytes());
        }
        HeaderValue::from_bytes(&all).ok()
    }
}
