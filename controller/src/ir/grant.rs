//! ReferenceGrant.

use super::Meta;

/// A ReferenceGrant: who may refer to objects of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    pub meta: Meta,
    pub from: Vec<GrantFrom>,
    pub to: Vec<GrantTo>,
}

/// `from[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantFrom {
    pub group: Box<str>,
    pub kind: Box<str>,
    pub namespace: Box<str>,
}

/// `to[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantTo {
    pub group: Box<str>,
    pub kind: Box<str>,
    /// `None` is every object of the kind.
    pub name: Option<Box<str>>,
}
