//! Which objects have something else to be said of them: what whoever writes statuses waits for.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::{
    ir::{Kind, ObjectKey},
    status::{Level, Message, Report, Statuses},
};

/// Desired statuses, and which of them are new.
#[derive(Clone, Debug)]
pub struct StatusFeed {
    statuses: watch::Receiver<Arc<Statuses>>,
    changed: Arc<Changed>,
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

impl StatusFeed {
    pub(crate) fn new(statuses: watch::Receiver<Arc<Statuses>>, changed: Arc<Changed>) -> Self {
        changed.wanted.store(true, Ordering::Release);
        let known = {
            let statuses = statuses.borrow();
            let Statuses { gateway_classes, gateways, routes, ingresses } = &**statuses;
            let gateways = gateway_classes.keys().chain(gateways.keys());
            gateways.chain(routes.keys()).chain(ingresses.keys()).cloned().collect::<Vec<_>>()
        };
        changed.add(known);
        Self { statuses, changed }
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

    /// What the owner of an object should know and its status has no field for: of an Ingress, which has no conditions,
    /// also what is refused.
    pub(crate) fn remarks(&self, key: &ObjectKey) -> Vec<Message> {
        let statuses = self.statuses.borrow();
        let messages = match key.kind {
            Kind::GatewayClass => statuses.gateway_classes.get(key).map(|report| &*report.messages),
            Kind::Gateway => statuses.gateways.get(key).map(|report| &*report.messages),
            Kind::Ingress => statuses.ingresses.get(key).map(|report| &*report.messages),
            _ => statuses.routes.get(key).map(|report| &*report.messages),
        };
        let is_told = |message: &&Message| match message.level {
            Level::Refused => key.kind == Kind::Ingress,
            Level::Warning => true,
            Level::Note => false,
        };
        messages.unwrap_or_default().iter().filter(is_told).cloned().collect()
    }

    /// The status that an object should have, and the generation that it was made of where it says so.
    pub fn desired(&self, key: &ObjectKey) -> Option<(Value, Option<i64>)> {
        let statuses = self.statuses.borrow();
        let value = match key.kind {
            Kind::GatewayClass => value(statuses.gateway_classes.get(key)?),
            Kind::Gateway => value(statuses.gateways.get(key)?),
            Kind::Ingress => value(statuses.ingresses.get(key)?),
            _ => value(statuses.routes.get(key)?),
        };
        let generation = generation(&value);
        Some((value, generation))
    }
}

fn value<S: Serialize>(report: &Report<S>) -> Value {
    // Statuses are plain structures of texts and numbers, which JSON has a form for.
    serde_json::to_value(&report.status).unwrap_or_default()
}

/// All conditions of one object are made of one generation.
fn generation(status: &Value) -> Option<i64> {
    let conditions = status.get("conditions").or_else(|| status.get("parents")?.get(0)?.get("conditions"));
    conditions?.get(0)?.get("observedGeneration")?.as_i64()
}
