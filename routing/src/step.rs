//! What a rule does to its requests and to their answers, one step after another.
//!
//! Whatever language a step was written in (a filter of the Gateway API, an annotation, a policy), it is one of
//! these. Each has its file: its type, and how it is applied.

use std::{ops::Deref, sync::Arc};

use http::HeaderValue;

pub mod access_list;
pub mod answer_rewrite;
pub mod basic_auth;
pub mod blocked;
pub mod body_size;
pub mod client_certificate;
pub mod cors;
pub mod edits;
pub mod error_pages;
pub mod external_auth;
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
pub use answer_rewrite::AnswerRewrite;
pub use basic_auth::{BasicAuth, Users};
pub use blocked::{BlockedValues, InvalidMapKey, MapKeys};
pub use body_size::BodySize;
pub use client_certificate::{ClientCertificate, ClientCertificateCheck, Demand};
pub use cors::Cors;
pub(crate) use edits::StepEdits;
pub use edits::{AnswerEdits, RequestEdits};
pub use error_pages::{ErrorOrigin, ErrorPages};
pub use external_auth::{AuthProtocol, ExternalAuth, HttpAuth};
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

/// One thing that a rule, or one of its backends, does.
///
/// The variants stand in the order of work, the only place that spells it: what answers comes first, then what
/// changes the request, then what changes the answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// The rule asks for client certificates. Answers 403 if TLS was terminated for a Gateway's listener, which does not
    /// have these settings.
    OwnTls,
    /// The rule's host has its TLS passed through to the backend. Answers 403 if TLS was terminated all the same, at a
    /// Gateway's listener or as another Ingress of the host has it.
    PassedThrough,
    /// What an Ingress asks of the client's certificate. Boxed, since few have it.
    ClientCertificate(Box<ClientCertificateCheck>),
    /// Answers 403 to requests with certain values of a header. It is an `Arc` because all Ingresses share it.
    Blocked(Arc<BlockedValues>),
    /// The largest body of a request: answers 413 where a larger one is announced. Carriers hold bodies to it that do not
    /// announce their size.
    BodySize(BodySize),
    /// CORS: answers a preflight, and its headers take precedence in any other answer. Boxed: it is four times as large
    /// as the others.
    Cors(Box<Cors>),
    /// The same of an Ingress.
    IngressCors(Box<IngressCors>),
    /// A redirect of an Ingress. Boxed, since few requests get one.
    IngressRedirect(Box<IngressRedirect>),
    /// `rewrite-target` of an Ingress: replaces the path, or sends the client elsewhere. Boxed, since it is large.
    RewriteTarget(Box<RewriteTarget>),
    /// Answers 503 if the backend has no endpoint, before anything that follows is asked, as in ingress-nginx.
    Endpoints,
    /// Lists of networks: answers 403 to clients that they do not admit. Boxed, since few rules have it.
    AccessList(Box<AccessList>),
    /// A check that the carrier carries out.
    Check(Check),
    /// The end of checks of which one is enough ([`Satisfy::Any`]): refuses requests that have passed none.
    Satisfy,
    /// RequestRedirect: answers every request.
    Redirect(Redirect),
    /// RequestHeaderModifier.
    RequestHeaders(HeaderModifier),
    /// URLRewrite.
    Rewrite(UrlRewrite),
    /// The body of a request is received as a whole before the backend gets it.
    Spool(Spool),
    /// RequestMirror: sends a copy of the request as the steps before have left it.
    Mirror(Mirror),
    /// `mirror-target` of an Ingress: sends a copy of the request as the client sent it.
    IngressMirror(Arc<IngressMirror>),
    /// ResponseHeaderModifier.
    ResponseHeaders(HeaderModifier),
    /// What stands in the answers of backends is rewritten. Boxed, since few rules have it.
    AnswerRewrite(Box<AnswerRewrite>),
    /// Changes the headers of every answer, those of the proxy included.
    AnswerHeaders(HeaderModifier),
    /// The `Connection` of requests to backends.
    Connection(BackendConnection),
    /// Answers with an error status are replaced by those of a default backend, the proxy's own included. Boxed, since few
    /// rules have it.
    ErrorPages(Box<ErrorPages>),
    /// A cookie for the client that a check has brought.
    AnswerCookie(Box<AnswerCookie>),
    /// The pace at which the body of an answer is sent.
    Pace(Pace),
    /// The access log has no line of its requests.
    Unlogged,
    /// HTTP Strict Transport Security (RFC 6797): sets the header in every answer over TLS, those of the proxy included.
    Hsts(HeaderValue),
}

/// Whether the connection of a request to a backend may carry others (`connection-proxy-header` of an Ingress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendConnection {
    /// It is closed after the answer.
    Close,
    /// It may, which HTTP/1.1 does not have to be told.
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

/// Something that is found out before a request goes on: by a limiter, by comparing a password, by asking a service.
/// The carrier carries it out and [`resume`](crate::resume)s the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Limits of what a client may send.
    Limits(Arc<Limits>),
    /// Names and passwords.
    Basic(Arc<BasicAuth>),
    /// ExternalAuth: a service decides. It is an `Arc` because a request that waits for the service keeps it.
    ExternalAuth(Arc<ExternalAuth>),
    /// The same of an Ingress.
    IngressAuth(Arc<IngressAuth>),
    /// One that is not served, so that no request passes it. The text says why.
    Closed(Arc<str>),
}

/// The steps of a rule, or of one of its backends, in the order of work. An empty list allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    steps: Box<[Step]>,
    /// The header changes of all steps; `None` if no step changes headers.
    edits: Option<Box<StepEdits>>,
    /// The pace of answers, so that it is found without a search.
    pace: Option<Pace>,
}

impl Check {
    /// How it stands to the other access checks of its rule.
    pub fn satisfy(&self) -> Satisfy {
        match self {
            Self::Basic(basic) => basic.satisfy,
            Self::IngressAuth(auth) => auth.satisfy,
            Self::Limits(_) | Self::ExternalAuth(_) | Self::Closed(_) => Satisfy::All,
        }
    }
}

impl Steps {
    /// Brings steps into the order of work; several of one kind stay in the order in which they were written.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut steps: Box<[_]> = steps.into_iter().collect();
        steps.sort_by_key(Step::rank);
        let edits = StepEdits::of(&steps).map(Box::new);
        let pace = steps.iter().find_map(|step| match step {
            Step::Pace(pace) => Some(*pace),
            _ => None,
        });
        Self { steps, edits, pace }
    }

    /// Returns the pace at which the bodies of answers are sent; `None` is as fast as they are taken.
    pub fn pace(&self) -> Option<Pace> {
        self.pace
    }

    /// Returns the header changes of all steps; `None` if no step changes headers.
    pub(crate) fn edits(&self) -> Option<&StepEdits> {
        self.edits.as_deref()
    }
}

impl Deref for Steps {
    type Target = [Step];

    fn deref(&self) -> &[Step] {
        &self.steps
    }
}

impl Step {
    /// Returns whether the step answers every request that gets to it.
    pub fn answers_all(&self) -> bool {
        match self {
            Self::Redirect(_) => true,
            Self::IngressRedirect(redirect) => redirect.takes_all(),
            _ => false,
        }
    }

    /// Returns the step's place in the order of work, which is the order of the variants, but for `app-root`, which comes
    /// before the size of the body and CORS.
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
            Self::RequestHeaders(_) => 14,
            Self::Rewrite(_) => 15,
            Self::Spool(_) => 16,
            Self::Mirror(_) | Self::IngressMirror(_) => 17,
            Self::ResponseHeaders(_) => 18,
            Self::AnswerRewrite(_) | Self::AnswerHeaders(_) | Self::Connection(_) => 19,
            Self::ErrorPages(_) => 20,
            Self::AnswerCookie(_) => 21,
            Self::Pace(_) => 22,
            Self::Hsts(_) => 23,
            Self::Unlogged => 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_done_in_one_order_however_they_are_written() {
        let headers = |value: &'static str| {
            let add = [(http::HeaderName::from_static("x"), http::HeaderValue::from_static(value))];
            HeaderModifier::new([], add, []).unwrap()
        };
        let steps = Steps::new([
            Step::ResponseHeaders(headers("1")),
            Step::RequestHeaders(headers("1")),
            Step::Rewrite(UrlRewrite::default()),
            Step::RequestHeaders(headers("2")),
        ]);
        let text: Vec<_> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["request headers +x=1", "request headers +x=2", "rewrite", "response headers +x=1"]
        );
    }
}
