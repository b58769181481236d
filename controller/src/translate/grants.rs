//! Who may refer to objects of another namespace.

use super::Reader;

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
    reader: &Reader<'_>,
    from: From<'_>,
    kind: &str,
    namespace: &str,
    name: &str,
) -> bool {
    if from.namespace == namespace {
        return true;
    }
    reader.grants(namespace).any(|grant| {
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
