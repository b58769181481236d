//! Routes and Ingresses as they were translated, and the slots in which they meet.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use portcullis_routing::ListenerId;

use super::{dependents::Dependents, tell::Stale};
use crate::{
    ir::{Kind, ObjectKey},
    snapshot::Snapshot,
    translate::{self, BackendPool, HostSlot, Listeners, Loss, Settings, Slots, Translated},
};

/// Every route and Ingress as it was translated last.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) dependents: Dependents,
    translated: HashMap<Arc<ObjectKey>, Translated>,
    slots: HashMap<HostSlot, Slot>,
    tables: Slots,
    /// How many routes are attached to a listener.
    attached: HashMap<Arc<ListenerId>, u32>,
}

/// Who meets in a slot.
#[derive(Debug, Default)]
struct Slot {
    /// With the place of the attachment among its own.
    members: Vec<(Arc<ObjectKey>, usize)>,
    losses: Vec<Loss>,
}

/// What translation reads.
pub(super) struct Translator<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) listeners: &'a Listeners,
    pub(super) settings: &'a Settings,
    pub(super) backends: &'a BackendPool,
}

impl Routes {
    /// Translates these again and puts together the slots that they are in, or were. Returns those slots.
    pub(super) fn renew(
        &mut self,
        routes: BTreeSet<ObjectKey>,
        translator: &Translator<'_>,
        stale: &mut Stale,
    ) -> BTreeSet<HostSlot> {
        let mut dirty = BTreeSet::new();
        for key in routes {
            self.renew_one(key, translator, stale, &mut dirty);
        }
        for slot in &dirty {
            self.merge(slot, stale);
        }
        dirty
    }

    /// The host tables of all slots.
    pub(super) fn tables(&self) -> &Slots {
        &self.tables
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Translated> {
        self.translated.get(key)
    }

    pub(super) fn attached(&self, listener: &Arc<ListenerId>) -> u32 {
        self.attached.get(listener).copied().unwrap_or_default()
    }

    /// What an Ingress asks for and another one has.
    pub(super) fn losses<'r>(&'r self, key: &ObjectKey, translated: &Translated) -> BTreeSet<&'r Loss> {
        let slots = translated.attachments.iter().filter_map(|attachment| self.slots.get(&attachment.slot));
        slots.flat_map(|slot| &slot.losses).filter(|loss| loss.is_of(key)).collect()
    }

    fn renew_one(
        &mut self,
        key: ObjectKey,
        translator: &Translator<'_>,
        stale: &mut Stale,
        dirty: &mut BTreeSet<HostSlot>,
    ) {
        let now = translator.translate(&key);
        let who = self.translated.get_key_value(&key).map(|(who, _)| Arc::clone(who));
        let who = who.unwrap_or_else(|| Arc::new(key.clone()));
        let before = self.translated.remove(&key).unwrap_or_default();
        stale.routes.insert(key);
        for attachment in &before.attachments {
            if let Some(slot) = self.slots.get_mut(&attachment.slot) {
                slot.members.retain(|(member, _)| !Arc::ptr_eq(member, &who));
            }
            dirty.insert(attachment.slot.clone());
        }
        let (none, gone) = (Translated::default(), now.is_none());
        let after = now.as_ref().unwrap_or(&none);
        for (index, attachment) in after.attachments.iter().enumerate() {
            let slot = self.slots.entry(attachment.slot.clone()).or_default();
            slot.members.push((Arc::clone(&who), index));
            dirty.insert(attachment.slot.clone());
        }
        self.count(&before.attached, &after.attached, stale);
        self.dependents.replace(&who, &before.references, &after.references);
        if let Some(now) = now.filter(|_| !gone) {
            self.translated.insert(who, now);
        }
    }

    fn count(&mut self, before: &[Arc<ListenerId>], now: &[Arc<ListenerId>], stale: &mut Stale) {
        for id in before.iter().filter(|id| !now.contains(id)) {
            stale.listener(id);
            if let Some(count) = self.attached.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.attached.remove(id);
                }
            }
        }
        for id in now.iter().filter(|id| !before.contains(id)) {
            stale.listener(id);
            *self.attached.entry(Arc::clone(id)).or_default() += 1;
        }
    }

    fn merge(&mut self, at: &HostSlot, stale: &mut Stale) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let attachments =
            slot.members.iter().filter_map(|(who, index)| self.translated.get(who)?.attachments.get(*index));
        let (table, losses) = translate::merge(at, attachments);
        for loss in slot.losses.iter().chain(&losses) {
            stale.routes.insert(ObjectKey::new(Kind::Ingress, &loss.loser.namespace, &loss.loser.name));
        }
        slot.losses = losses;
        if slot.members.is_empty() {
            self.slots.remove(at);
            self.tables.remove(at);
        } else {
            self.tables.insert(at.clone(), Arc::new(table));
        }
    }
}

impl Translator<'_> {
    /// What a route or Ingress comes to; `None` where it is gone.
    fn translate(&self, key: &ObjectKey) -> Option<Translated> {
        let Self { snapshot, listeners, settings, backends } = self;
        if key.kind == Kind::Ingress {
            let ingress = snapshot.ingresses.get(key)?;
            return Some(translate::ingress(snapshot, listeners, settings, backends, ingress));
        }
        let route = snapshot.routes.get(key)?;
        Some(translate::route(snapshot, listeners, settings, backends, route))
    }
}
