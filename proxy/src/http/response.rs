//! What becomes of a backend's answer.

use http::{StatusCode, Version, header};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use portcullis_routing::{Answer, BackendProtocol, Rejection};
use tokio::time::Instant;

use super::{
    answer, coded,
    context::Context,
    headers::{self, Response},
    hop, pages, request, retry,
};
use crate::{
    Options,
    scope::{SCOPE, Scope},
    upstream::{
        kept::Kept,
        tls::{CERTIFICATE_REFUSED, HANDSHAKE_FAILED},
    },
};

/// Checks the head of an answer and brings it to the form that the client gets.
///
/// # Errors
/// Where it is dropped: for another attempt, or since it came too late.
pub(crate) fn filter(
    options: &Options,
    kept: &Kept,
    session: &mut Session,
    answer: &mut ResponseHeader,
    context: &mut Context,
) -> Result<()> {
    let switching = answer.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !context.upgrade {
        let why = "the backend switched protocols without being asked to";
        return Err(context.fail(Rejection::BadGateway, why));
    }
    if answer.status.is_informational() && !switching {
        context.attempts.interim = true;
        hop::strip_response(answer, false);
        return Ok(());
    }
    if answer.status == StatusCode::NO_CONTENT {
        // It has no body that they could speak of (RFC 9110, 8.6; RFC 9112, 6.1).
        answer.remove_header(&header::CONTENT_LENGTH);
        answer.remove_header(&header::TRANSFER_ENCODING);
    }
    if let Some(length) = request::one_length(&answer.headers) {
        answer.insert_header("Content-Length", length)?;
    }
    if context.attempts.connection.is_some()
        && answer.headers.contains_key(header::TRANSFER_ENCODING)
        && !headers::is_chunked_alone(&answer.headers)
    {
        return Err(context.fail(Rejection::BadGateway, "the backend uses an unknown transfer coding"));
    }
    check_time(context)?;
    let (idempotent, repeatable) =
        (retry::is_idempotent(&session.req_header().method), retry::is_repeatable(session));
    if retry::on_status(answer.status.as_u16(), idempotent, repeatable, context) {
        let mut error =
            Error::explain(ErrorType::HTTPStatus(answer.status.as_u16()), "another attempt").into_up();
        error.set_retry(true);
        return Err(error);
    }
    if pages::replace_answer(answer.status.as_u16(), repeatable, context) {
        let mut error =
            Error::explain(ErrorType::HTTPStatus(answer.status.as_u16()), "an error page").into_up();
        error.set_retry(true);
        return Err(error);
    }
    if let Some(connection) = context.attempts.connection {
        kept.answered(connection, hop::keep_alive(answer));
    }
    hop::strip_response(answer, switching);
    if let Some(route) = &context.route {
        let status = answer.status.as_u16();
        let edits = route.answer_edits(status, &session.req_header().headers);
        match edits.rewrites() {
            true => edits.rewrite_and_apply(&answer.headers.clone(), &mut Response(answer)),
            false => edits.apply(&mut Response(answer)),
        }
    }
    // Clients of HTTP/1.0 do not understand chunks.
    let encoding = context.negotiate(answer).filter(|_| session.req_header().version != Version::HTTP_10);
    coded::decide(session, context, encoding);
    context.status = answer.status.as_u16();
    if let Some(measured) = &mut context.measured {
        measured.answered(headers::answer_len(&answer.headers));
    }
    if context.conn.draining() {
        session.set_keepalive(None);
    }
    if context.backend().is_some_and(|backend| backend.protocol == BackendProtocol::Http2) {
        SCOPE.with(Scope::streams);
        // A client that opens no window is held to its own limit.
        if session.req_header().version == Version::HTTP_2 {
            session.downstream_session.set_write_timeout(Some(options.idle_timeout));
        }
    }
    // From here on no 504 can be said any more; what is late is cut. A tunnel may last.
    let deadline = context.attempt_deadline().filter(|_| !switching);
    if switching {
        SCOPE.with(Scope::set_tunnel);
    }
    if deadline.is_some() || switching {
        SCOPE.with(|scope| scope.set_deadline(deadline));
    }
    Ok(())
}

/// A client of HTTP/1.0 knows no chunks: what pingora would send it in chunks ends with the connection instead.
pub(crate) fn without_chunks(session: &mut Session, answer: &mut ResponseHeader) {
    let chunked = session.req_header().version == Version::HTTP_10
        && answer.status != StatusCode::SWITCHING_PROTOCOLS
        && answer.remove_header(&header::TRANSFER_ENCODING).is_some();
    if chunked {
        session.set_keepalive(None);
    }
}

/// Whether there is time left.
///
/// # Errors
/// Where there is none: a 504, unless the answer has begun.
pub(crate) fn check_time(context: &mut Context) -> Result<()> {
    match context.attempt_deadline() {
        Some(deadline) if Instant::now() >= deadline => Err(context.fail(Rejection::Timeout, TIMEOUT)),
        _ => Ok(()),
    }
}

pub(crate) const TIMEOUT: &str = "the backend took too long";

/// Tells the client why there is no answer, where it can still be told. Returns the status.
pub(crate) async fn fail(session: &mut Session, error: &Error, context: &mut Context) -> u16 {
    // Its connection may be in any state.
    session.set_keepalive(None);
    let told = session.response_written().is_some_and(|r| !r.status.is_informational() || r.status == 101);
    let Some((rejection, why)) = context.rejection.or_else(|| rejection(error)) else {
        // As nginx logs a client that left.
        context.status = if told { context.status } else { 499 };
        return 0;
    };
    // 408 speaks of the whole connection; the client of one slow stream gets another status.
    let is_stream = session.req_header().version == Version::HTTP_2;
    let rejection = match rejection {
        Rejection::HeaderTimeout if is_stream => Rejection::Timeout,
        other => other,
    };
    tracing::debug!(%error, "a request failed");
    context.rejection = Some((rejection, why));
    if told {
        return 0;
    }
    // A client that cannot be told is gone.
    let _ = answer::send(&Answer::reject(rejection, why), session, context).await;
    context.status
}

/// Turns to a default backend if it is asked in place of the answer that says why there is no backend's.
pub(crate) fn is_replaced(error: &Error, session: &Session, context: &mut Context) -> bool {
    if error.esource != ErrorSource::Upstream {
        return false;
    }
    let failure = context.rejection.or_else(|| rejection(error));
    failure.is_some_and(|failure| pages::replace_failure(failure, retry::is_repeatable(session), context))
}

/// `None` where the client is gone.
fn rejection(error: &Error) -> Option<(Rejection, &'static str)> {
    use ErrorType::{
        ConnectTimedout, ConnectionClosed, H2Error, InvalidCert, ReadError, ReadTimedout,
        TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
    };
    Some(match (&error.esource, &error.etype) {
        (ErrorSource::Downstream, ReadTimedout) => (Rejection::HeaderTimeout, "the request took too long"),
        (ErrorSource::Downstream, ReadError | WriteError | WriteTimedout | ConnectionClosed | H2Error) => {
            return None;
        }
        (ErrorSource::Downstream, _) => (Rejection::BadRequest, "malformed request"),
        (_, ReadTimedout | WriteTimedout | ConnectTimedout | TLSHandshakeTimedout) => {
            (Rejection::Timeout, TIMEOUT)
        }
        (ErrorSource::Upstream, InvalidCert) => (Rejection::BadGateway, CERTIFICATE_REFUSED),
        (ErrorSource::Upstream, TLSHandshakeFailure) => (Rejection::BadGateway, HANDSHAKE_FAILED),
        (ErrorSource::Upstream, _) => {
            (Rejection::BadGateway, "the backend could not be reached, or aborted the connection")
        }
        (ErrorSource::Internal | ErrorSource::Unset, _) => (Rejection::BrokenBackend, "internal error"),
    })
}

impl Context {
    /// An error that ends the request with this rejection, unless another attempt is made.
    pub(crate) fn fail(&mut self, rejection: Rejection, why: &'static str) -> Box<Error> {
        self.rejection = Some((rejection, why));
        let kind = match rejection {
            Rejection::Timeout => ErrorType::ReadTimedout,
            _ => ErrorType::HTTPStatus(rejection.status().as_u16()),
        };
        Error::explain(kind, why).into_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_ran_out_at_the_backend_is_a_504_and_a_client_that_left_is_told_nothing() {
        for (kind, source, want) in [
            (ErrorType::ReadTimedout, ErrorSource::Upstream, Some(Rejection::Timeout)),
            (ErrorType::ConnectTimedout, ErrorSource::Upstream, Some(Rejection::Timeout)),
            (ErrorType::ConnectRefused, ErrorSource::Upstream, Some(Rejection::BadGateway)),
            (ErrorType::InvalidCert, ErrorSource::Upstream, Some(Rejection::BadGateway)),
            (ErrorType::TLSHandshakeFailure, ErrorSource::Upstream, Some(Rejection::BadGateway)),
            (ErrorType::TLSHandshakeTimedout, ErrorSource::Upstream, Some(Rejection::Timeout)),
            (ErrorType::InvalidHTTPHeader, ErrorSource::Upstream, Some(Rejection::BadGateway)),
            (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream, Some(Rejection::BadRequest)),
            (ErrorType::ReadTimedout, ErrorSource::Downstream, Some(Rejection::HeaderTimeout)),
            (ErrorType::ConnectionClosed, ErrorSource::Downstream, None),
            (ErrorType::InternalError, ErrorSource::Internal, Some(Rejection::BrokenBackend)),
        ] {
            let mut error = Error::new(kind.clone());
            error.esource = source.clone();
            assert_eq!(rejection(&error).map(|(r, _)| r), want, "{kind:?} {source:?}");
        }
    }
}
