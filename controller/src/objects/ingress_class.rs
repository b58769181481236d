//! IngressClass.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{IngressClassParametersReference, IngressClassSpec};
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    names, typed,
};
use crate::ir::{IngressClass, Meta};

/// Reads an IngressClass.
pub(crate) fn read(
    document: &Value,
    meta: Meta,
    annotations: &BTreeMap<String, String>,
    checks: &mut Checks,
) -> Option<IngressClass> {
    let spec: IngressClassSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let controller = spec.controller.unwrap_or_default();
    if controller.is_empty() {
        checks.error(&at.field("controller"), "is required");
    } else {
        checks.form(&controller, names::CONTROLLER, &at.field("controller"));
    }
    if let Some(parameters) = &spec.parameters {
        check_parameters(parameters, checks, &at.field("parameters"));
    }
    let default = annotations.get("ingressclass.kubernetes.io/is-default-class").is_some_and(|v| v == "true");
    Some(IngressClass { meta, controller: controller.into(), default })
}

fn check_parameters(parameters: &IngressClassParametersReference, checks: &mut Checks, at: &Path<'_>) {
    checks.optional_form(parameters.api_group.as_deref(), names::GROUP, &at.field("apiGroup"));
    checks.require(!parameters.kind.is_empty(), &at.field("kind"), "is required");
    checks.require(!parameters.name.is_empty(), &at.field("name"), "is required");
    match (parameters.scope.as_deref().unwrap_or("Cluster"), &parameters.namespace) {
        ("Cluster", Some(_)) => checks.error(&at.field("namespace"), "must not be set with scope Cluster"),
        ("Namespace", None) => checks.error(&at.field("namespace"), "is required by scope Namespace"),
        ("Cluster" | "Namespace", _) => {}
        _ => checks.error(&at.field("scope"), "must be Cluster or Namespace"),
    }
    checks.warning(at, "is not served; it has no effect");
}
