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
    Some(GatewayClass { meta, controller: spec.controller_name.into(), parameters, refused: None })
}

/// Checks the parts of a reference.
pub(crate) fn reference(reference: Reference, checks: &mut Checks, at: &Path<'_>) -> Reference {
    checks.form(&reference.group, names::GROUP, &at.field("group"));
    checks.form(&reference.kind, names::KIND, &at.field("kind"));
    checks.form(&reference.name, names::OBJECT_NAME, &at.field("name"));
    checks.optional_form(reference.namespace.as_deref(), names::LABEL, &at.field("namespace"));
    reference
}

#[cfg(test)]
mod tests {
    use crate::objects::testing::holds;

    #[test]
    fn a_class_names_its_controller() {
        let long = format!("controllerName: a.com/b, description: {}", "d".repeat(65));
        holds(
            &[
                ("controllerName: portcullis.dev/gateway-controller, description: d", ""),
                ("controllerName: a.com/b, parametersRef: {group: '', kind: A, name: a, namespace: ns}", ""),
                ("description: d", "spec: lacks the field `controllerName`"),
                ("controllerName: a.com", "spec.controllerName: \"a.com\" must be a domain and a path"),
                (&long, "spec.description: must have at most 64 characters, has 65"),
                (
                    "controllerName: a.com/b, parametersRef: {group: '', kind: A, name: ''}",
                    "spec.parametersRef.name:",
                ),
                (
                    "controllerName: a.com/b, parametersRef: {group: '', kind: '', name: a}",
                    "spec.parametersRef.kind:",
                ),
                (
                    "controllerName: a.com/b, parametersRef: {group: A, kind: A, name: a}",
                    "spec.parametersRef.group:",
                ),
            ],
            |part| {
                format!(
                    "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: a}}\nspec: {{{part}}}"
                )
            },
        );
    }
}
