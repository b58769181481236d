//! The status of a BackendTLSPolicy at each Gateway through which it has an effect.

use std::sync::Arc;

use super::{
    Condition, ConditionType, Message, PolicyAncestorStatus, PolicyStatus, Report, Status, bounded,
    sentences, types::condition,
};
use crate::{
    ir::{
        BackendTlsPolicy, Meta, ObjectKey,
        policy::PolicyTarget,
        route::{ParentKind, ParentRef},
    },
    translate::{
        AuthorityRefError, BackendTlsPolicies, PolicyError, PolicyState, PolicyUser, PolicyUsers, Reader,
        policies::{Conflict, TargetRef},
    },
};

/// The maximum number of ancestors (`maxItems`).
const ANCESTORS: usize = 16;

/// What is said about a policy; nothing if no route or Ingress of ours leads to its targets.
pub fn backend_tls_policy(
    policy: &BackendTlsPolicy,
    reader: &Reader<'_>,
    policies: &BackendTlsPolicies,
    users: &PolicyUsers,
) -> Option<Report> {
    let state = policies.state(&policy.meta.key)?;
    let conditions =
        [accepted(policy, reader, policies, state), resolved_refs(policy.meta.generation, state)];
    at_gateways(&policy.meta, &conditions, Message::warnings(&policy.meta).collect(), reader, users)
}

/// The conditions of a policy or an XBackend at each Gateway through which it has an effect; nothing if there are no such
/// Gateways, nor Ingresses.
pub(super) fn at_gateways(
    meta: &Meta,
    conditions: &[Condition],
    mut messages: Vec<Message>,
    reader: &Reader<'_>,
    users: &PolicyUsers,
) -> Option<Report> {
    let (users, controller) = (users.of(&meta.key), &reader.settings().gateway_controller);
    let users: Vec<_> = users.collect();
    if users.is_empty() {
        return None;
    }
    let gateways = users.iter().filter_map(|user| match user {
        PolicyUser::Gateway(gateway) => Some(gateway),
        PolicyUser::Ingresses => None,
    });
    let gateways: Vec<_> = gateways.collect();
    let ancestors = gateways.iter().take(ANCESTORS).map(|gateway| PolicyAncestorStatus {
        ancestor_ref: Arc::new(reference(gateway)),
        controller_name: Arc::clone(controller),
        conditions: conditions.into(),
    });
    let ancestors: Box<[_]> = ancestors.collect();
    if let Some(more) = gateways.len().checked_sub(ANCESTORS).filter(|more| *more > 0) {
        messages.push(Message::note(format!("it has an effect through {more} more Gateways")));
    }
    // An Ingress is nobody's ancestor: then there are no conditions that say what is wrong.
    if ancestors.is_empty() {
        let bad = conditions.iter().filter(|condition| condition.is_bad());
        messages.extend(bad.map(|c| Message::refused(format!("{}: {}", c.reason, c.message))));
    }
    Some(Report {
        status: Status::Ancestors(PolicyStatus { ancestors }),
        messages: bounded::messages(messages),
    })
}

fn reference(gateway: &ObjectKey) -> ParentRef {
    let namespace = Some(gateway.namespace.clone());
    ParentRef { kind: ParentKind::Gateway, namespace, name: gateway.name.clone(), section: None, port: None }
}

fn accepted(
    policy: &BackendTlsPolicy,
    reader: &Reader<'_>,
    policies: &BackendTlsPolicies,
    state: &PolicyState,
) -> Condition {
    let condition = condition(policy.meta.generation, ConditionType::Accepted);
    let conflicts = policies.conflicts(reader, policy);
    let missing: Vec<_> =
        policy.targets.iter().filter_map(|target| missing(policy, reader, target)).collect();
    if let Err(why @ PolicyError::Refused(_)) = &state.tls {
        return condition.no("Invalid", why.to_string());
    }
    if !conflicts.is_empty() {
        let lost = conflicts.iter().map(|Conflict { target: TargetRef { target, section }, with }| {
            let section = section.as_ref().map(|name| format!(" port {name}"));
            format!("{with} takes precedence for {target}{}", section.unwrap_or_default())
        });
        let why = "of policies for the same target, the oldest takes precedence, then the first by name";
        let rest = match conflicts.len() < policy.targets.len() {
            true => "; this policy applies to its other targets",
            false => "",
        };
        return condition.no("Conflicted", format!("{} ({why}){rest}", sentences(lost)));
    }
    if !missing.is_empty() && missing.len() == policy.targets.len() {
        return condition.no("TargetNotFound", sentences(missing));
    }
    match &state.tls {
        Err(why @ (PolicyError::Refused(_) | PolicyError::UnknownAuthorities(_))) => {
            condition.no("Invalid", why.to_string())
        }
        Err(why @ PolicyError::Certificate(_)) => condition.no("Invalid", why.to_string()),
        Err(why @ PolicyError::NoAuthority(_)) => condition.no("NoValidCACertificate", why.to_string()),
        Err(why @ PolicyError::Pending(_)) => condition.unknown("Pending", why.to_string()),
        Ok(_) if missing.is_empty() => condition.yes("Accepted", "the policy applies to all targets"),
        Ok(_) => condition
            .yes("Accepted", format!("the policy applies to its other targets: {}", sentences(missing))),
    }
}

/// Why a target is not there.
fn missing(policy: &BackendTlsPolicy, reader: &Reader<'_>, target: &PolicyTarget) -> Option<String> {
    let namespace = policy.meta.namespace();
    let PolicyTarget { service: name, section } = target;
    match (reader.service(namespace, name), section) {
        (None, _) => Some(format!("Service {namespace}/{name} not found")),
        (Some(service), Some(section)) if service.ports.iter().all(|port| port.name != *section) => {
            Some(format!("Service {namespace}/{name} has no port named {section}"))
        }
        (Some(_), _) => None,
    }
}

pub(super) fn resolved_refs(generation: i64, state: &PolicyState) -> Condition {
    let condition = condition(generation, ConditionType::ResolvedRefs);
    if let Err(PolicyError::Refused(_)) = &state.tls {
        return condition.unknown("Invalid", "its references cannot be read");
    }
    let errors = &state.unresolved;
    match (errors.iter().find(|error| !error.is_pending()), errors.first()) {
        (Some(first), _) => condition.no(first.reason(), sentences(errors)),
        (None, Some(pending)) => condition.unknown(AuthorityRefError::reason(pending), sentences(errors)),
        (None, None) => condition.yes("ResolvedRefs", "all references are resolved"),
    }
}
