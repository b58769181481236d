//! `backendRefs` of a rule.

use super::{
    backend_object::object_ref,
    checks::{Checks, Path},
    filters::{self, Owner},
    wire,
};
use crate::ir::route::BackendRef;

/// Reads the backends of a rule.
pub(crate) fn read(
    refs: Vec<wire::BackendRef>,
    owner: Owner,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[BackendRef]> {
    checks.entries(refs.len(), 0..=16, at);
    refs.into_iter().enumerate().map(|(i, backend)| one(backend, owner, checks, &at.index(i))).collect()
}

fn one(backend: wire::BackendRef, owner: Owner, checks: &mut Checks, at: &Path<'_>) -> BackendRef {
    let weight = backend.weight.unwrap_or(1);
    checks.range(weight.into(), 0, 1_000_000, &at.field("weight"));
    let filters = filters::read(backend.filters, owner, checks, &at.field("filters"));
    let target =
        object_ref(backend.group, backend.kind, backend.name, backend.namespace, backend.port, checks, at);
    BackendRef { target, weight: weight.try_into().unwrap_or_default(), filters }
}
