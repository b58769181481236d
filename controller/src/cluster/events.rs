//! Events: what `kubectl describe` shows of what became of an object, when that changes and not otherwise.
//!
//! Nobody waits for them, and nothing is made up for: where there are too many, or one is refused, it is left out.
//! Namespaces take turns: one where much happens leaves the others theirs.

mod transitions;

pub(crate) use transitions::{Transition, remarked, transitions};

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use super::{statuses::ControllerNames, token_bucket::TokenBucket, turns::Turns};
use crate::ir::ObjectKey;

/// Events that may wait to be written.
const WAITING: usize = 64;
/// Events in a second, once the first [`BURST`] are spent.
const A_SECOND: f64 = 2.0;
const BURST: f64 = 50.0;
/// How long one may take to be written.
const CALL: Duration = Duration::from_secs(5);
/// The most bytes of a note that the API takes (`events.k8s.io/v1`).
const NOTE: usize = 1024;
/// The most characters of an object's name.
const NAME: usize = 253;

/// Takes transitions, and has them written as events.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    waiting: Arc<Mutex<Waiting>>,
    bell: mpsc::Sender<()>,
}

/// What is not written yet, of each namespace in the order of its transitions.
#[derive(Debug, Default)]
struct Waiting {
    /// Written first, never left out.
    lasting: VecDeque<Noted>,
    turns: Turns<u64, Noted>,
    /// Events in `turns`.
    count: usize,
    next: u64,
}

/// Which object changed how, and when.
#[derive(Debug)]
struct Noted {
    key: ObjectKey,
    uid: Box<str>,
    transition: Transition,
    at: Timestamp,
}

impl Recorder {
    /// Events are recorded in the name of the Gateway controller, and of this `instance` of it. Ends with its last clone.
    pub(crate) fn start(client: Client, controllers: ControllerNames, instance: &str) -> Self {
        let (bell, rings) = mpsc::channel(1);
        let waiting = Arc::default();
        tokio::spawn(write_all(client, controllers, instance.to_owned(), Arc::clone(&waiting), rings));
        Self { waiting, bell }
    }

    /// Notes a transition of an object of this uid.
    pub(crate) fn record(&self, key: &ObjectKey, uid: &str, transition: Transition) {
        let noted = Noted { key: key.clone(), uid: uid.into(), transition, at: Timestamp::now() };
        let left_out = lock(&self.waiting).add(noted);
        if let Some(Noted { key, .. }) = left_out {
            debug!(object = %key, "too many events; one is dropped");
        }
        // It rings already.
        let _ = self.bell.try_send(());
    }

    /// Records what holds for as long as the object stays as it is, and must not be left out. Returns false, and
    /// records nothing, where too many of these events wait: the caller tries again later.
    pub(crate) fn try_record_lasting(&self, key: &ObjectKey, uid: &str, transition: Transition) -> bool {
        let noted = Noted { key: key.clone(), uid: uid.into(), transition, at: Timestamp::now() };
        let is_recorded = lock(&self.waiting).add_lasting(noted);
        let _ = self.bell.try_send(());
        is_recorded
    }
}

impl Waiting {
    /// Returns what is left out: the namespace with most of them has too many, not one of the others.
    fn add(&mut self, noted: Noted) -> Option<Noted> {
        let number = self.next;
        self.next += 1;
        self.turns.insert(&noted.key.clone().namespace, number, noted);
        if self.count == WAITING {
            return self.turns.shorten().map(|(_, noted)| noted);
        }
        self.count += 1;
        None
    }

    fn add_lasting(&mut self, noted: Noted) -> bool {
        let has_room = self.lasting.len() < WAITING;
        if has_room {
            self.lasting.push_back(noted);
        }
        has_room
    }

    fn take(&mut self) -> Option<Noted> {
        let (_, noted) = self.turns.next()?;
        self.count -= 1;
        Some(noted)
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write_all(
    client: Client,
    controllers: ControllerNames,
    instance: String,
    waiting: Arc<Mutex<Waiting>>,
    mut rings: mpsc::Receiver<()>,
) {
    let mut tokens = TokenBucket::full(BURST, A_SECOND, Instant::now());
    while rings.recv().await.is_some() {
        loop {
            // Whoever records lasting events limits their rate.
            let lasting = lock(&waiting).lasting.pop_front();
            if let Some(noted) = lasting {
                write(&client, &controllers, &noted, &instance).await;
                continue;
            }
            if lock(&waiting).turns.is_empty() {
                break;
            }
            // The namespace whose turn it is is looked up at the time of writing.
            if !tokens.any(Instant::now()) {
                let token = sleep_until(tokens.next(Instant::now()).unwrap_or_else(Instant::now));
                tokio::select! {
                    () = token => {}
                    rung = rings.recv() => if rung.is_none() { return },
                }
                continue;
            }
            let next = lock(&waiting).take();
            let Some(noted) = next else { break };
            tokens.take();
            write(&client, &controllers, &noted, &instance).await;
        }
    }
}

async fn write(client: &Client, controllers: &ControllerNames, noted: &Noted, instance: &str) {
    let (key, event) = (&noted.key, event(noted, &controllers.gateway, instance));
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let params =
        PostParams { field_manager: Some(controllers.field_manager.to_string()), ..PostParams::default() };
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    match timeout(CALL, events.create(&params, &event)).await {
        Ok(Ok(_)) => {}
        Ok(Err(kube::Error::Api(status))) if status.code == 409 && status.reason == "AlreadyExists" => {}
        Ok(Err(error)) => debug!(object = %key, %error, "an event is dropped"),
        Err(_) => debug!(object = %key, "no response to an event"),
    }
}

fn event(noted: &Noted, reporter: &str, instance: &str) -> Event {
    let Noted { key, uid, transition, at } = noted;
    let namespace = Some(key.namespace.to_string()).filter(|namespace| !namespace.is_empty());
    // What lasts has the same name whoever tells it and however often: the API server keeps the first one.
    let suffix = match transition.is_lasting {
        true => format!(".{:x}", hash(uid, transition)),
        false => format!(".{:x}", at.as_nanosecond()),
    };
    let name = format!("{}{suffix}", cut(&key.name, NAME - suffix.len()).trim_end_matches(['.', '-']));
    Event {
        action: Some(transition.action.into()),
        event_time: Some(MicroTime(*at)),
        metadata: ObjectMeta {
            name: Some(name),
            // Objects without a namespace have theirs in this one.
            namespace: Some(namespace.clone().unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        note: Some(cut(&transition.note, NOTE).to_owned()),
        reason: Some(transition.reason.clone()),
        regarding: Some(ObjectReference {
            api_version: Some(key.kind.resource().api_version.to_owned()),
            kind: Some(key.kind.as_str().to_owned()),
            name: Some(key.name.to_string()),
            namespace,
            uid: Some(uid.to_string()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(reporter.to_owned()),
        reporting_instance: Some(cut(instance, 128).to_owned()),
        type_: Some(transition.level.as_str().to_owned()),
        ..Event::default()
    }
}

fn hash(uid: &str, Transition { reason, note, .. }: &Transition) -> u64 {
    // The standard library's hasher with its fixed keys: the same in every run of one build, and no secret.
    let mut hasher = DefaultHasher::new();
    (uid, reason, note).hash(&mut hasher);
    hasher.finish()
}

/// The beginning of a text, at most so many bytes of it.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ir::Kind, status::EventLevel};

    #[test]
    fn an_event_is_one_that_the_api_takes() {
        let transition = |note: &str| Transition {
            action: "Accepted",
            reason: "NoMatchingParent".to_owned(),
            note: note.to_owned(),
            level: EventLevel::Warning,
            is_lasting: false,
        };
        for (what, name, namespace, note, want) in [
            ("short", "web".to_owned(), "shop", "why".to_owned(), "shop"),
            ("without a namespace", "web".to_owned(), "", "why".to_owned(), "default"),
            ("as long as may be", "a.".repeat(126) + "a", "shop", "é".repeat(1000), "shop"),
        ] {
            let key = ObjectKey::new(Kind::HttpRoute, namespace, &name);
            let noted = Noted { key, uid: "uid".into(), transition: transition(&note), at: Timestamp::now() };
            let event = event(&noted, "portcullis.dev/gateway-controller", "pod");
            assert!(event.metadata.name.as_ref().unwrap().len() <= NAME, "{what}");
            assert!(
                !event.metadata.name.unwrap().contains("..") && event.note.unwrap().len() <= NOTE,
                "{what}"
            );
            assert_eq!(event.metadata.namespace.as_deref(), Some(want), "{what}");
            assert_eq!(event.regarding.unwrap().name, Some(name), "{what}");
        }
    }
}
