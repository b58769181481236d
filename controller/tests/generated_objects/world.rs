//! Objects as they are written and as they are read, and what is made of them.

use std::collections::BTreeMap;

use portcullis_controller::{
    Bindings, Index, Problem, Settings,
    ir::{Object, ObjectKey},
    objects::{self, Decoded},
    snapshot::{Change, Snapshot},
    status::Statuses,
    translate::{Address, DedicatedPorts, Pools, Translation, full},
};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::Value;

use crate::{
    backdrop::BACKDROP,
    cases::{Case, Drawn},
    schema::SCHEMAS,
};

/// From where objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From a folder, as they are written.
    Folder,
    /// From an API server, which has filled in their defaults.
    ApiServer,
}

/// The objects that are left after all of a case have been written over the backdrop.
pub(crate) struct World {
    /// Each with its defaults.
    pub(crate) documents: BTreeMap<ObjectKey, Value>,
    pub(crate) problems: BTreeMap<ObjectKey, Vec<Problem>>,
    pub(crate) objects: BTreeMap<ObjectKey, Object>,
    /// The same, written over since.
    overwritten: Vec<Object>,
}

impl World {
    pub(crate) fn of(case: &Case, source: Source) -> Self {
        let mut world = Self {
            documents: BTreeMap::new(),
            problems: BTreeMap::new(),
            objects: BTreeMap::new(),
            overwritten: Vec::new(),
        };
        let of_backdrop = BACKDROP.iter().map(|document| (document.clone(), with_defaults(document)));
        let of_case = case.objects.iter();
        let of_case =
            of_case.map(|drawn| (drawn.document.clone(), drawn.schema.root.defaulted(&drawn.document)));
        for (written, defaulted) in of_backdrop.chain(of_case) {
            let decoded = match source {
                Source::Folder => objects::decode(written, None),
                Source::ApiServer => objects::decode_live(defaulted.clone()),
            };
            world.put(defaulted, decoded);
        }
        world
    }

    fn put(&mut self, document: Value, decoded: Decoded) {
        let key = decoded.key.unwrap_or_else(|| panic!("{:?}", decoded.problems));
        self.documents.insert(key.clone(), document);
        self.problems.insert(key.clone(), decoded.problems);
        let before = match decoded.object.or(decoded.refused) {
            Some(object) => self.objects.insert(key, object),
            None => self.objects.remove(&key),
        };
        self.overwritten.extend(before);
    }

    pub(crate) fn full(&self, bindings: Option<&Bindings>) -> Translation {
        let mut snapshot = Snapshot::default();
        self.objects.values().for_each(|object| snapshot.apply(Change::Apply(object.clone())));
        full(&snapshot, &settings(), bindings, &Pools::default())
    }

    /// The statuses after events in an order that follows from `order`, published every few events.
    pub(crate) fn incremental(&self, order: u64) -> Statuses {
        let mut random = StdRng::seed_from_u64(order);
        let (mut before, mut last) =
            (self.overwritten.clone(), self.objects.values().cloned().collect::<Vec<_>>());
        before.shuffle(&mut random);
        last.shuffle(&mut random);
        let gone = before.iter().map(|object| object.meta().key.clone());
        let gone: Vec<_> = gone.filter(|key| !self.objects.contains_key(key)).collect();
        let changes: Vec<_> = before.into_iter().chain(last).map(Change::Apply).collect();
        let mut index = Index::new(settings());
        index.complete();
        let mut statuses = Statuses::default();
        for some in changes.chunks(4) {
            index.apply(some.iter().cloned());
            drop(index.publish());
            index.update_statuses(&mut statuses);
        }
        index.apply(gone.into_iter().map(Change::Delete));
        drop(index.publish());
        // Objects that are fetched on demand, and are not there.
        let is_missing = |key: &&ObjectKey| !self.objects.contains_key(key);
        let missing: Vec<_> = index.demand().iter().filter(is_missing).cloned().collect();
        index.apply(missing.into_iter().map(Change::Delete));
        drop(index.publish());
        index.update_statuses(&mut statuses);
        statuses
    }
}

/// A document of the backdrop with the defaults of its schema.
fn with_defaults(document: &Value) -> Value {
    let schema = SCHEMAS.iter().find(|schema| document["kind"] == schema.kind.as_str());
    schema.map_or_else(|| document.clone(), |schema| schema.root.defaulted(document))
}

pub(crate) fn settings() -> Settings {
    Settings {
        addresses: vec![Address::Ip([192, 0, 2, 1].into())],
        dedicated: DedicatedPorts::Of("20000-20009".parse().unwrap()),
        ..Settings::default()
    }
}

impl Drawn {
    /// Reads it alone.
    pub(crate) fn read(&self) -> Decoded {
        objects::decode(self.document.clone(), None)
    }

    /// Why an API server refuses it whose CRDs are of the channel that permits the most.
    pub(crate) fn faults(&self) -> Vec<String> {
        let of_kind = SCHEMAS.iter().filter(|schema| schema.kind == self.schema.kind);
        let faults = of_kind.map(|schema| schema.root.faults(&schema.root.defaulted(&self.document)));
        faults.min_by_key(Vec::len).unwrap_or_default()
    }
}
