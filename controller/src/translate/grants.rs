//! Who may refer to objects of another namespace.

use crate::{
    ir::{Kind, ObjectKey},
    snapshot::Snapshot,
};

pub(super) use crate::kinds::GATEWAY_API as GATEWAY_GROUP;

/// Whoever refers.
#[derive(Clone, Copy, Debug)]
pub(super) struct From<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
}

/// Whether a reference to an object of the core group is permitted: within a namespace always, to another one where a
/// ReferenceGrant there says so.
pub(super) fn permitted(
    snapshot: &Snapshot,
    from: From<'_>,
    kind: &str,
    namespace: &str,
    name: &str,
) -> bool {
    if from.namespace == namespace {
        return true;
    }
    let first = ObjectKey::new(Kind::ReferenceGrant, namespace, "");
    let mut grants = snapshot.grants.range(first..).take_while(|(key, _)| *key.namespace == *namespace);
    grants.any(|(_, grant)| {
        let names_from = grant
            .from
            .iter()
            .any(|f| *f.group == *from.group && *f.kind == *from.kind && *f.namespace == *from.namespace);
        let names_to = grant.to.iter().any(|t| {
            t.group.is_empty() && *t.kind == *kind && t.name.as_deref().is_none_or(|allowed| allowed == name)
        });
        names_from && names_to
    })
}
