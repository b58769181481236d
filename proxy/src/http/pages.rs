//! Error pages: a default backend is asked in place of an answer with an error status ([`portcullis_routing::Route::page`]).
//! For a carrier this is another attempt, of another rule. That rule has no error pages, so it happens once.

use portcullis_routing::Rejection;

use super::{
    attempt::Failure,
    context::{Attempts, Context},
};

/// Turns to the default backend if a backend's answer with this status is replaced. `repeatable`: whether nothing was answered,
/// and the request can be sent again.
pub(crate) fn replace_answer(status: u16, repeatable: bool, context: &mut Context) -> bool {
    let is_replaced = context.route.as_ref().is_some_and(|route| route.replaces_answer(status));
    repeatable && is_replaced && turn(status, context)
}

/// The same for an answer of ours, to a request that no backend answers.
pub(crate) fn replace_failure((rejection, _): Failure, repeatable: bool, context: &mut Context) -> bool {
    let is_of_backend = match rejection {
        Rejection::BadGateway
        | Rejection::Timeout
        | Rejection::NoEndpoints
        | Rejection::RefusedAddress
        | Rejection::BrokenBackend => true,
        // The client's request is not one that can be sent.
        Rejection::BadRequest
        | Rejection::HeaderTimeout
        | Rejection::HeaderTooLarge
        | Rejection::ContentTooLarge => false,
        // A proxy that has too much to do does not do more for it.
        Rejection::Overloaded => false,
        // These are decided before a backend is asked.
        Rejection::NoRoute
        | Rejection::Misdirected
        | Rejection::Forbidden
        | Rejection::Unauthenticated
        | Rejection::Limited
        | Rejection::Unauthorized
        | Rejection::CheckFailed
        | Rejection::MethodNotAllowed
        | Rejection::Closed => false,
    };
    is_of_backend && repeatable && turn(rejection.status().as_u16(), context)
}

fn turn(status: u16, context: &mut Context) -> bool {
    let Some(page) = context.route.as_ref().and_then(|route| route.page(status)) else { return false };
    context.attempts = Attempts { begun: context.attempts.begun, ..Attempts::default() };
    context.rejection = None;
    context.take_route(page);
    true
}
