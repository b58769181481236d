//! `backendRefs` of a rule, and the backend of a mirror.

use super::{
    checks::{Checks, Path},
    filters::{self, Owner},
    names, wire,
};
use crate::ir::route::{BackendKind, BackendRef, ObjectBackendRef};

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

/// BackendObjectReference, with its defaults.
pub(crate) fn object_ref(
    group: Option<String>,
    kind: Option<String>,
    name: String,
    namespace: Option<String>,
    port: Option<i32>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> ObjectBackendRef {
    let (group, kind) = (group.unwrap_or_default(), kind.unwrap_or_else(|| "Service".to_owned()));
    checks.form(&group, names::GROUP, &at.field("group"));
    checks.form(&kind, names::KIND, &at.field("kind"));
    checks.form(&name, names::OBJECT_NAME, &at.field("name"));
    checks.optional_form(namespace.as_deref(), names::LABEL, &at.field("namespace"));
    if group.is_empty() && kind == "Service" && port.is_none() {
        checks.error(&at.field("port"), "is required for a Service");
    }
    ObjectBackendRef {
        kind: match (&*group, &*kind) {
            ("", "Service") => BackendKind::Service,
            ("", kind) => BackendKind::Other(kind.into()),
            (group, kind) => BackendKind::Other(format!("{group}/{kind}").into()),
        },
        namespace: namespace.map(Into::into),
        name: name.into(),
        port: port.map(|port| checks.port(port, &at.field("port"))),
    }
}
