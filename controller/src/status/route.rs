//! The status of a route at each of its parents.

use std::sync::Arc;

use super::{
    Condition, ConditionType, Report, RouteParentStatus, RouteStatus, Status, bounded, refused, sentences,
    types::condition,
};
use crate::{
    ir::{Route, route::ParentRef},
    translate::{InvalidRules, NotAttached, Settings, Translated, Unresolved, backend_reason},
};

/// What is said about a route; nothing where it has to do with other controllers alone. Taken out of what it was
/// translated to, where nobody else reads it.
pub fn route(translated: &mut Translated) -> Option<Report> {
    let Translated { parents, messages, .. } = translated;
    (translated.ours || !messages.is_empty()).then(|| Report {
        status: Status::Parents(RouteStatus { parents: std::mem::take(parents).into() }),
        messages: bounded::messages(std::mem::take(messages)),
    })
}

/// Returns the status of a route at one parent. If the route is attached, `attached` may hold a sentence about the
/// places that other routes get instead.
pub(crate) fn route_parent(
    route: &Route,
    settings: &Settings,
    parent: &Arc<ParentRef>,
    attached: Result<Option<String>, NotAttached>,
    invalid: &InvalidRules,
    unresolved: &Unresolved,
) -> RouteParentStatus {
    let generation = route.meta.generation;
    let accepted = accepted(generation, attached, invalid);
    let partially = accepted.is_true() && !invalid.rules.is_empty();
    let partially = partially.then(|| {
        let message = format!(
            "Dropped Rule {}. Requests that match it receive 500; an invalid match matches no request",
            text(invalid)
        );
        condition(generation, ConditionType::PartiallyInvalid).yes("UnsupportedValue", message)
    });
    let both = [accepted, resolved_refs(generation, unresolved)];
    RouteParentStatus {
        parent_ref: Arc::clone(parent),
        controller_name: Arc::clone(&settings.gateway_controller),
        conditions: both.into_iter().chain(partially).collect(),
    }
}

/// What is said at one parent about a route that is refused as a whole.
pub(crate) fn refused_route_parent(
    route: &Route,
    settings: &Settings,
    parent: &Arc<ParentRef>,
    why: &str,
) -> RouteParentStatus {
    let named = |kind| condition(route.meta.generation, kind);
    RouteParentStatus {
        parent_ref: Arc::clone(parent),
        controller_name: Arc::clone(&settings.gateway_controller),
        conditions: [
            named(ConditionType::Accepted).no("UnsupportedValue", refused(why)),
            named(ConditionType::ResolvedRefs).unknown("UnsupportedValue", "its references cannot be read"),
        ]
        .into(),
    }
}

fn accepted(
    generation: i64,
    attached: Result<Option<String>, NotAttached>,
    invalid: &InvalidRules,
) -> Condition {
    let condition = condition(generation, ConditionType::Accepted);
    match attached {
        Err(why) => condition.no(why.reason(), why.to_string()),
        Ok(_) if invalid.all => {
            condition.no("UnsupportedValue", format!("no rule can be served: {}", text(invalid)))
        }
        // The route is attached nevertheless, and counted at the listener.
        Ok(Some(of_others)) => condition.yes("Accepted", of_others),
        Ok(None) => condition.yes("Accepted", "the route is attached"),
    }
}

fn resolved_refs(generation: i64, unresolved: &Unresolved) -> Condition {
    let condition = condition(generation, ConditionType::ResolvedRefs);
    match unresolved.0.first() {
        None => condition.yes("ResolvedRefs", "all references are resolved"),
        Some(first) => condition.no(backend_reason(first), sentences(&unresolved.0)),
    }
}

fn text(invalid: &InvalidRules) -> String {
    sentences(invalid.rules.iter().map(|(index, why)| format!("{index} ({why})")))
}
