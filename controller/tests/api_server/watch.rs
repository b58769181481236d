//! The stream of a watch.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Response, body::Frame};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    cut,
    routes::{Asked, Body, failure},
    store::{Event, News, Store},
};

/// Ends after `timeoutSeconds`, after a bookmark, or when the store says so; an old version is an event of its own.
pub(super) fn watch(store: &Arc<Store>, asked: Asked) -> Response<Body> {
    let mut first = Vec::new();
    let mut version =
        asked.query.get("resourceVersion").and_then(|v| v.parse::<u64>().ok()).unwrap_or_default();
    if asked.query.contains_key("sendInitialEvents") {
        if !store.streams() {
            let why = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
                       feature gate is enabled";
            return failure(422, "Invalid", why);
        }
        let (now, items) = store.list(&asked.plural, &asked.namespace);
        first.extend(items.into_iter().filter(|o| asked.selects(o)).map(|o| line("ADDED", &asked.shown(o))));
        first.push(bookmark(now, true));
        version = now;
    }
    let lasts = asked.query.get("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(1800);
    let follower = Follower {
        store: Arc::clone(store),
        begun: *store.news.subscribe().borrow(),
        stalled: store.stalled(&asked.plural),
        asked,
        version,
        ends: Instant::now() + Duration::from_secs(lasts),
        over: false,
    };
    let later = stream::unfold(follower, |mut follower| async move {
        let next = follower.next().await?;
        Some((next, follower))
    });
    let frames =
        stream::iter(first).map(Ok).chain(later).map(|text| text.map(|t| Frame::data(Bytes::from(t))));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

struct Follower {
    store: Arc<Store>,
    asked: Asked,
    version: u64,
    /// The news at its beginning.
    begun: News,
    stalled: u64,
    ends: Instant,
    over: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<io::Result<String>> {
        let mut news = self.store.news.subscribe();
        loop {
            let now = *news.borrow_and_update();
            if self.store.stalled(&self.asked.plural) != self.stalled {
                std::future::pending::<()>().await;
            }
            if self.over || now.ended != self.begun.ended {
                return None;
            }
            if now.cut != self.begun.cut {
                self.over = true;
                return Some(Err(cut()));
            }
            let Some(events) = self.store.since(self.version) else {
                self.over = true;
                return Some(Ok(line("ERROR", &expired())));
            };
            self.version = events.last().map_or(self.version, |event| event.version);
            let text: String = events.into_iter().filter_map(|event| self.shown(event)).collect();
            if !text.is_empty() {
                return Some(Ok(text));
            }
            tokio::select! {
                changed = news.changed() => changed.ok()?,
                () = sleep_until(self.ends) => {
                    self.over = true;
                    return Some(Ok(bookmark(self.version, false)));
                }
            }
        }
    }

    fn shown(&self, event: Event) -> Option<String> {
        let namespace = &self.asked.namespace;
        let is_in = namespace.is_empty() || event.object["metadata"]["namespace"] == **namespace;
        let is_ours = event.plural == self.asked.plural && is_in && self.asked.selects(&event.object);
        is_ours.then(|| line(event.kind, &self.asked.shown(event.object)))
    }
}

fn bookmark(version: u64, initial: bool) -> String {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line("BOOKMARK", &json!({"apiVersion": "v1", "kind": "Bookmark", "metadata": metadata}))
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

pub(super) fn expired() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"})
}
