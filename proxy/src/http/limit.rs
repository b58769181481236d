//! The checks that need no waiting: limits of what clients may send. They are carried out where the decision is made, so that
//! a limited request costs little more than another.

use portcullis_routing::{self as routing, Connection, Decision, Outcome, Request, step::Check};

use crate::{
    limiter::{Place, Refused},
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
        let Some(Check::Limits(limits)) = cursor.check() else { return (Decision::Ask(cursor), place) };
        let outcome = match shared.limiter.admit(limits, connection.client) {
            Ok(taken) => {
                place = taken;
                Outcome::Pass(Vec::new())
            }
            Err(Refused::TooFast) => {
                Outcome::Limited(limits.rate_status, "the client sends requests too fast")
            }
            Err(Refused::InFlight) => {
                Outcome::Limited(limits.in_flight_status, "the client has too many requests in flight")
            }
            Err(Refused::Full) => {
                Outcome::Limited(limits.in_flight_status, "there are too many clients to count one more")
            }
        };
        decision = routing::resume(*cursor, request, connection, outcome);
    }
}
