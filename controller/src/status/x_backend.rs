//! The status of an XBackend at each Gateway that it is reached through.

use super::{
    Condition, ConditionType, Message, Report,
    backend_tls_policy::{at_gateways, resolved_refs},
    refused,
    types::condition,
};
use crate::{
    ir::XBackend,
    translate::{BackendTlsPolicies, CertificateRefError, PolicyError, PolicyState, PolicyUsers, Reader},
};

/// The status of an XBackend; `None` if no route of ours refers to it.
pub fn x_backend(
    backend: &XBackend,
    reader: &Reader<'_>,
    policies: &BackendTlsPolicies,
    users: &PolicyUsers,
) -> Option<Report> {
    let state = policies.state(&backend.meta.key);
    let conditions = match state {
        None => vec![accepted(backend, None)],
        Some(state) => vec![accepted(backend, Some(state)), references(backend, state)],
    };
    let messages = Message::warnings(&backend.meta).collect();
    at_gateways(&backend.meta, &conditions, messages, reader, users)
}

fn accepted(backend: &XBackend, state: Option<&PolicyState>) -> Condition {
    let condition = condition(backend.meta.generation, ConditionType::Accepted);
    if let Err(why) = &backend.spec {
        return condition.no("UnsupportedValue", refused(why));
    }
    match state.map(|state| &state.tls) {
        None | Some(Ok(_)) => condition.yes("Accepted", "requests are sent to it"),
        Some(Err(why @ PolicyError::NoAuthority(_))) => condition.no("NoValidCACertificate", why.to_string()),
        Some(Err(why @ PolicyError::Pending(_))) => condition.unknown("Pending", why.to_string()),
        Some(Err(PolicyError::Certificate(error))) if error.is_pending() => {
            condition.unknown("Pending", error.to_string())
        }
        Some(Err(
            why
            @ (PolicyError::Refused(_) | PolicyError::UnknownAuthorities(_) | PolicyError::Certificate(_)),
        )) => condition.no("Invalid", why.to_string()),
    }
}

fn references(backend: &XBackend, state: &PolicyState) -> Condition {
    let generation = backend.meta.generation;
    let condition = condition(generation, ConditionType::ResolvedRefs);
    match &state.tls {
        Err(PolicyError::Certificate(error)) if error.is_pending() => {
            condition.unknown("Pending", error.to_string())
        }
        Err(why @ PolicyError::Certificate(error)) => condition.no(
            match error {
                CertificateRefError::NotPermitted { .. } | CertificateRefError::OverLimit(_) => {
                    "RefNotPermitted"
                }
                _ => "InvalidClientCertificateRef",
            },
            why.to_string(),
        ),
        _ => resolved_refs(generation, state),
    }
}
