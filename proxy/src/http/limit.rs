//! The checks that need no waiting: limits of what clients may send, and passwords that are compared quickly. They are carried
//! out where the decision is made, so that such a request costs little more than another.

use http::{HeaderValue, StatusCode, header};
use portcullis_routing::{
    self as routing, Connection, Decision, Outcome, Rejection, Reply, Request,
    step::{BasicAuth, Check, Limits},
};

use crate::{
    limiter::{Place, Refused},
    passwords::Verdict,
    shared::Shared,
};

/// Carries out the limits that a decision waits for. Returns the decision that follows, and the place that the request takes
/// until its end.
pub(crate) fn pass(
    shared: &Shared,
    mut decision: Decision,
    request: Request<'_>,
    connection: Connection<'_>,
) -> (Decision, Option<Place>) {
    let mut place = None;
    loop {
        let Decision::Ask(cursor) = decision else { return (decision, place) };
        let outcome = match cursor.check() {
            Some(Check::Limits(limits)) => limited(shared, limits, connection, &mut place),
            Some(Check::Basic(auth)) => {
                let verdict = shared.passwords.at_once(auth, request.headers);
                match verdict {
                    Some(verdict) => authenticated(auth, verdict),
                    None => return (Decision::Ask(cursor), place),
                }
            }
            _ => return (Decision::Ask(cursor), place),
        };
        decision = routing::resume(*cursor, request, connection, outcome);
    }
}

/// What follows from the verdict on a password.
pub(crate) fn authenticated(auth: &BasicAuth, verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Right => Outcome::Pass(Vec::new()),
        Verdict::Wrong => Outcome::Reply(Reply {
            status: StatusCode::UNAUTHORIZED,
            headers: vec![
                (header::WWW_AUTHENTICATE, auth.challenge.clone()),
                (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            ],
            content: b"401 Unauthorized\n"[..].into(),
            why: (Rejection::Unauthenticated, "no name and password of a user"),
        }),
        Verdict::Busy => Outcome::Deny(Rejection::Overloaded, "too many passwords are being verified"),
    }
}

/// Counts a request.
fn limited(
    shared: &Shared,
    limits: &Limits,
    connection: Connection<'_>,
    place: &mut Option<Place>,
) -> Outcome {
    match shared.limiter.admit(limits, connection.client) {
        Ok(taken) => {
            *place = taken;
            Outcome::Pass(Vec::new())
        }
        Err(Refused::TooFast) => Outcome::Limited(limits.rate_status, "the client sends requests too fast"),
        Err(Refused::InFlight) => {
            Outcome::Limited(limits.in_flight_status, "the client has too many requests in flight")
        }
        Err(Refused::Full) => {
            Outcome::Limited(limits.in_flight_status, "there are too many clients to count one more")
        }
    }
}
