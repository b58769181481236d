//! The steps that a rule applies to requests and responses.
//!
//! Filters of the Gateway API, annotations and policies are all translated into these steps. Each has a file with its type
//! and its implementation.

use std::{ops::Deref, sync::Arc};

use http::HeaderValue;

pub mod access_list;
pub mod added_headers;
pub mod answer_rewrite;
pub mod basic_auth;
pub mod blocked;
pub mod body_size;
pub mod client_certificate;
pub mod compress;
pub mod cors;
pub mod edits;
pub mod error_pages;
pub mod external_auth;
pub mod header_templates;
pub mod headers;
pub mod ingress_auth;
pub mod ingress_cors;
pub mod ingress_mirror;
pub mod ingress_redirect;
pub mod limits;
pub mod mirror;
pub mod pace;
pub mod redirect;
pub mod rewrite;
pub mod rewrite_target;
pub mod satisfy;
pub mod service_url;
pub mod spool;

pub use access_list::{AccessList, Standing};
pub use added_headers::AddedHeaders;
pub use answer_rewrite::AnswerRewrite;
pub use basic_auth::{BasicAuth, Users};
pub use blocked::{BlockedValues, InvalidMapKey, MapKeys};
pub use body_size::BodySize;
pub use client_certificate::{ClientCertificate, ClientCertificateCheck, Demand};
pub(crate) use compress::Accepted;
pub use compress::{Coding, CodingSettings, Compress, Compression, MAX_BROTLI_LEVEL, MediaTypes, UserAgents};
pub use cors::Cors;
pub(crate) use edits::StepEdits;
pub use edits::{AnswerEdits, RequestEdits};
pub use error_pages::{ErrorOrigin, ErrorPages};
pub use external_auth::{AuthProtocol, ExternalAuth, HttpAuth};
pub use header_templates::HeaderTemplates;
pub use headers::{Change, ForbiddenHeader, HeaderModifier};
pub use ingress_auth::{AnswerCookie, AuthAnswer, AuthCaching, CacheTime, IngressAuth, SignIn};
pub use ingress_cors::{IngressCors, IngressOrigin};
pub use ingress_mirror::{IngressCopy, IngressMirror};
pub use ingress_redirect::{IngressRedirect, OwnUrl};
pub use limits::{Counts, Limits, Rate, Rates};
pub use mirror::Mirror;
pub use pace::Pace;
pub use redirect::{Origin, Redirect};
pub use rewrite::{HostRewrite, PathRewrite, UrlRewrite};
pub use rewrite_target::RewriteTarget;
pub(crate) use satisfy::AnyOf;
pub use satisfy::Satisfy;
pub use service_url::ServiceUrl;
pub use spool::Spool;

/// One step of a rule, or of one of its backends.
///
/// There are thousands of rules with ten steps each, so a variant holds no more than a pointer.
///
/// The order of the variants is the order of execution: steps that respond, then steps that change the request, then steps
/// that change the response.
#[derive(Clone, Debug)]
pub enum Step {
    /// The rule requires client certificates. Answers 403 if TLS was terminated for a Gateway's listener, which does not
    /// have these settings.
    OwnTls,
    /// TLS of the rule's host is passed through to the backend. Answers 403 if TLS was terminated nevertheless, by a
    /// Gateway's listener or because of another Ingress of the host.
    PassedThrough,
    /// The requirements of an Ingress for the client certificate. Boxed, since few have it.
    ClientCertificate(Box<ClientCertificateCheck>),
    /// Answers 403 to requests with certain values of a header. It is an `Arc` because all Ingresses share it.
    Blocked(Arc<BlockedValues>),
    /// The maximum size of request bodies: answers 413 if a larger one is announced. Carriers enforce it for bodies without
    /// an announced size.
    BodySize(BodySize),
    /// CORS: answers a preflight, and its headers take precedence in any other response. Boxed: it is four times as large
    /// as the others.
    Cors(Box<Cors>),
    /// The same for an Ingress. It is an `Arc` because Ingresses with the same annotations share it.
    IngressCors(Arc<IngressCors>),
    /// A redirect of an Ingress. Boxed, since few requests get one.
    IngressRedirect(Box<IngressRedirect>),
    /// `rewrite-target` of an Ingress: replaces the path, or redirects the client. Boxed, since it is large.
    RewriteTarget(Box<RewriteTarget>),
    /// Answers 503 if the backend has no endpoints, before the following steps, as in ingress-nginx.
    Endpoints,
    /// Source ranges: answers 403 to clients that are not allowed. It is an `Arc` because rules with the same ranges share it.
    AccessList(Arc<AccessList>),
    /// A check that the carrier carries out.
    Check(Check),
    /// The end of checks of which one is sufficient ([`Satisfy::Any`]): rejects requests that have passed none.
    Satisfy,
    /// RequestRedirect: answers every request. Boxed, since few rules have it.
    Redirect(Box<Redirect>),
    /// RequestHeaderModifier.
    RequestHeaders(HeaderModifier),
    /// Sets headers of the request to values of the request.
    RequestTemplates(HeaderTemplates),
    /// URLRewrite. Boxed, since few rules have it.
    Rewrite(Box<UrlRewrite>),
    /// The request body is received completely before it is forwarded to the backend.
    Spool(Spool),
    /// RequestMirror: sends a copy of the request after the changes of the previous steps. Boxed, since few
    /// rules have it.
    Mirror(Box<Mirror>),
    /// `mirror-target` of an Ingress: sends a copy of the request as the client sent it.
    IngressMirror(Arc<IngressMirror>),
    /// ResponseHeaderModifier.
    ResponseHeaders(HeaderModifier),
    /// Headers in responses of backends are rewritten. Boxed, since few rules have it.
    AnswerRewrite(Box<AnswerRewrite>),
    /// Changes the headers of every response, including those of the proxy itself.
    AnswerHeaders(HeaderModifier),
    /// Sets headers of every response to values of the request.
    AnswerTemplates(HeaderTemplates),
    /// The `Connection` of requests to backends.
    Connection(BackendConnection),
    /// Responses with an error status are replaced by those of a default backend, including those of the proxy itself. Boxed,
    /// since few rules have it.
    ErrorPages(Box<ErrorPages>),
    /// A cookie of a check for the client.
    AnswerCookie(Box<AnswerCookie>),
    /// Responses of backends are compressed. It is an `Arc` because all Ingresses share it.
    Compress(Arc<Compress>),
    /// The rate at which the body of a response is sent.
    Pace(Pace),
    /// Its requests are not written to the access log.
    Unlogged,
    /// HTTP Strict Transport Security (RFC 6797): sets the header in every response over TLS, including those of the proxy
    /// itself.
    Hsts(Arc<HeaderValue>),
}

/// Whether the backend connection of a request can be reused (`connection-proxy-header` of an Ingress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendConnection {
    /// It is closed after the response.
    Close,
    /// It can be reused, which is the default of HTTP/1.1.
    KeepAlive,
}

impl BackendConnection {
    /// The value of the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::KeepAlive => "keep-alive",
        }
    }
}

/// A check before a request is forwarded: a limit, a password, or an authorization service. The carrier executes it and
/// [`resume`](crate::resume)s the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Limits of requests per client.
    Limits(Arc<Limits>),
    /// Basic authentication.
    Basic(Arc<BasicAuth>),
    /// ExternalAuth: a service decides. It is an `Arc` because a request that waits for the service holds it.
    ExternalAuth(Arc<ExternalAuth>),
    /// The same for an Ingress.
    IngressAuth(Arc<IngressAuth>),
    /// An unsupported check, which no request passes. The text is the reason. An `Arc<str>` would make every check larger.
    Closed(Arc<String>),
}

/// The steps of a rule, or of one of its backends, in the order of execution. An empty list allocates nothing, and is a
/// single pointer: most rules have none, and there are thousands.
#[derive(Clone, Debug, Default)]
pub struct Steps(Option<Box<Sorted>>);

#[derive(Clone, Debug)]
struct Sorted {
    steps: Box<[Step]>,
    /// The header changes of all steps; `None` if no step changes headers.
    edits: Option<Arc<StepEdits>>,
    /// The rate of responses, stored separately to avoid a search.
    pace: Option<Pace>,
    /// The compression of responses, stored separately as well.
    compress: Option<Arc<Compress>>,
}

impl Check {
    /// How it is combined with the other access checks of its rule.
    pub fn satisfy(&self) -> Satisfy {
        match self {
            Self::Basic(basic) => basic.satisfy,
            Self::IngressAuth(auth) => auth.satisfy,
            Self::Limits(_) | Self::ExternalAuth(_) | Self::Closed(_) => Satisfy::All,
        }
    }
}

impl Steps {
    /// Sorts steps into the order of execution; steps of the same kind keep their order.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut steps: Box<[_]> = steps.into_iter().collect();
        if steps.is_empty() {
            return Self(None);
        }
        steps.sort_by_key(Step::rank);
        let edits = StepEdits::of(&steps).map(StepEdits::shared);
        let pace = steps.iter().find_map(|step| match step {
            Step::Pace(pace) => Some(*pace),
            _ => None,
        });
        let compress = steps.iter().find_map(|step| match step {
            Step::Compress(compress) => Some(Arc::clone(compress)),
            _ => None,
        });
        Self(Some(Box::new(Sorted { steps, edits, pace, compress })))
    }

    /// Returns the rate at which the bodies of responses are sent; `None` is not limited.
    pub fn pace(&self) -> Option<Pace> {
        self.0.as_ref()?.pace
    }

    /// Returns how responses are compressed; `None` if they are not.
    pub(crate) fn compress(&self) -> Option<&Compress> {
        self.0.as_ref()?.compress.as_deref()
    }

    /// Returns the header changes of all steps; `None` if no step changes headers.
    pub(crate) fn edits(&self) -> Option<&StepEdits> {
        self.0.as_ref()?.edits.as_deref()
    }
}

impl Deref for Steps {
    type Target = [Step];

    fn deref(&self) -> &[Step] {
        self.0.as_ref().map_or(&[], |sorted| &sorted.steps)
    }
}

impl Step {
    /// Returns whether the step responds to every request that reaches it.
    pub fn answers_all(&self) -> bool {
        match self {
            Self::Redirect(_) => true,
            Self::IngressRedirect(redirect) => redirect.takes_all(),
            _ => false,
        }
    }

    /// Returns the step's position in the order of execution, which is the order of the variants, except for `app-root`,
    /// which precedes the body size and CORS.
    fn rank(&self) -> u8 {
        match self {
            Self::OwnTls | Self::PassedThrough | Self::ClientCertificate(_) | Self::Blocked(_) => 0,
            Self::IngressRedirect(redirect) => match **redirect {
                IngressRedirect::AppRoot(_) => 1,
                IngressRedirect::Fixed { .. } => 4,
                IngressRedirect::Https { .. }
                | IngressRedirect::OtherHost { .. }
                | IngressRedirect::AddSlash(_) => 5,
            },
            Self::BodySize(_) => 2,
            Self::Cors(_) | Self::IngressCors(_) => 3,
            Self::RewriteTarget(_) => 6,
            Self::Endpoints => 7,
            Self::Check(Check::Limits(_)) => 8,
            Self::AccessList(_) => 9,
            Self::Check(Check::Basic(_)) => 10,
            Self::Check(_) => 11,
            Self::Satisfy => 12,
            Self::Redirect(_) => 13,
            Self::RequestHeaders(_) | Self::RequestTemplates(_) => 14,
            Self::Rewrite(_) => 15,
            Self::Spool(_) => 16,
            Self::Mirror(_) | Self::IngressMirror(_) => 17,
            Self::ResponseHeaders(_) => 18,
            Self::AnswerRewrite(_)
            | Self::AnswerHeaders(_)
            | Self::AnswerTemplates(_)
            | Self::Connection(_) => 19,
            Self::ErrorPages(_) => 20,
            Self::AnswerCookie(_) => 21,
            Self::Compress(_) => 22,
            Self::Pace(_) => 23,
            Self::Hsts(_) => 24,
            Self::Unlogged => 25,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_size_of_two_pointers() {
        assert!(size_of::<Step>() <= 16, "{}", size_of::<Step>());
    }

    #[test]
    fn rules_that_change_no_header_by_themselves_share_their_edits() {
        let of = |step| Steps::new([step]).0.and_then(|sorted| sorted.edits);
        let hsts = || of(Step::Hsts(Arc::new(HeaderValue::from_static("max-age=1")))).unwrap();
        assert!(Arc::ptr_eq(&hsts(), &hsts()));
        let connection = || of(Step::Connection(BackendConnection::Close)).unwrap();
        assert_eq!(connection().connection(), Some(BackendConnection::Close));
        assert!(of(Step::Endpoints).is_none());
    }

    #[test]
    fn steps_are_done_in_one_order_however_they_are_written() {
        let headers = |value: &'static str| {
            let add = [(http::HeaderName::from_static("x"), http::HeaderValue::from_static(value))];
            HeaderModifier::new([], add, []).unwrap()
        };
        let steps = Steps::new([
            Step::ResponseHeaders(headers("1")),
            Step::RequestHeaders(headers("1")),
            Step::Rewrite(Box::default()),
            Step::RequestHeaders(headers("2")),
        ]);
        let text: Vec<_> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["request headers +x=1", "request headers +x=2", "rewrite", "response headers +x=1"]
        );
    }
}
