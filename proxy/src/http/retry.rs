//! When another attempt at a backend is made, and when it begins.
//!
//! ```text
//!                                              by itself     HTTPRouteRetry   proxy-next-upstream (of an Ingress)
//! no connection                                any method    any method       any method (error, timeout)
//! nothing sent, or a stream not processed      any method    any method       any method
//! a pooled connection broke, no answer begun   idempotent    idempotent       idempotent
//! any other break, or too long a silence       -             idempotent       idempotent (error, timeout)
//! a malformed answer                           -             -                idempotent (invalid_header)
//! an answer with one of the policy's codes     -             any method       idempotent (http_500 and so on)
//! ```
//!
//! `non_idempotent` of an Ingress lets all methods take the place of idempotent ones.
//!
//! What repeats by itself is another matter than a policy: it goes on a connection that was not used before, so that a
//! request that kills backends gets to two of them at most.

use std::time::Duration;

use http::Method;
use pingora_error::{Error, ErrorSource, ErrorType, RetryType};
use pingora_proxy::Session;
use portcullis_routing::{BackendProtocol, Failures, Retry, Route};
use rand::Rng;
use tokio::time::Instant;

use super::context::Context;
use crate::random;

/// Attempts beyond the first where there is no policy.
const DEFAULT_RETRIES: u32 = 2;
/// Attempts by themselves for streams that a backend does not process, and pooled connections that are left alone for
/// one request.
const MAX_UNPROCESSED: u32 = 2;
/// The pause where a policy names none.
const DEFAULT_BACK_OFF: Duration = Duration::from_millis(25);
/// Pauses grow up to this many times the first.
const MAX_GROWTH: u32 = 10;

/// Nothing was sent on a pooled connection that is no good for this request.
const STALE: ErrorType = ErrorType::Custom("stale connection");

/// The error that leaves a pooled connection alone and asks for another one.
pub(crate) fn stale() -> Box<Error> {
    Error::explain(STALE, "a pooled connection is closed, or about to be").into_up()
}

/// What another attempt depends on beside what became of this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Whether nothing was answered, and all of the body that was read is still there.
    pub(crate) repeatable: bool,
    /// Whether the request may be carried out twice ([`is_idempotent`]).
    pub(crate) idempotent: bool,
    /// Whether it was sent on a pooled connection.
    pub(crate) reused: bool,
}

/// Whether this answer of a backend is dropped for another attempt.
pub(crate) fn on_status(status: u16, idempotent: bool, repeatable: bool, context: &mut Context) -> bool {
    let wanted = policy(context).is_some_and(|retry| retry.wants(status, idempotent));
    wanted && repeatable && take(context)
}

/// Whether an attempt that got no connection is followed by another. `late`: it took too long.
pub(crate) fn on_no_connection(late: bool, repeatable: bool, context: &mut Context) -> bool {
    let wanted = match policy(context) {
        Some(Retry { failures, .. }) => {
            if late {
                failures.timeout
            } else {
                failures.error
            }
        }
        // Several attempts at one address that refuses would only take longer to say so.
        None => context.attempts.others,
    };
    wanted && repeatable && take(context)
}

/// Whether what is sent of a request has to be kept for another attempt.
pub(crate) fn keeps(idempotent: bool, context: &Context) -> bool {
    let has_pages = context.route.as_ref().is_some_and(Route::has_pages);
    idempotent || has_pages || policy(context).is_some_and(|retry| retry.keeps(idempotent))
}

/// Whether an attempt with such a fate is followed by another.
pub(crate) fn on_fate(fate: Fate, sent: Sent, context: &mut Context) -> bool {
    if !sent.repeatable {
        return false;
    }
    match fate {
        Fate::NotSent => {
            let h2 = context.backend().is_some_and(|backend| backend.protocol == BackendProtocol::Http2);
            // A pooled HTTP/1 connection is gone from the pool with this; an h2 one may be found again.
            context.attempts.stay(h2 || context.attempts.unprocessed >= MAX_UNPROCESSED);
            context.attempts.unprocessed += 1;
            true
        }
        Fate::NotProcessed if context.attempts.unprocessed < MAX_UNPROCESSED => {
            context.attempts.unprocessed += 1;
            true
        }
        Fate::NotAnswered
            if sent.reused && sent.idempotent && !context.attempts.broke && !context.attempts.interim =>
        {
            context.attempts.broke = true;
            context.attempts.fresh = true;
            true
        }
        _ => {
            let wanted = policy(context)
                .is_some_and(|retry| fate.is_worth_another(retry.failures) && retry.repeats(sent.idempotent));
            wanted && take(context)
        }
    }
}

/// [`on_no_connection`], as pingora says it.
pub(crate) fn on_connect_error(error: &Error, session: &Session, context: &mut Context) -> bool {
    let repeatable = is_repeatable(session);
    // A pooled h2 connection that takes no more streams.
    if repeatable && error.etype == ErrorType::H2Error && context.attempts.unprocessed == 0 {
        context.attempts.unprocessed += 1;
        context.attempts.stay(true);
        return true;
    }
    let late = matches!(error.etype, ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout);
    on_no_connection(late, repeatable, context)
}

/// [`on_fate`], as pingora says it.
pub(crate) fn on_error(error: &mut Error, reused: bool, session: &Session, context: &mut Context) -> bool {
    // Ours, and decided.
    if matches!(error.etype, ErrorType::HTTPStatus(_)) {
        return error.retry == RetryType::Decided(true);
    }
    // What pingora thinks of it is not asked, but has to be decided.
    error.retry.decide_reuse(reused);
    let repeatable = error.esource == ErrorSource::Upstream && is_repeatable(session);
    let idempotent = is_idempotent(&session.req_header().method);
    on_fate(fate(error), Sent { repeatable, idempotent, reused }, context)
}

/// What is known of a request whose attempt failed on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// None of it was sent.
    NotSent,
    /// The backend cannot have acted on it: it has not got the whole head, or says so itself (RFC 9113, 8.7 and 6.8).
    NotProcessed,
    /// The connection broke before a byte of an answer.
    NotAnswered,
    /// The backend took too long.
    Late,
    /// Its answer is malformed.
    Invalid,
    Unknown,
}

impl Fate {
    fn is_worth_another(self, failures: Failures) -> bool {
        match self {
            Self::Late => failures.timeout,
            Self::Invalid => failures.invalid,
            Self::NotSent | Self::NotProcessed | Self::NotAnswered | Self::Unknown => failures.error,
        }
    }
}

/// Reads it from what pingora says of the place where it failed. Whatever is not known for certain is unknown.
fn fate(error: &Error) -> Fate {
    if error.etype == STALE {
        return Fate::NotSent;
    }
    let place = error.context.as_ref().map_or("", |context| context.as_str());
    if let Some(h2) = error.root_cause().downcast_ref::<h2::Error>() {
        let refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        return match place {
            // Streams that GOAWAY includes do not end with it, but with the connection.
            "while sending request" | "while reading h2 header"
                if h2.is_remote() && (refused || h2.is_go_away()) =>
            {
                Fate::NotProcessed
            }
            "while reading h2 header" if h2.is_io() => Fate::NotAnswered,
            _ => Fate::Unknown,
        };
    }
    match (&error.etype, place) {
        (ErrorType::WriteError, "while writing request headers" | "flushing request header") => {
            Fate::NotProcessed
        }
        (ErrorType::WriteError, "while writing body" | "flushing body") => Fate::NotAnswered,
        (
            ErrorType::ConnectionClosed | ErrorType::ReadError,
            "while reading response headers, bytes already read: 0",
        ) => Fate::NotAnswered,
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, _) => Fate::Late,
        (ErrorType::InvalidHTTPHeader, _) => Fate::Invalid,
        _ => Fate::Unknown,
    }
}

/// The pause before the next attempt.
pub(crate) fn pause(context: &Context) -> Duration {
    let Some(retry) = policy(context) else { return Duration::ZERO };
    let base = retry.backoff.unwrap_or(DEFAULT_BACK_OFF);
    let growth = 1_u32.checked_shl(context.attempts.retries.saturating_sub(1)).unwrap_or(MAX_GROWTH);
    let whole = base.saturating_mul(growth.min(MAX_GROWTH));
    // Up to a quarter more, so that those who failed together do not return together.
    whole + whole.mul_f64(random::with(|rng| rng.random_range(0.0..0.25)))
}

fn policy(context: &Context) -> Option<&Retry> {
    context.rule()?.retry.as_deref()
}

/// Counts one more attempt, if there may be one.
fn take(context: &mut Context) -> bool {
    let limit = policy(context).map_or(DEFAULT_RETRIES, |retry| retry.attempts);
    let within = policy(context).and_then(|retry| retry.within);
    let until = within.and_then(|within| Some(context.attempts.since? + within));
    let in_time = |until: Option<Instant>| until.is_none_or(|until| Instant::now() < until);
    let another = context.attempts.retries < limit && in_time(context.deadline) && in_time(until);
    context.attempts.retries += u32::from(another);
    let pauses = policy(context).is_some_and(|retry| retry.backoff != Some(Duration::ZERO));
    context.attempts.back_off = another && pauses;
    another
}

/// Whether nothing was answered, and all of the body that was read is still there (pingora keeps 64 KiB).
pub(crate) fn is_repeatable(session: &Session) -> bool {
    let answered =
        session.response_written().is_some_and(|r| !r.status.is_informational() || r.status == 101);
    !answered && !session.as_ref().retry_buffer_truncated()
}

/// Whether a request may be carried out twice (RFC 9110, 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn error(kind: ErrorType, place: &'static str, cause: Option<io::Error>) -> Box<Error> {
        match cause {
            Some(cause) => Error::because(kind, place, cause),
            None => Error::explain(kind, place),
        }
    }

    /// Places as pingora spells them; `http_repeat.rs` sees to it that it still does.
    #[test]
    fn only_what_is_certain_of_a_failed_request_is_known() {
        use ErrorType::{ConnectionClosed, InvalidHTTPHeader, ReadError, ReadTimedout, WriteError};
        let reset = || Some(io::Error::from_raw_os_error(104));
        for (kind, place, cause, want) in [
            (STALE, "", None, Fate::NotSent),
            (WriteError, "while writing request headers", reset(), Fate::NotProcessed),
            (WriteError, "flushing request header", reset(), Fate::NotProcessed),
            (WriteError, "while writing body", reset(), Fate::NotAnswered),
            (
                ConnectionClosed,
                "while reading response headers, bytes already read: 0",
                None,
                Fate::NotAnswered,
            ),
            (ReadError, "while reading response headers, bytes already read: 0", reset(), Fate::NotAnswered),
            (ConnectionClosed, "while reading response headers, bytes already read: 9", None, Fate::Unknown),
            (ReadError, "while reading response headers, bytes already read: 10", reset(), Fate::Unknown),
            (ReadError, "while reading body", reset(), Fate::Unknown),
            (ReadTimedout, "while reading response headers", None, Fate::Late),
            (InvalidHTTPHeader, "", None, Fate::Invalid),
        ] {
            assert_eq!(fate(&error(kind.clone(), place, cause)), want, "{kind:?} {place}");
        }
    }
}
