//! The request path: what pingora's callbacks do. Each hands over to a file of its own subject.
//!
//! ```text
//! request_filter          request   the decision (portcullis_routing::decide)
//!                         check     what the decision waits for
//!                         staged    the body stage: a body is received as a whole, an answer sent at a pace
//! upstream_peer           attempt   endpoint, connection
//! connected_to_upstream   attempt   whether a pooled connection is good for it
//! upstream_request_filter attempt   what the backend gets; mirrors
//! upstream_response_filter response what the client gets; retry by status
//! fail_*, error_*         retry     another attempt, or
//! fail_to_proxy           response  an answer of our own
//! logging                 access_log; coded: the session returns
//! ```

mod access_line;
pub(crate) mod access_log;
pub(crate) mod answer;
pub(crate) mod attempt;
pub(crate) mod check;
pub(crate) mod client;
mod coded;
mod compress;
pub(crate) mod context;
pub(crate) mod forwarded;
pub(crate) mod headers;
pub(crate) mod hop;
pub(crate) mod host;
pub(crate) mod limit;
pub(crate) mod mirror;
pub(crate) mod pages;
pub(crate) mod request;
mod response;
pub(crate) mod retry;
pub(crate) mod side;
mod staged;
pub(crate) mod upgrade;

use std::{os::fd::RawFd, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::Version;
use pingora_core::{modules::http::HttpModules, protocols::Digest, upstreams::peer::HttpPeer};
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use portcullis_routing::{Answer, Carrier, Rejection, decide::TOO_LARGE};

pub(crate) use self::mirror::Budget;
use self::{
    check::Checks,
    context::Context,
    headers::Has,
    host::LastAuthority,
    mirror::{Forms, Mirrors},
};
use crate::{
    accept::Outward,
    body::Allowance,
    shared::Shared,
    upstream::{Dialler, kept::Kept},
};

/// Carries requests from clients to backends.
#[derive(Debug)]
pub(crate) struct HttpService {
    shared: Arc<Shared>,
    dialler: Dialler,
    mirrors: Mirrors,
    checks: Checks,
    kept: Kept,
}

/// Why a request goes to no backend.
enum Undecided {
    /// The client gets this answer.
    Answer(Box<Answer>),
    /// Its body could not be received.
    Failed(Box<Error>),
}

impl From<Box<Answer>> for Undecided {
    fn from(answer: Box<Answer>) -> Self {
        Self::Answer(answer)
    }
}

/// How long a client whose request was refused may go on sending the body that it began to send.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

impl HttpService {
    /// One per worker thread.
    pub(crate) fn new(shared: Arc<Shared>, outward: Outward) -> Self {
        let Outward { dialler, mirrors, checks } = outward;
        Self { shared, dialler, mirrors, checks, kept: Kept::default() }
    }

    /// Decides about a request, unless that was done before pingora got it.
    async fn decided(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> std::result::Result<(), Undecided> {
        let decided = context.decided.take();
        // An HTTP/2 head was prepared in place before it was decided about; an HTTP/1 head was parsed by pingora anew.
        if decided.is_none() || session.req_header().version != Version::HTTP_2 {
            request::prepare(session.req_header_mut(), context);
        }
        if let Some(decided) = decided {
            return Ok(decided?);
        }
        if request::is_coded(session.req_header(), context) {
            session.set_keepalive(None);
        }
        let mut decided =
            request::decide(&self.shared, session.req_header(), &mut LastAuthority::default(), context);
        while let Ok(Some(cursor)) = decided {
            if let Some(most) = cursor.body() {
                let namespace = cursor.rule().map_or("", |rule| &rule.route.namespace);
                let held = Box::pin(staged::hold(&self.shared, session, context, (namespace, most)));
                held.await.map_err(Undecided::Failed)?;
            }
            let head = session.req_header();
            let request = request::for_check(&cursor, head, context)?;
            // Boxed, so that requests without checks do not pay for its size.
            let outcome = Box::pin(self.checks.carry_out(&cursor, &request, context)).await;
            decided = request::resume(&self.shared, *cursor, outcome, head, context);
        }
        // All are carried here.
        context.carrier = Carrier::Pingora;
        decided?;
        // pingora sends a head together with the first part of the body, which this client does not send.
        match context.is_bodiless() && context.has.any(Has::EXPECT) {
            true => Err(Box::new(Answer::reject(Rejection::ContentTooLarge, TOO_LARGE)).into()),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ProxyHttp for HttpService {
    /// Boxed, since pingora moves it from one of its futures to the next.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Self::CTX {
        Context::new()
    }

    /// None: pingora's default would make a compression module for each request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Self::CTX) -> Result<bool> {
        if session.req_header().version == Version::HTTP_10 {
            // It knows no informational answers.
            session.downstream_session.set_ignore_info_resp(true);
        }
        match self.decided(session, context).await {
            Ok(()) if staged::is_wanted(session, context) => {
                // Boxed, so that other requests do not pay for its size.
                Box::pin(staged::stage(&self.shared, session, context)).await.map(|()| false)
            }
            Ok(()) => {
                if context.is_bodiless() {
                    session.set_keepalive(None);
                }
                Ok(false)
            }
            Err(Undecided::Failed(error)) => Err(error),
            Err(Undecided::Answer(answer)) => {
                session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
                // Boxed, so that the requests that go on to a backend do not pay for its size.
                Box::pin(answer::send(&answer, session, context)).await.map(|()| true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        if context.attempts.begun == 0 && self.shared.is_full(&context.conn.load) {
            return Err(context.fail(Rejection::Overloaded, "too many requests at a time"));
        }
        let begun = attempt::begin(&self.shared, &self.dialler, session.is_body_empty(), context).await;
        let mut peer = begun.map_err(|mut error| {
            error.set_retry(response::is_replaced(&error, session, context));
            error
        })?;
        if context.upgrade && peer.options.read_timeout > Some(self.shared.options.idle_timeout) {
            // The client of a tunnel may be silent as long as its backend.
            session.downstream_session.set_read_timeout(peer.options.read_timeout);
        }
        if session.downstream_session.is_custom() && session.req_header().version == Version::HTTP_2 {
            // A stream that we accepted, for an HTTP/2 backend. The only hop-by-hop header that HTTP/2 has is TE, and gRPC needs it.
            peer.options.http_upstream_request_policy.strip_hop_by_hop = false;
        }
        Ok(peer)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        connection: RawFd,
        _digest: Option<&Digest>,
        context: &mut Self::CTX,
    ) -> Result<()> {
        attempt::connected(&self.kept, session, reused, connection, context)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Self::CTX,
    ) -> Result<()> {
        attempt::request(session, request, context).await?;
        context.allowed = Allowance::of(match context.is_bodiless() {
            true => Some(attempt::DROPPED),
            false => context.body_size(!session.is_body_empty()),
        });
        if !context.mirrored
            && let Some(route) = context.with_mirrors()
        {
            let bodiless = session.is_body_empty();
            let forms = Forms { forwarded: Some(request), sent: Some(session.req_header()) };
            context.mirrors = self.mirrors.begin(route, forms, bodiless);
            context.mirrored = true;
        } else if let Some(copies) = &mut context.mirrors {
            copies.rewind();
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Self::CTX,
    ) -> Result<()> {
        // An h2 client may end its body with an empty frame. pingora would write that as a chunk, which is the last one
        // in HTTP/1, and then the last one again; where there is nothing, it writes the end alone.
        if end && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        if context.is_bodiless() {
            return attempt::drop_part(body, context);
        }
        if let Some(copies) = &mut context.mirrors {
            copies.body(body.as_ref(), end);
        }
        if session.was_upgraded() {
            return Ok(());
        }
        attempt::check_size(body.as_ref(), context)?;
        response::check_time(context)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        context: &mut Self::CTX,
    ) -> Result<()> {
        response::filter(&self.shared.options, &self.kept, session, answer, context)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        _context: &mut Self::CTX,
    ) -> Result<()> {
        response::without_chunks(session, answer);
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let again = retry::on_connect_error(&error, session, context)
            || response::is_replaced(&error, session, context);
        error.set_retry(again);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        let again = retry::on_error(&mut error, reused, session, context)
            || response::is_replaced(&error, session, context);
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Self::CTX,
    ) -> FailToProxy {
        let error_code = response::fail(session, error, context).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Self::CTX) {
        coded::remove(session, context);
        if let Some(measured) = &mut context.measured {
            measured.received(context.allowed.taken());
            // With the headers that pingora has added.
            if let Some(head) = session.response_written() {
                measured.sent_head(headers::answer_len(&head.headers));
            }
        }
        context.finish(session.body_bytes_sent(), error.is_some());
    }

    /// The access log has it.
    fn suppress_error_log(&self, _session: &Session, _context: &Self::CTX, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Self::CTX,
        _error: &Error,
        _stage: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
