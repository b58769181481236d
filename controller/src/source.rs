//! Where objects come from. Every source says the same thing, a [`Delta`]; what a delta means is the index's affair.

pub mod cluster;
pub mod folder;

pub use folder::{Folder, FolderError, FolderOptions};

use std::{collections::BTreeSet, sync::Arc};

use crate::{Problem, ir::ObjectKey, snapshot::Change, translate::Bundle};

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
    /// Objects that were fetched on demand and are not watched any more, since nothing reads them.
    pub released: Vec<ObjectKey>,
    /// How much of what exists has now been told.
    pub extent: Extent,
    /// The releases that the CRDs of the Gateway API are of; `None` is as before.
    pub bundle: Option<Bundle>,
    /// Which one it is, for a source whose deltas are referred to ([`Demand`], [`crate::StatusFeed::news`]).
    pub sequence: u64,
}

impl Delta {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let Self { changes, problems, released, extent, bundle, sequence: _ } = self;
        changes.is_empty()
            && problems.is_none()
            && released.is_empty()
            && *extent == Extent::Partial
            && bundle.is_none()
    }
}

/// How much of what exists has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// As much as before, or a part of the rest.
    #[default]
    Partial,
    /// Every object except those that are fetched on demand ([`crate::kinds::Resource::on_demand`]). This asks which of
    /// those are needed; [`Demand`] is the answer. It is asked again after they were fetched, since they may refer to more.
    References,
    /// Every object. Nothing is published before.
    Complete,
}

/// The objects that a source has to fetch, of the kinds that are fetched on demand: those that translation reads, whether
/// they exist or not. The source reports each of them, as a [`Change::Delete`] if it does not exist. A source that has all
/// objects at hand, such as a folder, ignores this.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// The last delta whose objects were translated for it.
    pub sequence: u64,
    pub objects: Arc<BTreeSet<ObjectKey>>,
}
