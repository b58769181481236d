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
