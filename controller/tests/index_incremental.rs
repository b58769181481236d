//! After any events in any order, the index has made what a full translation makes of the objects that are left.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

#[path = "golden/text.rs"]
mod text;

mod index_support;

use std::{collections::BTreeMap, sync::Arc};

use index_support::{
    Bits, UIDS, beside_hosts, edited, fingerprints, host_ingress, made_anew, manifest, own_ingress_class,
    read, renamed, sharing_ingress, sharing_services, spoilt, stream_gateway, stream_route, turned,
    with_patterns,
};
use portcullis_controller::{
    Bindings, Index, Publication, Settings,
    ir::{Kind, ObjectKey},
    snapshot::{Change, Snapshot},
    status::{Status, Statuses},
    translate::{Address, Allocation, Bundle, DedicatedPorts, Pools, full},
};
use portcullis_routing::{ExternalNames, PortKey};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Event {
    Apply(u64),
    Delete(u64),
    /// One object alone changes between two publications.
    Edit(u64),
    /// An object is deleted and created again; seen as both, or as one change.
    Recreate(u64),
    Rename(u64),
    /// A Service or a Secret changes its type, a Namespace its labels, a ReferenceGrant whom it is for.
    Turn(u64),
    /// An object is edited into one that is refused.
    Spoil(u64),
    Bind(u8),
    FailProvisioning(u8),
    Allocate(u64),
    Settings(u16),
    /// Everything is translated, and nothing is published.
    Survey,
    Publish,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => any::<u64>().prop_map(Event::Apply),
        2 => any::<u64>().prop_map(Event::Delete),
        3 => any::<u64>().prop_map(Event::Edit),
        1 => any::<u64>().prop_map(Event::Recreate),
        1 => any::<u64>().prop_map(Event::Rename),
        2 => any::<u64>().prop_map(Event::Turn),
        1 => any::<u64>().prop_map(Event::Spoil),
        1 => any::<u8>().prop_map(Event::Bind),
        1 => any::<u8>().prop_map(Event::FailProvisioning),
        2 => any::<u64>().prop_map(Event::Allocate),
        1 => any::<u16>().prop_map(Event::Settings),
        1 => Just(Event::Survey),
        4 => Just(Event::Publish),
    ];
    prop::collection::vec(event, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn incremental_is_full(events in events(), default_certificate: bool, watch_without_class: bool) {
        let settings = settings(default_certificate, watch_without_class);
        let mut running = Running::new(settings);
        // A class from the start: without one there is little that could differ.
        running.apply(class());
        for event in events {
            match event {
                Event::Apply(bits) => running.apply(manifest(&mut Bits::new(bits))),
                Event::Delete(bits) => running.delete(bits),
                Event::Edit(bits) => running.edit(bits)?,
                Event::Recreate(bits) => running.recreate(bits),
                Event::Rename(bits) => running.rename(bits),
                Event::Turn(bits) => running.turn(bits),
                Event::Spoil(bits) => running.spoil(bits),
                Event::Bind(bits) => running.bind(bits),
                Event::FailProvisioning(bits) => running.fail_provisioning(bits),
                Event::Allocate(bits) => running.allocate(bits),
                Event::Settings(bits) => running.set(bits),
                Event::Survey => running.index.survey(),
                Event::Publish => running.compare()?,
            }
        }
        running.compare()?;
        running.compare_beside_table()?;
    }

    /// Routes that claim the streams of the same few listeners.
    #[test]
    fn streams_go_from_route_to_route(events in prop::collection::vec((0..9u8, any::<u64>()), 1..60)) {
        let mut running = Running::new(settings(false, false));
        running.apply(class());
        running.apply(stream_gateway(&mut Bits::new(0)));
        for (event, bits) in events {
            match event {
                0..4 => running.apply(stream_route(&mut Bits::new(bits))),
                4 => running.remove(read(&stream_route(&mut Bits::new(bits))).unwrap().meta().key.clone()),
                5 => running.apply(stream_gateway(&mut Bits::new(bits))),
                6 => running.recreate(bits),
                _ => running.compare()?,
            }
        }
        running.compare()?;
    }

    /// Ingresses of few hosts that use the same few Services, and say how these are balanced and who their canaries are.
    #[test]
    fn what_ingresses_say_of_services_holds_at_all_hosts(
        events in prop::collection::vec((0..10u8, any::<u64>()), 1..60),
    ) {
        let mut running = Running::new(settings(false, false));
        sharing_services().into_iter().for_each(|manifest| running.apply(manifest));
        for (event, bits) in events {
            match event {
                0..5 => running.apply(sharing_ingress(&mut Bits::new(bits))),
                5 => running.remove(read(&sharing_ingress(&mut Bits::new(bits))).unwrap().meta().key.clone()),
                6 => running.recreate(bits),
                _ => running.compare()?,
            }
        }
        running.compare()?;
    }

    /// Ingresses that name the same few hosts: as names of their own, other names, redirected ones, and under wildcards.
    #[test]
    fn hosts_are_served_as_all_their_ingresses_define(
        events in prop::collection::vec((0..12u8, any::<u64>()), 1..60),
        default_certificate: bool,
    ) {
        let mut running = Running::new(settings(default_certificate, false));
        running.apply(class());
        running.apply(own_ingress_class());
        for (event, bits) in events {
            match event {
                0..6 => running.apply(host_ingress(&mut Bits::new(bits))),
                6 => running.remove(read(&host_ingress(&mut Bits::new(bits))).unwrap().meta().key.clone()),
                7 => running.recreate(bits),
                8 => running.apply(beside_hosts(&mut Bits::new(bits))),
                _ => running.compare()?,
            }
        }
        running.compare()?;
        running.compare_beside_table()?;
    }

    /// Ingresses and routes whose regular expressions take more memory than their namespaces may have.
    #[test]
    fn the_budgets_for_regular_expressions_depend_on_the_objects_alone(
        events in prop::collection::vec((0..12u8, any::<u64>()), 1..60),
    ) {
        let mut running = Running::new(settings(false, false));
        running.apply(class());
        sharing_services().into_iter().for_each(|manifest| running.apply(manifest));
        for namespace in ["a", "b"] {
            let listeners = json!([{ "name": "l0", "port": 80, "protocol": "HTTP", "hostname": format!("{namespace}.test") }]);
            let spec = json!({ "gatewayClassName": "c", "listeners": listeners });
            running.apply(object(GATEWAY_API, "Gateway", json!({ "name": "x", "namespace": namespace }), spec));
        }
        for (event, bits) in events {
            match event {
                0..6 => running.apply(with_patterns(&mut Bits::new(bits))),
                6 => running.remove(read(&with_patterns(&mut Bits::new(bits))).unwrap().meta().key.clone()),
                7 => running.recreate(bits),
                8 => running.set_pattern_budget(Bits::new(bits).of(&[0, 50, 100, 150, 300, 65536])),
                _ => running.compare()?,
            }
        }
        running.compare()?;
    }

    #[test]
    fn the_order_of_events_does_not_matter(seeds in prop::collection::vec(any::<u64>(), 1..80), turn: usize) {
        let settings = settings(true, false);
        let mut snapshot = Snapshot::default();
        let manifests = seeds.iter().map(|seed| manifest(&mut Bits::new(*seed)));
        for manifest in [class()].into_iter().chain(manifests) {
            snapshot.apply(Change::Apply(read(&manifest).unwrap()));
        }
        // What is left of them, turned round somewhere and published in small steps.
        let mut left: Vec<_> = snapshot.objects().map(Change::Apply).collect();
        let turn = turn % left.len();
        left.rotate_left(turn);
        let mut running = Running::new(settings);
        for chunk in left.chunks(7) {
            chunk.iter().for_each(|change| running.all.apply(change.clone()));
            running.index.apply(chunk.iter().cloned());
            running.compare()?;
        }
        prop_assert_eq!(running.index.snapshot().routes.len(), snapshot.routes.len());
        running.compare_beside_table()?;
    }
}

/// An object as the API has it, in the namespace `a` if it names none.
fn object(group: &str, kind: &str, metadata: Value, spec: Value) -> Value {
    let mut object = json!({ "apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec });
    if object["metadata"].get("namespace").is_none() {
        object["metadata"]["namespace"] = "a".into();
    }
    object
}

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

#[test]
fn an_ingress_is_not_told_of_a_host_that_it_may_not_serve() -> Result<(), TestCaseError> {
    let mut running = Running::new(settings(false, false));
    running.apply(class());
    running.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "namespace": "a" },
        "data": { "first-namespace-owns": "true" },
    }));
    running.apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": "portcullis" },
        "spec": { "controller": "portcullis.dev/ingress-controller" },
    }));
    let listeners = json!([{
        "name": "l0", "port": 80, "protocol": "HTTP", "allowedRoutes": { "namespaces": { "from": "All" } },
    }]);
    let spec = json!({ "gatewayClassName": "c", "listeners": listeners });
    running.apply(object(GATEWAY_API, "Gateway", json!({ "name": "x" }), spec));
    let backend = json!({ "service": { "name": "x", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    let spec = json!({ "ingressClassName": "portcullis", "rules": [{ "host": "h.test", "http": { "paths": paths } }] });
    for (namespace, created) in [("a", "2024-01-01T00:00:00Z"), ("b", "2025-01-01T00:00:00Z")] {
        let metadata = json!({ "name": "x", "namespace": namespace, "creationTimestamp": created });
        running.apply(object("networking.k8s.io/v1", "Ingress", metadata, spec.clone()));
    }
    running.compare()?;
    // It shares the host with the Ingress of its own namespace alone.
    let metadata = json!({ "name": "x", "creationTimestamp": "2025-01-01T00:00:00Z" });
    let spec = json!({ "parentRefs": [{ "name": "x" }], "hostnames": ["h.test"], "rules": [{}] });
    running.apply(object(GATEWAY_API, "HTTPRoute", metadata, spec));
    running.compare()?;
    let other = ObjectKey::new(Kind::Ingress, "b", "x");
    let told = running.statuses.get(&other).unwrap().messages.iter();
    prop_assert!(told.clone().all(|message| !message.text.contains("is shared")), "{:?}", told);
    Ok(())
}

#[test]
fn a_listener_set_that_moves_to_another_gateway_takes_its_policies_along() -> Result<(), TestCaseError> {
    let mut running = Running::new(settings(false, false));
    running.apply(class());
    for name in ["x", "y"] {
        let listener =
            json!({ "name": "l0", "port": 80, "protocol": "HTTP", "hostname": format!("{name}.test") });
        let mut spec = json!({ "gatewayClassName": "c", "listeners": [listener] });
        spec["allowedListeners"] = json!({ "namespaces": { "from": "Same" } });
        running.apply(object(GATEWAY_API, "Gateway", json!({ "name": name }), spec));
    }
    running.apply(object("v1", "Service", json!({ "name": "x" }), json!({ "ports": [{ "port": 80 }] })));
    let rules = json!([{ "backendRefs": [{ "name": "x", "port": 80 }] }]);
    let spec = json!({ "parentRefs": [{ "kind": "ListenerSet", "name": "x" }], "rules": rules });
    running.apply(object(GATEWAY_API, "HTTPRoute", json!({ "name": "x" }), spec));
    let validation = json!({ "hostname": "h.test", "wellKnownCACertificates": "System" });
    let targets = json!([{ "group": "", "kind": "Service", "name": "x" }]);
    let spec = json!({ "targetRefs": targets, "validation": validation });
    running.apply(object(GATEWAY_API, "BackendTLSPolicy", json!({ "name": "x" }), spec));
    for gateway in ["x", "y"] {
        let listener = json!({ "name": "l0", "port": 80, "protocol": "HTTP", "hostname": "set.test" });
        let spec = json!({ "parentRef": { "name": gateway }, "listeners": [listener] });
        running.apply(object(GATEWAY_API, "ListenerSet", json!({ "name": "x" }), spec));
        running.compare()?;
        let status = running.statuses.get(&ObjectKey::new(Kind::BackendTlsPolicy, "a", "x")).unwrap();
        let Status::Ancestors(status) = &status.status else { panic!("{status:?}") };
        let names: Vec<_> = status.ancestors.iter().map(|of| &*of.ancestor_ref.name).collect();
        prop_assert_eq!(names, [gateway]);
    }
    Ok(())
}

#[test]
fn the_filters_of_a_listener_follow_what_they_refer_to() -> Result<(), TestCaseError> {
    let mut running = Running::new(settings(false, false));
    running.apply(class());
    let auth = json!({ "protocol": "HTTP", "http": {}, "backendRef": { "namespace": "b", "name": "x", "port": 80 } });
    let filters = json!({ "requests": [{ "type": "ExternalAuth", "externalAuth": auth }] });
    let listener = json!({ "name": "l0", "port": 80, "protocol": "HTTP", "filters": filters });
    let spec = json!({ "gatewayClassName": "c", "listeners": [listener] });
    running.apply(object(GATEWAY_API, "Gateway", json!({ "name": "x" }), spec));
    let grant = json!({
        "from": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "a" }],
        "to": [{ "group": "", "kind": "Service" }],
    });
    let in_b = || json!({ "name": "x", "namespace": "b" });
    let service = |port: u16| object("v1", "Service", in_b(), json!({ "ports": [{ "port": port }] }));
    let validation = json!({ "hostname": "h.test", "wellKnownCACertificates": "System" });
    let targets = json!([{ "group": "", "kind": "Service", "name": "x" }]);
    let policy = json!({ "targetRefs": targets, "validation": validation });
    let grants = "gateway.networking.k8s.io/v1beta1";
    for (change, wanted) in [
        (None, "closed (no ReferenceGrant in namespace b allows a reference to Service x)"),
        (Some(object(grants, "ReferenceGrant", in_b(), grant)), "closed (Service b/x not found)"),
        (Some(service(81)), "closed (Service b/x has no port 80)"),
        (Some(service(80)), "b/x:80 by HTTP"),
        (Some(object(GATEWAY_API, "BackendTLSPolicy", in_b(), policy)), "b/x:80 tls h.test by HTTP"),
    ] {
        change.into_iter().for_each(|object| running.apply(object));
        running.compare()?;
        let table = &running.last.as_ref().unwrap().table.to_string();
        prop_assert!(table.contains(&format!("  first external auth {wanted}")), "{wanted}:\n{table}");
    }
    let policy = ObjectKey::new(Kind::BackendTlsPolicy, "b", "x");
    let Status::Ancestors(status) = &running.statuses.get(&policy).unwrap().status else { panic!() };
    prop_assert_eq!(&*status.ancestors[0].ancestor_ref.name, "x");
    running.remove(ObjectKey::new(Kind::Gateway, "a", "x"));
    running.compare()?;
    prop_assert!(running.statuses.get(&policy).is_none(), "nobody uses the policy");
    running.remove(ObjectKey::new(Kind::Service, "b", "x"));
    running.compare()
}

struct Running {
    settings: Settings,
    index: Index,
    /// Every object, served or not.
    all: Snapshot,
    /// The objects as manifests.
    manifests: BTreeMap<ObjectKey, Value>,
    bindings: Bindings,
    statuses: Statuses,
    last: Option<Publication>,
}

impl Running {
    fn new(settings: Settings) -> Self {
        let mut index = Index::new(settings.clone());
        index.complete();
        Self {
            settings,
            index,
            all: Snapshot::default(),
            manifests: BTreeMap::new(),
            bindings: Bindings::new(),
            statuses: Statuses::default(),
            last: None,
        }
    }

    fn apply(&mut self, manifest: Value) {
        let object = read(&manifest).unwrap();
        self.manifests.insert(object.meta().key.clone(), manifest);
        self.all.apply(Change::Apply(object.clone()));
        self.index.apply([Change::Apply(object)]);
    }

    fn remove(&mut self, key: ObjectKey) {
        self.manifests.remove(&key);
        self.all.apply(Change::Delete(key.clone()));
        self.index.apply([Change::Delete(key)]);
    }

    /// Deletes an object, whether it is there or not.
    fn delete(&mut self, bits: u64) {
        let key = read(&manifest(&mut Bits::new(bits))).unwrap().meta().key.clone();
        self.remove(key);
    }

    /// One of the objects that are wanted.
    fn pick(&self, bits: &mut Bits, is_wanted: impl Fn(Kind) -> bool) -> Option<(ObjectKey, Value)> {
        let wanted: Vec<_> = self.manifests.iter().filter(|(key, _)| is_wanted(key.kind)).collect();
        let count = u64::try_from(wanted.len()).ok().filter(|count| *count > 0)?;
        let (key, manifest) = wanted[bits.below(count)];
        Some((key.clone(), manifest.clone()))
    }

    /// Edits a route, an Ingress or a Service, since an edit of these need not affect everything that reads them.
    fn edit(&mut self, bits: u64) -> Result<(), TestCaseError> {
        self.compare()?;
        let mut bits = Bits::new(bits);
        let is_wanted = |kind: Kind| kind.resource().route.is_some() || kind == Kind::Service;
        if let Some((_, before)) = self.pick(&mut bits, is_wanted) {
            self.apply(edited(&before, &mut bits));
        }
        self.compare()
    }

    fn recreate(&mut self, bits: u64) {
        let mut bits = Bits::new(bits);
        let Some((key, before)) = self.pick(&mut bits, |_| true) else { return };
        if bits.below(2) == 0 {
            self.remove(key);
        }
        self.apply(made_anew(&before, &mut bits));
    }

    fn rename(&mut self, bits: u64) {
        let mut bits = Bits::new(bits);
        let Some((key, before)) = self.pick(&mut bits, |_| true) else { return };
        self.remove(key);
        self.apply(renamed(&before, &mut bits));
    }

    fn turn(&mut self, bits: u64) {
        let mut bits = Bits::new(bits);
        let is_wanted =
            |kind| matches!(kind, Kind::Service | Kind::Secret | Kind::Namespace | Kind::ReferenceGrant);
        if let Some((_, before)) = self.pick(&mut bits, is_wanted) {
            self.apply(turned(&before, &mut bits));
        }
    }

    /// A refused object of a kind whose status we do not write counts as gone.
    fn spoil(&mut self, bits: u64) {
        let mut bits = Bits::new(bits);
        let Some((key, before)) = self.pick(&mut bits, |_| true) else { return };
        match read(&spoilt(&before)) {
            Some(_) => self.apply(spoilt(&before)),
            None => self.remove(key),
        }
    }

    fn set(&mut self, bits: u16) {
        let is_set = |bit: u16| bits & (1 << bit) != 0;
        self.settings = Settings {
            provisioning_errors: self.settings.provisioning_errors.clone(),
            allocation: if is_set(13) { Arc::default() } else { Arc::clone(&self.settings.allocation) },
            addresses: if is_set(0) { vec![Address::Ip([192, 0, 2, 9].into())] } else { Vec::new() },
            port_offset: if is_set(1) { 1000 } else { 0 },
            ssl_redirect: is_set(2),
            gateway_controller: if is_set(3) && is_set(4) {
                "example.com/other"
            } else {
                "portcullis.dev/gateway-controller"
            }
            .into(),
            bundle: is_set(5).then(|| Bundle { releases: ["v1.7.0".into()].into(), ..Bundle::default() }),
            external_names: match (is_set(8), is_set(9)) {
                (true, true) => ExternalNames::None,
                (true, false) => ExternalNames::All,
                _ => ExternalNames::default(),
            },
            pattern_budget: if is_set(10) { 150 << 10 } else { 0 },
            namespace_selector: match (is_set(11), is_set(12)) {
                (true, true) => Some("team=red".parse().unwrap()),
                (true, false) => Some("team!=red".parse().unwrap()),
                _ => None,
            },
            ..settings(is_set(6), is_set(7))
        };
        self.index.set_settings(self.settings.clone());
    }

    /// Sets the budget for regular expressions, in KiB.
    fn set_pattern_budget(&mut self, budget: usize) {
        self.settings.pattern_budget = budget << 10;
        self.index.set_settings(self.settings.clone());
    }

    fn bind(&mut self, bits: u8) {
        let port = [80, 443, 8080, 8443, 20_000, 20_001, 20_002, 53][usize::from(bits & 7)];
        let bound = if bits & 8 == 0 { Ok(()) } else { Err("in use".to_owned()) };
        let port = if bits & 0x30 == 0 { PortKey::udp(port) } else { PortKey::tcp(port) };
        self.bindings.insert(port, bound);
        self.index.set_bindings(&self.bindings);
    }

    fn fail_provisioning(&mut self, bits: u8) {
        let gateway = ObjectKey::new(Kind::Gateway, "a", ["x", "y", "z"][usize::from(bits % 3)]);
        match bits & 4 {
            0 => drop(self.settings.provisioning_errors.remove(&gateway)),
            _ => drop(self.settings.provisioning_errors.insert(gateway, "the quota is exceeded".into())),
        }
        self.index.set_provisioning_errors(self.settings.provisioning_errors.clone());
    }

    /// Another record of ports, some of them out of the range.
    fn allocate(&mut self, bits: u64) {
        let (mut bits, mut allocation) = (Bits::new(bits), Allocation::default());
        for _ in 0..bits.below(5) {
            let port =
                [PortKey::tcp(80), PortKey::tcp(443), PortKey::tcp(8080), PortKey::tcp(53), PortKey::udp(53)];
            let (port, ours) = (bits.of(&port), bits.of(&[20_000, 20_001, 20_002, 9_999]));
            allocation.insert(bits.of(&UIDS), port, ours);
        }
        self.settings.allocation = Arc::new(allocation);
        self.index.set_allocation(Arc::clone(&self.settings.allocation));
    }

    fn publish(&mut self) {
        self.last = self.index.publish().or(self.last.take());
    }

    /// Publishes, reports every object on demand as missing, as a source would, and compares the table and the statuses
    /// with those of a full translation.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        self.publish();
        let is_missing = |key: &&ObjectKey| self.all.get(key).is_none();
        let missing: Vec<_> = self.index.demand().iter().filter(is_missing).cloned().collect();
        self.index.apply(missing.into_iter().map(Change::Delete));
        self.publish();
        self.index.update_statuses(&mut self.statuses);
        let Some(Publication { table, certificates, live }) = &self.last else {
            return Err(TestCaseError::fail("nothing was published"));
        };
        let want = full(&self.all, &self.settings, Some(&self.bindings), &Pools::default());
        prop_assert_eq!(text::table(table), text::table(&want.table));
        prop_assert_eq!(text::certificates(certificates), text::certificates(&want.certificates));
        prop_assert_eq!(fingerprints(certificates), fingerprints(&want.certificates));
        prop_assert_eq!(&self.statuses, &want.statuses);
        prop_assert_eq!(live, &self.settings.with_settings_map(self.index.snapshot()).0);
        Ok(())
    }

    /// Holds what is known of addresses, and what is read on demand, against what another index knows, which has seen
    /// nothing else.
    fn compare_beside_table(&self) -> Result<(), TestCaseError> {
        let mut fresh = Index::new(self.settings.clone());
        fresh.apply(self.all.objects().map(Change::Apply));
        fresh.survey();
        prop_assert_eq!(self.index.demand(), fresh.demand());
        let (known, want) = (self.index.cluster_addresses(), fresh.cluster_addresses());
        prop_assert_eq!(known.owners(), want.owners());
        prop_assert_eq!(known.grants(), want.grants());
        prop_assert_eq!(self.index.gateway_addresses(), fresh.gateway_addresses());
        Ok(())
    }
}

fn settings(default_certificate: bool, watch_ingress_without_class: bool) -> Settings {
    let secret = || ObjectKey::new(Kind::Secret, "a", "x");
    Settings {
        default_certificate: default_certificate.then(secret),
        watch_ingress_without_class,
        strict_annotations: default_certificate,
        // Room for two of the few regular expressions that there are.
        pattern_budget: 150 << 10,
        settings_map: Some(ObjectKey::new(Kind::ConfigMap, "a", "x")),
        tcp_services: Some(ObjectKey::new(Kind::ConfigMap, "a", "y")),
        udp_services: Some(ObjectKey::new(Kind::ConfigMap, "b", "x")),
        dedicated: DedicatedPorts::Of("20000-20002".parse().unwrap()),
        ..Settings::default()
    }
}

fn class() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "c" },
        "spec": { "controllerName": "portcullis.dev/gateway-controller" },
    })
}
