//! Everything at once, from nothing but the objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::HostTable;

use super::{
    Attached, Attachment, HostOwners, Listeners, Loss, PatternQuotas, Pools, Reader, Settings, SharedHosts,
    Slots, Translated, Translation, assemble, fill, ingress, is_attached, listeners, merge, route,
    served_objects,
};
use crate::{
    Bindings,
    ir::{Kind, ObjectKey},
    snapshot::Snapshot,
    status::{self, Statuses},
};

/// Everything that the objects mean, built from nothing: what start-up does, and what an incremental build is held
/// against. `bindings` is `None` where nothing is bound at all, as in a check of a folder.
pub fn full(
    snapshot: &Snapshot,
    settings: &Settings,
    bindings: Option<&Bindings>,
    pools: &Pools,
) -> Translation {
    let settings = &Settings { live: settings.with_settings_map(snapshot).0, ..settings.clone() };
    let served = settings.namespace_selector.as_ref().map(|_| served_objects(snapshot, settings));
    let snapshot = served.as_ref().unwrap_or(snapshot);
    let reader = Reader::new(snapshot, settings, bindings);
    let owners = owners(snapshot, &reader, pools);
    let reader = reader.with_owners(Some(&owners));
    let listeners = listeners(&reader, &pools.certificates);
    let mut translated = translate_all(snapshot, &reader, &listeners, pools);
    let (slots, losses) = put_together(&mut translated);
    let shared = SharedHosts::of(&listeners, &slots);
    fill(snapshot, pools.backends.take_fresh());
    Translation {
        table: Arc::new(assemble::table(&listeners, &slots, &shared)),
        certificates: shared.certificates(&listeners.certificates),
        statuses: statuses(snapshot, &reader, &listeners, &shared, translated, &losses),
    }
}

/// To whom hostnames belong. What routes attach to does not depend on it, though whether a listener is served does.
fn owners(snapshot: &Snapshot, reader: &Reader<'_>, pools: &Pools) -> HostOwners {
    let mut owners = HostOwners::default();
    if reader.entrance().first_namespace_owns {
        let listeners = listeners(reader, &pools.certificates);
        snapshot.routes.values().for_each(|route| owners.set_route(reader, &listeners, route));
        snapshot.ingresses.values().for_each(|ingress| owners.set_ingress(reader, ingress));
    }
    owners
}

/// The host tables of all slots, and what Ingresses lost to each other. Takes the attachments out of the routes.
fn put_together(translated: &mut BTreeMap<ObjectKey, Translated>) -> (Slots, BTreeSet<Loss>) {
    // A status of an Ingress says something of them, one of a route does not.
    let of_routes = translated.iter_mut().filter(|(key, _)| key.kind != Kind::Ingress);
    let mut of_routes: Vec<_> = of_routes.flat_map(|(_, t)| std::mem::take(&mut t.attachments)).collect();
    let of_ingresses = translated.iter().filter(|(key, _)| key.kind == Kind::Ingress);
    let mut of_ingresses: Vec<_> = of_ingresses.flat_map(|(_, t)| &t.attachments).collect();
    // What meets in a slot is brought into an order there.
    of_routes.sort_unstable_by(|a, b| a.slot.cmp(&b.slot));
    of_ingresses.sort_unstable_by(|a, b| a.slot.cmp(&b.slot));

    let mut losses = BTreeSet::new();
    let ingresses = of_ingresses.chunk_by(|a, b| a.slot == b.slot).map(|attachments| {
        let slot = &attachments[0].slot;
        let (table, lost) = merge(slot, attachments.iter().copied());
        losses.extend(lost);
        (slot.clone(), Arc::new(table))
    });
    let mut slots: Vec<_> = ingresses.collect();
    let mut rest = of_routes.into_iter().peekable();
    while let Some(Attachment { slot, mut entries, .. }) = rest.next() {
        while let Some(more) = rest.next_if(|more| more.slot == slot) {
            entries.extend(more.entries);
        }
        slots.push((slot, Arc::new(HostTable::compile(entries))));
    }
    (slots.into_iter().collect(), losses)
}

fn translate_all(
    snapshot: &Snapshot,
    reader: &Reader<'_>,
    listeners: &Listeners,
    pools: &Pools,
) -> BTreeMap<ObjectKey, Translated> {
    let mut quotas = PatternQuotas::default();
    for with_patterns in snapshot.routes.values().filter(|route| !route.patterns.is_empty()) {
        let is_attached = is_attached(reader, listeners, with_patterns);
        let needs = is_attached.then_some(&*with_patterns.patterns);
        quotas.set(&with_patterns.meta, needs);
    }
    quotas.settle(reader.settings().pattern_budget);
    let routes = snapshot.routes.iter();
    let routes = routes.map(|(key, r)| (key.clone(), route(reader, listeners, pools, quotas.grants(key), r)));
    let ingresses = snapshot.ingresses.iter();
    let ingresses = ingresses.map(|(key, i)| (key.clone(), ingress(reader, listeners, &pools.backends, i)));
    routes.chain(ingresses).collect()
}

fn statuses(
    snapshot: &Snapshot,
    reader: &Reader<'_>,
    listeners: &Listeners,
    shared: &SharedHosts,
    translated: BTreeMap<ObjectKey, Translated>,
    losses: &BTreeSet<Loss>,
) -> Statuses {
    let mut attached = Attached::default();
    translated.values().flat_map(|t| &t.attached).for_each(|id| attached.add(id));
    let mut lost: BTreeMap<(&str, &str), Vec<&Loss>> = BTreeMap::new();
    for loss in losses {
        lost.entry((&loss.loser.namespace, &loss.loser.name)).or_default().push(loss);
    }
    let classes = snapshot.gateway_classes.values();
    let classes =
        classes.filter_map(|class| Some((class.meta.key.clone(), status::gateway_class(class, reader)?)));
    let gateways = listeners.gateways.iter();
    let gateways =
        gateways.map(|(key, state)| (key.clone(), status::gateway(state, reader, &attached, shared)));
    let of_routes = translated.into_iter().filter_map(|(key, mut t)| {
        let report = if key.kind != Kind::Ingress {
            status::route(&mut t)?
        } else if t.ours {
            let lost = lost.get(&(&*key.namespace, &*key.name)).into_iter().flatten().copied();
            status::ingress(&key, &t, listeners, shared, reader, lost)
        } else {
            return None;
        };
        Some((key, report))
    });
    classes.chain(gateways).chain(of_routes).collect()
}
