//! What a source has to fetch of the kinds that are fetched on demand: what the units read.

use std::{collections::BTreeSet, sync::Arc};

use super::Index;
use crate::{facts::Fact, ir::ObjectKey, snapshot::Change};

impl Index {
    /// Translates what has been applied, so that it is known what has to be fetched. Nothing is published for that. From
    /// now on an object of [`Index::demand`] is pending until it is applied, as a change or as a deletion.
    pub fn survey(&mut self) {
        self.fetched.get_or_insert_default();
        self.renew();
    }

    /// The objects that units read, or found missing, of the kinds that are fetched on demand. Another value where it
    /// may have changed.
    pub fn demand(&self) -> &Arc<BTreeSet<ObjectKey>> {
        self.units.dependencies.on_demand()
    }

    /// Says that objects are not fetched any more. One that is read again by now is pending again.
    pub fn release(&mut self, keys: impl IntoIterator<Item = ObjectKey>) {
        for key in keys {
            self.apply([Change::Delete(key.clone())]);
            if self.fetched.as_mut().is_some_and(|fetched| fetched.remove(&key)) {
                self.units.change(&Fact::Object(key));
            }
        }
    }

    /// Notes that the source has told of an object, if only that there is none.
    pub(super) fn note_fetched(&mut self, key: &ObjectKey) {
        let fetched = self.fetched.as_mut().filter(|_| key.kind.resource().on_demand);
        if fetched.is_some_and(|fetched| fetched.insert(key.clone())) {
            self.units.change(&Fact::Object(key.clone()));
        }
    }
}
