//! When another attempt at a backend is made, and when it begins.
//!
//! Without a policy only what no backend can have seen is repeated: a connection that was not established (towards
//! an endpoint not tried before), and a request that a stale pooled connection swallowed. With one (HTTPRouteRetry),
//! besides: its status codes, attempts that took longer than the rule's `backendRequest`, and, where the method is
//! idempotent, connections that broke or were silent for too long.

use std::time::Duration;

use http::Method;
use pingora_error::{Error, ErrorSource, ErrorType, RetryType};
use pingora_proxy::Session;
use portcullis_routing::Retry;
use rand::Rng;

use super::context::Context;
use crate::random;

/// Attempts beyond the first where there is no policy.
const DEFAULT_RETRIES: u32 = 2;
/// The pause where a policy names none.
const DEFAULT_BACK_OFF: Duration = Duration::from_millis(25);
/// Pauses grow up to this many times the first.
const MAX_GROWTH: u32 = 10;

/// Whether this answer of a backend is dropped for another attempt.
pub(crate) fn on_status(status: u16, session: &Session, context: &mut Context) -> bool {
    let wanted = policy(context).is_some_and(|retry| retry.codes.contains(&status));
    wanted && repeatable(session) && take(context)
}

/// Whether an attempt that got no connection is followed by another.
pub(crate) fn on_connect_error(session: &Session, context: &mut Context) -> bool {
    // Several attempts at one address that refuses would only take longer to say so.
    (policy(context).is_some() || context.attempts.others) && repeatable(session) && take(context)
}

/// Whether an attempt that failed on its connection is followed by another.
pub(crate) fn on_error(error: &mut Error, reused: bool, session: &Session, context: &mut Context) -> bool {
    // Ours, and decided.
    if matches!(error.etype, ErrorType::HTTPStatus(_)) {
        return error.retry == RetryType::Decided(true);
    }
    let stale = error.retry == RetryType::ReusedOnly && reused;
    let refused = error.retry == RetryType::Decided(true) && error.etype == ErrorType::H2Error;
    error.retry.decide_reuse(reused);
    if error.esource != ErrorSource::Upstream || !repeatable(session) {
        return false;
    }
    // Nobody has seen such a request, whatever its method (RFC 9113, 8.7; RFC 9110, 9.2.2). Bounded, should a
    // backend refuse for ever.
    if (stale || refused) && context.attempts.stale < DEFAULT_RETRIES {
        context.attempts.stale += 1;
        return true;
    }
    // What took longer than the rule allows for one attempt is repeated as the rule asks, whatever the method
    // (HTTPRouteRetry `backoff`); what took longer than we wait by ourselves is like a connection that broke.
    let timeout = matches!(error.etype, ErrorType::ReadTimedout | ErrorType::WriteTimedout);
    let limited = context.rule().is_some_and(|rule| rule.timeouts.backend_request.is_some());
    let safe = (timeout && limited) || is_idempotent(&session.req_header().method);
    policy(context).is_some() && safe && take(context)
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
    context.rule()?.retry.as_ref()
}

/// Counts one more attempt, if there may be one.
fn take(context: &mut Context) -> bool {
    let limit = policy(context).map_or(DEFAULT_RETRIES, |retry| retry.attempts);
    let in_time = context.deadline.is_none_or(|deadline| tokio::time::Instant::now() < deadline);
    let another = context.attempts.retries < limit && in_time;
    context.attempts.retries += u32::from(another);
    context.attempts.back_off = another && policy(context).is_some();
    another
}

/// Whether nothing was answered, and all of the body that was read is still there (pingora keeps 64 KiB).
fn repeatable(session: &Session) -> bool {
    let answered =
        session.response_written().is_some_and(|r| !r.status.is_informational() || r.status == 101);
    !answered && !session.as_ref().retry_buffer_truncated()
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    )
}
