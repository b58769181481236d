//! How many routes are attached to each listener.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use portcullis_routing::ListenerId;

use super::Reader;
use crate::{facts::Fact, ir::ObjectKey};

/// How many routes are attached to each listener.
#[derive(Clone, Debug, Default)]
pub struct Attached(HashMap<Arc<ListenerId>, u32, RandomState>);

impl Attached {
    /// Returns how many routes are attached to a listener of `owner`, a Gateway or a ListenerSet.
    pub(crate) fn to(&self, reader: &Reader<'_>, owner: &ObjectKey, listener: &Arc<ListenerId>) -> u32 {
        reader.note(|| Fact::RoutesOn(owner.clone()));
        self.0.get(listener).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, listener: &Arc<ListenerId>) {
        *self.0.entry(Arc::clone(listener)).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, listener: &Arc<ListenerId>) {
        if let Some(count) = self.0.get_mut(listener) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(listener);
            }
        }
    }
}
