//! Routes and Ingresses as they were translated, and the slots in which they meet.
//!
//! What a route has in a slot stands in the slot's table and nowhere else: where another route of the slot changes, it
//! is taken from there. Of Ingresses all is kept, since what one of them lost to another is in no table.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{Entry, HostPattern, HostTable, ListenerId, PortKey, RouteId};

use super::{
    Map, Set,
    units::{Unit, Units},
};
use crate::{
    facts::Fact,
    ir::{Kind, ObjectKey},
    snapshot::Snapshot,
    status,
    translate::{
        self, Attached, Attachment, HostSlot, Listeners, Loss, Owner, PatternQuotas, Pools, Reader, Slots,
        Translated,
    },
};

/// Every route and Ingress as it was translated last.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Each by itself, as nearly half of a map's places are empty.
    known: Map<ObjectKey, Box<Known>>,
    ingresses: Map<HostSlot, IngressSlot>,
    tables: Slots,
    pub(super) attached: Attached,
    quotas: PatternQuotas,
}

/// What is kept of a translation.
#[derive(Debug, Default)]
struct Known {
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

/// What the translation of a route or Ingress needs.
pub(super) struct Translator<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) reader: Reader<'a>,
    pub(super) listeners: &'a Listeners,
    pub(super) pools: &'a Pools,
}

impl Routes {
    /// Translates what is stale and puts together the slots that it is in, or was. Returns those slots.
    pub(super) fn renew(&mut self, translator: &Translator<'_>, units: &mut Units) -> Vec<HostSlot> {
        self.renew_quotas(translator, units);
        let mut pending = Map::default();
        let routes = std::mem::take(&mut units.stale.routes);
        for key in routes.into_iter().chain(std::mem::take(&mut units.stale.ingresses)) {
            self.renew_one(key, translator, units, &mut pending);
        }
        let mut renewed = Vec::with_capacity(pending.len());
        for (slot, pending) in pending {
            match slot.at.owner {
                Owner::Gateway(_) => self.put_together(&slot, pending),
                Owner::Ingress | Owner::IngressDefault => self.merge(&slot, units),
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

    /// The Ingresses that have rules at a host of theirs.
    pub(super) fn ingresses_at(&self, port: PortKey, host: &HostPattern) -> impl Iterator<Item = ObjectKey> {
        let slot = HostSlot::new(port, host, Owner::Ingress, host);
        let members = self.ingresses.get(&slot).map(|slot| &*slot.members).unwrap_or_default();
        members.iter().map(|(key, _)| key.clone())
    }

    /// What an Ingress asks for and another one has.
    pub(super) fn losses<'r>(&'r self, key: &ObjectKey, translated: &Translated) -> BTreeSet<&'r Loss> {
        let slots =
            translated.attachments.iter().filter_map(|attachment| self.ingresses.get(&attachment.slot));
        slots.flat_map(|slot| &slot.losses).filter(|loss| loss.is_of(key)).collect()
    }

    /// Records which regular expressions the stale routes need. Other routes become stale where theirs are now granted or
    /// refused because of that.
    fn renew_quotas(&mut self, translator: &Translator<'_>, units: &mut Units) {
        let Translator { snapshot, reader, listeners, .. } = translator;
        for key in &units.stale.routes {
            match snapshot.routes.get(key) {
                Some(route) if !route.patterns.is_empty() => {
                    let is_attached = translate::is_attached(reader, listeners, route);
                    self.quotas.set(&route.meta, is_attached.then_some(&*route.patterns));
                }
                _ => self.quotas.remove(key),
            }
        }
        let changed = self.quotas.settle(reader.settings().pattern_budget);
        changed.into_iter().for_each(|route| units.change(&Fact::PatternsOf(route)));
        // Each route notes the same reads again when it is translated.
        reader.take_noted();
    }

    fn renew_one(
        &mut self,
        key: ObjectKey,
        translator: &Translator<'_>,
        units: &mut Units,
        pending: &mut Map<HostSlot, Pending>,
    ) {
        let is_ingress = key.kind == Kind::Ingress;
        let unit = if is_ingress { Unit::Ingress(key.clone()) } else { Unit::Route(key.clone()) };
        let now = translator.translate(&key, self.quotas.grants(&key));
        units.record(unit, &translator.reader);
        let before = self.known.remove_entry(&key);
        let is_gone = now.is_none();
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
        let mut now = now.unwrap_or_default();
        self.count(&before.attached, &now.attached, units);
        if is_ingress {
            // What it lost to others is not known yet.
            units.change(&Fact::Outcome(key));
        } else {
            let report = if is_gone { None } else { status::route(&mut now) };
            units.stale.reports.insert(key, report);
        }
        if is_gone {
            return;
        }
        let attached = std::mem::take(&mut now.attached).into();
        let place = if is_ingress {
            Place::Ingress(Box::new(self.enter(&who, now, pending)))
        } else {
            Place::Slots(
                now.attachments.into_iter().map(|attachment| hand_over(attachment, pending)).collect(),
            )
        };
        self.known.insert(who, Box::new(Known { attached, place }));
    }

    /// Makes an Ingress a member of its slots.
    fn enter(
        &mut self,
        who: &ObjectKey,
        translated: Translated,
        pending: &mut Map<HostSlot, Pending>,
    ) -> Translated {
        for (index, Attachment { slot, .. }) in translated.attachments.iter().enumerate() {
            self.ingresses.entry(slot.clone()).or_default().members.push((who.clone(), index));
            pending.entry(slot.clone()).or_default();
        }
        translated
    }

    fn count(&mut self, before: &[Arc<ListenerId>], now: &[Arc<ListenerId>], units: &mut Units) {
        let gone = before.iter().filter(|id| !now.contains(id)).inspect(|id| self.attached.remove(id));
        let gone: Vec<_> = gone.collect();
        let new = now.iter().filter(|id| !before.contains(id)).inspect(|id| self.attached.add(id));
        for id in gone.into_iter().chain(new) {
            if let Some(gateway) = super::gateway_of(id) {
                units.change(&Fact::RoutesOn(gateway));
            }
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

    fn merge(&mut self, at: &HostSlot, units: &mut Units) {
        let Some(slot) = self.ingresses.get_mut(at) else { return };
        let attachments = slot.members.iter().filter_map(|(who, index)| {
            let translated = self.known.get(who)?.place.ingress()?;
            translated.attachments.get(*index)
        });
        let (table, losses) = translate::merge(at, attachments);
        for loss in slot.losses.iter().chain(&losses) {
            let loser = ObjectKey::new(Kind::Ingress, &loss.loser.namespace, &loss.loser.name);
            units.change(&Fact::Outcome(loser));
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
        let Self { snapshot, reader, listeners, pools } = self;
        if key.kind == Kind::Ingress {
            let ingress = snapshot.ingresses.get(key)?;
            return Some(translate::ingress(reader, listeners, &pools.backends, ingress));
        }
        let route = snapshot.routes.get(key)?;
        Some(translate::route(reader, listeners, pools, granted, route))
    }
}

/// Gives a route's entries to their slot.
fn hand_over(attachment: Attachment, pending: &mut Map<HostSlot, Pending>) -> HostSlot {
    let Attachment { slot, entries, .. } = attachment;
    pending.entry(slot.clone()).or_default().fresh.extend(entries);
    slot
}
