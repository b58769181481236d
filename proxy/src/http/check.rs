//! Checks: what is found out elsewhere before a request goes on.
//!
//! A check is carried out with the request as its backend would get it, as the checks before have left it, and before the
//! steps of its rule. One that cannot be carried out, or takes too long, denies.

mod cache;
mod grpc;
mod http;
mod ingress;
mod messages;
pub(super) mod nesting;

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use pingora_core::protocols::http::client::HttpSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use portcullis_routing::{
    Backend, Cursor, Outcome, Rejection, RouteKind, Rule, Step,
    step::{
        AuthAnswer, AuthProtocol, Change, Check, ExternalAuth, ForbiddenHeader, HeaderModifier, IngressAuth,
        ingress_auth::{AuthQuestion, CHECKED},
    },
};
use tokio::time::{Instant, timeout};

pub(crate) use self::cache::AuthCache;
use self::cache::Keeping;
use super::{
    context::Context,
    headers, hop,
    limit::authenticated,
    side::{self, Side, SideRequests, set_protocol, within},
};
use crate::{passwords::Passwords, upstream::Origin};

/// Limit of time for a check as a whole.
const CHECK_TIME: Duration = Duration::from_secs(10);
/// The body of a service's answer is read so far; of a longer one, the client gets none of the body.
const MAX_ANSWER: usize = 64 << 10;
/// Limit of time for the body of an answer of which the head alone matters.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// The reason for the access log when the service denies a request.
const DENIED: &str = "denied by the authorization service";
const NO_ANSWER: &str = "the authorization service sent no valid response";

/// Carries out the checks of a worker's requests.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    side: SideRequests,
    passwords: Arc<Passwords>,
}

/// What a service answered: the whole of it.
struct Answered {
    head: Box<ResponseHeader>,
    /// `None` if it is too long.
    body: Option<Vec<u8>>,
}

impl Checks {
    pub(crate) fn new(side: SideRequests, passwords: Arc<Passwords>) -> Self {
        Self { side, passwords }
    }

    /// Carries out the check that a decision waits for. `request` is the request as a backend would get it without what the
    /// checks before have brought.
    pub(crate) async fn carry_out(
        &self,
        cursor: &Cursor,
        request: &RequestHeader,
        context: &Context,
    ) -> Outcome {
        let Some(check) = cursor.check().cloned() else {
            return Outcome::Deny(Rejection::CheckFailed, NO_ANSWER);
        };
        if let Check::Basic(auth) = &check {
            return authenticated(auth, self.passwords.verify(auth, &request.headers).await);
        }
        let edited = cursor.request_edits().map(|edits| {
            let mut request = request.clone();
            edits.apply(&mut headers::Request(&mut request));
            request
        });
        let request = edited.as_ref().unwrap_or(request);
        let kept = match (&check, cursor.question()) {
            (Check::IngressAuth(auth), Some(question)) => self.kept(auth, question, request),
            _ => None,
        };
        if let Some(answer) = kept {
            return Outcome::Answered(answer);
        }
        if self.side.is_full(&context.conn.load) {
            return Outcome::Deny(Rejection::Overloaded, "too many requests at a time");
        }
        let left = context.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let limit = left.map_or(CHECK_TIME, |left| left.min(CHECK_TIME));
        let asked = async {
            match (&check, cursor.question()) {
                (Check::ExternalAuth(auth), _) => self.ask(auth, cursor.rule(), request, context).await,
                (Check::IngressAuth(auth), Some(question)) => {
                    self.ask_for_ingress(auth, question, request, context).await
                }
                (Check::IngressAuth(_) | Check::Basic(_) | Check::Limits(_) | Check::Closed(_), _) => {
                    Error::e_explain(ErrorType::InternalError, "nobody to ask")
                }
            }
        };
        match timeout(limit, asked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::debug!(%check, %error, "a request could not be authorized");
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
        let body = context.held.as_ref().filter(|_| auth.body > 0).map(|held| &held.bytes);
        match &auth.protocol {
            AuthProtocol::Http(settings) => {
                let asked = http::request(settings, request, body.map_or(0, Bytes::len))?;
                let answered = self.send(backend, kind, asked, body.cloned().unwrap_or_default()).await?;
                Ok(http::outcome(settings, answered))
            }
            AuthProtocol::Grpc { request_headers } => {
                let (asked, message) = grpc::request(request_headers, request, context, backend, body)?;
                let answered = self.send(backend, kind, asked, message).await?;
                grpc::outcome(answered, rule.is_none())
            }
        }
    }

    /// The answer of the service of an Ingress that is kept for such a request.
    fn kept(
        &self,
        auth: &IngressAuth,
        question: &AuthQuestion,
        request: &RequestHeader,
    ) -> Option<Arc<AuthAnswer>> {
        let (caching, key) = auth.caching.as_ref().zip(question.cache_key.as_ref())?;
        self.side.shared().auth_cache.find(&caching.place, key, &request.headers)
    }

    /// Asks the service of an Ingress.
    async fn ask_for_ingress(
        &self,
        auth: &IngressAuth,
        question: &AuthQuestion,
        request: &RequestHeader,
        context: &Context,
    ) -> Result<Outcome> {
        let (shared, trusted) = (self.side.shared(), context.trusted);
        let is_ours = shared.is_ours(context.conn.peer.ip());
        let Some(marks) = nesting::marks(&question.checked, is_ours, &shared.mark) else {
            return Ok(Outcome::Deny(Rejection::CheckFailed, "external authentication is nested too deeply"));
        };
        let namespace = auth.namespace.as_deref();
        let service = side::service(&auth.url, namespace.unwrap_or("auth"), &question.host);
        let mut asked = ingress::request(auth, question, request, trusted)?;
        set_protocol(&mut asked, &service, false)?;
        let connect = |fresh| {
            let (origin, by_request) = (Origin::Check { namespace }, auth.url.is_by_request());
            self.side.connect_service(&service, origin, by_request, CHECK_TIME, fresh)
        };
        let mut ask = async |side: Side| {
            asked.remove_header(&CHECKED);
            if self.side.may_come_back(&side, &question.host) {
                asked.insert_header(CHECKED, marks.clone())?;
            }
            exchange_head(side, &asked).await
        };
        let side = connect(false).await?;
        let reused = side.reused;
        let (head, side) = match ask(side).await {
            Err(_) if reused => ask(connect(true).await?).await?,
            answered => answered?,
        };
        self.drain(side);
        let answer = Arc::new(ingress::answer(auth, &head));
        if let Some((caching, key)) = auth.caching.as_ref().zip(question.cache_key.as_ref())
            && let Some(keeping) = Keeping::of(caching, &head, &request.headers)
        {
            shared.auth_cache.keep(&caching.place, key, &answer, keeping);
        }
        Ok(Outcome::Answered(answer))
    }

    /// Reads the body of an answer, of which nobody wants anything, so that the connection can be used again. The request
    /// does not wait for it.
    fn drain(&self, mut side: Side) {
        let all = self.side.clone();
        tokio::spawn(async move {
            let mut left = MAX_ANSWER;
            let read = timeout(DRAIN_TIME, async {
                while let Some(chunk) = side.session.read_response_body().await? {
                    left = left.checked_sub(chunk.len()).ok_or_else(|| Error::new(ErrorType::ReadError))?;
                }
                Ok::<_, Box<Error>>(())
            });
            match read.await {
                Ok(Ok(())) => all.release(side).await,
                _ => side.session.shutdown().await,
            }
        });
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
        let head = head_of(session, request, body).await?;
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

/// Sends a request without a body and reads the head of the answer.
async fn exchange_head(mut side: Side, request: &RequestHeader) -> Result<(Box<ResponseHeader>, Side)> {
    let head = head_of(&mut side.session, request, &Bytes::new()).await?;
    Ok((head, side))
}

/// Sends a request and reads the head of the answer, without what concerns the connection alone.
async fn head_of(
    session: &mut HttpSession,
    request: &RequestHeader,
    body: &Bytes,
) -> Result<Box<ResponseHeader>> {
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
    Ok(head)
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
