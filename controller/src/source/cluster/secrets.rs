//! Secrets: those that somebody refers to, and of those what is used.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::Client;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::{info, warn};

use super::{
    Refusal,
    kinds::reduce,
    reading::{self, Failure},
    trouble::pause,
};
use crate::{
    Problem,
    ir::{Kind, Object, ObjectKey},
    objects,
    snapshot::Change,
};

/// Secrets that are read one by one at the same time.
const AT_ONCE: usize = 8;

/// What watches say of Secrets.
#[derive(Debug)]
pub(super) enum Noticed {
    /// It is there, with its data.
    Read(Box<Object>),
    /// It is there, in a version that was not read yet.
    Changed(ObjectKey),
    Gone(ObjectKey),
}

/// What became of reading one.
pub(super) enum Got {
    Found(Object),
    Refused(Vec<Problem>),
    /// We may not read it, which says nothing of what it is.
    Forbidden(Problem),
    Missing,
}

/// Those that somebody refers to.
pub(super) struct Secrets {
    client: Client,
    /// Whether a namespace is among those that are watched.
    namespaces: BTreeSet<String>,
    /// What each object refers to.
    references: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// How often each is referred to.
    wanted: BTreeMap<ObjectKey, usize>,
    /// Those whose data was handed on.
    told: BTreeSet<ObjectKey>,
    /// Those that are being read, and whether they changed meanwhile.
    reading: HashMap<ObjectKey, bool>,
    reads: JoinSet<(ObjectKey, Got)>,
    turns: Arc<Semaphore>,
}

impl Secrets {
    /// `always` is wanted whether somebody refers to it or not.
    pub(super) fn new(client: Client, namespaces: &[String], always: Option<&ObjectKey>) -> Self {
        Self {
            client,
            namespaces: namespaces.iter().cloned().collect(),
            references: HashMap::new(),
            wanted: always.map(|key| (key.clone(), 1)).into_iter().collect(),
            told: BTreeSet::new(),
            reading: HashMap::new(),
            reads: JoinSet::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Those that are wanted already; more are read as they are wanted.
    pub(super) fn begin(&mut self) {
        for key in self.wanted.keys().cloned().collect::<Vec<_>>() {
            self.read(key);
        }
    }

    /// Whether nothing that is wanted is being read.
    pub(super) fn is_settled(&self) -> bool {
        self.reading.is_empty()
    }

    /// Takes up to which Secrets an object refers; returns those that nobody refers to any more.
    pub(super) fn refer(&mut self, change: &Change, begun: bool) -> Vec<Change> {
        let (key, now) = match change {
            Change::Apply(object) => (&object.meta().key, references(object)),
            Change::Delete(key) => (key, BTreeSet::new()),
        };
        if !matches!(key.kind, Kind::Gateway | Kind::Ingress) {
            return Vec::new();
        }
        let before = match now.is_empty() {
            true => self.references.remove(key),
            false => self.references.insert(key.clone(), now.clone()),
        };
        for secret in &now {
            let count = self.wanted.entry(secret.clone()).or_default();
            *count += 1;
            if *count == 1 && begun {
                self.read(secret.clone());
            }
        }
        before.unwrap_or_default().into_iter().filter_map(|secret| self.release(&secret)).collect()
    }

    fn release(&mut self, secret: &ObjectKey) -> Option<Change> {
        let count = self.wanted.get_mut(secret)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.wanted.remove(secret);
        self.told.remove(secret).then(|| Change::Delete(secret.clone()))
    }

    /// Takes up what a watch says; returns what has to be handed on at once.
    pub(super) fn notice(&mut self, noticed: Noticed) -> Option<Change> {
        match noticed {
            Noticed::Read(object) => {
                let key = object.meta().key.clone();
                if !self.wanted.contains_key(&key) {
                    return None;
                }
                // What is being read may be older.
                self.reading.entry(key.clone()).and_modify(|again| *again = true);
                self.told.insert(key);
                Some(Change::Apply(*object))
            }
            Noticed::Changed(key) => {
                if self.wanted.contains_key(&key) {
                    self.read(key);
                }
                None
            }
            Noticed::Gone(key) => {
                // Or it is there again with another type: the watches of the two types tell of that in any order.
                if self.wanted.contains_key(&key) {
                    self.read(key);
                }
                None
            }
        }
    }

    fn read(&mut self, key: ObjectKey) {
        if !self.namespaces.is_empty() && !self.namespaces.contains(&*key.namespace) {
            return;
        }
        if let Some(again) = self.reading.get_mut(&key) {
            *again = true;
            return;
        }
        self.reading.insert(key.clone(), false);
        let (client, turns) = (self.client.clone(), Arc::clone(&self.turns));
        self.reads.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let got = read(&client, &key).await;
            (key, got)
        });
    }

    /// Waits for one that is being read; for ever where none is. Cancel safe.
    pub(super) async fn next(&mut self) -> (ObjectKey, Got) {
        loop {
            match self.reads.join_next().await {
                Some(Ok(done)) => return done,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes up one that was read; returns what has to be handed on.
    pub(super) fn done(&mut self, key: &ObjectKey, got: Got) -> Option<Result<Change, Refusal>> {
        let again = self.reading.remove(key).unwrap_or_default();
        if !self.wanted.contains_key(key) {
            return None;
        }
        if again {
            self.read(key.clone());
            return None;
        }
        match got {
            Got::Found(object) => {
                self.told.insert(key.clone());
                Some(Ok(Change::Apply(object)))
            }
            Got::Missing => self.told.remove(key).then(|| Ok(Change::Delete(key.clone()))),
            Got::Refused(problems) => {
                let change = self.told.remove(key).then(|| Change::Delete(key.clone()));
                Some(Err(Refusal { key: key.clone(), problems, change }))
            }
            Got::Forbidden(problem) => {
                Some(Err(Refusal { key: key.clone(), problems: vec![problem], change: None }))
            }
        }
    }
}

/// The Secrets that an object names. Whether it may is decided in translation.
fn references(object: &Object) -> BTreeSet<ObjectKey> {
    let secret = |namespace: &str, name: &str| ObjectKey::new(Kind::Secret, namespace, name);
    match object {
        Object::Gateway(gateway) => {
            let tls = gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref());
            let named = tls.flat_map(|tls| &tls.certificates);
            let secrets = named.filter(|to| to.group.is_empty() && &*to.kind == "Secret");
            let namespace = |to: Option<&str>| to.unwrap_or(gateway.meta.namespace()).to_owned();
            secrets.map(|to| secret(&namespace(to.namespace.as_deref()), &to.name)).collect()
        }
        Object::Ingress(ingress) => {
            let named = ingress.tls.iter().filter_map(|tls| tls.secret.as_deref());
            named.map(|name| secret(ingress.meta.namespace(), name)).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Reads one Secret, for as long as it takes.
async fn read(client: &Client, key: &ObjectKey) -> Got {
    let path = format!("/api/v1/namespaces/{}/secrets/{}", key.namespace, key.name);
    let mut failures = 0_u32;
    loop {
        let why = match reading::one(client, &path).await {
            Ok(found) => {
                if failures > 0 {
                    info!(object = %key, "can be read again");
                }
                return found.map_or(Got::Missing, decode);
            }
            Err(Failure::Forbidden(why)) => {
                let problem = Problem::error(key, "", format!("may not be read: {why}"));
                return Got::Forbidden(problem);
            }
            Err(Failure::Failing(why) | Failure::Unreachable(why)) => why,
            Err(other) => format!("{other:?}"),
        };
        failures += 1;
        if failures == 1 {
            warn!(object = %key, why, "cannot be read; trying again");
        }
        tokio::time::sleep(pause(failures)).await;
    }
}

fn decode(mut object: Value) -> Got {
    reduce(Kind::Secret, &mut object);
    let decoded = objects::decode_live(object);
    match decoded.object {
        Some(object) => Got::Found(object),
        None => Got::Refused(decoded.problems),
    }
}
