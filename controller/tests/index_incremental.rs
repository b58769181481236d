//! The index makes of any events in any order what a full translation makes of the objects that they leave.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

#[path = "golden/text.rs"]
mod text;

mod index_support;

use std::sync::Arc;

use index_support::{Bits, UIDS, edited, fingerprints, key, object};
use portcullis_controller::{
    Bindings, Index, Publication, Settings,
    ir::{Kind, Object, ObjectKey},
    snapshot::{Change, Snapshot},
    status::Statuses,
    translate::{Allocation, DedicatedPorts, Pools, full},
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Apply(u64),
    Delete(u64),
    /// One object alone is another, between two publications.
    Edit(u64),
    Bind(u8),
    Hinder(u8),
    Allocate(u64),
    Publish,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => any::<u64>().prop_map(Event::Apply),
        3 => any::<u64>().prop_map(Event::Delete),
        3 => any::<u64>().prop_map(Event::Edit),
        1 => any::<u8>().prop_map(Event::Bind),
        1 => any::<u8>().prop_map(Event::Hinder),
        2 => any::<u64>().prop_map(Event::Allocate),
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
        // A class from the start: without one there is little to be at odds about.
        running.index.apply([class()]);
        for event in events {
            match event {
                Event::Apply(bits) => running.index.apply([Change::Apply(object(&mut Bits::new(bits)))]),
                Event::Delete(bits) => running.index.apply([Change::Delete(key(&mut Bits::new(bits)))]),
                Event::Edit(bits) => running.edit(bits)?,
                Event::Bind(bits) => running.bind(bits),
                Event::Hinder(bits) => running.hinder(bits),
                Event::Allocate(bits) => running.allocate(bits),
                Event::Publish => running.compare()?,
            }
        }
        running.compare()?;
        running.compare_addresses()?;
    }

    #[test]
    fn the_order_of_events_does_not_matter(seeds in prop::collection::vec(any::<u64>(), 1..80), turn: usize) {
        let settings = settings(true, false);
        let mut snapshot = Snapshot::default();
        snapshot.apply(class());
        let objects: Vec<_> = seeds.iter().map(|seed| object(&mut Bits::new(*seed))).collect();
        objects.iter().for_each(|object| snapshot.apply(Change::Apply(object.clone())));
        // What is left of them, turned round somewhere and published in small steps.
        let mut left: Vec<_> = snapshot.objects().map(Change::Apply).collect();
        let turn = turn % left.len();
        left.rotate_left(turn);
        let mut running = Running::new(settings);
        for chunk in left.chunks(7) {
            running.index.apply(chunk.iter().cloned());
            running.compare()?;
        }
        prop_assert_eq!(running.index.snapshot().routes.len(), snapshot.routes.len());
        running.compare_addresses()?;
    }
}

struct Running {
    settings: Settings,
    index: Index,
    bindings: Bindings,
    statuses: Statuses,
    last: Option<Publication>,
}

impl Running {
    fn new(settings: Settings) -> Self {
        let mut index = Index::new(settings.clone());
        index.complete();
        Self { settings, index, bindings: Bindings::new(), statuses: Statuses::default(), last: None }
    }

    /// A route, an Ingress or a Service, since of these an edit need not concern all that they are read for.
    fn edit(&mut self, bits: u64) -> Result<(), TestCaseError> {
        self.compare()?;
        let Snapshot { routes, ingresses, services, .. } = self.index.snapshot();
        let mut objects: Vec<_> = ingresses.values().cloned().map(Object::Ingress).collect();
        objects.extend(routes.values().cloned().map(Object::Route));
        objects.extend(services.values().cloned().map(Object::Service));
        let mut bits = Bits::new(bits);
        if let Some(count) = u64::try_from(objects.len()).ok().filter(|count| *count > 0) {
            let object = &objects[bits.below(count)];
            self.index.apply([Change::Apply(edited(object, &mut bits))]);
        }
        self.compare()
    }

    fn bind(&mut self, bits: u8) {
        let port = [80, 443, 8080, 8443, 20_000, 20_001, 20_002, 81][usize::from(bits & 7)];
        let bound = if bits & 8 == 0 { Ok(()) } else { Err("in use".to_owned()) };
        self.bindings.insert(port, bound);
        self.index.bind(&self.bindings);
    }

    fn hinder(&mut self, bits: u8) {
        let gateway = ObjectKey::new(Kind::Gateway, "a", ["x", "y", "z"][usize::from(bits % 3)]);
        match bits & 4 {
            0 => drop(self.settings.hindrances.remove(&gateway)),
            _ => drop(self.settings.hindrances.insert(gateway, "the quota is exceeded".into())),
        }
        self.index.hinder(self.settings.hindrances.clone());
    }

    /// Another record of ports, some of them out of the range.
    fn allocate(&mut self, bits: u64) {
        let (mut bits, mut allocation) = (Bits::new(bits), Allocation::default());
        for _ in 0..bits.below(5) {
            let (port, ours) = (bits.of(&[80, 443, 8080]), bits.of(&[20_000, 20_001, 20_002, 9_999]));
            allocation.insert(bits.of(&UIDS), port, ours);
        }
        self.settings.allocation = Arc::new(allocation);
        self.index.allocate(Arc::clone(&self.settings.allocation));
    }

    /// Publishes, and holds what is served and said since then against a full translation.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        if let Some(publication) = self.index.publish() {
            self.last = Some(publication);
        }
        self.index.tell(&mut self.statuses);
        let Some(Publication { table, certificates }) = &self.last else {
            return Err(TestCaseError::fail("nothing was published"));
        };
        let want = full(self.index.snapshot(), &self.settings, Some(&self.bindings), &Pools::default());
        prop_assert_eq!(text::table(table), text::table(&want.table));
        prop_assert_eq!(text::certificates(certificates), text::certificates(&want.certificates));
        prop_assert_eq!(fingerprints(certificates), fingerprints(&want.certificates));
        prop_assert_eq!(&self.statuses, &want.statuses);
        Ok(())
    }

    /// Holds what is known of addresses against what another index knows, which has seen nothing else.
    fn compare_addresses(&self) -> Result<(), TestCaseError> {
        let mut fresh = Index::new(self.settings.clone());
        fresh.apply(self.index.snapshot().objects().map(Change::Apply));
        fresh.complete();
        fresh.publish();
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
        dedicated: DedicatedPorts::Of("20000-20002".parse().unwrap()),
        ..Settings::default()
    }
}

fn class() -> Change {
    let manifest = serde_json::json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "c" },
        "spec": { "controllerName": "portcullis.dev/gateway-controller" },
    });
    Change::Apply(portcullis_controller::objects::decode(manifest, None).object.unwrap())
}
