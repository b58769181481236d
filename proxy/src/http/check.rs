//! Checks: what is found out elsewhere before a request goes on.
//!
//! A check is carried out with the request as its backend would get it, as the checks before have left it, and before the
//! steps of its rule. One that cannot be carried out, or takes too long, denies.

mod grpc;
mod http;
mod messages;

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use portcullis_routing::{
    Backend, Cursor, Outcome, Rejection, RouteKind, Rule, Step,
    step::{AuthProtocol, Change, Check, ExternalAuth, ForbiddenHeader, HeaderModifier},
};
use tokio::time::{Instant, timeout};

use super::{
    context::Context,
    headers, hop,
    side::{Side, SideRequests, set_protocol, within},
};

/// Limit of time for a check as a whole.
const CHECK_TIME: Duration = Duration::from_secs(10);
/// The body of a service's answer is read so far; of a longer one, the client gets none of the body.
const MAX_ANSWER: usize = 64 << 10;
/// The reason for the access log when the service denies a request.
const DENIED: &str = "denied by the service that authorizes requests";
const NO_ANSWER: &str = "the service that authorizes requests gave no usable answer";

/// Carries out the checks of a worker's requests.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    side: SideRequests,
}

/// What a service answered: the whole of it.
struct Answered {
    head: Box<pingora_http::ResponseHeader>,
    /// `None` if it is too long.
    body: Option<Vec<u8>>,
}

impl Checks {
    pub(crate) fn new(side: SideRequests) -> Self {
        Self { side }
    }

    /// Carries out the check that a decision waits for. `request` is the request as a backend would get it without what the
    /// checks before have brought.
    pub(crate) async fn carry_out(
        &self,
        cursor: &Cursor,
        request: &RequestHeader,
        context: &Context,
    ) -> Outcome {
        let Some(Check::ExternalAuth(auth)) = cursor.check() else {
            return Outcome::Deny(Rejection::CheckFailed, NO_ANSWER);
        };
        if self.side.is_full(&context.conn.load) {
            return Outcome::Deny(Rejection::Overloaded, "too many requests at a time");
        }
        let auth = Arc::clone(auth);
        let edited = cursor.request_edits().map(|edits| {
            let mut request = request.clone();
            edits.apply(&mut headers::Request(&mut request));
            request
        });
        let request = edited.as_ref().unwrap_or(request);
        let left = context.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let limit = left.map_or(CHECK_TIME, |left| left.min(CHECK_TIME));
        let asked = self.ask(&auth, cursor.rule(), request, context);
        match timeout(limit, asked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                if let Ok(backend) = &auth.backend {
                    tracing::debug!(backend = %backend.key, %error, "a request could not be authorized");
                }
                Outcome::Deny(Rejection::CheckFailed, NO_ANSWER)
            }
            Err(_) if left.is_some_and(|left| left < CHECK_TIME) => {
                Outcome::Deny(Rejection::Timeout, "the request took too long")
            }
            Err(_) => Outcome::Deny(Rejection::CheckFailed, NO_ANSWER),
        }
    }

    async fn ask(
        &self,
        auth: &ExternalAuth,
        rule: Option<&Rule>,
        request: &RequestHeader,
        context: &Context,
    ) -> Result<Outcome> {
        let backend = auth.backend.as_ref();
        let backend = backend.map_err(|_| Error::explain(ErrorType::ConnectNoRoute, "no service"))?;
        // Filters of a listener come before a rule, and are the Gateway API's.
        let kind = rule.map_or(RouteKind::Http, |rule| rule.route.kind);
        match &auth.protocol {
            AuthProtocol::Http(settings) => {
                let asked = http::request(settings, request)?;
                let answered = self.send(backend, kind, asked, Bytes::new()).await?;
                Ok(http::outcome(settings, answered))
            }
            AuthProtocol::Grpc { request_headers } => {
                let (asked, message) = grpc::request(request_headers, request, context, backend)?;
                let answered = self.send(backend, kind, asked, message).await?;
                grpc::outcome(answered, rule.is_none())
            }
        }
    }

    /// Sends a request and reads the whole answer. A pooled connection may have been closed by the service meanwhile: then
    /// the request is sent once more, on a connection of its own.
    async fn send(
        &self,
        backend: &Arc<Backend>,
        kind: RouteKind,
        mut request: RequestHeader,
        body: Bytes,
    ) -> Result<Answered> {
        set_protocol(&mut request, backend, !body.is_empty())?;
        let side = self.side.connect(backend, kind, CHECK_TIME, false).await?;
        let reused = side.reused;
        match self.exchange(side, &request, &body).await {
            Err(_) if reused => {
                let side = self.side.connect(backend, kind, CHECK_TIME, true).await?;
                self.exchange(side, &request, &body).await
            }
            answered => answered,
        }
    }

    async fn exchange(&self, mut side: Side, request: &RequestHeader, body: &Bytes) -> Result<Answered> {
        let session = &mut side.session;
        within(CHECK_TIME, session.write_request_header(Box::new(request.clone()))).await?;
        if !body.is_empty() {
            within(CHECK_TIME, session.write_request_body(body.clone(), true)).await?;
        }
        within(CHECK_TIME, session.finish_request_body()).await?;
        session.read_response_header().await?;
        while session.response_header().is_some_and(|head| head.status.is_informational()) {
            session.read_response_header().await?;
        }
        let head = session.response_header().cloned().map(Box::new);
        let mut head = head.ok_or_else(|| Error::explain(ErrorType::InvalidHTTPHeader, "no answer"))?;
        hop::strip_response(&mut head, false);
        let mut body = Vec::new();
        while let Some(chunk) = session.read_response_body().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                session.shutdown().await;
                return Ok(Answered { head, body: None });
            }
            body.extend_from_slice(&chunk);
        }
        self.side.release(side).await;
        Ok(Answered { head, body: Some(body) })
    }
}

/// The headers of a service's answer, without those that frame its body.
fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers.iter().filter(|(name, _)| Change::Add.check(name).is_ok())
}

/// A step that sets the headers of the backend's request, all values of each, and removes others; `None` if there are none.
///
/// # Errors
/// If one of them cannot be changed: the backend must not be asked with what the client sent in its place.
fn headers_for_backend(
    set: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    add: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    remove: impl IntoIterator<Item = HeaderName>,
) -> Result<Option<Step>, ForbiddenHeader> {
    // Several values of one name: the first replaces what the client sent.
    let (mut first, mut more) = (Vec::<(HeaderName, HeaderValue)>::new(), Vec::new());
    for (name, value) in set {
        match first.iter().any(|(before, _)| *before == name) {
            true => more.push((name, value)),
            false => first.push((name, value)),
        }
    }
    more.extend(add);
    let remove: Vec<_> = remove.into_iter().collect();
    if first.is_empty() && more.is_empty() && remove.is_empty() {
        return Ok(None);
    }
    HeaderModifier::new(first, more, remove).map(|modifier| Some(Step::RequestHeaders(modifier)))
}
