//! Which objects have something else to be said of them: what whoever writes statuses waits for.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::{
    Problem,
    ir::{Kind, ObjectKey},
    problem::Topic,
    status::{Level, Message, Statuses},
    translate::ServedNamespaces,
};

/// Desired statuses, and which of them are new.
#[derive(Clone, Debug)]
pub struct StatusFeed {
    statuses: watch::Receiver<Arc<Statuses>>,
    changed: Arc<Changed>,
    served: Arc<ServedNamespaces>,
    /// Of the Service of `--default-backend-service`.
    default_backend: ProblemFeed,
    /// Of the ConfigMap of settings.
    settings: ProblemFeed,
}

/// What is wrong with an object that a flag of the operator names, and that has no status.
#[derive(Clone, Debug)]
pub(crate) struct ProblemFeed {
    object: Option<ObjectKey>,
    problems: watch::Receiver<Arc<[Problem]>>,
}

/// The keys that nobody has taken yet: as many as there are objects at most.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Whether anybody will take them.
    wanted: AtomicBool,
    news: Mutex<News>,
    notify: Notify,
}

/// What is new about statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The objects of which something else is to be said.
    pub keys: BTreeSet<ObjectKey>,
    /// Everything up to the delta of this sequence is said, once every object has been read.
    pub told: Option<u64>,
}

impl Changed {
    pub(crate) fn add(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        if self.wanted.load(Ordering::Acquire) {
            self.news.lock().unwrap_or_else(PoisonError::into_inner).keys.extend(keys);
            self.notify.notify_one();
        }
    }

    /// Says that the statuses are those of everything up to a delta.
    pub(crate) fn tell(&self, sequence: u64) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).told = Some(sequence);
        self.notify.notify_one();
    }
}

impl ProblemFeed {
    pub(crate) fn new(object: Option<ObjectKey>, problems: watch::Receiver<Arc<[Problem]>>) -> Self {
        Self { object, problems }
    }

    /// Waits until the problems may have changed; returns the object. Cancel safe; without an object, it never returns.
    pub(crate) async fn changed(&mut self) -> ObjectKey {
        match &self.object {
            Some(object) if self.problems.changed().await.is_ok() => object.clone(),
            _ => std::future::pending().await,
        }
    }

    /// The first problem of a topic, as one of the object.
    pub(crate) fn problem(&self, topic: Topic) -> Option<(ObjectKey, Message)> {
        let problems = self.problems.borrow();
        let problem = problems.iter().find(|problem| problem.topic == topic)?;
        Some((self.object.clone()?, Message::warning(problem.topic, &*problem.message)))
    }

    /// The problems of an object, if it is this one.
    fn of(&self, key: &ObjectKey) -> Option<Vec<Message>> {
        self.object.as_ref().filter(|object| *object == key)?;
        let name = key.to_string();
        let problems = self.problems.borrow();
        let of_object = problems.iter().filter(|problem| *problem.object == *name);
        Some(of_object.map(|problem| Message::warning(problem.topic, problem.text())).collect())
    }
}

impl StatusFeed {
    pub(crate) fn new(
        statuses: watch::Receiver<Arc<Statuses>>,
        changed: Arc<Changed>,
        served: Arc<ServedNamespaces>,
        default_backend: ProblemFeed,
        settings: ProblemFeed,
    ) -> Self {
        changed.wanted.store(true, Ordering::Release);
        let known: Vec<_> = statuses.borrow().iter().map(|(key, _)| key.clone()).collect();
        changed.add(known);
        Self { statuses, changed, served, default_backend, settings }
    }

    pub(crate) fn default_backend(&self) -> ProblemFeed {
        self.default_backend.clone()
    }

    pub(crate) fn settings(&self) -> ProblemFeed {
        self.settings.clone()
    }

    /// Waits until something is new, and takes it. Cancel safe.
    pub async fn news(&self, told: Option<u64>) -> News {
        loop {
            {
                let mut news = self.changed.news.lock().unwrap_or_else(PoisonError::into_inner);
                if !news.keys.is_empty() || news.told != told {
                    return News { keys: std::mem::take(&mut news.keys), told: news.told };
                }
            }
            self.changed.notify.notified().await;
        }
    }

    /// Whether an object is served: its namespace is, or it is the ConfigMap of settings. The status of an object that is not
    /// served is left as it is: another release may serve it.
    pub(crate) fn serves(&self, key: &ObjectKey) -> bool {
        self.served.contains(&key.namespace) || self.settings.object.as_ref() == Some(key)
    }

    /// What the owner of an object should know and its status has no field for: of an Ingress or a ConfigMap, which have no
    /// conditions, also what is refused.
    pub(crate) fn remarks(&self, key: &ObjectKey) -> Vec<Message> {
        if let Some(problems) = self.settings.of(key) {
            return problems;
        }
        let statuses = self.statuses.borrow();
        let messages = statuses.get(key).map(|report| &*report.messages).unwrap_or_default();
        let is_told = |message: &&Message| match message.level {
            Level::Refused => matches!(key.kind, Kind::Ingress | Kind::ConfigMap),
            Level::Warning => true,
            Level::Note => false,
        };
        messages.iter().filter(is_told).cloned().collect()
    }

    /// The status that an object should have, and the generation that it was made of where it says so.
    pub fn desired(&self, key: &ObjectKey) -> Option<(Value, Option<i64>)> {
        let statuses = self.statuses.borrow();
        let status = &statuses.get(key)?.status;
        // Statuses are plain structures of texts and numbers, which JSON has a form for.
        let value = serde_json::to_value(status).unwrap_or_default();
        Some((value, status.observed_generation()))
    }
}
