//! Everything at once, from nothing but the objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_routing::ListenerId;

use super::{
    Attachment, HostSlot, Listeners, Loss, Pools, Resolved, Settings, Translated, Translation, assemble,
    endpoints, ingress, listeners, merge, route,
};
use crate::{
    Bindings,
    ir::{EndpointSlice, Kind, ObjectKey},
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
    let listeners = listeners(snapshot, settings, &pools.certificates);
    let translated = translate_all(snapshot, &listeners, settings, pools);
    let mut by_slot: BTreeMap<&HostSlot, Vec<&Attachment>> = BTreeMap::new();
    for attachment in translated.values().flat_map(|t| &t.attachments) {
        by_slot.entry(&attachment.slot).or_default().push(attachment);
    }
    let mut losses = BTreeSet::new();
    let slots = by_slot.into_iter().map(|(slot, attachments)| {
        let (table, lost) = merge(slot, attachments);
        losses.extend(lost);
        (slot.clone(), Arc::new(table))
    });
    let slots = slots.collect();
    fill(snapshot, pools);
    Translation {
        table: Arc::new(assemble::table(&listeners, &slots)),
        certificates: Arc::clone(&listeners.certificates),
        statuses: statuses(snapshot, &listeners, settings, bindings, &translated, &losses),
    }
}

fn translate_all(
    snapshot: &Snapshot,
    listeners: &Listeners,
    settings: &Settings,
    pools: &Pools,
) -> BTreeMap<ObjectKey, Translated> {
    let routes = snapshot.routes.iter();
    let routes =
        routes.map(|(key, r)| (key.clone(), route(snapshot, listeners, settings, &pools.backends, r)));
    let ingresses = snapshot.ingresses.iter();
    let ingresses =
        ingresses.map(|(key, i)| (key.clone(), ingress(snapshot, listeners, settings, &pools.backends, i)));
    routes.chain(ingresses).collect()
}

/// Looks up the endpoints of the pools that were just made.
fn fill(snapshot: &Snapshot, pools: &Pools) {
    let fresh = pools.backends.take_fresh();
    if fresh.is_empty() {
        return;
    }
    let mut slices: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in snapshot.endpoint_slices.values() {
        let Some(service) = &slice.service else { continue };
        slices.entry((slice.meta.namespace(), service)).or_default().push(slice);
    }
    for (key, pool) in fresh {
        let service = snapshot.services.get(&ObjectKey::new(Kind::Service, &key.namespace, &key.service));
        let slices = slices.get(&(&*key.namespace, &*key.service)).into_iter().flatten().copied();
        let resolved: Resolved = endpoints(slices, service.map(|s| &**s), key.port);
        resolved.store(&pool);
    }
}

fn statuses(
    snapshot: &Snapshot,
    listeners: &Listeners,
    settings: &Settings,
    bindings: Option<&Bindings>,
    translated: &BTreeMap<ObjectKey, Translated>,
    losses: &BTreeSet<Loss>,
) -> Statuses {
    let mut attached: BTreeMap<&Arc<ListenerId>, u32> = BTreeMap::new();
    for id in translated.values().flat_map(|t| &t.attached) {
        *attached.entry(id).or_default() += 1;
    }
    let mut lost: BTreeMap<(&str, &str), Vec<&Loss>> = BTreeMap::new();
    for loss in losses {
        lost.entry((&loss.loser.namespace, &loss.loser.name)).or_default().push(loss);
    }
    let classes = snapshot.gateway_classes.values();
    let gateways = listeners.gateways.iter().map(|(key, state)| {
        let count = |id: &Arc<ListenerId>| attached.get(id).copied().unwrap_or_default();
        (key.clone(), status::gateway(state, settings, bindings, count))
    });
    let routes = translated.iter().filter(|(key, _)| key.kind != Kind::Ingress);
    let ingresses = translated.iter().filter(|(key, t)| key.kind == Kind::Ingress && t.ours);
    Statuses {
        gateway_classes: classes
            .filter_map(|class| {
                Some((class.meta.key.clone(), status::gateway_class(class, snapshot, settings)?))
            })
            .collect(),
        gateways: gateways.collect(),
        routes: routes.filter_map(|(key, t)| Some((key.clone(), status::route(t)?))).collect(),
        ingresses: ingresses
            .map(|(key, t)| {
                let lost = lost.get(&(&*key.namespace, &*key.name)).into_iter().flatten().copied();
                (key.clone(), status::ingress(key, t, listeners, settings, bindings, lost))
            })
            .collect(),
    }
}
