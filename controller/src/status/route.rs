//! The status of a route at each of its parents.

use super::{
    Condition, ParentReference, Report, RouteParentStatus, RouteStatus, sentences, types::condition,
};
use crate::{
    ir::{Route, route::ParentRef},
    translate::{InvalidRules, NotAttached, Settings, Translated, Unresolved, backend_reason},
};

/// What is said about a route; nothing where it has to do with other controllers alone. Taken out of what it was
/// translated to, where nobody else reads it.
pub fn route(translated: &mut Translated) -> Option<Report<RouteStatus>> {
    let Translated { parents, messages, .. } = translated;
    (translated.ours || !messages.is_empty()).then(|| Report {
        status: RouteStatus { parents: std::mem::take(parents) },
        messages: std::mem::take(messages),
    })
}

/// What is said about a route at one parent.
pub(crate) fn route_parent(
    route: &Route,
    settings: &Settings,
    parent: &ParentRef,
    attached: Result<(), NotAttached>,
    invalid: &InvalidRules,
    unresolved: &Unresolved,
) -> RouteParentStatus {
    let generation = route.meta.generation;
    let accepted = accepted(generation, attached, invalid);
    let partially = accepted.is_true() && !invalid.rules.is_empty();
    let mut conditions = vec![accepted, resolved_refs(generation, unresolved)];
    if partially {
        let message = format!(
            "Dropped Rule {}. Requests of its matches are answered with 500; a match that cannot be read takes none",
            text(invalid)
        );
        conditions.push(condition(generation, "PartiallyInvalid").yes("UnsupportedValue", message));
    }
    RouteParentStatus {
        parent_ref: ParentReference {
            group: parent.group.clone(),
            kind: parent.kind.clone(),
            namespace: parent.namespace.clone(),
            name: parent.name.clone(),
            section_name: parent.section.clone(),
            port: parent.port,
        },
        controller_name: settings.gateway_controller.clone(),
        conditions,
    }
}

fn accepted(generation: i64, attached: Result<(), NotAttached>, invalid: &InvalidRules) -> Condition {
    let condition = condition(generation, "Accepted");
    match attached {
        Err(why) => condition.no(why.reason(), why.to_string()),
        Ok(()) if invalid.all => {
            condition.no("UnsupportedValue", format!("no rule can be served: {}", text(invalid)))
        }
        Ok(()) => condition.yes("Accepted", "the route is attached"),
    }
}

fn resolved_refs(generation: i64, unresolved: &Unresolved) -> Condition {
    let condition = condition(generation, "ResolvedRefs");
    match unresolved.0.first() {
        None => condition.yes("ResolvedRefs", "every reference is resolved"),
        Some(first) => condition.no(backend_reason(first), sentences(&unresolved.0)),
    }
}

fn text(invalid: &InvalidRules) -> String {
    sentences(invalid.rules.iter().map(|(index, why)| format!("{index} ({why})")))
}
