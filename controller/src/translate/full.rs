//! Everything at once, from nothing but the objects.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::HostPattern;

use super::{
    Attached, Attachment, BackendTlsPolicies, HostOwners, HostTablePool, HostTranslation, IngressBackends,
    Listeners, OtherHosts, OtherRoutes, PatternQuotas, PolicyUser, PolicyUsers, Pools, PortServices, Reader,
    ServiceMessages, Settings, SharedHosts, Slots, StreamClaims, Translated, Translation, assemble, fill,
    ingress_claims, ingress_host, ingress_patterns, is_attached, listeners, port_services, route,
    served_objects, stream_places,
};
use crate::{
    Bindings,
    ir::ObjectKey,
    snapshot::Snapshot,
    status::{self, Report},
};

/// Everything that the objects mean, built from nothing: what start-up does, and what an incremental build is held
/// against. `bindings` is `None` where nothing is bound at all, as in a check of a folder.
pub fn full(
    snapshot: &Snapshot,
    settings: &Settings,
    bindings: Option<&Bindings>,
    pools: &Pools,
) -> Translation {
    // The ConfigMaps that they are read from are served whatever their namespace.
    let settings = Settings { live: settings.with_settings_map(snapshot).0, ..settings.clone() };
    let served = settings.namespace_selector.as_ref().map(|_| served_objects(snapshot, &settings));
    let snapshot = served.as_ref().unwrap_or(snapshot);
    // After the live settings, which its warnings depend on.
    let of_ports = Arc::new(PortServices::read(&settings, snapshot));
    let settings = &Settings { port_services: of_ports, ..settings };
    let reader = Reader::new(snapshot, settings, bindings);
    let owners = owners(snapshot, &reader, pools);
    let policies = BackendTlsPolicies::of(&reader, pools, snapshot);
    let reader = reader.with_owners(Some(&owners)).with_policies(&policies);
    let listeners = listeners(&reader, pools);
    let quotas = quotas(snapshot, &reader, &listeners);
    let mut translated = translate_routes(snapshot, &reader, &listeners, &quotas, pools);
    let hosts = || listeners.ingress.hosts.keys();
    let mut backends = IngressBackends::default();
    hosts().for_each(|host| backends.set_host(host, ingress_claims(&reader, &listeners, &quotas, host)));
    backends.settle();
    let others = OtherHosts { backends: &backends, quotas: &quotas };
    let translate = |host| ingress_host(&reader, &listeners, pools, others, host);
    let mut hosts: BTreeMap<_, _> = hosts().map(|host| (host.clone(), translate(host))).collect();
    let mut slots = put_together(&mut translated, &mut hosts, &pools.host_tables);
    let services = port_services(&reader, pools);
    services.streams.into_iter().for_each(|(slot, rule)| slots.insert_stream(slot, rule));
    let shared = SharedHosts::of(&listeners, &slots);
    fill(snapshot, pools.backends.take_fresh());
    Translation {
        table: Arc::new(assemble::table(&listeners, &slots, &shared)),
        certificates: shared.certificates(&listeners.certificates),
        statuses: statuses(snapshot, &reader, &listeners, &shared, translated, &hosts, &policies)
            .into_iter()
            .chain(service_statuses(&reader, snapshot, &services.messages))
            .collect(),
    }
}

/// To whom hostnames belong. What routes attach to does not depend on it, though whether a listener is served does.
fn owners(snapshot: &Snapshot, reader: &Reader<'_>, pools: &Pools) -> HostOwners {
    let mut owners = HostOwners::default();
    if reader.entrance().first_namespace_owns {
        let listeners = listeners(reader, pools);
        snapshot.routes.values().for_each(|route| owners.set_route(reader, &listeners, route));
        snapshot.ingresses.values().for_each(|ingress| owners.set_ingress(reader, ingress));
    }
    owners
}

/// The host tables of all slots. Takes the attachments out of the routes, and the tables out of the hosts.
fn put_together(
    translated: &mut BTreeMap<ObjectKey, Translated>,
    hosts: &mut BTreeMap<HostPattern, HostTranslation>,
    pool: &HostTablePool,
) -> Slots {
    let mut of_routes: Vec<_> =
        translated.values_mut().flat_map(|t| std::mem::take(&mut t.attachments)).collect();
    // Brings the attachments of a slot together. The pool sorts the entries within the slot.
    of_routes.sort_unstable_by(|a, b| a.slot.cmp(&b.slot));
    let mut streams =
        translated.values_mut().flat_map(|t| std::mem::take(&mut t.streams)).collect::<Vec<_>>();
    streams.extend(hosts.values_mut().filter_map(|host| host.stream.take()));
    let of_hosts = hosts.values_mut().flat_map(|host| std::mem::take(&mut host.tables));
    let mut slots: Vec<_> = of_hosts.collect();
    let mut rest = of_routes.into_iter().peekable();
    while let Some(Attachment { slot, entries }) = rest.next() {
        let mut entries = entries.to_vec();
        while let Some(more) = rest.next_if(|more| more.slot == slot) {
            entries.extend_from_slice(&more.entries);
        }
        slots.push((slot, pool.table(entries)));
    }
    let mut slots: Slots = slots.into_iter().collect();
    streams.into_iter().for_each(|(slot, rule)| slots.insert_stream(slot, rule));
    slots
}

fn quotas(snapshot: &Snapshot, reader: &Reader<'_>, listeners: &Listeners) -> PatternQuotas {
    let mut quotas = PatternQuotas::default();
    for with_patterns in snapshot.routes.values().filter(|route| !route.patterns.is_empty()) {
        let is_attached = is_attached(reader, listeners, with_patterns);
        let needs = is_attached.then_some(&*with_patterns.patterns);
        quotas.set(&with_patterns.meta, needs);
    }
    for host in listeners.ingress.hosts.keys() {
        quotas.set_host(host, ingress_patterns(reader, listeners, host));
    }
    quotas.settle(reader.settings().pattern_budget);
    quotas
}

fn translate_routes(
    snapshot: &Snapshot,
    reader: &Reader<'_>,
    listeners: &Listeners,
    quotas: &PatternQuotas,
    pools: &Pools,
) -> BTreeMap<ObjectKey, Translated> {
    let mut claims = StreamClaims::default();
    for of_streams in snapshot.routes.values().filter(|route| !route.kind.takes_requests()) {
        claims.set(&of_streams.meta, stream_places(reader, listeners, of_streams));
    }
    let others = |key: &ObjectKey| OtherRoutes { patterns_granted: quotas.grants(key), streams: &claims };
    let routes = snapshot.routes.iter();
    routes.map(|(key, r)| (key.clone(), route(reader, listeners, pools, others(key), r))).collect()
}

fn statuses(
    snapshot: &Snapshot,
    reader: &Reader<'_>,
    listeners: &Listeners,
    shared: &SharedHosts,
    translated: BTreeMap<ObjectKey, Translated>,
    hosts: &BTreeMap<HostPattern, HostTranslation>,
    policies: &BackendTlsPolicies,
) -> Vec<(ObjectKey, Report)> {
    let mut users = PolicyUsers::default();
    translated.values().for_each(|t| users.add(&t.policies));
    listeners.policies().for_each(|policy| users.add(&[policy]));
    let of_hosts = hosts.values().flat_map(|host| &host.policies);
    of_hosts.for_each(|policy| users.add(&[(policy.clone(), PolicyUser::Ingresses)]));
    let of_policies = snapshot.backend_tls_policies.iter().filter_map(|(key, policy)| {
        Some((key.clone(), status::backend_tls_policy(policy, reader, policies, &users)?))
    });
    let of_backends = snapshot.x_backends.iter().filter_map(|(key, backend)| {
        Some((key.clone(), status::x_backend(backend, reader, policies, &users)?))
    });
    let mut attached = Attached::default();
    translated.values().flat_map(|t| &t.attached).for_each(|id| attached.add(id));
    let classes = snapshot.gateway_classes.values();
    let classes =
        classes.filter_map(|class| Some((class.meta.key.clone(), status::gateway_class(class, reader)?)));
    let gateways = listeners.gateways();
    let gateways =
        gateways.map(|(key, state)| (key.clone(), status::gateway(state, reader, &attached, shared)));
    let sets = listeners.sets();
    let sets = sets.map(|(key, state)| (key.clone(), status::listener_set(state, reader, &attached, shared)));
    let of_routes = translated.into_iter().filter_map(|(key, mut t)| Some((key, status::route(&mut t)?)));
    let ingresses = snapshot.ingresses.iter().filter_map(|(key, ingress)| {
        let said = |host: &HostPattern| Some(&hosts.get(host)?.messages);
        Some((key.clone(), status::ingress(ingress, listeners, shared, reader, said)?))
    });
    let of_gateways = gateways.chain(sets);
    classes
        .chain(of_gateways)
        .chain(of_routes)
        .chain(of_policies)
        .chain(of_backends)
        .chain(ingresses)
        .collect()
}

fn service_statuses(
    reader: &Reader<'_>,
    snapshot: &Snapshot,
    messages: &ServiceMessages,
) -> Vec<(ObjectKey, Report)> {
    let maps = reader.settings().service_maps().filter(|(map, _)| snapshot.config_maps.contains_key(*map));
    maps.filter_map(|(map, _)| Some((map.clone(), status::port_services(map, reader, messages)?))).collect()
}
