//! External authentication of Ingresses (`auth-url`): a service is asked about each request, as nginx' `auth_request` does.
//!
//! ```text
//! ask      what the service is asked about a request
//! verdict  what its answer means for the request
//! caching  which answers hold for other requests, too
//! ```
//!
//! Its rules differ from those of [`ExternalAuth`](super::ExternalAuth): the request has the client's headers and a URL of
//! its own, and the client gets no answer of the service but 401 and 403.

mod ask;
mod caching;
mod verdict;

use std::fmt;

use http::{HeaderName, HeaderValue, Method, StatusCode};

pub use ask::{AuthQuestion, CHECKED};
pub use caching::{AuthCaching, CacheTime};
pub use verdict::{AnswerCookie, Verdict};

use super::{OwnUrl, Satisfy, ServiceUrl};
use crate::Template;

/// A service that is asked about each request of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressAuth {
    /// What is asked for.
    pub url: ServiceUrl,
    /// `auth-method`; `None` is GET.
    pub method: Option<Method>,
    /// `auth-signin`: where clients are sent that the service does not know (401).
    pub sign_in: Option<SignIn>,
    /// `auth-response-headers`: headers of the service's answer that the backend gets, and not from the client. Each can be
    /// set and removed ([`Change`](super::Change)).
    pub answer_headers: Box<[HeaderName]>,
    /// `auth-request-redirect`: what `X-Auth-Request-Redirect` says; `None` is path and query.
    pub redirect: Option<Template>,
    /// `auth-proxy-set-headers`: further headers for the service.
    pub set_headers: Box<[(HeaderName, Template)]>,
    /// `auth-always-set-cookie`: whether the client gets the service's cookies with every answer, and not only with those
    /// that are no error.
    pub always_set_cookie: bool,
    /// `auth-cache-key` and `auth-cache-duration`.
    pub caching: Option<AuthCaching>,
    /// The namespace that has the Ingress; `None` for the settings of all Ingresses, which the operator writes.
    pub namespace: Option<Box<str>>,
    /// How this check stands to the others of the rule.
    pub satisfy: Satisfy,
}

/// Where clients sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The place, with the parameter that says where to return to.
    pub url: Template,
    /// How the place is written if it is a path of the same host.
    pub own: OwnUrl,
}

/// The answer of a service, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers: those of [`IngressAuth::takes`], in their order.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
}

impl IngressAuth {
    /// The method of the request for the service.
    pub fn method(&self) -> &Method {
        self.method.as_ref().unwrap_or(&Method::GET)
    }

    /// Whether a header of the service's answer matters.
    pub fn takes(&self, name: &HeaderName) -> bool {
        matches!(*name, http::header::SET_COOKIE | http::header::WWW_AUTHENTICATE)
            || self.answer_headers.contains(name)
    }
}

impl fmt::Display for IngressAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            method: _,
            sign_in,
            answer_headers,
            redirect,
            set_headers,
            always_set_cookie,
            caching,
            namespace: _,
            satisfy: _,
        } = self;
        write!(f, "auth {} {url}", self.method())?;
        for (at, name) in answer_headers.iter().enumerate() {
            write!(f, "{}{name}", if at == 0 { " taking " } else { "," })?;
        }
        set_headers.iter().try_for_each(|(name, value)| write!(f, " +{name}={value}"))?;
        redirect.iter().try_for_each(|redirect| write!(f, " back to {redirect}"))?;
        sign_in.iter().try_for_each(|sign_in| write!(f, " else to {}", sign_in.url))?;
        if *always_set_cookie {
            f.write_str(" cookies always")?;
        }
        caching.iter().try_for_each(|caching| write!(f, " {caching}"))
    }
}

#[cfg(test)]
mod tests;
