//! `backendRefs` of a rule.

use super::{
    backend_object::object_ref,
    checks::{Checks, Path},
    filters::{self, Owner, ReadFilter},
    part, wire,
};
use crate::ir::route::BackendRef;

/// A backend as it is written, whose filters have been read.
pub(crate) struct ReadBackend {
    written: wire::BackendRef,
    pub(crate) filters: Vec<ReadFilter>,
}

/// Reads the filters of the backends of a rule.
pub(crate) fn with_filters(
    refs: Vec<wire::BackendRef>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Vec<ReadBackend> {
    let refs = refs.into_iter().enumerate();
    let read = refs.map(|(i, written)| ReadBackend {
        filters: part::read_all(&written.filters, checks, &at.index(i).field("filters")),
        written,
    });
    read.collect()
}

/// Reads the backends of a rule.
pub(crate) fn read(
    backends: Vec<ReadBackend>,
    owner: Owner,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[BackendRef]> {
    checks.entries(backends.len(), 0..=16, at);
    backends.into_iter().enumerate().map(|(i, backend)| one(backend, owner, checks, &at.index(i))).collect()
}

/// Reads the backends of a rule whose backends have no filters. Such a rule has at least one backend.
pub(crate) fn plain(
    refs: Vec<wire::PlainBackendRef>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[BackendRef]> {
    checks.entries(refs.len(), 1..=16, at);
    refs.into_iter().enumerate().map(|(i, written)| without_filters(written, checks, &at.index(i))).collect()
}

fn one(backend: ReadBackend, owner: Owner, checks: &mut Checks, at: &Path<'_>) -> BackendRef {
    let ReadBackend { written, filters } = backend;
    let filters = filters::read(filters, owner, checks, &at.field("filters"));
    BackendRef { filters, ..without_filters(written.plain(), checks, at) }
}

fn without_filters(written: wire::PlainBackendRef, checks: &mut Checks, at: &Path<'_>) -> BackendRef {
    let wire::PlainBackendRef { group, kind, name, namespace, port, weight } = written;
    let weight = weight.unwrap_or(1);
    checks.range(weight.into(), 0, 1_000_000, &at.field("weight"));
    let target = object_ref(group, kind, name, namespace, port, checks, at);
    BackendRef { target, weight: weight.try_into().unwrap_or_default(), filters: Box::default() }
}
