//! `custom-http-errors` of an Ingress: responses with an error status are replaced by those of a default backend. Also the
//! headers that a default backend receives (`default-backend`).

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue, header};

use super::{HeaderModifier, Step, StepEdits};
use crate::{Backend, Rule};

/// The responses that are replaced, and the backend that replaces them.
#[derive(Clone, Debug)]
pub struct ErrorPages {
    /// The statuses of the responses, in ascending order.
    pub statuses: Box<[u16]>,
    /// Whether responses of backends are replaced, and not only those of the proxy.
    pub of_backends: bool,
    /// Its first backend serves the pages. It has no error pages itself, so that there is no second replacement, and spools
    /// bodies like the rule of the step.
    pub rule: Arc<Rule>,
    /// The rule of the replaced response, for the headers of the default backend.
    pub origin: Arc<ErrorOrigin>,
}

/// The rule of a failed request, for the headers of a default backend; unknown fields are omitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorOrigin {
    /// `X-Namespace`.
    pub namespace: Option<HeaderValue>,
    /// `X-Ingress-Name`.
    pub ingress: Option<HeaderValue>,
    /// `X-Service-Name`.
    pub service: Option<HeaderValue>,
    /// `X-Service-Port`.
    pub port: Option<HeaderValue>,
}

/// The request, for the headers of a default backend.
#[derive(Debug)]
pub(crate) struct FailedRequest {
    /// Path and query as the client sent them.
    pub(crate) uri: Option<HeaderValue>,
    /// The client's address.
    pub(crate) client: Option<HeaderValue>,
    /// The client's `Accept`.
    pub(crate) accept: Option<HeaderValue>,
    /// The target of the request to the default backend.
    pub(crate) target: Box<str>,
    /// The header changes of the default backend's rule, if some depend on the request.
    pub(crate) edits: Option<Box<StepEdits>>,
}

const CODE: HeaderName = HeaderName::from_static("x-code");
const FORMAT: HeaderName = HeaderName::from_static("x-format");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const NAMESPACE: HeaderName = HeaderName::from_static("x-namespace");
const INGRESS: HeaderName = HeaderName::from_static("x-ingress-name");
const SERVICE: HeaderName = HeaderName::from_static("x-service-name");
const PORT: HeaderName = HeaderName::from_static("x-service-port");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that are sent to backends with every request, but not with the request for a page, as in ingress-nginx.
const LEFT_OUT: [HeaderName; 6] = [
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-scheme"),
];

impl ErrorPages {
    /// Whether a response with this status is replaced.
    pub(crate) fn replace(&self, status: u16) -> bool {
        self.statuses.binary_search(&status).is_ok()
    }

    /// The default backend, if it is usable.
    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        let backend = self.rule.backends.all().first()?.backend.as_ref().ok()?;
        (!backend.endpoints.is_empty()).then_some(backend)
    }

    /// The header changes of the request for a page.
    pub(crate) fn headers(&self, status: u16, request: &FailedRequest) -> Option<Step> {
        let told = [(ORIGINAL_URI, request.uri.clone()), (FORWARDED_FOR, request.client.clone())];
        self.origin.headers(status, request.accept.as_ref(), told, &LEFT_OUT)
    }
}

impl ErrorOrigin {
    /// The header changes of a request that is sent to a default backend because the backend has no endpoints.
    pub(crate) fn without_endpoints(&self, accept: Option<&HeaderValue>) -> Option<Step> {
        self.headers(503, accept, [], &[])
    }

    /// All headers for default backends are replaced or removed, so that clients cannot set them.
    fn headers(
        &self,
        status: u16,
        accept: Option<&HeaderValue>,
        told: impl IntoIterator<Item = (HeaderName, Option<HeaderValue>)>,
        left_out: &[HeaderName],
    ) -> Option<Step> {
        let own = [
            (CODE, Some(HeaderValue::from(status))),
            (FORMAT, accept.cloned()),
            (NAMESPACE, self.namespace.clone()),
            (INGRESS, self.ingress.clone()),
            (SERVICE, self.service.clone()),
            (PORT, self.port.clone()),
        ];
        let (mut set, mut remove) = (Vec::new(), left_out.to_vec());
        for (name, value) in own.into_iter().chain(told) {
            match value {
                Some(value) => set.push((name, value)),
                None => remove.push(name),
            }
        }
        HeaderModifier::new(set, [], remove).ok().map(Step::RequestHeaders)
    }
}

/// The client's `Accept`, if it can be forwarded.
pub(crate) fn accept(headers: &dyn crate::Headers) -> Option<HeaderValue> {
    headers.first(&header::ACCEPT).and_then(|value| HeaderValue::from_bytes(value).ok())
}

impl fmt::Display for ErrorPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<_> = self.statuses.iter().map(u16::to_string).collect();
        write!(f, "errors {} by", statuses.join(","))?;
        match self.rule.backends.all().first().map(|choice| &choice.backend) {
            Some(Ok(backend)) => write!(f, " {backend}")?,
            Some(Err(error)) => write!(f, " nobody ({error})")?,
            None => f.write_str(" nobody")?,
        }
        if self.of_backends { Ok(()) } else { f.write_str(" (those of the proxy alone)") }
    }
}
