//! Where objects come from. Every source says the same thing, a [`Delta`]; what a delta means is the index's affair.

pub mod cluster;
pub mod folder;

pub use folder::{Folder, FolderError, FolderOptions};

use std::sync::Arc;

use crate::{Problem, snapshot::Change, translate::Bundle};

/// What a source tells at one time.
///
/// A source compares for itself: an object that is told again after a new listing (of files, or of an API server)
/// but is the same as before, by [`crate::ir::Meta::version`], is no change, and one that is missing in the new
/// listing is a [`Change::Delete`]. So nothing is ever cleared because a listing begins again.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// What happened, each object at most once.
    pub changes: Vec<Change>,
    /// All that is wrong with what the source reads, as it is now; `None` is as before.
    pub problems: Option<Arc<[Problem]>>,
    /// Whether every object that exists has now been told; nothing is published before.
    pub complete: bool,
    /// The releases that the CRDs of the Gateway API are of; `None` is as before.
    pub bundle: Option<Bundle>,
    /// Which one it is, for a source whose deltas are referred to ([`crate::StatusFeed::news`]).
    pub sequence: u64,
}

impl Delta {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.problems.is_none() && !self.complete && self.bundle.is_none()
    }
}
