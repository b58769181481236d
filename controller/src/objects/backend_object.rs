//! The object that a backend or a mirror refers to.

use super::{
    checks::{Checks, Path},
    names,
};
use crate::ir::route::{BackendKind, ObjectBackendRef};

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
