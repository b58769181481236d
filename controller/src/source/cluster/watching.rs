//! The watch of one kind, in one namespace or in all.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::watcher::{self, watcher},
};
use rand::Rng as _;
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Happening, Told,
    kinds::{Watched, reduce},
};
use crate::{
    cluster::{Live, Observation},
    ir::ObjectKey,
    objects,
    snapshot::Change,
};

/// Why nothing comes of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The API server does not know the kind.
    Absent,
    /// We may not read it.
    Forbidden(String),
    /// Anything else; it passes or it does not.
    Failing(String),
}

/// Between two tries, growing.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Between two looks for a kind that does not exist, or that we may not read.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// So many refusals in a row are believed: just after a start of the API server, or of ours, they may pass.
const BELIEVED: u32 = 3;
/// So many times a kind must be absent for its objects to be taken for deleted with it.
const REMOVED: u32 = 6;

/// A watch that goes on for ever.
pub(super) struct Watching {
    pub(super) id: usize,
    pub(super) watched: Watched,
    pub(super) namespace: Option<String>,
    pub(super) to: mpsc::Sender<Told>,
    /// Uid and version of every object that was told.
    pub(super) known: HashMap<ObjectKey, Box<str>>,
    /// What a listing has had so far.
    pub(super) listed: Option<HashSet<ObjectKey>>,
    pub(super) refusals: u32,
    pub(super) failures: u32,
    /// Whether trouble was told, and its end was not.
    pub(super) troubled: bool,
}

/// A watch that says nothing for so long, no error either, is open.
const QUIET: Duration = Duration::from_secs(10);

/// Nobody listens any more.
pub(super) struct Closed;

impl Watching {
    /// Watches until nobody listens.
    pub(super) async fn run(mut self, client: Client) {
        let resource = self.watched.resource();
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let mut streaming = true;
        loop {
            let mut config =
                watcher::Config { field_selector: self.watched.fields.map(Into::into), ..Default::default() };
            if streaming {
                config = config.streaming_lists();
            }
            match self.follow(watcher(api.clone(), config)).await {
                Err(Closed) => return,
                Ok(()) => streaming = false,
            }
        }
    }

    /// Until the API server says that it does not stream lists.
    async fn follow(
        &mut self,
        events: impl Stream<Item = watcher::Result<watcher::Event<DynamicObject>>>,
    ) -> Result<(), Closed> {
        let mut events = pin!(events);
        loop {
            let event = if self.troubled {
                let Ok(event) = timeout(QUIET, events.next()).await else {
                    // An open watch on which nothing happens says nothing.
                    self.recover().await?;
                    continue;
                };
                event
            } else {
                events.next().await
            };
            let Some(event) = event else { return Ok(()) };
            match event {
                Ok(event) => self.take(event).await?,
                Err(error) if refuses_to_stream(&error) => return Ok(()),
                Err(error) => self.fail(&error).await?,
            }
        }
    }

    async fn take(&mut self, event: watcher::Event<DynamicObject>) -> Result<(), Closed> {
        // Init says nothing of success: it comes before each try.
        if !matches!(event, watcher::Event::Init) {
            (self.failures, self.refusals) = (0, 0);
            self.recover().await?;
        }
        match event {
            watcher::Event::Init => self.listed = Some(HashSet::new()),
            watcher::Event::Apply(object) => self.apply(object).await?,
            watcher::Event::InitApply(object) => {
                let key = self.key(&object);
                self.apply(object).await?;
                self.listed.get_or_insert_default().insert(key);
            }
            watcher::Event::Delete(object) => {
                let key = self.key(&object);
                self.delete(key).await?;
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<_> = self.known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                for key in gone {
                    self.delete(key).await?;
                }
                self.tell(Happening::Synced).await?;
            }
        }
        Ok(())
    }

    async fn recover(&mut self) -> Result<(), Closed> {
        match std::mem::take(&mut self.troubled) {
            true => self.tell(Happening::Recovered).await,
            false => Ok(()),
        }
    }

    fn key(&self, object: &DynamicObject) -> ObjectKey {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        ObjectKey::new(self.watched.kind, object.metadata.namespace.as_deref().unwrap_or_default(), name)
    }

    async fn apply(&mut self, object: DynamicObject) -> Result<(), Closed> {
        let key = self.key(&object);
        let live = self.watched.has_status.then(|| live(&object));
        let mut value = serde_json::to_value(&object).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            // An item of a list does not say what it is.
            fields.insert("apiVersion".into(), objects::api_version_of(self.watched.kind).into());
            fields.insert("kind".into(), self.watched.kind.as_str().into());
        }
        reduce(self.watched.kind, &mut value);
        let decoded = objects::decode_live(value);
        if let Some(object) = decoded.object {
            let version = object.meta().version.clone();
            if self.known.get(&key) != Some(&version) {
                self.known.insert(key.clone(), version);
                self.tell(Happening::Changed(Change::Apply(object))).await?;
            }
        } else {
            // Its last good state stays; it is known, so that its deletion is told.
            self.known.insert(key.clone(), "".into());
            self.tell(Happening::Refused(key.clone(), decoded.problems)).await?;
        }
        match live {
            Some(live) => self.tell(Happening::Seen(Observation::Seen(key, live))).await,
            None => Ok(()),
        }
    }

    async fn delete(&mut self, key: ObjectKey) -> Result<(), Closed> {
        self.known.remove(&key);
        self.tell(Happening::Changed(Change::Delete(key.clone()))).await?;
        if self.watched.has_status {
            self.tell(Happening::Seen(Observation::Gone(key))).await?;
        }
        Ok(())
    }

    async fn fail(&mut self, error: &watcher::Error) -> Result<(), Closed> {
        let trouble = trouble(error);
        let pause = match &trouble {
            Trouble::Failing(_) => {
                self.failures = self.failures.saturating_add(1);
                let most = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6)).min(LONGEST_PAUSE);
                most.mul_f64(rand::rng().random_range(0.5..1.0))
            }
            Trouble::Absent | Trouble::Forbidden(_) => {
                self.refusals = self.refusals.saturating_add(1);
                // A kind that was never seen and may be missing is believed to be at once.
                let is_missing =
                    trouble == Trouble::Absent && self.watched.is_optional() && self.known.is_empty();
                if is_missing {
                    REFUSED_PAUSE
                } else if self.refusals < BELIEVED {
                    FIRST_PAUSE * 5
                } else {
                    REFUSED_PAUSE
                }
            }
        };
        if trouble == Trouble::Absent && self.refusals >= REMOVED {
            for key in self.known.keys().cloned().collect::<Vec<_>>() {
                self.delete(key).await?;
            }
        }
        let is_believed = pause == REFUSED_PAUSE || matches!(trouble, Trouble::Failing(_));
        if is_believed {
            self.troubled = true;
            self.tell(Happening::Trouble(trouble)).await?;
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn tell(&self, happening: Happening) -> Result<(), Closed> {
        self.to.send(Told { watch: self.id, happening }).await.map_err(|_| Closed)
    }
}

fn live(object: &DynamicObject) -> Live {
    let metadata = &object.metadata;
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    let status = object.data.get("status").filter(|status| !status.is_null());
    Live {
        uid: text(&metadata.uid),
        resource_version: text(&metadata.resource_version),
        generation: metadata.generation.unwrap_or_default(),
        status: status.map(Value::to_string).unwrap_or_default().into(),
    }
}

fn trouble(error: &watcher::Error) -> Trouble {
    let failing = |error: &dyn std::error::Error| Trouble::Failing(chain(error));
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            kube::Error::Api(status) if status.code == 404 => Trouble::Absent,
            kube::Error::Api(status) if status.code == 403 => Trouble::Forbidden(status.message.clone()),
            error => failing(error),
        },
        error => failing(error),
    }
}

/// An error with its causes: the outermost one alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Lists by watches are an option of the API server up to 1.33.
fn refuses_to_stream(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            status.code == 422 || status.message.contains("sendInitialEvents")
        }
        watcher::Error::WatchError(status) => status.message.contains("sendInitialEvents"),
        _ => false,
    }
}
