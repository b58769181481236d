//! The object that a backend or a mirror refers to.

use super::{
    checks::{Checks, Path},
    names,
};
use crate::ir::{
    Kind,
    route::{BackendKind, ObjectBackendRef},
};

/// Group and kind of an XBackend.
const X_BACKEND: (&str, &str) = {
    let resource = Kind::XBackend.resource();
    ("gateway.networking.x-k8s.io", resource.name)
};

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
    if (&*group, &*kind) == X_BACKEND && port.is_some() {
        checks.warning(&at.field("port"), "has no effect: the XBackend says its port");
    }
    ObjectBackendRef {
        kind: match (&*group, &*kind) {
            ("", "Service") => BackendKind::Service,
            (group, kind) if (group, kind) == X_BACKEND => BackendKind::XBackend,
            ("", kind) => BackendKind::Other(kind.into()),
            (group, kind) => BackendKind::Other(format!("{group}/{kind}").into()),
        },
        namespace: namespace.map(Into::into),
        name: name.into(),
        port: port.map(|port| checks.port(port, &at.field("port"))),
    }
}
