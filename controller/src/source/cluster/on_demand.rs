//! The objects that are fetched on demand: those that translation reads, one by one, and what watches tell of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use kube::Client;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::{info, warn};

use super::{
    ClusterOptions, Refusal,
    kinds::{path, reduce, shorten},
    reading::{self, Failure},
    trouble::pause,
};
use crate::{
    Problem,
    ir::{Kind, Object, ObjectKey},
    objects,
    snapshot::Change,
};

/// Objects that are fetched at the same time.
const AT_ONCE: usize = 8;

/// What a watch tells of an object.
#[derive(Debug)]
pub(super) enum Noticed {
    /// It is there, with its data.
    Read(Box<Object>),
    /// It is there, in a version that was not read yet.
    Changed(ObjectKey),
    Gone(ObjectKey),
}

/// What became of fetching one.
pub(super) enum Fetched {
    Found(Object),
    Refused(Vec<Problem>),
    /// We may not read it, which says nothing of what it is.
    Forbidden(Problem),
    Missing,
}

/// Those that are wanted.
pub(super) struct OnDemand {
    client: Client,
    /// The namespaces that are watched; all when empty.
    namespaces: BTreeSet<String>,
    /// Wanted even if translation does not read it.
    always: Option<ObjectKey>,
    /// The ConfigMaps of settings and of services, each of which is watched by itself.
    apart: Vec<ObjectKey>,
    wanted: BTreeSet<ObjectKey>,
    /// Those whose data was handed on.
    told: BTreeSet<ObjectKey>,
    /// Those that are being fetched, and whether they changed meanwhile.
    fetching: HashMap<ObjectKey, bool>,
    fetches: JoinSet<(ObjectKey, Fetched)>,
    turns: Arc<Semaphore>,
}

impl OnDemand {
    /// The default certificate is wanted from the first call of [`OnDemand::want`] on, even if translation does not read
    /// it.
    pub(super) fn new(client: Client, options: &ClusterOptions) -> Self {
        Self {
            client,
            namespaces: options.namespaces.iter().cloned().collect(),
            always: options.default_certificate.clone(),
            apart: options.settings_map.iter().chain(&options.service_maps).cloned().collect(),
            wanted: BTreeSet::new(),
            told: BTreeSet::new(),
            fetching: HashMap::new(),
            fetches: JoinSet::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Whether nothing that is wanted is being fetched.
    pub(super) fn is_settled(&self) -> bool {
        !self.fetching.keys().any(|key| self.wanted.contains(key))
    }

    /// Whether an object of a kind is wanted.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        // Keys are in the order of their kinds.
        self.wanted.range(ObjectKey::new(kind, "", "")..).next().is_some_and(|key| key.kind == kind)
    }

    /// Takes up what translation reads; returns what was wanted until now.
    pub(super) fn want(&mut self, read: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        let is_other = |key: &&ObjectKey| !self.apart.contains(key);
        let now = read.iter().chain(&self.always).filter(is_other).cloned().collect();
        let before = std::mem::replace(&mut self.wanted, now);
        let new: Vec<_> = self.wanted.difference(&before).cloned().collect();
        new.into_iter().for_each(|key| self.fetch(key));
        let released: Vec<_> = before.difference(&self.wanted).cloned().collect();
        self.told.retain(|key| self.wanted.contains(key));
        released
    }

    /// Takes up what a watch tells; returns what has to be handed on at once.
    pub(super) fn notice(&mut self, noticed: Noticed) -> Option<Change> {
        match noticed {
            Noticed::Read(object) => {
                let key = object.meta().key.clone();
                if !self.wanted.contains(&key) {
                    return None;
                }
                // What is being fetched may be older.
                self.fetching.entry(key.clone()).and_modify(|again| *again = true);
                self.told.insert(key);
                Some(Change::Apply(*object))
            }
            // One that is gone from one watch may be there again with another type: the watches tell of that in any
            // order.
            Noticed::Changed(key) | Noticed::Gone(key) => {
                if self.wanted.contains(&key) {
                    self.fetch(key);
                }
                None
            }
        }
    }

    fn fetch(&mut self, key: ObjectKey) {
        if let Some(again) = self.fetching.get_mut(&key) {
            *again = true;
            return;
        }
        self.fetching.insert(key.clone(), false);
        let (client, turns) = (self.client.clone(), Arc::clone(&self.turns));
        let may_be_read = self.namespaces.is_empty() || self.namespaces.contains(&*key.namespace);
        self.fetches.spawn(async move {
            if !may_be_read {
                return (key, Fetched::Missing);
            }
            let _turn = turns.acquire_owned().await;
            let fetched = fetch(&client, &key).await;
            (key, fetched)
        });
    }

    /// Waits for one that is being fetched; for ever where none is. Cancel safe.
    pub(super) async fn next(&mut self) -> (ObjectKey, Fetched) {
        loop {
            match self.fetches.join_next().await {
                Some(Ok(done)) => return done,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes up one that was fetched; returns what has to be handed on.
    pub(super) fn done(&mut self, key: &ObjectKey, fetched: Fetched) -> Option<Result<Change, Refusal>> {
        let again = self.fetching.remove(key).unwrap_or_default();
        if !self.wanted.contains(key) {
            return None;
        }
        if again {
            self.fetch(key.clone());
            return None;
        }
        let refusal = |problems, change| Some(Err(Refusal { key: key.clone(), problems, change }));
        match fetched {
            Fetched::Found(object) => {
                self.told.insert(key.clone());
                Some(Ok(Change::Apply(object)))
            }
            Fetched::Missing => {
                self.told.remove(key);
                Some(Ok(Change::Delete(key.clone())))
            }
            Fetched::Refused(problems) => {
                self.told.remove(key);
                refusal(problems, Some(Change::Delete(key.clone())))
            }
            Fetched::Forbidden(problem) => {
                let is_told = self.told.contains(key);
                refusal(vec![problem], (!is_told).then(|| Change::Delete(key.clone())))
            }
        }
    }
}

/// Fetches one object, for as long as it takes.
async fn fetch(client: &Client, key: &ObjectKey) -> Fetched {
    let path = path(key);
    let mut failures = 0_u32;
    loop {
        let why = match reading::one(client, &path).await {
            Ok(found) => {
                if failures > 0 {
                    info!(object = %key, "can be read again");
                }
                return found.map_or(Fetched::Missing, |object| decode(key.kind, object));
            }
            Err(Failure::Forbidden(why)) => {
                let problem = Problem::error(key, "", format!("no permission to read: {why}"));
                return Fetched::Forbidden(problem);
            }
            Err(Failure::Failing(why) | Failure::Unreachable(why)) => why,
            Err(other) => format!("{other:?}"),
        };
        failures += 1;
        if failures == 1 {
            warn!(object = %key, why, "cannot be read; retrying");
        }
        tokio::time::sleep(pause(failures)).await;
    }
}

fn decode(kind: Kind, mut object: Value) -> Fetched {
    reduce(kind, &mut object);
    if kind == Kind::ConfigMap {
        shorten(&mut object);
    }
    let decoded = objects::decode_live(object);
    match decoded.object {
        Some(object) => Fetched::Found(object),
        None => Fetched::Refused(decoded.problems),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::live_settings::headers;

    #[test]
    fn a_header_that_is_too_long_is_reported_and_removed_wherever_its_config_map_is_read() {
        let metadata = json!({ "namespace": "edge", "name": "headers", "uid": "u", "resourceVersion": "1" });
        let data = json!({ "X-Long": "a".repeat(8193), "X-Most": "a".repeat(8192) });
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
        let of_folder = objects::decode_live(map.clone()).object.expect("it is valid");
        let Fetched::Found(of_cluster) = decode(Kind::ConfigMap, map) else { panic!("it is valid") };
        for object in [of_folder, of_cluster] {
            let Object::ConfigMap(map) = object else { panic!("not a ConfigMap") };
            let (read, problems) = headers::read(&map);
            let lengths: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.len())).collect();
            assert_eq!(lengths, [("x-long", 0), ("x-most", 8192)]);
            let [problem] = &*problems else { panic!("{problems:?}") };
            assert_eq!(
                problem.to_string(),
                "ConfigMap edge/headers: data.X-Long: the value is longer than 8192 bytes; messages are sent without this \
                 header"
            );
        }
    }
}
