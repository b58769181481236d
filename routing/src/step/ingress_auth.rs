//! External authentication of Ingresses (`auth-url`): a service authorizes each request, as with nginx's `auth_request`.
//!
//! ```text
//! ask      the request to the service
//! verdict  the effect of its response on the client's request
//! caching  reuse of responses for other requests
//! ```
//!
//! It differs from [`ExternalAuth`](super::ExternalAuth): the request has the client's headers and a separate URL, and of the
//! service's responses, only 401 and 403 are returned to the client.

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

/// A service that authorizes each request to an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressAuth {
    /// The URL of the service.
    pub url: ServiceUrl,
    /// `auth-method`; `None` is GET.
    pub method: Option<Method>,
    /// `auth-signin`: the URL to which unauthenticated clients (401) are redirected.
    pub sign_in: Option<SignIn>,
    /// `auth-response-headers`: headers of the service's response that replace those of the client in the request to the
    /// backend. Each can be set and removed ([`Change`](super::Change)).
    pub answer_headers: Box<[HeaderName]>,
    /// `auth-request-redirect`: the value of `X-Auth-Request-Redirect`; `None` is path and query.
    pub redirect: Option<Template>,
    /// `auth-proxy-set-headers`: further headers for the service.
    pub set_headers: Box<[(HeaderName, Template)]>,
    /// `auth-always-set-cookie`: whether the service's cookies are added to every response, and not only to those that are
    /// not errors.
    pub always_set_cookie: bool,
    /// `auth-cache-key` and `auth-cache-duration`.
    pub caching: Option<AuthCaching>,
    /// The namespace of the Ingress; `None` for the global settings of the operator.
    pub namespace: Option<Box<str>>,
    /// How this check is combined with the other checks of the rule.
    pub satisfy: Satisfy,
}

/// The sign-in page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The URL, with the parameter for the original URL.
    pub url: Template,
    /// How the URL is written if it is a path of the same host.
    pub own: OwnUrl,
}

/// The relevant parts of a service's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers: those of [`IngressAuth::takes`], in their order.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
}

impl IngressAuth {
    /// The method of the request to the service.
    pub fn method(&self) -> &Method {
        self.method.as_ref().unwrap_or(&Method::GET)
    }

    /// Whether a header of the service's response is used.
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
