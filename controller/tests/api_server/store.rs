//! Objects, their versions, and what happened to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use serde_json::{Value, json};
use tokio::sync::watch;

/// A request and how it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    pub status: u16,
}

/// Requests whose method and path hold these texts are answered so, `times` times.
#[derive(Clone, Debug)]
pub struct Fault {
    pub method: &'static str,
    pub path: &'static str,
    pub times: usize,
    pub answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// No answer at all.
    Stall,
}

/// `(plural, namespace, name)`.
type Key = (String, String, String);

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) plural: String,
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

pub(super) struct Store {
    state: Mutex<State>,
    /// The latest version, and how often watches were ended.
    pub(super) news: watch::Sender<(u64, u64)>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    events: Vec<Event>,
    /// Events up to here are forgotten.
    compacted: u64,
    absent: BTreeSet<String>,
    faults: Vec<Fault>,
    requests: Vec<Request>,
    streams: bool,
}

/// What became of a write.
pub(super) enum Written {
    Done(Value),
    Conflict,
    Exists,
    Missing,
}

impl Store {
    pub(super) fn new(absent: &[&str]) -> Self {
        let absent = absent.iter().map(|plural| (*plural).to_owned()).collect();
        let state = State { version: 1, streams: true, absent, ..State::default() };
        Self { state: Mutex::new(state), news: watch::Sender::new((1, 0)) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let result = act(&mut state);
        let version = state.version;
        self.news.send_if_modified(|(known, _)| std::mem::replace(known, version) != version);
        result
    }

    pub(super) fn apply(&self, plural: &str, object: Value) -> Value {
        self.with(|state| state.put(plural, object, false))
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

    pub(super) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        self.with(|state| {
            let object = state.objects.remove(&key(plural, namespace, name)).expect("it exists");
            state.tell(plural, object, "DELETED");
        });
    }

    pub(super) fn create(&self, plural: &str, object: Value) -> Written {
        self.with(|state| match state.objects.contains_key(&key_of(plural, &object)) {
            true => Written::Exists,
            false => Written::Done(state.put(plural, object, false)),
        })
    }

    /// With the version that it names; the status alone, or all but the status.
    pub(super) fn replace(&self, plural: &str, object: Value, status: bool) -> Written {
        self.with(|state| {
            let Some(live) = state.objects.get(&key_of(plural, &object)) else { return Written::Missing };
            let named = &object["metadata"]["resourceVersion"];
            if named.is_string() && *named != live["metadata"]["resourceVersion"] {
                return Written::Conflict;
            }
            Written::Done(state.put(plural, object, status))
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
            let later = state.events.iter().filter(|event| event.version > version).cloned();
            (version >= state.compacted).then(|| later.collect())
        })
    }

    pub(super) fn compact(&self) {
        self.with(|state| {
            state.version += 1;
            state.compacted = state.version;
            state.events.clear();
        });
        self.news.send_modify(|(_, ended)| *ended += 1);
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.with(|state| state.requests.clone())
    }

    pub(super) fn note(&self, request: Request) {
        self.with(|state| state.requests.push(request));
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.with(|state| state.faults.push(fault));
    }

    pub(super) fn heal(&self) {
        self.with(|state| state.faults.clear());
    }

    pub(super) fn fault_of(&self, method: &str, path: &str) -> Option<Answer> {
        self.with(|state| {
            let fits = |fault: &&mut Fault| {
                fault.times > 0 && method.contains(fault.method) && path.contains(fault.path)
            };
            let fault = state.faults.iter_mut().find(fits)?;
            fault.times -= 1;
            Some(fault.answer)
        })
    }

    pub(super) fn install(&self, plural: &str) {
        self.with(|state| state.absent.remove(plural));
    }

    pub(super) fn is_absent(&self, plural: &str) -> bool {
        self.with(|state| state.absent.contains(plural))
    }

    pub(super) fn streams_lists(&self, yes: bool) {
        self.with(|state| state.streams = yes);
    }

    pub(super) fn streams(&self) -> bool {
        self.with(|state| state.streams)
    }
}

impl State {
    /// A write that changes nothing is none; a new `spec` is a new generation.
    fn put(&mut self, plural: &str, object: Value, status: bool) -> Value {
        let key = key_of(plural, &object);
        let Some(live) = self.objects.get(&key).cloned() else {
            let mut object = object;
            object["metadata"]["uid"] = format!("uid-{}", self.version).into();
            object["metadata"]["generation"] = 1.into();
            object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
            return self.store(plural, object, "ADDED");
        };
        let mut next = live.clone();
        if status {
            next["status"] = object["status"].clone();
        } else {
            for (name, value) in object.as_object().unwrap() {
                if !matches!(name.as_str(), "metadata" | "status") {
                    next[name] = value.clone();
                }
            }
            if next["spec"] != live["spec"] {
                next["metadata"]["generation"] = (live["metadata"]["generation"].as_i64().unwrap() + 1).into();
            }
        }
        if next == live { live } else { self.store(plural, next, "MODIFIED") }
    }

    fn store(&mut self, plural: &str, mut object: Value, kind: &'static str) -> Value {
        object["metadata"]["resourceVersion"] = (self.version + 1).to_string().into();
        self.objects.insert(key_of(plural, &object), object.clone());
        self.tell(plural, object.clone(), kind);
        object
    }

    fn tell(&mut self, plural: &str, mut object: Value, kind: &'static str) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.events.push(Event { version: self.version, plural: plural.to_owned(), kind, object });
    }
}

pub(super) fn expired() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"})
}

fn key(plural: &str, namespace: &str, name: &str) -> Key {
    (plural.to_owned(), namespace.to_owned(), name.to_owned())
}

fn key_of(plural: &str, object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    key(plural, text("namespace"), text("name"))
}
