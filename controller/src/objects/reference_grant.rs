//! ReferenceGrant.

use gateway_api::experimental::referencegrants::ReferenceGrantSpec;
use serde_json::Value;

use super::{
    checks::{Checks, Path},
    names, typed,
};
use crate::ir::{
    Meta, ReferenceGrant,
    grant::{GrantFrom, GrantTo},
};

/// Reads a ReferenceGrant.
pub(crate) fn read(document: &Value, meta: Meta, checks: &mut Checks) -> Option<ReferenceGrant> {
    let spec: ReferenceGrantSpec = typed::field(document, "spec", checks)?;
    let at = Path::Root.field("spec");
    let (at_from, at_to) = (at.field("from"), at.field("to"));
    checks.entries(spec.from.len(), 1..=16, &at_from);
    checks.entries(spec.to.len(), 1..=16, &at_to);
    for (i, from) in spec.from.iter().enumerate() {
        let at = at_from.index(i);
        checks.form(&from.group, names::GROUP, &at.field("group"));
        checks.form(&from.kind, names::KIND, &at.field("kind"));
        checks.form(&from.namespace, names::LABEL, &at.field("namespace"));
    }
    for (i, to) in spec.to.iter().enumerate() {
        let at = at_to.index(i);
        checks.form(&to.group, names::GROUP, &at.field("group"));
        checks.form(&to.kind, names::KIND, &at.field("kind"));
        checks.optional_form(to.name.as_deref(), names::OBJECT_NAME, &at.field("name"));
    }
    let from = spec.from.into_iter().map(|f| GrantFrom {
        group: f.group.into(),
        kind: f.kind.into(),
        namespace: f.namespace.into(),
    });
    let to = spec.to.into_iter().map(|t| GrantTo {
        group: t.group.into(),
        kind: t.kind.into(),
        name: t.name.map(Into::into),
    });
    Some(ReferenceGrant { meta, from: from.collect(), to: to.collect() })
}

#[cfg(test)]
mod tests {
    use crate::objects::testing::holds;

    #[test]
    fn a_grant_says_from_where_to_what() {
        let from = "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]";
        let to = "to: [{group: '', kind: Service}]";
        let many = |count: usize, item: &str| vec![item; count].join(", ");
        for (part, want) in [
            (format!("{from}, {to}"), ""),
            (format!("{from}, to: [{{group: '', kind: Service, name: web}}]"), ""),
            (from.to_owned(), "spec: lacks the field `to`"),
            (to.to_owned(), "spec: lacks the field `from`"),
            (format!("from: [], {to}"), "spec.from: must have at least 1 entry"),
            (format!("{from}, to: []"), "spec.to: must have at least 1 entry"),
            (format!("{from}, to: [{}]", many(17, "{group: '', kind: A}")), "spec.to: must have at most 16"),
            (
                format!("from: [{}], {to}", many(17, "{group: '', kind: A, namespace: a}")),
                "spec.from: must have at most 16",
            ),
            (format!("from: [{{group: '', kind: A}}], {to}"), "spec.from[0]: lacks the field `namespace`"),
            (format!("from: [{{group: '', kind: A, namespace: '*'}}], {to}"), "spec.from[0].namespace:"),
            (format!("from: [{{group: A, kind: A, namespace: a}}], {to}"), "spec.from[0].group:"),
            (format!("{from}, to: [{{kind: Service}}]"), "spec.to[0]: lacks the field `group`"),
            (format!("{from}, to: [{{group: '', kind: ''}}]"), "spec.to[0].kind:"),
            (format!("{from}, to: [{{group: '', kind: A, name: ''}}]"), "spec.to[0].name:"),
        ] {
            for version in ["v1", "v1beta1"] {
                holds(&[(&part, want)], |part| {
                    format!(
                        "apiVersion: gateway.networking.k8s.io/{version}\nkind: ReferenceGrant\nmetadata: {{name: a}}\nspec: {{{part}}}"
                    )
                });
            }
        }
    }
}
