//! Routes and Ingresses as they were translated, and the slots in which they meet.
//!
//! What a route has in a slot stands in the slot's table and nowhere else: where another route of the slot changes, it
//! is taken from there. Of Ingresses all is kept, since what one of them lost to another is in no table.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{Entry, HostTable, ListenerId, RouteId};

use super::{
    Map, Set,
    dependents::{Dependents, Reads},
    tell::Stale,
};
use crate::{
    ir::{Kind, ObjectKey},
    snapshot::Snapshot,
    status,
    translate::{
        self, Attachment, HostSlot, Listeners, Loss, Owner, PatternQuotas, Pools, Settings, Slots, Translated,
    },
};

/// Every route and Ingress as it was translated last.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) dependents: Dependents,
    /// Each by itself, as nearly half of a map's places are empty.
    known: Map<ObjectKey, Box<Known>>,
    ingresses: Map<HostSlot, IngressSlot>,
    tables: Slots,
    /// How many routes are attached to a listener.
    attached: Map<Arc<ListenerId>, u32>,
    quotas: PatternQuotas,
}

/// What is kept of a translation.
#[derive(Debug, Default)]
struct Known {
    reads: Reads,
    attached: Box<[Arc<ListenerId>]>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A route has its entries in these.
    Slots(Box<[HostSlot]>),
    Ingress(Box<Translated>),
}

/// The Ingresses of a slot.
#[derive(Debug, Default)]
struct IngressSlot {
    /// With the place of the attachment among its own.
    members: Vec<(ObjectKey, usize)>,
    losses: Vec<Loss>,
}

/// What becomes of a slot.
#[derive(Debug, Default)]
struct Pending {
    /// Routes whose entries there are no longer theirs.
    gone: Vec<ObjectKey>,
    fresh: Vec<Entry>,
}

/// What translation reads.
pub(super) struct Translator<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) listeners: &'a Listeners,
    pub(super) settings: &'a Settings,
    pub(super) pools: &'a Pools,
}

impl Routes {
    /// Translates these again and puts together the slots that they are in, or were. Returns those slots.
    pub(super) fn renew(
        &mut self,
        routes: BTreeSet<ObjectKey>,
        translator: &Translator<'_>,
        stale: &mut Stale,
    ) -> Vec<HostSlot> {
        let routes = self.renew_quotas(routes, translator);
        let mut pending = Map::default();
        for key in routes {
            self.renew_one(key, translator, stale, &mut pending);
        }
        let mut renewed = Vec::with_capacity(pending.len());
        for (slot, pending) in pending {
            match slot.at.owner {
                Owner::Gateway(_) => self.put_together(&slot, pending),
                Owner::Ingress | Owner::IngressDefault => self.merge(&slot, stale),
            }
            renewed.push(slot);
        }
        renewed
    }

    /// The host tables of all slots.
    pub(super) fn tables(&self) -> &Slots {
        &self.tables
    }

    pub(super) fn ingress(&self, key: &ObjectKey) -> Option<&Translated> {
        self.known.get(key)?.place.ingress()
    }

    pub(super) fn attached(&self, listener: &Arc<ListenerId>) -> u32 {
        self.attached.get(listener).copied().unwrap_or_default()
    }

    /// What an Ingress asks for and another one has.
    pub(super) fn losses<'r>(&'r self, key: &ObjectKey, translated: &Translated) -> BTreeSet<&'r Loss> {
        let slots =
            translated.attachments.iter().filter_map(|attachment| self.ingresses.get(&attachment.slot));
        slots.flat_map(|slot| &slot.losses).filter(|loss| loss.is_of(key)).collect()
    }

    /// Takes up which regular expressions these routes want compiled; with them are those whose own are served or refused
    /// for that.
    fn renew_quotas(
        &mut self,
        mut routes: BTreeSet<ObjectKey>,
        translator: &Translator<'_>,
    ) -> BTreeSet<ObjectKey> {
        let Translator { snapshot, listeners, settings, .. } = translator;
        let mut others = Vec::new();
        for key in &routes {
            let changed = match snapshot.routes.get(key) {
                Some(route) if !route.patterns.is_empty() => {
                    let is_attached = translate::is_attached(snapshot, listeners, route);
                    let wants = is_attached.then_some(&*route.patterns);
                    self.quotas.set(&route.meta, wants, settings.pattern_budget)
                }
                _ => self.quotas.remove(key, settings.pattern_budget),
            };
            others.extend(changed);
        }
        routes.extend(others);
        routes
    }

    fn renew_one(
        &mut self,
        key: ObjectKey,
        translator: &Translator<'_>,
        stale: &mut Stale,
        pending: &mut Map<HostSlot, Pending>,
    ) {
        let now = translator.translate(&key, self.quotas.grants(&key));
        let before = self.known.remove_entry(&key);
        if now.is_none() && before.is_none() {
            return stale.route(key, None);
        }
        let (who, before) = before.unwrap_or_else(|| (key.clone(), Box::default()));
        for slot in before.place.slots() {
            let pending = pending.entry(slot.clone()).or_default();
            match slot.at.owner {
                Owner::Gateway(_) => pending.gone.push(who.clone()),
                Owner::Ingress | Owner::IngressDefault => {
                    if let Some(slot) = self.ingresses.get_mut(slot) {
                        slot.members.retain(|(member, _)| !member.ptr_eq(&who));
                    }
                }
            }
        }
        let is_gone = now.is_none();
        let mut now = now.unwrap_or_default();
        self.count(&before.attached, &now.attached, stale);
        let reads = self.dependents.replace(&who, before.reads, &now.references);
        // An Ingress is told of by itself: what it lost to others is not known yet.
        let report = if is_gone || who.kind == Kind::Ingress { None } else { status::route(&mut now) };
        stale.route(key, report);
        let attached = std::mem::take(&mut now.attached).into();
        let place = if who.kind == Kind::Ingress {
            Place::Ingress(Box::new(self.enter(&who, now, pending)))
        } else {
            Place::Slots(
                now.attachments.into_iter().map(|attachment| hand_over(attachment, pending)).collect(),
            )
        };
        if !is_gone {
            self.known.insert(who, Box::new(Known { reads, attached, place }));
        }
    }

    /// Makes an Ingress a member of its slots.
    fn enter(
        &mut self,
        who: &ObjectKey,
        mut translated: Translated,
        pending: &mut Map<HostSlot, Pending>,
    ) -> Translated {
        translated.references = translate::References::default(); // kept by themselves
        for (index, Attachment { slot, .. }) in translated.attachments.iter().enumerate() {
            self.ingresses.entry(slot.clone()).or_default().members.push((who.clone(), index));
            pending.entry(slot.clone()).or_default();
        }
        translated
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

    /// The table of a slot at a Gateway: what the routes have there that did not change, and what others have now.
    fn put_together(&mut self, slot: &HostSlot, Pending { gone, fresh: mut entries }: Pending) {
        if let Some(before) = self.tables.get(slot) {
            let gone: Set<_> =
                gone.iter().map(|key| (key.kind.resource().route, &*key.namespace, &*key.name)).collect();
            let is_gone = |RouteId { kind, namespace, name }: &RouteId| {
                gone.contains(&(Some(*kind), &**namespace, &**name))
            };
            entries.extend(before.entries().iter().filter(|entry| !is_gone(&entry.rule.route)).cloned());
        }
        if entries.is_empty() {
            self.tables.remove(slot);
            return;
        }
        // Where precedence leaves two equal, their order must not depend on which of them came last.
        entries.sort_by(|a, b| a.rule.route.cmp(&b.rule.route));
        self.tables.insert(slot.clone(), Arc::new(HostTable::compile(entries)));
    }

    fn merge(&mut self, at: &HostSlot, stale: &mut Stale) {
        let Some(slot) = self.ingresses.get_mut(at) else { return };
        let attachments = slot.members.iter().filter_map(|(who, index)| {
            let translated = self.known.get(who)?.place.ingress()?;
            translated.attachments.get(*index)
        });
        let (table, losses) = translate::merge(at, attachments);
        for loss in slot.losses.iter().chain(&losses) {
            stale.ingresses.insert(ObjectKey::new(Kind::Ingress, &loss.loser.namespace, &loss.loser.name));
        }
        slot.losses = losses;
        if slot.members.is_empty() {
            self.ingresses.remove(at);
            self.tables.remove(at);
        } else {
            self.tables.insert(at.clone(), Arc::new(table));
        }
    }
}

impl Place {
    fn slots(&self) -> Box<dyn Iterator<Item = &HostSlot> + '_> {
        match self {
            Self::Slots(slots) => Box::new(slots.iter()),
            Self::Ingress(translated) => Box::new(translated.attachments.iter().map(|a| &a.slot)),
        }
    }

    fn ingress(&self) -> Option<&Translated> {
        match self {
            Self::Slots(_) => None,
            Self::Ingress(translated) => Some(translated),
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Slots(Box::default())
    }
}

impl Translator<'_> {
    /// What a route or Ingress comes to; `None` where it is gone.
    fn translate(&self, key: &ObjectKey, granted: bool) -> Option<Translated> {
        let Self { snapshot, listeners, settings, pools } = self;
        if key.kind == Kind::Ingress {
            let ingress = snapshot.ingresses.get(key)?;
            return Some(translate::ingress(snapshot, listeners, settings, &pools.backends, ingress));
        }
        let route = snapshot.routes.get(key)?;
        Some(translate::route(snapshot, listeners, settings, pools, granted, route))
    }
}

/// Gives a route's entries to their slot.
fn hand_over(attachment: Attachment, pending: &mut Map<HostSlot, Pending>) -> HostSlot {
    let Attachment { slot, entries, .. } = attachment;
    pending.entry(slot.clone()).or_default().fresh.extend(entries);
    slot
}
