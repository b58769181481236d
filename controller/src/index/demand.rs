//! What a source has to fetch of the kinds that are fetched on demand: what the units read.

use std::{collections::BTreeSet, sync::Arc};

use super::Index;
use crate::{ir::ObjectKey, snapshot::Change};

impl Index {
    /// Translates what has been applied, so that it is known what has to be fetched. Nothing is published for that.
    pub fn survey(&mut self) {
        self.renew();
    }

    /// The objects that units read, or found missing, of the kinds that are fetched on demand. Another value where it
    /// may have changed.
    pub fn demand(&self) -> &Arc<BTreeSet<ObjectKey>> {
        self.units.dependencies.on_demand()
    }

    /// Says that objects that were fetched are not watched any more.
    pub fn release(&mut self, keys: impl IntoIterator<Item = ObjectKey>) {
        self.apply(keys.into_iter().map(Change::Delete));
    }
}
