//! Objects, their versions, and what happened to them.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{apply, faults::Faults};

/// `(plural, namespace, name)`.
pub(super) type Key = (String, String, String);

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) plural: String,
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

pub(super) struct Store {
    state: Mutex<State>,
    /// What watches wait for.
    pub(super) news: watch::Sender<News>,
    pub(super) faults: Faults,
    pub(super) streams: AtomicBool,
    pub(super) down: AtomicBool,
    /// How often the open watches of a kind were made silent.
    stalled: Mutex<BTreeMap<String, u64>>,
    admission: Mutex<Option<Admission>>,
}

/// What an object (of a plural) that is to be stored is refused with: code and message.
pub(super) type Admission = Box<dyn Fn(&str, &Value) -> Option<(u16, String)> + Send>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) version: u64,
    /// How often open watches were ended in good order, and cut.
    pub(super) ended: u64,
    pub(super) cut: u64,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    /// What each manager of fields said last of an object.
    owners: BTreeMap<Key, BTreeMap<String, Value>>,
    events: Vec<Event>,
    /// Events up to here are forgotten.
    compacted: u64,
    absent: std::collections::BTreeSet<String>,
}

/// What became of a write.
pub(super) enum Written {
    Done(Value),
    Conflict(String),
    Exists,
    Missing,
    Refused(u16, String),
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State { version: 1, ..State::default() }),
            news: watch::Sender::new(News { version: 1, ..News::default() }),
            faults: Faults::default(),
            streams: AtomicBool::new(true),
            down: AtomicBool::new(false),
            stalled: Mutex::default(),
            admission: Mutex::default(),
        }
    }

    pub(super) fn admit(&self, admission: Admission) {
        *self.admission.lock().unwrap() = Some(admission);
    }

    fn refusal(&self, plural: &str, object: &Value) -> Option<Written> {
        let (code, why) = self.admission.lock().unwrap().as_ref()?(plural, object)?;
        Some(Written::Refused(code, why))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let result = act(&mut state);
        let version = state.version;
        self.news.send_if_modified(|news| std::mem::replace(&mut news.version, version) != version);
        result
    }

    /// Makes or replaces an object, whatever its version.
    pub(super) fn put(&self, manager: &str, plural: &str, object: Value) -> Value {
        self.with(|state| {
            state.own(&key_of(plural, &object), manager, &object);
            state.put(plural, object, false)
        })
    }

    pub(super) fn set_status(&self, plural: &str, namespace: &str, name: &str, status: Value) {
        self.with(|state| {
            let mut object = state.objects[&key(plural, namespace, name)].clone();
            object["status"] = status;
            state.store(plural, object, "MODIFIED");
        });
    }

    pub(super) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.with(|state| state.objects.get(&key(plural, namespace, name)).cloned())
    }

    pub(super) fn delete(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.with(|state| {
            let key = key(plural, namespace, name);
            state.owners.remove(&key);
            let object = state.objects.remove(&key)?;
            Some(state.tell(plural, object, "DELETED"))
        })
    }

    pub(super) fn tell(&self, kind: &'static str, plural: &str, object: Value) {
        self.with(|state| {
            state.version += 1;
            state.events.push(Event { version: state.version, plural: plural.to_owned(), kind, object });
        });
    }

    pub(super) fn create(&self, manager: &str, plural: &str, object: Value) -> Written {
        if let Some(refused) = self.refusal(plural, &object) {
            return refused;
        }
        self.with(|state| {
            let key = key_of(plural, &object);
            if state.objects.contains_key(&key) {
                return Written::Exists;
            }
            state.own(&key, manager, &object);
            Written::Done(state.put(plural, object, false))
        })
    }

    /// With the version that it names; the status alone, or all but the status.
    pub(super) fn replace(&self, manager: &str, plural: &str, object: Value, status: bool) -> Written {
        self.with(|state| {
            let key = key_of(plural, &object);
            let Some(live) = state.objects.get(&key) else { return Written::Missing };
            let named = &object["metadata"]["resourceVersion"];
            if named.is_string() && *named != live["metadata"]["resourceVersion"] {
                return Written::Conflict("the object has been modified".to_owned());
            }
            if !status {
                state.own(&key, manager, &object);
            }
            Written::Done(state.put(plural, object, status))
        })
    }

    /// A merge patch of the status, or of all but the status; one that names a version is carried out on that one alone.
    pub(super) fn merge(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
        status: bool,
    ) -> Written {
        self.with(|state| {
            let Some(live) = state.objects.get(&key(plural, namespace, name)) else {
                return Written::Missing;
            };
            let named = &patch["metadata"]["resourceVersion"];
            if named.is_string() && *named != live["metadata"]["resourceVersion"] {
                return Written::Conflict("the object has been modified".to_owned());
            }
            let mut merged = live.clone();
            merge(&mut merged, patch);
            self.refusal(plural, &merged).unwrap_or_else(|| Written::Done(state.put(plural, merged, status)))
        })
    }

    /// Server-side apply.
    pub(super) fn patch(&self, manager: &str, force: bool, plural: &str, object: Value) -> Written {
        self.with(|state| {
            let key = key_of(plural, &object);
            let live = state.objects.get(&key).cloned().unwrap_or_else(|| json!({}));
            let mut owners = state.owners.get(&key).cloned().unwrap_or_default();
            match apply::apply(&live, &mut owners, manager, force, &object) {
                Ok(merged) => self.refusal(plural, &merged).unwrap_or_else(|| {
                    state.owners.insert(key, owners);
                    Written::Done(state.put(plural, merged, false))
                }),
                Err(conflict) => Written::Conflict(conflict),
            }
        })
    }

    pub(super) fn list(&self, plural: &str, namespace: &str) -> (u64, Vec<Value>) {
        self.with(|state| {
            let is_in = |key: &Key| key.0 == plural && (namespace.is_empty() || key.1 == namespace);
            let items = state.objects.iter().filter(|(key, _)| is_in(key)).map(|(_, o)| o.clone());
            (state.version, items.collect())
        })
    }

    /// What happened after a version; `None` where that is forgotten.
    pub(super) fn since(&self, version: u64) -> Option<Vec<Event>> {
        self.with(|state| {
            let first = state.events.partition_point(|event| event.version <= version);
            (version >= state.compacted).then(|| state.events[first..].to_vec())
        })
    }

    pub(super) fn is_forgotten(&self, version: u64) -> bool {
        self.with(|state| version < state.compacted)
    }

    pub(super) fn compact(&self) {
        self.with(|state| {
            state.version += 1;
            state.compacted = state.version;
            state.events.clear();
        });
    }

    pub(super) fn end_watches(&self, cut: bool) {
        self.news.send_modify(|news| *(if cut { &mut news.cut } else { &mut news.ended }) += 1);
    }

    pub(super) fn stall_watches(&self, plural: &str) {
        *self.stalled.lock().unwrap().entry(plural.to_owned()).or_default() += 1;
    }

    pub(super) fn stalled(&self, plural: &str) -> u64 {
        self.stalled.lock().unwrap().get(plural).copied().unwrap_or_default()
    }

    pub(super) fn install(&self, resource: &str) {
        self.with(|state| state.absent.remove(resource));
    }

    pub(super) fn uninstall(&self, resource: &str) {
        self.with(|state| {
            state.absent.insert(resource.to_owned());
            // Objects go with their kind, and nobody is told.
            state.objects.retain(|(plural, ..), _| plural != resource);
        });
        self.end_watches(false);
    }

    pub(super) fn is_absent(&self, version: &str, plural: &str) -> bool {
        self.with(|state| {
            state.absent.contains(plural) || state.absent.contains(&format!("{version}/{plural}"))
        })
    }

    pub(super) fn streams(&self) -> bool {
        self.streams.load(Ordering::Acquire)
    }
}

impl State {
    fn own(&mut self, key: &Key, manager: &str, object: &Value) {
        self.owners.entry(key.clone()).or_default().insert(manager.to_owned(), object.clone());
    }

    /// A write that changes nothing is none; a new `spec` is a new generation.
    fn put(&mut self, plural: &str, object: Value, status: bool) -> Value {
        let key = key_of(plural, &object);
        let Some(live) = self.objects.get(&key).cloned() else {
            let mut object = object;
            object["metadata"]["uid"] = format!("00000000-0000-4000-8000-{:012}", self.version).into();
            object["metadata"]["generation"] = 1.into();
            if object["metadata"].get("creationTimestamp").is_none() {
                object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            return self.store(plural, object, "ADDED");
        };
        let mut next = live.clone();
        // The metadata in a write of a status is that of the object, unless the kind has a CRD.
        if !status || plural == "ingresses" {
            for part in ["annotations", "labels", "finalizers", "ownerReferences"] {
                match object["metadata"].get(part) {
                    Some(value) => next["metadata"][part] = value.clone(),
                    None => drop(next["metadata"].as_object_mut().unwrap().remove(part)),
                }
            }
        }
        if status {
            next["status"] = object["status"].clone();
        } else {
            for (name, value) in object.as_object().unwrap() {
                if !matches!(name.as_str(), "metadata" | "status") {
                    next[name] = value.clone();
                }
            }
            if next["spec"] != live["spec"] {
                next["metadata"]["generation"] =
                    (live["metadata"]["generation"].as_i64().unwrap() + 1).into();
            }
        }
        if next == live { live } else { self.store(plural, next, "MODIFIED") }
    }

    fn store(&mut self, plural: &str, object: Value, kind: &'static str) -> Value {
        let object = self.tell(plural, object, kind);
        self.objects.insert(key_of(plural, &object), object.clone());
        object
    }

    fn tell(&mut self, plural: &str, mut object: Value, kind: &'static str) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let event = Event { version: self.version, plural: plural.to_owned(), kind, object: object.clone() };
        self.events.push(event);
        object
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *into = patch.clone() };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(name)),
            value => merge(&mut into[name], value),
        }
    }
}

fn key(plural: &str, namespace: &str, name: &str) -> Key {
    (plural.to_owned(), namespace.to_owned(), name.to_owned())
}

fn key_of(plural: &str, object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    key(plural, text("namespace"), text("name"))
}
