//! The status of a ListenerSet and its listeners.

use super::{
    Condition, ConditionType, GatewayStatus, Message, Report, Status, bounded, list,
    listener::{Own, Waits, beside_ingresses, listener},
    types::condition,
};
use crate::translate::{Attached, ListenerSetRefusal, ListenerSetState, Reader, SharedHosts};

/// What is said about a ListenerSet of a Gateway of ours.
pub fn listener_set(
    state: &ListenerSetState,
    reader: &Reader<'_>,
    attached: &Attached,
    shared: &SharedHosts,
) -> Report {
    let (key, generation) = (&state.set.meta.key, state.set.meta.generation);
    let own = Own::of(&state.addressing, reader.provisioning_error(&state.gateway));
    let listeners =
        state.listeners.iter().map(|one| listener(one, key, generation, own, reader, attached)).collect();
    let mut messages: Vec<_> = state.listeners.iter().flat_map(|one| beside_ingresses(one, shared)).collect();
    messages.extend(Message::warnings(&state.set.meta));
    let conditions = match &state.refused {
        Some(why) => refused(generation, why).into(),
        None => {
            let waits = Waits::of(&state.listeners, own, reader);
            let missing = own.missing().filter(|_| reader.runs());
            vec![accepted(state), set_programmed(state, missing, &waits)]
        }
    };
    Report {
        status: Status::Listeners(Box::new(GatewayStatus {
            listeners,
            conditions,
            ..GatewayStatus::default()
        })),
        messages: bounded::messages(messages),
    }
}

/// The conformance suite demands NotAllowed for both conditions.
fn refused(generation: i64, why: &ListenerSetRefusal) -> [Condition; 2] {
    let (accepted, programmed) = match why {
        ListenerSetRefusal::NotAllowed { .. } => ("NotAllowed", "NotAllowed"),
        ListenerSetRefusal::ParentNotAccepted(_) => ("ParentNotAccepted", "ParentNotProgrammed"),
        ListenerSetRefusal::Invalid(_) => ("Invalid", "Invalid"),
    };
    [
        condition(generation, ConditionType::Accepted).no(accepted, why.to_string()),
        condition(generation, ConditionType::Programmed).no(programmed, why.to_string()),
    ]
}

/// A ListenerSet is accepted if one of its listeners is valid, the references of that listener included.
fn accepted(state: &ListenerSetState) -> Condition {
    let condition = condition(state.set.meta.generation, ConditionType::Accepted);
    let invalid: Vec<_> = state.listeners.iter().filter(|one| !one.is_valid()).collect();
    let names = || list(invalid.iter().map(|one| &one.point.section));
    if invalid.is_empty() {
        condition.yes("Accepted", "all listeners are valid")
    } else if invalid.len() == state.listeners.len() {
        condition.no("ListenersNotValid", format!("no listener is valid: {}", names()))
    } else {
        condition.yes("ListenersNotValid", format!("not valid: {}", names()))
    }
}

fn set_programmed(state: &ListenerSetState, missing: Option<String>, waits: &Waits<'_>) -> Condition {
    let condition = condition(state.set.meta.generation, ConditionType::Programmed);
    if !state.is_accepted() {
        return condition.no("ListenersNotValid", format!("no listener is valid: {}", waits.text()));
    }
    if let Some(missing) = missing {
        return condition.no("ParentNotProgrammed", missing);
    }
    if waits.0.is_empty() {
        return condition.yes("Programmed", "all listeners are served");
    }
    if waits.0.len() == state.listeners.len() {
        return condition.unknown("Pending", waits.text());
    }
    condition.yes("Programmed", format!("not served: {}", waits.text()))
}
