//! GatewayClass.

use gateway_api::experimental::gatewayclasses::GatewayClassSpec;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    names, typed,
};
use crate::ir::{GatewayClass, Meta, gateway::Reference};

/// Reads a GatewayClass.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<GatewayClass> {
    let spec: GatewayClassSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    checks.form(&spec.controller_name, names::CONTROLLER, &at.field("controllerName"));
    checks.length(spec.description.as_deref().unwrap_or_default(), 0..=64, &at.field("description"));
    let parameters = spec.parameters_ref.map(|r| {
        let at = at.field("parametersRef");
        let namespace = r.namespace.map(Into::into);
        reference(
            Reference { group: r.group.into(), kind: r.kind.into(), namespace, name: r.name.into() },
            checks,
            &at,
        )
    });
    Some(GatewayClass { meta, controller: spec.controller_name.into(), parameters })
}

/// Checks the parts of a reference.
pub(crate) fn reference(reference: Reference, checks: &mut Checks, at: &Path<'_>) -> Reference {
    checks.form(&reference.group, names::GROUP, &at.field("group"));
    checks.form(&reference.kind, names::KIND, &at.field("kind"));
    checks.form(&reference.name, names::OBJECT_NAME, &at.field("name"));
    checks.optional_form(reference.namespace.as_deref(), names::LABEL, &at.field("namespace"));
    reference
}
