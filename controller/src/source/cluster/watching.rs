//! The watch of one kind, in one namespace or in all: list, watch, decode, compare.
//!
//! Failures are handled in `failures.rs`.

mod failures;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use kube::{Client, api::WatchEvent};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{
    ClusterOptions, Happening, Refusal, Told,
    definitions::{Definitions, release},
    kinds::{Reads, Watched, reduce},
    on_demand::Noticed,
    reading::{Events, Failure, Reader},
};
use crate::{
    cluster::{Live, Observation},
    ir::{Kind, ObjectKey},
    objects::{self, AnnotationsPrefix, Decoded},
    problem::Severity,
    snapshot::Change,
};

/// A watch that is silent for this long, without an error, counts as open.
const QUIET: Duration = Duration::from_secs(10);

/// A watch that goes on for ever.
pub(super) struct Watching {
    id: usize,
    watched: Watched,
    namespace: Option<String>,
    client: Client,
    lasts: Duration,
    annotations_prefix: AnnotationsPrefix,
    to: mpsc::Sender<Told>,
    definitions: watch::Receiver<Definitions>,
    /// What was read of each object.
    known: HashMap<Name, Known>,
    hasher: RandomState,
    /// Which of the kind's versions is asked for.
    version: usize,
    /// The `resourceVersion` to continue from; without one everything is listed.
    position: Option<Box<str>>,
    /// Whether lists are asked for as streams.
    streaming: bool,
    refusals: u32,
    failures: u32,
    /// How often everything was listed since a watch last continued from a list.
    lists: u32,
    /// Whether trouble was reported, and its end was not.
    troubled: bool,
}

/// Which object, among those of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    namespace: Box<str>,
    name: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Hash of uid and `resourceVersion`.
    version: u64,
    /// Hash of what an edit can change.
    content: u64,
}

/// Why it stops for now, or for good.
enum Stop {
    /// The receiver is gone.
    Closed,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Watching {
    pub(super) fn new(
        (id, watched, namespace): (usize, Watched, Option<String>),
        client: Client,
        options: &ClusterOptions,
        to: mpsc::Sender<Told>,
        definitions: watch::Receiver<Definitions>,
    ) -> Self {
        Self {
            id,
            watched,
            namespace,
            client,
            lasts: options.watch_lasts,
            annotations_prefix: options.annotations_prefix.clone(),
            to,
            definitions,
            known: HashMap::new(),
            hasher: RandomState::new(),
            version: 0,
            position: None,
            streaming: true,
            refusals: 0,
            failures: 0,
            lists: 0,
            troubled: false,
        }
    }

    pub(super) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Watches until the receiver is gone.
    pub(super) async fn run(mut self) {
        loop {
            let version = self.watched.versions()[self.version];
            let namespace = self.namespace.as_deref();
            let reader = Reader::new(self.client.clone(), &self.watched, version, namespace, self.lasts);
            let outcome = match self.position.take() {
                Some(position) => self.go_on(&reader, position).await,
                // Not after a failed watch: a streamed list is a watch, too.
                None if self.streaming && self.lists == 0 => self.list_by_watch(&reader).await,
                None => self.list_by_pages(&reader).await,
            };
            let outcome = match outcome {
                Err(Stop::Failed(failure)) => self.fail(failure).await,
                outcome => outcome,
            };
            if let Err(Stop::Closed) = outcome {
                return;
            }
        }
    }

    async fn list_by_watch(&mut self, reader: &Reader) -> Result<(), Stop> {
        let mut events = reader.watch(None).await?;
        let mut listed = HashSet::new();
        loop {
            match events.next().await? {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    listed.insert(Name::of(&object));
                    self.apply(object).await?;
                }
                Some(WatchEvent::Deleted(object)) => drop(listed.remove(&Name::of(&object))),
                Some(WatchEvent::Bookmark(mark)) => {
                    let is_end = mark.metadata.annotations.contains_key("k8s.io/initial-events-end");
                    if is_end {
                        self.position = Some(mark.metadata.resource_version.into());
                        self.finish(listed).await?;
                        events.is_listed();
                        return self.follow(events).await;
                    }
                }
                Some(WatchEvent::Error(_)) | None => {
                    return Err(Failure::Failing("the list is incomplete".to_owned()).into());
                }
            }
        }
    }

    async fn list_by_pages(&mut self, reader: &Reader) -> Result<(), Stop> {
        let mut listed = HashSet::new();
        let mut more = None;
        loop {
            let page = reader.page(more.as_deref()).await?;
            for object in page.items {
                listed.insert(Name::of(&object));
                self.apply(object).await?;
            }
            more = page.metadata.continue_.filter(|token| !token.is_empty());
            if more.is_none() {
                self.position = page.metadata.resource_version.map(Into::into);
                return self.finish(listed).await;
            }
        }
    }

    /// Deletes the objects that were not listed.
    async fn finish(&mut self, listed: HashSet<Name>) -> Result<(), Stop> {
        let gone: Vec<_> = self.known.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        for name in gone {
            self.delete(name).await?;
        }
        (self.failures, self.refusals) = (0, 0);
        if self.watched.reads == Reads::Settings && self.known.is_empty() {
            return self.settings_are_missing().await;
        }
        // After a failure all is well only once a watch continues from here.
        if self.lists == 0 {
            self.is_well().await?;
        }
        self.tell(Happening::Synced).await
    }

    async fn go_on(&mut self, reader: &Reader, position: Box<str>) -> Result<(), Stop> {
        let begun = Instant::now();
        let events = reader.watch(Some(&position)).await;
        let before = position.clone();
        self.position = Some(position);
        self.follow(events?).await?;
        if self.position.as_ref() == Some(&before) && begun.elapsed() < Duration::from_secs(1) {
            // A server that ends watches at once must not be asked in a tight loop.
            return Err(Failure::Failing("the watch ended as soon as it began".to_owned()).into());
        }
        Ok(())
    }

    /// Follows the watch to its end; `position` is always where to continue.
    async fn follow(&mut self, mut events: Events) -> Result<(), Stop> {
        loop {
            let next = if self.troubled {
                let Ok(next) = timeout(QUIET, events.next()).await else {
                    self.is_well().await?;
                    continue;
                };
                next
            } else {
                events.next().await
            };
            let Some(event) = next? else { return Ok(()) };
            self.is_well().await?;
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    if self.move_on(&object) {
                        self.apply(object).await?;
                    }
                }
                WatchEvent::Deleted(object) => {
                    if self.move_on(&object) {
                        self.delete(Name::of(&object)).await?;
                    }
                }
                WatchEvent::Bookmark(mark) => self.position = Some(mark.metadata.resource_version.into()),
                WatchEvent::Error(_) => return Ok(()),
            }
        }
    }

    /// Records the position of an event; `false` for one that is repeated or late.
    fn move_on(&mut self, object: &Value) -> bool {
        let version = text(object, "resourceVersion");
        let number = |version: &str| version.parse::<u64>().ok();
        let last = self.position.as_deref().and_then(number);
        let is_late = number(version).zip(last).is_some_and(|(now, last)| now <= last);
        if !is_late && !version.is_empty() {
            self.position = Some(version.into());
        }
        !is_late
    }

    async fn apply(&mut self, object: Value) -> Result<(), Stop> {
        let name = Name::of(&object);
        let version = self.hasher.hash_one((text(&object, "uid"), text(&object, "resourceVersion")));
        let before = self.known.get(&name).copied();
        if before.is_some_and(|known| known.version == version) {
            return Ok(());
        }
        let (content, happened) = self.read(&name, object, before.map(|known| known.content));
        let is_first = self.known.is_empty();
        self.known.insert(name, Known { version, content });
        for happening in happened {
            self.tell(happening).await?;
        }
        if is_first && self.watched.reads == Reads::Settings {
            self.tell(Happening::Recovered).await?;
            self.tell(Happening::Synced).await?;
        }
        Ok(())
    }

    /// The hash of an object's content, and what to report of it.
    fn read(&self, name: &Name, object: Value, before: Option<u64>) -> (u64, Vec<Happening>) {
        match self.watched.reads {
            Reads::Objects { kind, has_status } => self.read_object(kind, has_status, name, object, before),
            // They have no status, but events are written for them.
            Reads::Services | Reads::Settings => {
                self.read_object(Kind::ConfigMap, true, name, object, before)
            }
            Reads::OnDemand { kind, whole: true } => {
                let noticed = |happening| match happening {
                    Happening::Changed(Change::Apply(object)) => {
                        Happening::Noticed(Noticed::Read(Box::new(object)))
                    }
                    other => other,
                };
                let (content, happened) = self.decode(kind, name.key(kind), object, before);
                (content, happened.map(noticed).into_iter().collect())
            }
            Reads::OnDemand { kind, whole: false } => {
                (0, vec![Happening::Noticed(Noticed::Changed(name.key(kind)))])
            }
            Reads::Definitions => {
                let (plural, release) = (name.name.clone(), release(&object));
                (0, vec![Happening::Definition(plural, Some(release))])
            }
        }
    }

    /// The same of an object that is read as a whole. `is_seen`: whether its status or events are written.
    fn read_object(
        &self,
        kind: Kind,
        is_seen: bool,
        name: &Name,
        object: Value,
        before: Option<u64>,
    ) -> (u64, Vec<Happening>) {
        let key = name.key(kind);
        let live = is_seen.then(|| live(&object));
        let (content, happened) = self.decode(kind, key.clone(), object, before);
        let seen = live.map(|live| Happening::Seen(Observation::Seen(key, live)));
        (content, happened.into_iter().chain(seen).collect())
    }

    fn decode(
        &self,
        kind: Kind,
        key: ObjectKey,
        mut object: Value,
        before: Option<u64>,
    ) -> (u64, Option<Happening>) {
        if let Some(fields) = object.as_object_mut() {
            // Items of a list have neither kind nor apiVersion.
            fields.insert("apiVersion".into(), kind.resource().api_version.into());
            fields.insert("kind".into(), kind.as_str().into());
        }
        reduce(kind, &mut object);
        self.annotations_prefix.apply(&mut object);
        let Decoded { object, refused, problems, .. } = objects::decode_live(object);
        let object = object.or(refused);
        let content = match &object {
            Some(object) => self.hasher.hash_one(object.meta().version),
            None => self.hasher.hash_one(&problems),
        };
        if before == Some(content) {
            return (content, None);
        }
        let change = object.map_or_else(|| Change::Delete(key.clone()), Change::Apply);
        let happening = match problems.iter().any(|problem| problem.severity == Severity::Error) {
            true => Happening::Refused(Refusal { key, problems, change: Some(change) }),
            false => Happening::Changed(change),
        };
        (content, Some(happening))
    }

    async fn delete(&mut self, name: Name) -> Result<(), Stop> {
        if self.known.remove(&name).is_none() {
            return Ok(());
        }
        match self.watched.reads {
            Reads::Objects { kind, has_status } => self.tell_gone(name.key(kind), has_status).await,
            Reads::Services => self.tell_gone(name.key(Kind::ConfigMap), true).await,
            // The deleted settings stay in force: they may forbid something.
            Reads::Settings => {
                let key = name.key(Kind::ConfigMap);
                self.tell(Happening::Seen(Observation::Gone(key))).await?;
                self.settings_are_missing().await
            }
            Reads::OnDemand { kind, .. } => {
                self.tell(Happening::Noticed(Noticed::Gone(name.key(kind)))).await
            }
            Reads::Definitions => self.tell(Happening::Definition(name.name, None)).await,
        }
    }

    async fn tell_gone(&self, key: ObjectKey, was_seen: bool) -> Result<(), Stop> {
        self.tell(Happening::Changed(Change::Delete(key.clone()))).await?;
        match was_seen {
            true => self.tell(Happening::Seen(Observation::Gone(key))).await,
            false => Ok(()),
        }
    }

    async fn tell(&self, happening: Happening) -> Result<(), Stop> {
        self.to.send(Told { watch: self.id, happening }).await.map_err(|_| Stop::Closed)
    }
}

impl Name {
    fn of(object: &Value) -> Self {
        Self { namespace: text(object, "namespace").into(), name: text(object, "name").into() }
    }

    fn key(&self, kind: Kind) -> ObjectKey {
        ObjectKey::new(kind, &self.namespace, &self.name)
    }
}

/// A text of an object's metadata.
fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    object.get("metadata").and_then(|metadata| metadata.get(name)).and_then(Value::as_str).unwrap_or_default()
}

fn live(object: &Value) -> Live {
    let status = object.get("status").filter(|status| !status.is_null());
    let generation = object.get("metadata").and_then(|metadata| metadata.get("generation"));
    Live {
        uid: text(object, "uid").into(),
        resource_version: text(object, "resourceVersion").into(),
        generation: generation.and_then(Value::as_i64).unwrap_or_default(),
        status: status.map(Value::to_string).unwrap_or_default().into(),
    }
}
