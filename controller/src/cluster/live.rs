//! What a watch saw of an object that has a status: what whoever writes statuses compares with.

use crate::ir::ObjectKey;

/// An object's status as it was last seen, and what a write of it must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub uid: Box<str>,
    /// The `resourceVersion` that a write is based on.
    pub resource_version: Box<str>,
    pub generation: i64,
    /// `status` as JSON text, short enough to be kept for thousands of objects; empty where there is none.
    pub status: Box<str>,
}

/// What a watch tells of an object that has a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It exists, and this is how.
    Seen(ObjectKey, Live),
    /// It does not exist any more.
    Gone(ObjectKey),
}

/// An observation, and the delta that says the same to the index: what is to be said of an object is known when that
/// one has been taken up ([`crate::StatusFeed::news`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub sequence: u64,
    pub what: Observation,
}
